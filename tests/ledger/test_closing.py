"""Closing an epoch on PostgreSQL: once, whoever closes, however often it is killed and begun again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Engine, text

from ledger import accounts
from ledger.accounts import Account
from ledger.rates import NetFactors, Rates
from ledger.royalties import PAYEES_MAX, Share
from ledger.store import closing, posting, settling, terms
from ledger.store.closing import EarlierEpochOpen, EpochNotOver, PlaysUnsettled, SplitsOf, TrackEpoch
from ledger.store.terms import Founding
from tests.conftest import Database
from tests.ledger.factories import (
    EPOCH,
    NOW,
    balance_micro,
    claim,
    close,
    findings,
    found,
    listener_with,
    record_now,
    settle_all,
    solo,
    splits_from,
    top_up,
)

PAYEES = [UUID(int=0xA0 + number) for number in range(3)]
TRACKS = [UUID(int=0x70 + number) for number in range(7)]
LISTENERS = [UUID(int=0x10 + number) for number in range(3)]
SHARED_OUT = 100_000
LAST = UUID(int=2**128 - 1)
STATEMENT_S_MAX = 2
SPLITS: dict[UUID, Sequence[Share]] = {
    track: (
        Share(str(PAYEES[0]), 5_000),
        Share(str(PAYEES[1]), 3_000, "no consent" if number % 2 else None),
        Share(str(PAYEES[2]), 2_000),
    )
    for number, track in enumerate(TRACKS)
}


def held_by(engine: Engine, *held: Account) -> list[int]:
    return [balance_micro(engine, account) for account in held]


def plays_of_everybody(database: Database, epoch: int = EPOCH) -> None:
    """Each listener plays some tracks, so that all have collected different sums; settled."""
    with database.engine.begin() as conn:
        for listener in LISTENERS:
            top_up(conn, listener, 10_000_000)
    for n, listener in enumerate(LISTENERS):
        record_now(database.app_url, [claim(listener, track, epoch=epoch) for track in TRACKS[n:]])
    record_now(database.app_url, [claim(LISTENERS[0], TRACKS[1], 2, 1_020_000, "buyout", epoch=epoch)])
    settle_all(database.engine)


def result(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """All that a close wrote, without the numbers that count postings."""
    statements = {
        "closes": "select closed_in, epoch, track_id, plays, buyouts, collected_micro, tariff_version, rates_version,"
        " factors_version, gross_micro, deductions::text, net_micro, artists_micro, funds::text"
        " from ledger.track_close order by closed_in, epoch, track_id",
        "lines": "select c.closed_in, c.epoch, c.track_id, payee, share_bp, amount_micro, held_because"
        " from ledger.royalty_line join ledger.track_close c on c.id = track_close_id order by 1, 2, 3, 4",
        "balances": "select code, balance_micro from ledger.account order by code",
        "epochs": "select epoch, begun_at, closed_at from ledger.epoch_close order by epoch",
        "late": "select epoch, track_id from ledger.late order by epoch, track_id",
    }
    with engine.connect() as conn:
        return {name: [tuple(row) for row in conn.execute(text(sql))] for name, sql in statements.items()}


def test_a_small_case_computed_by_hand(database: Database) -> None:
    founded = found(database.engine, factors=NetFactors(vat_bp=1_900, fees_bp=200, licensing_bp={"GEMA": 500}))
    ann, bob = (listener_with(database.engine, 2_000_000) for _ in range(2))
    track, [a, b, c] = TRACKS[1], PAYEES
    plays = [claim(ann, track, 1, 1_022_000, "buyout"), claim(bob, track), claim(bob, track, 2, 4_000)]
    record_now(database.app_url, plays)
    settle_all(database.engine)
    assert close(database.engine, founded, EPOCH, splits_from(SPLITS))
    # 1.028 EUR gross: tax 164,134.45, fees 20,560, licensing 51,400, net 791,905.55, which gets the unit left.
    deducted = held_by(database.engine, accounts.VAT, accounts.FEES, accounts.licensing("GEMA"))
    assert deducted == [164_134, 20_560, 51_400]
    # Of the net of 791,906: artists 554,334.20, community 23,757.18, operations 166,300.26 and reserve 47,514.36,
    # which gets the unit left.
    funded = held_by(database.engine, accounts.COMMUNITY, accounts.RESERVE, accounts.OPERATIONS)
    assert funded == [23_757, 47_515, 166_300]
    # Of the artists' 554,334: 277,167, held 166,300.20, and 110,866.80, which gets the unit left.
    paid = held_by(database.engine, accounts.royalty(a), accounts.royalty(b), accounts.royalty(c), accounts.held(track))
    assert paid == [277_167, 0, 110_867, 166_300]
    assert held_by(database.engine, accounts.track(track, EPOCH), accounts.CREDITS_CONSUMED) == [0, 1_028_000]
    assert balance_micro(database.engine, accounts.TOPUPS_CLEARING) == 4_000_000 - 1_028_000
    with database.engine.connect() as conn:
        closed = conn.execute(text("select * from ledger.track_close")).one()
    assert (closed.plays, closed.buyouts, closed.collected_micro, closed.gross_micro) == (2, 1, 1_028_000, 1_028_000)
    assert (closed.net_micro, closed.artists_micro) == (791_906, 554_334)
    assert not findings(database.engine)


def test_an_epoch_without_plays_closes_too(database: Database, founded: Founding) -> None:
    for epoch in (EPOCH, EPOCH + 1):
        assert close(database.engine, founded, epoch, splits_from({}))
    assert [epoch for epoch, *_ in result(database.engine)["epochs"]] == [EPOCH, EPOCH + 1]


def test_closing_again_changes_nothing(database: Database, founded: Founding) -> None:
    plays_of_everybody(database)
    assert close(database.engine, founded, EPOCH, splits_from(SPLITS))
    before, later = result(database.engine), founded.may_close_at(EPOCH) + timedelta(days=1)
    with database.engine.begin() as conn:
        assert not closing.begin(conn, founded, EPOCH, later)
        assert closing.close_chunk(conn, founded, EPOCH, splits_from(SPLITS), later) == TrackEpoch(EPOCH, TRACKS[-1])
        closing.finish(conn, EPOCH, later)
    assert result(database.engine) == before
    assert not findings(database.engine)


@pytest.mark.parametrize("chunks_before_each_death", [0, 1, 2])
def test_a_close_killed_between_chunks_ends_as_if_it_had_not_been(
    cloned_database: Callable[[], AbstractContextManager[Database]], chunks_before_each_death: int
) -> None:
    results = []
    for killed in (False, True):
        with cloned_database() as database:
            founded = found(database.engine)
            plays_of_everybody(database)
            if killed:
                for deaths in range(1, 4):
                    chunks = chunks_before_each_death * deaths
                    assert not close(database.engine, founded, EPOCH, splits_from(SPLITS), chunk=1, chunks_max=chunks)
            assert close(database.engine, founded, EPOCH, splits_from(SPLITS), chunk=2)
            assert not findings(database.engine)
            results.append(result(database.engine))
    assert results[0] == results[1]
    assert len(results[0]["closes"]) == len(TRACKS)


def test_a_close_killed_inside_a_chunk_shares_out_none_of_it(database: Database, founded: Founding) -> None:
    plays_of_everybody(database)
    before = result(database.engine)

    def dies(tracks: Sequence[TrackEpoch]) -> dict[TrackEpoch, Sequence[Share]]:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        close(database.engine, founded, EPOCH, dies)
    with database.engine.connect() as conn:
        assert closing.close_chunk(conn, founded, EPOCH, splits_from(SPLITS), founded.may_close_at(EPOCH)) is not None
        conn.rollback()
    assert result(database.engine) == before | {"epochs": [(EPOCH, founded.may_close_at(EPOCH), None)]}
    assert close(database.engine, founded, EPOCH, splits_from(SPLITS))
    assert not findings(database.engine)


def test_workers_that_close_at_once_share_out_each_track_once(database: Database, founded: Founding) -> None:
    plays_of_everybody(database)
    start = Barrier(3)

    def work(_: int) -> bool:
        start.wait()
        return close(database.engine, founded, EPOCH, splits_from(SPLITS), chunk=1)

    with ThreadPoolExecutor(3) as threads:
        assert all(threads.map(work, range(3)))
    assert len(result(database.engine)["closes"]) == len(TRACKS)
    assert sum(held_by(database.engine, *(accounts.track(track, EPOCH) for track in TRACKS))) == 0
    assert not findings(database.engine)


def late_play(database: Database, track: UUID = TRACKS[0], epoch: int = EPOCH) -> None:
    """A play opened in a past epoch that is only now recorded and settled."""
    record_now(database.app_url, [claim(listener_with(database.engine, 2_000), track, epoch=epoch)])
    settle_all(database.engine)


def test_a_late_play_is_shared_out_at_the_next_close_at_its_own_epochs_terms(
    database: Database, founded: Founding
) -> None:
    with database.engine.begin() as conn:
        terms.adopt_rates(conn, Rates(9_000), EPOCH + 1, "ballot:1", NOW)
    split = {TRACKS[0]: solo(PAYEES[0])}
    asked: list[TrackEpoch] = []

    def splits_of(tracks: Sequence[TrackEpoch]) -> dict[TrackEpoch, Sequence[Share]]:
        asked.extend(tracks)
        return splits_from(split)(tracks)

    late_play(database)
    assert close(database.engine, founded, EPOCH, splits_of)
    late_play(database)
    late_play(database, epoch=EPOCH + 1)
    assert balance_micro(database.engine, accounts.royalty(PAYEES[0])) == 1_400
    assert close(database.engine, founded, EPOCH + 1, splits_of)
    assert balance_micro(database.engine, accounts.royalty(PAYEES[0])) == 1_400 + 1_400 + 1_800
    assert asked == [TrackEpoch(EPOCH, TRACKS[0])] * 2 + [TrackEpoch(EPOCH + 1, TRACKS[0])]
    closes = result(database.engine)["closes"]
    assert [(closed_in, epoch, plays, artists) for closed_in, epoch, _, plays, *_, artists, _ in closes] == [
        (EPOCH, EPOCH, 1, 1_400),
        (EPOCH + 1, EPOCH, 1, 1_400),
        (EPOCH + 1, EPOCH + 1, 1, 1_800),
    ]
    assert result(database.engine)["late"] == []
    assert not findings(database.engine)


def test_a_play_that_comes_before_its_track_is_shared_out_is_late_all_the_same(
    database: Database, founded: Founding
) -> None:
    plays_of_everybody(database)
    assert not close(database.engine, founded, EPOCH, splits_from(SPLITS), chunk=1, chunks_max=2)
    late_play(database, TRACKS[5])
    assert close(database.engine, founded, EPOCH, splits_from(SPLITS), chunk=1)
    assert len(result(database.engine)["closes"]) == len(TRACKS)
    settle_all(database.engine)
    assert balance_micro(database.engine, accounts.track(TRACKS[5], EPOCH)) == 2_000
    assert close(database.engine, founded, EPOCH + 1, splits_from(SPLITS))
    assert result(database.engine)["late"] == []
    assert len(result(database.engine)["closes"]) == len(TRACKS) + 1
    assert not findings(database.engine)


def test_a_play_later_than_late_is_not_forgotten_by_a_close_that_is_begun_again(
    database: Database, founded: Founding
) -> None:
    track, epochs = TRACKS[0], (EPOCH, EPOCH + 1, EPOCH + 2)
    late_play(database)
    assert close(database.engine, founded, epochs[0], splits_from(SPLITS))
    late_play(database)
    # The second close shares the late play out; then comes another one, and the close is killed and begun again.
    assert not close(database.engine, founded, epochs[1], splits_from(SPLITS), chunks_max=1)
    late_play(database)
    assert close(database.engine, founded, epochs[1], splits_from(SPLITS))
    settle_all(database.engine)
    assert balance_micro(database.engine, accounts.track(track, EPOCH)) == 2_000
    assert close(database.engine, founded, epochs[2], splits_from(SPLITS))
    assert balance_micro(database.engine, accounts.track(track, EPOCH)) == 0
    closes = [(closed_in, epoch, plays) for closed_in, epoch, _, plays, *_ in result(database.engine)["closes"]]
    assert closes == [(epoch, EPOCH, 1) for epoch in epochs]
    assert not findings(database.engine)


def share_out_unnoticed(superuser_url: str) -> None:
    """A close that has come to LAST through all other tracks, while statistics know of an earlier close's two alone."""
    with psycopg.connect(superuser_url, autocommit=True) as conn:
        conn.execute("alter table ledger.track_close set (autovacuum_enabled = false)")
        conn.execute("set session_replication_role = replica")  # no trigger, no foreign key
        conn.execute(_TALLY, {"epoch": EPOCH - 1, "tracks": 2})
        conn.execute(_SHARE_OUT, {"epoch": EPOCH - 1, "but": LAST})
        conn.execute(_TALLY, {"epoch": EPOCH, "tracks": SHARED_OUT})
        conn.execute("vacuum (analyze)")
        conn.execute(_SHARE_OUT, {"epoch": EPOCH, "but": LAST})


