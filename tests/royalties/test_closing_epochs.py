"""Closing epochs with the service's splits: once, from wherever it was killed, late plays at their own terms."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.orm import Session

from ledger.rates import NetFactors, Rates
from ledger.store import closing, terms
from streamcoop.database import transaction
from streamcoop.royalties.service import close_epoch
from tests.ledger.factories import EPOCH, findings
from tests.royalties.label import Label, Person

CLOSERS = 4


class Killed(Exception):
    """The closing process is gone."""


@pytest.fixture
def ana(label: Label) -> Person:
    return label.person("Ana", "artist")


@pytest.fixture
def ben(label: Label) -> Person:
    return label.person("Ben", "artist")


def written(label: Label) -> dict[str, list[Any]]:
    """All that a close writes, without the numbers that count rows."""
    return {
        "lines": label.rows(
            "select c.closed_in, c.epoch, c.track_id, c.plays, c.gross_micro, c.net_micro, c.artists_micro, l.payee,"
            " l.share_bp, l.amount_micro, l.held_because from ledger.track_close c"
            " join ledger.royalty_line l on l.track_close_id = c.id order by 1, 2, 3, 8"
        ),
        "balances": label.rows("select code, balance_micro from ledger.account order by code"),
        "epochs": label.rows("select epoch, closed_at from ledger.epoch_close order by epoch"),
    }


def test_late_plays_are_shared_out_at_their_own_epochs_terms(label: Label, ana: Person, ben: Person) -> None:
    track, listener = label.track(ana), label.listener()
    label.play(listener, track)
    changed = label.split(ana, track, {ben.email: 10_000}).json()["id"]
    label.call("POST", f"/splits/{changed}/consent", ben)
    with label.database.engine.begin() as conn:
        now = label.clock.now()
        terms.adopt_rates(conn, Rates(artist_share_bp=5_000), EPOCH + 1, "members", now)
        terms.adopt_net_factors(conn, NetFactors(vat_bp=2_500), EPOCH + 1, "law", now)
    label.go_to(EPOCH + 1)
    label.close(EPOCH)
    label.play(listener, track, 1, EPOCH)
    label.play(listener, track, 1, EPOCH + 1)
    label.go_to(EPOCH + 2)
    label.close(EPOCH + 1)
    lines = {(line["closed_in"], line["epoch"]): line for line in label.get("/royalties/statement", ana)["lines"]}
    on_time, late, changed_line = (lines[key] for key in ((EPOCH, EPOCH), (EPOCH + 1, EPOCH), (EPOCH + 1, EPOCH + 1)))
    assert (on_time["late"], late["late"], changed_line["late"]) == (False, True, False)
    assert [line["plays"] for line in (on_time, late, changed_line)] == [1, 1, 1]
    assert [line["collected_micro"] for line in (on_time, late, changed_line)] == [2_000, 4_000, 8_000]
    assert [line["payee_name"] for line in (on_time, late, changed_line)] == ["Ana", "Ana", "Ben"]
    assert [line["artist_share_bp"] for line in (on_time, late, changed_line)] == [7_000, 7_000, 5_000]
    # The late line is twice the one on time but for a unit of rounding.
    assert abs(late["net_micro"] - 2 * on_time["net_micro"]) <= 2
    assert changed_line["deductions_micro"] * 4_000 > late["deductions_micro"] * 8_000


def test_closing_twice_changes_nothing(label: Label, ana: Person) -> None:
    label.play(label.listener(), label.track(ana), 5)
    assert label.close()
    before = written(label)
    assert not label.close()
    assert written(label) == before


def test_several_closes_at_once_are_one(label: Label, ana: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "CHUNK", 1)
    listener = label.listener()
    for number in range(5):
        label.play(listener, label.track(ana, f"No. {number}"), number + 1)
    with ThreadPoolExecutor(CLOSERS) as pool:
        list(pool.map(lambda _: label.close(), range(CLOSERS)))
    assert len(label.lines(ana)) == 5
    assert label.balance(ana) == sum(line["royalty_micro"] for line in label.lines(ana))


@pytest.mark.parametrize("committed", [True, False], ids=["after its commit", "before its commit"])
def test_a_close_killed_at_any_step_ends_as_if_it_had_not_been(
    label: Label, ana: Person, ben: Person, committed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing.close_chunk, "__defaults__", (None, 2))
    listener = label.listener()
    for number in range(5):
        track = label.track(ana, f"No. {number}")
        label.split_in_force(ana, track, {ana: 2_000, ben: 8_000}, consented=number % 2 == 0)
        label.play(listener, track, number + 1)
    at = label.founding.may_close_at(EPOCH)

    def run(steps: int) -> int:
        """Close, and be killed in the transaction number `steps`; returns how many were begun."""
        begun = 0

        @contextmanager
        def killable() -> Iterator[Session]:
            nonlocal begun
            begun += 1
            with transaction() as session:
                yield session
                if begun == steps and not committed:
                    raise Killed
            if begun == steps:
                raise Killed

        close_epoch(killable, label.founding, EPOCH, lambda: at)
        return begun

    # Begin, three chunks, the look that finds none left, finish: killed at each in turn, from the first on.
    for step in (1, 2, 3, 4):
        with pytest.raises(Killed):
            run(step)
        assert label.get(f"/epochs/{EPOCH}", ana)["state"] in {"open", "closing"}
        assert not findings(label.database.engine)
    run(0)
    told = written(label)
    assert len(told["lines"]) == 10
    per_track = {line.track_id: line.artists_micro for line in told["lines"]}
    assert sum(per_track.values()) == sum(line.amount_micro for line in told["lines"])
    assert label.rows("select count(*) from ledger.track_close")[0][0] == 5
    assert not label.close()
    assert written(label) == told


def test_an_epoch_is_not_closed_before_its_grace_has_passed(label: Label, ana: Person) -> None:
    label.play(label.listener(), label.track(ana))
    at = label.founding.calendar.ends_at(EPOCH)
    with pytest.raises(closing.EpochNotOver):
        close_epoch(transaction, label.founding, EPOCH, lambda: at)
    assert label.get("/royalties/statement", ana)["lines"] == []
