"""Who is paid for a track: splits by consent and from an epoch's start, and holds that keep money back for a while."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from ledger.royalties import PAYEES_MAX
from ledger.store import closing
from streamcoop.database import transaction
from streamcoop.embedded import process
from streamcoop.royalties import splits
from tests.ledger.factories import EPOCH
from tests.royalties.label import Label, Person

WAIT_S = 10.0


@pytest.fixture
def ana(label: Label) -> Person:
    """An artist."""
    return label.person("Ana", "artist")


@pytest.fixture
def ben(label: Label) -> Person:
    """A payee of hers, an artist too."""
    return label.person("Ben", "artist")


def test_a_track_without_a_split_pays_its_artist_alone(label: Label, ana: Person) -> None:
    track = label.track(ana)
    label.play(label.listener(), track, 3)
    assert label.close()
    [line] = label.lines(ana)
    assert (line["share_bp"], line["held_because"]) == (10_000, None)
    assert label.balance(ana) == line["royalty_micro"] == line["artists_micro"] > 0


def test_every_payee_who_consented_is_paid_her_part(label: Label, ana: Person, ben: Person) -> None:
    track = label.track(ana)
    label.split_in_force(ana, track, {ana: 7_000, ben: 3_000}, consented=True)
    label.play(label.listener(), track, 9)
    label.close()
    [line] = label.lines(ana)
    assert (label.balance(ana), label.balance(ben)) == (line["royalty_micro"], label.lines(ben)[0]["royalty_micro"])
    assert label.balance(ana) + label.balance(ben) == line["artists_micro"]
    assert abs(label.balance(ben) * 10_000 - line["artists_micro"] * 3_000) < 10_000
    assert label.held(track) == 0


def test_who_has_not_consented_is_held_for_and_paid_once_she_does(label: Label, ana: Person, ben: Person) -> None:
    track = label.track(ana)
    split = label.split_in_force(ana, track, {ana: 7_000, ben: 3_000}, consented=False)
    label.play(label.listener(), track, 9)
    label.close()
    [line] = label.lines(ben)
    assert (line["held_because"], line["released_at"]) == ("no-consent", None)
    assert (label.balance(ben), label.held(track)) == (0, line["royalty_micro"])
    told = label.get("/royalties/statement", ben)
    assert (told["royalty_micro"], told["held_micro"], told["balance_micro"]) == (0, line["royalty_micro"], 0)
    assert label.balance(ana) > 0, "nobody waits for another's consent"

    [waiting] = label.get("/me/splits", ben)
    assert (waiting["split_id"], waiting["share_bp"], waiting["title"]) == (split, 3_000, "Pagi")
    for _ in range(2):
        assert label.call("POST", f"/splits/{split}/consent", ben).status_code == 204
        assert (label.balance(ben), label.held(track)) == (line["royalty_micro"], 0)
    assert label.get("/me/splits", ben) == []
    told = label.get("/royalties/statement", ben)
    assert (told["royalty_micro"], told["held_micro"], told["balance_micro"]) == (
        line["royalty_micro"],
        0,
        line["royalty_micro"],
    )
    assert label.lines(ben)[0]["released_at"] is not None


def test_nobody_can_consent_for_another(label: Label, ana: Person, ben: Person) -> None:
    split = label.split_in_force(ana, label.track(ana), {ana: 7_000, ben: 3_000}, consented=False)
    assert label.call("POST", f"/splits/{split}/consent", label.person("Mallory")).status_code == 404
    assert len(label.get("/me/splits", ben)) == 1


@pytest.mark.parametrize("of", ["payee", "track"])
def test_a_hold_keeps_money_back_until_it_is_lifted(label: Label, ana: Person, ben: Person, of: str) -> None:
    operator = label.person("Operator", "operator")
    track, other = label.track(ana), label.track(ben)
    label.split_in_force(ana, track, {ana: 5_000, ben: 5_000}, consented=True)
    what = {"payee_email": ben.email} if of == "payee" else {"track_id": str(track)}
    placed = label.call("POST", "/holds", operator, what | {"reason": "rights in dispute"})
    assert placed.status_code == 201, placed.text
    listener = label.listener()
    for each in (track, other):
        label.play(listener, each, 4)
    label.close()
    held_lines = [line for line in label.lines(ana) + label.lines(ben) if line["held_because"]]
    assert {line["held_because"] for line in held_lines} == {"rights in dispute"}
    held_micro = sum(line["royalty_micro"] for line in held_lines)
    assert label.held(track) + label.held(other) == held_micro > 0
    # A payee's hold reaches her own track and her part of another's; a track's hold all its payees.
    held_of = {(line["track_id"], line["payee_name"]) for line in held_lines}
    everywhere = {(str(track), "Ben"), (str(other), "Ben")}
    assert held_of == (everywhere if of == "payee" else {(str(track), "Ana"), (str(track), "Ben")})
    before = label.balance(ana) + label.balance(ben)

    assert label.call("DELETE", f"/holds/{placed.json()['id']}", operator).status_code == 204
    assert (label.held(track), label.held(other)) == (0, 0)
    assert label.balance(ana) + label.balance(ben) == before + held_micro
    assert label.call("DELETE", f"/holds/{placed.json()['id']}", operator).status_code == 404


def test_what_is_held_for_two_reasons_waits_for_both(label: Label, ana: Person, ben: Person) -> None:
    operator, track = label.person("Operator", "operator"), label.track(ana)
    split = label.split_in_force(ana, track, {ana: 5_000, ben: 5_000}, consented=False)
    on_track = label.call("POST", "/holds", operator, {"track_id": str(track), "reason": "disputed"}).json()["id"]
    on_payee = label.call("POST", "/holds", operator, {"payee_email": ben.email, "reason": "tax form"}).json()["id"]
    label.play(label.listener(), track, 4)
    label.close()
    held_micro = label.held(track)
    label.call("DELETE", f"/holds/{on_payee}", operator)
    label.call("POST", f"/splits/{split}/consent", ben)
    assert label.held(track) == held_micro > 0
    label.call("DELETE", f"/holds/{on_track}", operator)
    assert label.held(track) == 0
    assert label.balance(ana) + label.balance(ben) == held_micro


def test_a_hold_is_of_one_thing_and_stands_once(label: Label, ana: Person) -> None:
    operator, track = label.person("Operator", "operator"), label.track(ana)
    of_track = {"track_id": str(track), "reason": "disputed"}
    for wrong in ({"reason": "nothing"}, of_track | {"payee_email": ana.email}):
        answer = label.call("POST", "/holds", operator, wrong)
        assert (answer.status_code, answer.json()["type"]) == (400, "/problems/hold-what")
    assert label.call("POST", "/holds", ana, of_track).status_code == 403
    assert (
        label.call("POST", "/holds", operator, {"track_id": str(ana.user_id), "reason": "no track"}).status_code == 404
    )
    assert label.call("POST", "/holds", operator, of_track).status_code == 201
    again = label.call("POST", "/holds", operator, of_track)
    assert (again.status_code, again.json()["type"]) == (409, "/problems/held-already")


@pytest.mark.parametrize(
    "of_ana_and_ben", [(7_000, 2_999), (7_000, 3_001), (10_000, 0), (10_001, -1), (0, 10_000), (20_000, -10_000)]
)
def test_shares_that_do_not_add_up_are_refused(
    label: Label, ana: Person, ben: Person, of_ana_and_ben: tuple[int, int]
) -> None:
    track = label.track(ana)
    answer = label.split(ana, track, dict(zip((ana.email, ben.email), of_ana_and_ben, strict=True)))
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/shares-do-not-add-up")
    assert label.get(f"/tracks/{track}/splits", ana) == []


def test_a_payee_stands_in_a_split_once_and_has_an_account(label: Label, ana: Person, ben: Person) -> None:
    track = label.track(ana)
    share = {"payee_email": ana.email, "share_bp": 5_000}
    twice = label.call("PUT", f"/tracks/{track}/split", ana, {"shares": [share, share]})
    assert (twice.status_code, twice.json()["type"]) == (400, "/problems/shares-do-not-add-up")
    unknown = label.split(ana, track, {ana.email: 5_000, "nobody@example.org": 5_000})
    assert (unknown.status_code, unknown.json()["type"]) == (400, "/problems/unknown-payee")
    assert label.call("PUT", f"/tracks/{track}/split", ana, {"shares": [share] * (PAYEES_MAX + 1)}).status_code == 422
    assert label.split(ben, track, {ben.email: 10_000}).status_code == 404, "it is not his track"
    assert label.call("GET", f"/tracks/{track}/splits", ben).status_code == 404, "nor his business"


def test_a_split_holds_from_the_next_epoch_on(label: Label, ana: Person, ben: Person) -> None:
    track, listener = label.track(ana), label.listener()
    proposed = label.split(ana, track, {ana.email: 4_000, ben.email: 6_000}).json()
    assert proposed["effective_epoch"] == EPOCH + 1
    label.call("POST", f"/splits/{proposed['id']}/consent", ben)
    label.play(listener, track, 3)
    label.go_to(EPOCH + 1)
    label.close(EPOCH)
    label.play(listener, track, 3, EPOCH + 1)
    label.go_to(EPOCH + 2)
    label.close(EPOCH + 1)
    paid = {
        (line["epoch"], line["payee_name"]): line["share_bp"]
        for line in label.get("/royalties/statement", ana)["lines"]
    }
    assert paid == {(EPOCH, "Ana"): 10_000, (EPOCH + 1, "Ana"): 4_000, (EPOCH + 1, "Ben"): 6_000}


def test_of_several_splits_for_an_epoch_the_newest_holds(label: Label, ana: Person, ben: Person) -> None:
    track = label.track(ana)
    for ana_bp in (1_000, 2_000, 3_000):
        label.split_in_force(ana, track, {ana: ana_bp, ben: 10_000 - ana_bp}, consented=True)
    label.play(label.listener(), track, 4)
    label.close()
    assert [line["share_bp"] for line in label.lines(ana)] == [3_000]
    newest_first = label.get(f"/tracks/{track}/splits", ben)
    assert [split["shares"][0]["share_bp"] + split["shares"][1]["share_bp"] for split in newest_first] == [10_000] * 3
    assert len({split["id"] for split in newest_first}) == 3


def test_a_hold_lifted_while_a_close_runs_leaves_nothing_held(label: Label, ana: Person) -> None:
    operator, track = label.person("Operator", "operator"), label.track(ana)
    hold = label.call("POST", "/holds", operator, {"track_id": str(track), "reason": "disputed"}).json()["id"]
    label.play(label.listener(), track, 4)
    _close_while(label, lambda: label.call("DELETE", f"/holds/{hold}", operator).raise_for_status())
    assert label.held(track) == 0
    assert label.balance(ana) > 0


def test_a_consent_given_while_a_close_runs_leaves_nothing_held(label: Label, ana: Person, ben: Person) -> None:
    track = label.track(ana)
    split = label.split_in_force(ana, track, {ana: 5_000, ben: 5_000}, consented=False)
    label.play(label.listener(), track, 4)
    _close_while(label, lambda: label.call("POST", f"/splits/{split}/consent", ben).raise_for_status())
    assert label.held(track) == 0
    assert label.balance(ben) > 0


def test_a_consent_and_the_lifting_of_a_hold_at_once_leave_nothing_held(label: Label, ana: Person, ben: Person) -> None:
    operator, track = label.person("Operator", "operator"), label.track(ana)
    split = label.split_in_force(ana, track, {ana: 5_000, ben: 5_000}, consented=False)
    hold = label.call("POST", "/holds", operator, {"payee_email": ben.email, "reason": "tax form"}).json()["id"]
    label.play(label.listener(), track, 4)
    label.close()
    with ThreadPoolExecutor(1) as pool:
        with transaction() as session:
            splits.consent(session, ben.user_id, split, label.clock.now())
            lifted = pool.submit(lambda: label.call("DELETE", f"/holds/{hold}", operator).raise_for_status())
            _wait_for(label, lifted)
        lifted.result(WAIT_S)
    assert label.held(track) == 0


def _close_while(label: Label, something: Callable[[], object]) -> None:
    """A close in which `something` begins after the splits were read and before the lines are written."""
    begun: list[Future[object]] = []
    at = label.founding.may_close_at(EPOCH)

    with ThreadPoolExecutor(1) as pool:
        with transaction() as session:
            closing.begin(session.connection(), label.founding, EPOCH, at)

            def read_then_begin(tracks):  # type: ignore[no-untyped-def]
                read = splits.splits_of(session, tracks)
                begun.append(pool.submit(something))
                _wait_for(label, begun[0])
                return read

            closing.close_chunk(session.connection(), label.founding, EPOCH, read_then_begin, at)
        begun[0].result(WAIT_S)
    with transaction() as session:
        closing.finish(session.connection(), EPOCH, at)


def _wait_for(label: Label, begun: Future[object]) -> None:
    """Until it has ended, or waits for a lock that we hold."""
    waiting = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    assert process.until(partial(lambda: begun.done() or bool(label.rows(waiting))), WAIT_S, 0.01)


def test_a_later_proposal_keeps_back_nothing_that_was_consented_to(label: Label, ana: Person, ben: Person) -> None:
    track = label.track(ana)
    first = label.split_in_force(ana, track, {ana: 5_000, ben: 5_000}, consented=False)
    label.play(label.listener(), track, 4)
    label.go_to(EPOCH + 1)
    label.close()
    label.split(ana, track, {ana.email: 9_999, ben.email: 1})
    assert label.held(track) > 0

    label.call("POST", f"/splits/{first}/consent", ben)

    assert label.held(track) == 0


def test_consenting_to_a_later_split_releases_nothing_of_an_earlier_one(label: Label, ana: Person, ben: Person) -> None:
    track = label.track(ana)
    label.split_in_force(ana, track, {ana: 5_000, ben: 5_000}, consented=False)
    label.play(label.listener(), track, 4)
    label.go_to(EPOCH + 1)
    label.close()
    later = label.split(ana, track, {ana.email: 9_999, ben.email: 1})
    before = label.held(track)

    label.call("POST", f"/splits/{later}/consent", ben)

    assert label.held(track) == before > 0
