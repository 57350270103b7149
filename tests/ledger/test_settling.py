"""Settling on PostgreSQL: every recorded play once, whoever settles, whoever is killed, whatever goes on meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from ledger import accounts
from ledger.errors import BooksOutOfBalance
from ledger.store import closing, settling
from ledger.store.terms import Founding
from ledger.tariff import Tariff
from tests.conftest import Database
from tests.ledger.factories import (
    EPOCH,
    NOW,
    balance_micro,
    claim,
    findings,
    listener_with,
    record_now,
    settle_all,
    top_up,
)

pytestmark = pytest.mark.usefixtures("founded")

TARIFF = Tariff()


def backend_pid(conn: Connection) -> int:
    return int(conn.scalar(text("select pg_backend_pid()")) or 0)


def wait_until_blocked(database: Database, pid: int) -> None:
    """Return once that backend waits for another one's lock."""
    with psycopg.connect(database.superuser_url, autocommit=True) as watcher:
        while watcher.execute("select pg_blocking_pids(%s) <> '{}'", (pid,)).fetchone() != (True,):
            pass


def test_settling_nets_plays_per_listener_and_per_track(database: Database) -> None:
    ann, bob = (listener_with(database.engine, 2_000_000) for _ in range(2))
    one, two = uuid4(), uuid4()
    plays = [
        claim(ann, one), claim(ann, one, 2, 4_000), claim(ann, two), claim(bob, one),
        claim(bob, two, 1, 1_022_000, "buyout"),
    ]  # fmt: skip
    record_now(database.app_url, plays)
    assert settle_all(database.engine) == 5
    moved = (accounts.wallet(ann), accounts.wallet(bob), accounts.track(one, EPOCH), accounts.track(two, EPOCH))
    assert [balance_micro(database.engine, account) for account in moved] == [1_992_000, 976_000, 8_000, 1_024_000]
    assert balance_micro(database.engine, accounts.PLAYS_CLEARING) == 0
    with database.engine.connect() as conn:
        transfers = conn.scalar(
            text("select count(*) from ledger.transfer join ledger.posting p on p.id = posting_id where kind = :kind"),
            {"kind": "settling"},
        )
        progress = conn.execute(text("select listener_id, track_id, plays, paid_micro, owned_at from ledger.progress"))
        tallies = conn.execute(text("select track_id, plays, buyouts, collected_micro from ledger.track_epoch"))
        spending = conn.execute(text("select listener_id, month, spent_micro from ledger.spending"))
        # Two wallets and two tracks: nothing in the books says who played what.
        assert transfers == 4
        assert {tuple(row) for row in progress} == {
            (ann, one, 2, 6_000, None),
            (ann, two, 1, 2_000, None),
            (bob, one, 1, 2_000, None),
            (bob, two, 0, 1_022_000, NOW),
        }
        assert {tuple(row) for row in tallies} == {(one, 3, 0, 8_000), (two, 1, 1, 1_024_000)}
        assert {tuple(row) for row in spending} == {(ann, EPOCH, 8_000), (bob, EPOCH, 1_024_000)}
    assert not findings(database.engine)


def test_the_play_that_completes_makes_an_owner_from_then_on(database: Database) -> None:
    listener, track = listener_with(database.engine, 2_000_000), uuid4()
    for ordinal in range(1, 10):
        record_now(database.app_url, [claim(listener, track, ordinal, TARIFF.price_micro(ordinal))])
        settle_all(database.engine, NOW + timedelta(minutes=ordinal))
    with database.engine.connect() as conn:
        progress = conn.execute(text("select plays, paid_micro, owned_at from ledger.progress")).one()
    assert tuple(progress) == (9, 1_022_000, NOW + timedelta(minutes=9))
    assert not findings(database.engine)


def test_settling_goes_on_batch_by_batch_until_nothing_waits(database: Database) -> None:
    listener = listener_with(database.engine, 1_000_000)
    record_now(database.app_url, [claim(listener, uuid4()) for _ in range(10)])
    counts: list[int] = []
    while not counts or counts[-1]:
        with database.engine.begin() as conn:
            counts.append(settling.settle(conn, NOW, batch=4))
    assert counts == [4, 4, 2, 0]
    with database.engine.connect() as conn:
        assert settling.unsettled(conn) == (0, None)
    assert not findings(database.engine)


def test_what_waits_is_counted_from_the_oldest_on(database: Database) -> None:
    listener = listener_with(database.engine, 1_000_000)
    record_now(database.app_url, [claim(listener, uuid4())], now=NOW + timedelta(seconds=5))
    record_now(database.app_url, [claim(listener, uuid4())], now=NOW)
    with database.engine.connect() as conn:
        assert settling.unsettled(conn) == (2, NOW)


