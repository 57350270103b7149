"""Statements add up to the unit, on the screen and as a table; and a table does nothing by itself."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.money import CreditPrice
from ledger.store import crediting
from streamcoop.database import transaction
from streamcoop.royalties import statements
from tests.ledger import factories
from tests.ledger.factories import EPOCH
from tests.royalties.label import CREDITS_MICRO, FIRST_EPOCH, Label, Person

MONTH = "2026-03"


@pytest.fixture
def ana(label: Label) -> Person:
    return label.person("Ana", "artist")


@pytest.fixture
def ben(label: Label) -> Person:
    return label.person("Ben", "artist")


def test_an_artists_statement_adds_up_to_the_unit(label: Label, ana: Person, ben: Person) -> None:
    tracks = [label.track(ana, f"No. {number}") for number in range(3)]
    label.split_in_force(ana, tracks[0], {ana: 3_333, ben: 6_667}, consented=True)
    label.split_in_force(ana, tracks[1], {ana: 1, ben: 9_999}, consented=False)
    for number in range(3):
        listener = label.listener()
        for times, track in enumerate(tracks, start=1):
            label.play(listener, track, times + number)
    label.close()
    told = label.get("/royalties/statement", ana)
    by_track: dict[str, list[dict[str, Any]]] = {}
    for line in told["lines"]:
        by_track.setdefault(line["track_id"], []).append(line)
    assert set(by_track) == {str(track) for track in tracks}
    epoch = label.get(f"/epochs/{EPOCH}", ana)
    price = CreditPrice(label.founding.credit_price_micro)
    for lines in by_track.values():
        first = lines[0]
        assert first["gross_micro"] == price.value_micro(first["collected_micro"])
        assert first["gross_micro"] == first["deductions_micro"] + first["net_micro"]
        assert first["artists_micro"] == sum(line["royalty_micro"] for line in lines)
        assert sum(line["share_bp"] for line in lines) == 10_000
    firsts = [lines[0] for lines in by_track.values()]
    royalties_micro = sum(line["royalty_micro"] for line in told["lines"])
    assert (
        epoch["plays"]
        == sum(line["plays"] for line in firsts)
        == sum(range(1, 4)) + sum(range(2, 5)) + sum(range(3, 6))
    )
    assert epoch["gross_micro"] == sum(line["gross_micro"] for line in firsts)
    assert epoch["gross_micro"] == sum(epoch["deductions"].values()) + sum(epoch["funds"].values()) + royalties_micro
    assert epoch["royalties_micro"] == royalties_micro
    mine = [line for line in told["lines"] if line["payee_name"] == "Ana"]
    assert told["royalty_micro"] == told["balance_micro"] == sum(line["royalty_micro"] for line in mine)
    of_ben = label.get("/royalties/statement", ben)
    assert of_ben["held_micro"] == sum(line["royalty_micro"] for line in of_ben["lines"] if line["held_because"]) > 0
    assert {line["track_id"] for line in of_ben["lines"]} == {str(tracks[0]), str(tracks[1])}


def test_the_list_of_statements_adds_up_to_them(label: Label, ana: Person, ben: Person) -> None:
    track, other = label.track(ana), label.track(ben)
    label.split_in_force(ana, track, {ana: 4_000, ben: 6_000}, consented=False)
    label.play(label.listener(), track, 3)
    label.play(label.listener(), other, 2)
    label.close()
    label.go_to(EPOCH + 1)
    label.play(label.listener(), track, 1, EPOCH + 1)
    label.close(EPOCH + 1)
    for person in (ana, ben):
        with transaction() as session:
            listed = statements.closed(session, label.founding, person.user_id)
        assert [each.epoch for each in listed] == [EPOCH + 1, EPOCH]
        for each in listed:
            told = label.get(f"/royalties/statement?epoch={each.epoch}", person)
            assert (each.royalty_micro, each.held_micro) == (told["royalty_micro"], told["held_micro"])


def test_what_went_off_is_told_by_what_for(label: Label, ana: Person, ben: Person) -> None:
    tracks = [label.track(ana), label.track(ana, "Other")]
    label.split_in_force(ana, tracks[0], {ana: 4_000, ben: 6_000}, consented=True)
    for track in tracks:
        label.play(label.listener(), track, 6)
    label.close()
    for person in (ana, ben):
        with transaction() as session:
            by_kind = statements.deductions(session, person.user_id, EPOCH)
        assert sum(by_kind.values()) == sum(line["deductions_micro"] for line in label.lines(person))


def test_the_table_says_what_the_statement_says(label: Label, ana: Person, ben: Person) -> None:
    track = label.track(ana)
    label.split_in_force(ana, track, {ana: 5_000, ben: 5_000}, consented=False)
    label.play(label.listener(), track, 5)
    label.close()
    lines = label.get("/royalties/statement", ana)["lines"]
    rows = label.table("/royalties/statement.csv", ana)
    assert rows == [{name: "" if value is None else str(value) for name, value in line.items()} for line in lines]
    assert label.table(f"/royalties/statement.csv?epoch={EPOCH + 1}", ana) == []


def test_a_listeners_opening_and_lines_make_her_closing(label: Label, ana: Person) -> None:
    track, listener = label.track(ana), label.listener()
    label.play(listener, track, 3)
    label.go_to(EPOCH + 1)
    with label.database.engine.begin() as conn:
        factories.top_up(conn, listener.user_id, 7_000_000, label.clock.now())
    label.play(listener, track, 2, EPOCH + 1)
    before = 0
    for month, of_in, of_out in ((MONTH, CREDITS_MICRO, 14_000), ("2026-04", 7_000_000, 48_000)):
        told = label.get(f"/wallet/statement?month={month}", listener)
        assert told["opening_micro"] == before
        assert told["closing_micro"] == told["opening_micro"] + sum(line["credits_micro"] for line in told["lines"])
        assert (told["in_micro"], told["out_micro"]) == (of_in, of_out)
        assert told["artists"] == {"Kyai": of_out}
        rows = label.table(f"/wallet/statement.csv?month={month}", listener)
        assert sum(int(row["credits_micro"]) for row in rows) == told["closing_micro"] - before
        before = told["closing_micro"]
    wallet = label.get("/wallet", listener)
    assert wallet["balance_micro"] == wallet["spendable_micro"] == before


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", '=HYPERLINK("http://x","y")'])
def test_what_a_spreadsheet_would_calculate_is_defused(label: Label, text: str) -> None:
    artist = label.person(text, "artist")
    track, listener = label.track(artist, text, text), label.listener()
    with label.database.engine.begin() as conn:
        transfers = factories.top_up_transfers(listener.user_id, 1_000_000)
        user_id = listener.user_id
        crediting.give(conn, user_id, "top-up", user_id, transfers, label.clock.now(), remark=text)
    label.play(listener, track)
    label.close()
    royalties = label.table("/royalties/statement.csv", artist)
    plays = label.table(f"/wallet/statement.csv?month={MONTH}", listener)
    assert {row["payee_name"] for row in royalties} == {row["title"] for row in royalties} == {f"'{text}"}
    assert f"'{text}" in {row["reference"] for row in plays}
    cells = [cell for row in royalties + plays for cell in row.values()]
    # A number may be negative; nothing else may begin as a formula does.
    assert not [cell for cell in cells if cell[:1] in "=+@-\t\r" and cell and not cell.lstrip("-").isdigit()]
    assert label.get("/royalties/statement", artist)["lines"][0]["title"] == text, "only tables are marked"


def test_what_is_collected_in_open_epochs_is_told_until_they_close(label: Label, ana: Person) -> None:
    track = label.track(ana)
    label.play(label.listener(), track, 3)
    [current] = label.get("/royalties/current", ana)
    assert (current["epoch"], current["plays"], current["collected_micro"]) == (EPOCH, 3, 14_000)
    assert label.get("/royalties/statement", ana)["lines"] == []
    label.close()
    assert label.get("/royalties/current", ana) == []
    assert label.lines(ana)[0]["collected_micro"] == 14_000


def test_an_epoch_says_how_far_it_is(label: Label, ana: Person) -> None:
    path = f"/epochs/{EPOCH}"
    assert label.get(path, ana)["state"] == "open"
    label.go_to(EPOCH + 1)
    assert label.get(path, ana)["state"] == "ended"
    label.close()
    assert label.get(path, ana)["state"] == "closed"
    assert [epoch["epoch"] for epoch in label.get("/epochs", ana)] == [EPOCH + 1, EPOCH, FIRST_EPOCH]
    for outside in (FIRST_EPOCH - 1, EPOCH + 2, 10**30, -1):
        assert label.call("GET", f"/epochs/{outside}", ana).status_code == 404