_TALLY = """
    with tallied as (
        insert into ledger.track_epoch (epoch, track_id, plays, buyouts, collected_micro)
        select %(epoch)s, md5(n::text)::uuid, 1, 0, 2000 from generate_series(1, %(tracks)s) as n
        returning epoch, track_id
    )
    insert into ledger.account (code, kind, asset, owner, epoch)
    select 'track:' || track_id || ':' || epoch, 'track', 'credit', track_id, epoch from tallied
"""
_SHARE_OUT = """
    insert into ledger.track_close (closed_in, epoch, track_id, posting_id, plays, buyouts, collected_micro,
           tariff_version, rates_version, factors_version, gross_micro, deductions, net_micro, artists_micro, funds)
    select epoch, epoch, track_id, 1, plays, buyouts, collected_micro, 1, 1, 1, 2000, '{}', 2000, 2000, '{}'
      from ledger.track_epoch where epoch = %(epoch)s and track_id <> %(but)s
"""


def test_statistics_that_are_behind_do_not_hold_a_close_up(database: Database, founded: Founding) -> None:
    late_play(database, LAST)
    share_out_unnoticed(database.superuser_url)
    now, almost_all = founded.may_close_at(EPOCH), TrackEpoch(EPOCH, UUID(int=0xFE << 120))
    with database.engine.begin() as conn:
        # A plan that went through what is shared out once for each track would take seconds, and minutes at the end.
        conn.execute(text(f"set local statement_timeout = '{STATEMENT_S_MAX}s'"))
        closing.begin(conn, founded, EPOCH, now)
        splits = splits_from({LAST: solo(PAYEES[0])})
        assert closing.close_chunk(conn, founded, EPOCH, splits, now, almost_all) == TrackEpoch(EPOCH, LAST)
        closing.finish(conn, EPOCH, now)
    assert held_by(database.engine, accounts.royalty(PAYEES[0])) == [1_400]


