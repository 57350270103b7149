"""What a dashboard tells adds up to what the books hold, and tells no number of people that is small."""

from __future__ import annotations

from typing import Any

import pytest

from streamcoop.database import transaction
from streamcoop.royalties import dashboard
from tests.ledger.factories import EPOCH
from tests.royalties.label import FIRST_EPOCH, Label, Person


@pytest.fixture
def ana(label: Label) -> Person:
    return label.person("Ana", "artist")


def told(label: Label, person: Person, epoch: int | None = None) -> Any:
    return label.get("/royalties/dashboard" + ("" if epoch is None else f"?epoch={epoch}"), person)


def test_it_adds_up_to_what_is_collected(label: Label, ana: Person) -> None:
    tracks = [label.track(ana, f"No. {number}") for number in range(2)]
    for number in range(6):
        listener = label.listener()
        label.play(listener, tracks[0], 1 + number % 3)
        if number:
            label.play(listener, tracks[1], 1)
    shown = told(label, ana)
    current = {track["track_id"]: track for track in label.get("/royalties/current", ana)}
    assert (shown["epoch"], shown["royalty_micro"]) == (EPOCH, None)
    by_track = {track["track_id"]: track for track in shown["tracks"]}
    for track, collected in current.items():
        for figure in ("plays", "buyouts", "collected_micro", "collected_money_micro"):
            assert by_track[track][figure] == collected[figure]
    for figure in ("plays", "collected_money_micro"):
        assert shown[figure] == sum(track[figure] for track in shown["tracks"])
        assert shown[figure] == sum(day[figure] for day in shown["days"])
    assert (shown["plays"], shown["listeners"]) == (17, 6)
    assert [track["listeners"] for track in shown["tracks"]] == [6, 5]
    assert [day["day"] for day in shown["days"]] == [label.clock.now().date().isoformat()]


def test_of_fewer_than_five_people_no_number_is_told(label: Label, ana: Person) -> None:
    track = label.track(ana)
    for _ in range(dashboard.LISTENERS_TOLD_MIN - 1):
        label.play(label.listener(), track, 9)
    shown = told(label, ana)
    assert shown["plays"] == 9 * 4
    assert (shown["steps"], shown["days"]) == ([], [])
    for figures in (shown, shown["tracks"][0]):
        assert (figures["listeners"], figures["new_owners"]) == (None, None)
    label.play(label.listener(), track, 8)
    shown = told(label, ana)
    assert (shown["listeners"], shown["new_owners"]) == (5, None), "the fifth does not own it yet"
    assert [day["plays"] for day in shown["days"]] == [9 * 4 + 8]
    assert [(step["ordinal"], step["plays"]) for step in shown["steps"]] == [(step, 5) for step in range(1, 9)]
    assert [step["collected_money_micro"] for step in shown["steps"]] == [5 * 2_000 << step for step in range(8)]


def test_whoever_comes_to_own_a_track_is_counted_in_that_epoch_alone(label: Label, ana: Person) -> None:
    track = label.track(ana)
    for _ in range(dashboard.LISTENERS_TOLD_MIN):
        label.play(label.listener(), track, 9)
    label.go_to(EPOCH + 1)
    label.play(label.listener(), track, 1, EPOCH + 1)
    assert told(label, ana, EPOCH)["new_owners"] == 5
    assert (told(label, ana)["epoch"], told(label, ana)["new_owners"], told(label, ana)["plays"]) == (
        EPOCH + 1,
        None,
        1,
    )


def test_a_closed_epoch_tells_ones_own_part(label: Label, ana: Person) -> None:
    ben = label.person("Ben")
    track = label.track(ana)
    label.split_in_force(ana, track, {ana: 7_500, ben: 2_500}, consented=True)
    label.play(label.listener(), track, 4)
    label.close()
    label.go_to(EPOCH + 1)
    (mine,) = label.lines(ana)
    assert told(label, ana, EPOCH)["royalty_micro"] == mine["royalty_micro"] > 0
    # What is others' music is not hers to see, whatever her share of it.
    assert (told(label, ben, EPOCH)["plays"], told(label, ben, EPOCH)["tracks"]) == (0, [])


def test_an_epoch_that_has_not_come_is_none(label: Label, ana: Person) -> None:
    for epoch in (EPOCH + 1, FIRST_EPOCH - 1):
        assert label.call("GET", f"/royalties/dashboard?epoch={epoch}", ana).status_code == 404
    empty = told(label, ana)
    assert (empty["plays"], empty["collected_micro"], empty["days"], empty["listeners"]) == (0, 0, [], None)


def test_the_epochs_side_by_side_have_no_gap(label: Label, ana: Person) -> None:
    track = label.track(ana)
    label.play(label.listener(), track, 2)
    label.go_to(EPOCH + 2)
    with transaction() as session:
        sums = dashboard.epochs(session, label.founding, ana.user_id, label.clock.now(), 12)
        march = dashboard.dashboard(session, label.founding, ana.user_id, EPOCH, label.clock.now())
    assert [(each.epoch, each.plays, each.collected_money_micro) for each in sums] == [
        (FIRST_EPOCH, 0, 0),
        (EPOCH, 2, 6_000),
        (EPOCH + 1, 0, 0),
        (EPOCH + 2, 0, 0),
    ]
    assert [day.day for day in dashboard.days_of(march)] == list(range(1, 32))