def test_settlers_at_once_settle_every_play_once(database: Database) -> None:
    listeners = [listener_with(database.engine, 1_000_000) for _ in range(4)]
    tracks = [uuid4() for _ in range(20)]
    for listener in listeners:
        record_now(database.app_url, [claim(listener, track) for track in tracks])
    start = Barrier(4)

    def settler(_: int) -> int:
        start.wait()
        total = 0
        while True:
            with database.engine.begin() as conn:
                total += settling.settle(conn, NOW, batch=7)
                if settling.unsettled(conn)[0] == 0:
                    return total

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(settler, range(4))) == 80
    assert [balance_micro(database.engine, accounts.wallet(listener)) for listener in listeners] == [960_000] * 4
    assert not findings(database.engine)


def test_a_second_settling_gives_way_at_once(database: Database) -> None:
    listener = listener_with(database.engine, 1_000_000)
    record_now(database.app_url, [claim(listener, uuid4())])
    with database.engine.begin() as first, database.engine.begin() as second:
        assert settling.settle(first, NOW) == 1
        assert settling.settle(second, NOW) == 0
    assert not findings(database.engine)


def test_a_settling_killed_before_its_commit_leaves_no_trace_and_is_made_up_for(database: Database) -> None:
    listener, track = listener_with(database.engine, 1_000_000), uuid4()
    record_now(database.app_url, [claim(listener, track)])
    with database.engine.connect() as conn:
        assert settling.settle(conn, NOW) == 1
        with psycopg.connect(database.superuser_url, autocommit=True) as killer:
            killer.execute("select pg_terminate_backend(%s)", (backend_pid(conn),))
        with pytest.raises(OperationalError, match="terminating connection"):
            conn.execute(text("select 1"))
    assert balance_micro(database.engine, accounts.wallet(listener)) == 1_000_000
    assert not findings(database.engine)
    assert settle_all(database.engine) == 1
    assert balance_micro(database.engine, accounts.wallet(listener)) == 998_000
    assert not findings(database.engine)


def test_a_play_recorded_while_a_settling_is_under_way_waits_for_the_next(database: Database) -> None:
    listener, track = listener_with(database.engine, 6_000), uuid4()
    record_now(database.app_url, [claim(listener, track)])
    with database.engine.begin() as conn:
        assert settling.settle(conn, NOW) == 1
        # The uncommitted settling is not seen; the queued play still is.
        [outcome] = record_now(database.app_url, [claim(listener, track, 2, 4_000)])
        assert outcome.recorded_at == NOW
    assert settle_all(database.engine) == 1
    assert balance_micro(database.engine, accounts.wallet(listener)) == 0
    assert not findings(database.engine)


def test_a_top_up_that_commits_while_a_settling_waits_for_the_wallet_is_not_lost(database: Database) -> None:
    ann, bob = (listener_with(database.engine, 10_000) for _ in range(2))
    track = uuid4()
    record_now(database.app_url, [claim(ann, track), claim(bob, track)])

    with database.engine.connect() as settler, ThreadPoolExecutor(1) as thread:
        pid = backend_pid(settler)
        with database.engine.begin() as conn:
            top_up(conn, ann, 5_000)
            settled = thread.submit(settling.settle, settler, NOW)
            wait_until_blocked(database, pid)
        assert settled.result() == 2
        settler.commit()
    held = [balance_micro(database.engine, accounts.wallet(listener)) for listener in (ann, bob)]
    assert held == [13_000, 8_000]
    assert balance_micro(database.engine, accounts.track(track, EPOCH)) == 4_000
    assert not findings(database.engine)


def test_what_would_not_add_up_is_not_settled(database: Database) -> None:
    listener = listener_with(database.engine, 10_000)
    record_now(database.app_url, [claim(listener, uuid4())])
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")  # triggers off
        connection.execute("update ledger.account set owner = gen_random_uuid() where kind = 'wallet'")
    with pytest.raises(BooksOutOfBalance), database.engine.begin() as conn:
        settling.settle(conn, NOW)
    with database.engine.connect() as conn:
        assert settling.unsettled(conn)[0] == 1


def test_plays_of_an_epoch_that_is_being_closed_are_settled_afterwards_and_wait_for_the_next_close(
    database: Database, founded: Founding
) -> None:
    listener, track = listener_with(database.engine, 10_000), uuid4()
    with database.engine.begin() as conn:
        assert closing.begin(conn, founded, EPOCH, founded.may_close_at(EPOCH))
    record_now(database.app_url, [claim(listener, track), claim(listener, uuid4(), epoch=EPOCH + 1)])
    assert settle_all(database.engine) == 1
    with database.engine.begin() as conn:
        assert conn.scalars(text("select epoch from ledger.play_queue")).all() == [EPOCH]
        closing.finish(conn, EPOCH, founded.may_close_at(EPOCH))
    assert settle_all(database.engine) == 1
    with database.engine.connect() as conn:
        late = conn.execute(text("select epoch, track_id from ledger.late")).all()
    assert [tuple(row) for row in late] == [(EPOCH, track)]
    assert not findings(database.engine)