def test_settling_gives_way_to_a_chunk_under_way(database: Database, founded: Founding) -> None:
    plays_of_everybody(database)
    record_now(database.app_url, [claim(listener_with(database.engine, 2_000), TRACKS[0], epoch=EPOCH + 1)])
    now = founded.may_close_at(EPOCH)
    with database.engine.begin() as closer, database.engine.begin() as settler:
        closing.begin(closer, founded, EPOCH, now)
        closing.close_chunk(closer, founded, EPOCH, splits_from(SPLITS), now)
        assert settling.settle(settler, now) == 0
    assert settle_all(database.engine) == 1
    assert not findings(database.engine)


def test_an_epoch_cannot_be_closed_before_its_grace_has_passed(database: Database, founded: Founding) -> None:
    may_close_at = founded.may_close_at(EPOCH)
    assert may_close_at == founded.calendar.ends_at(EPOCH) + timedelta(hours=2)
    with database.engine.begin() as conn:
        with pytest.raises(EpochNotOver):
            closing.begin(conn, founded, EPOCH, may_close_at - timedelta(microseconds=1))
        assert closing.due_epoch(conn, founded, may_close_at - timedelta(microseconds=1)) is None
        assert closing.due_epoch(conn, founded, may_close_at) == EPOCH
        assert closing.begin(conn, founded, EPOCH, may_close_at)


def test_epochs_are_closed_in_their_order(database: Database, founded: Founding) -> None:
    now = founded.may_close_at(EPOCH + 5)
    with database.engine.begin() as conn:
        with pytest.raises(EarlierEpochOpen):
            closing.begin(conn, founded, EPOCH + 1, now)
        closing.begin(conn, founded, EPOCH, now)
        with pytest.raises(EarlierEpochOpen):
            closing.begin(conn, founded, EPOCH + 1, now)
        closing.finish(conn, EPOCH, now)
        assert closing.due_epoch(conn, founded, now) == EPOCH + 1
        assert closing.begin(conn, founded, EPOCH + 1, now)


def test_an_epochs_close_cannot_begin_while_its_plays_wait_to_be_settled(database: Database, founded: Founding) -> None:
    listener, now = listener_with(database.engine, 10_000), founded.may_close_at(EPOCH)
    record_now(database.app_url, [claim(listener, TRACKS[0], epoch=EPOCH + 1)])
    with database.engine.begin() as conn:
        assert closing.begin(conn, founded, EPOCH, now)
        conn.rollback()
    record_now(database.app_url, [claim(listener, TRACKS[1])])
    with pytest.raises(PlaysUnsettled), database.engine.begin() as conn:
        closing.begin(conn, founded, EPOCH, now)


def test_a_close_that_has_begun_ends_though_the_clock_is_set_back_and_plays_of_its_epoch_go_on(
    database: Database, founded: Founding
) -> None:
    plays_of_everybody(database)
    assert not close(database.engine, founded, EPOCH, splits_from(SPLITS), chunk=1, chunks_max=1)
    set_back = founded.may_close_at(EPOCH) - timedelta(hours=3)
    record_now(database.app_url, [claim(listener_with(database.engine, 2_000), TRACKS[0])], now=set_back)
    with database.engine.connect() as conn:
        assert closing.due_epoch(conn, founded, set_back) == EPOCH
    assert close(database.engine, founded, EPOCH, splits_from(SPLITS), set_back)
    assert len(result(database.engine)["closes"]) == len(TRACKS)
    # What came too late for it waits for the next close, and that one for its time.
    settle_all(database.engine, set_back)
    assert result(database.engine)["late"] == [(EPOCH, TRACKS[0])]
    with database.engine.connect() as conn:
        assert closing.due_epoch(conn, founded, set_back) is None
    assert not findings(database.engine)


def test_a_closed_epoch_stays_closed_though_the_clock_is_set_back(database: Database, founded: Founding) -> None:
    plays_of_everybody(database)
    assert close(database.engine, founded, EPOCH, splits_from(SPLITS))
    set_back = founded.may_close_at(EPOCH) - timedelta(hours=3)
    with database.engine.begin() as conn:
        assert not closing.begin(conn, founded, EPOCH, set_back)
        with pytest.raises(EpochNotOver):
            closing.begin(conn, founded, EPOCH + 1, set_back)


def test_a_chunks_transfers_always_fit_into_a_posting() -> None:
    # Each of its tracks' own, those of all its payees, and those of deductions and funds.
    assert closing.CHUNK * (1 + PAYEES_MAX) + len(accounts.FIXED) + 100 <= posting.TRANSFERS_MAX


@pytest.fixture
def held_royalties(database: Database, founded: Founding) -> SplitsOf:
    """Two epochs closed, in which PAYEES[0] and PAYEES[1] have money held of the same track."""
    split = (Share(str(PAYEES[0]), 7_000, "no consent"), Share(str(PAYEES[1]), 3_000, "disputed"))
    splits_of = splits_from({TRACKS[0]: split})
    for epoch in (EPOCH, EPOCH + 1):
        late_play(database, epoch=epoch)
        assert close(database.engine, founded, epoch, splits_of)
    return splits_of


def test_held_money_is_released_to_its_payee_and_to_nobody_else(
    database: Database, founded: Founding, held_royalties: SplitsOf
) -> None:
    track, [a, b, c] = TRACKS[0], PAYEES
    assert balance_micro(database.engine, accounts.held(track)) == 2_800
    with database.engine.begin() as conn:
        assert closing.release(conn, track, c, NOW) == 0
        assert closing.release(conn, TRACKS[1], a, NOW) == 0
        assert closing.release(conn, track, a, NOW) == 1_960
        assert closing.release(conn, track, a, NOW) == 0
    assert held_by(database.engine, accounts.royalty(a), accounts.royalty(b), accounts.held(track)) == [1_960, 0, 840]
    assert not findings(database.engine)
    # What is held afterwards is released by asking again.
    late_play(database, epoch=EPOCH + 2)
    assert close(database.engine, founded, EPOCH + 2, held_royalties)
    with database.engine.begin() as conn:
        assert closing.release(conn, track, a, NOW) == 980
    assert held_by(database.engine, accounts.royalty(a), accounts.held(track)) == [2_940, 1_260]
    assert not findings(database.engine)


def test_held_money_is_released_once_when_two_ask_at_once(database: Database, held_royalties: SplitsOf) -> None:
    start = Barrier(4)

    def ask(_: int) -> int:
        start.wait()
        with database.engine.begin() as conn:
            return closing.release(conn, TRACKS[0], PAYEES[0], NOW)

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(ask, range(4))) == [0, 0, 0, 1_960]
    assert balance_micro(database.engine, accounts.royalty(PAYEES[0])) == 1_960
    assert not findings(database.engine)


def test_a_line_that_came_to_nothing_is_released_without_a_transfer(database: Database) -> None:
    founded = found(database.engine, rates=Rates(5_000))
    split = (Share(str(PAYEES[0]), 9_999), Share(str(PAYEES[1]), 1, "no consent"))
    late_play(database)
    assert close(database.engine, founded, EPOCH, splits_from({TRACKS[0]: split}))
    assert balance_micro(database.engine, accounts.royalty(PAYEES[0])) == 1_000
    with database.engine.begin() as conn:
        assert closing.release(conn, TRACKS[0], PAYEES[1], NOW) == 0
        released = conn.execute(text("select count(*) from ledger.royalty_release")).scalar()
    assert released == 1
    assert not findings(database.engine)
