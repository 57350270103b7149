"""A queue that falls behind by hours: plays are recorded as before, nobody overspends, settling catches up."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from ledger import accounts
from ledger.recording import Claim, Recorded
from ledger.store import posting, settling
from ledger.store.recording import BATCH_MAX, record
from streamcoop.database import with_driver
from tests.conftest import Database
from tests.ledger.factories import (
    NOW,
    any_tariff,
    claim,
    connect,
    findings,
    found,
    listener_with,
    record_now,
    top_up_all,
)

PLAYS = 100_000
LISTENERS = 10_000
TRACKS = 2_000
PRICE_MICRO = 2_000
CREDITS_MICRO = 1_000_000
SEED = 20_261_122
STATEMENT_S_MAX = 15


def claims(listeners: list[UUID], tracks: list[UUID]) -> Iterator[list[Claim]]:
    """First plays, of no listener the same track twice, in batches as the desk makes them under load."""
    heard = random.Random(SEED)
    each = PLAYS // len(listeners)
    all_claims = [claim(who, track) for who in listeners for track in heard.sample(tracks, each)]
    heard.shuffle(all_claims)
    for at in range(0, len(all_claims), BATCH_MAX):
        yield all_claims[at : at + BATCH_MAX]


async def record_all(app_url: str, batches: Iterator[list[Claim]]) -> int:
    recorded = 0
    async with await connect(app_url) as conn:
        for batch in batches:
            outcomes = await record(conn, batch, any_tariff(), NOW + timedelta(seconds=recorded / 1_000))
            recorded += sum(isinstance(outcome.decision, Recorded) for outcome in outcomes)
    return recorded


def believe_the_queue_empty(superuser_url: str) -> None:
    """What autovacuum notes a moment before the queue fills: the planner then takes any queue for an empty one."""
    with psycopg.connect(superuser_url, autocommit=True) as conn:
        conn.execute("alter table ledger.play_queue set (autovacuum_enabled = false)")
        conn.execute(
            "insert into ledger.play_queue (play_id, listener_id, track_id, kind, price_micro, completes, epoch, month,"
            " recorded_at, commitment) select gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'play', 1,"
            " false, 1, 1, now(), '' from generate_series(1, %s)",
            (settling.BATCH_MAX,),
        )
        conn.execute("delete from ledger.play_queue")
        conn.execute("analyze ledger.play_queue")


def queue_rows_read(conn: Connection) -> int:
    """How many rows of the queue this transaction has read so far. The connection must be new."""
    read = "select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relname = 'play_queue'"
    return int(conn.scalar(text(read)) or 0)


@pytest.mark.timeout(1_200)
def test_a_queue_that_fell_behind_by_hours_is_caught_up_with(database: Database) -> None:
    found(database.engine)
    listeners, tracks = [uuid4() for _ in range(LISTENERS)], [uuid4() for _ in range(TRACKS)]
    with database.engine.begin() as conn:
        top_up_all(conn, listeners, CREDITS_MICRO)
    poor = listener_with(database.engine, 3 * PRICE_MICRO)

    # Nobody settles. What was recorded counts as spent all the same.
    assert asyncio.run(record_all(database.app_url, claims(listeners, tracks))) == PLAYS
    outcomes = record_now(database.app_url, [claim(poor, track) for track in tracks[:5]])
    assert [isinstance(outcome.decision, Recorded) for outcome in outcomes] == [True] * 3 + [False] * 2
    outcomes = record_now(database.app_url, [claim(poor, tracks[6])])
    assert not isinstance(outcomes[0].decision, Recorded)

    # A new connection for each: PostgreSQL counts what a session has read.
    engine = create_engine(with_driver(database.app_url), poolclass=NullPool)
    with engine.begin() as conn:
        assert settling.unsettled(conn) == (PLAYS + 3, NOW)
        assert queue_rows_read(conn) <= 2 * settling.COUNTED_MAX

    settled = 0
    while True:
        with engine.begin() as conn:
            count = settling.settle(conn, NOW + timedelta(hours=1))
            # However long the queue is, a batch reads no more of it than it settles.
            assert queue_rows_read(conn) <= 5 * settling.BATCH_MAX
        if not count:
            break
        settled += count
    assert settled == PLAYS + 3
    with engine.begin() as conn:
        assert settling.unsettled(conn) == (0, None)
        assert posting.balance_micro(conn, accounts.wallet(poor)) == 0
        spent = PLAYS // LISTENERS * PRICE_MICRO
        assert posting.balance_micro(conn, accounts.wallet(listeners[0])) == CREDITS_MICRO - spent
    assert findings(database.engine) == []


def test_statistics_that_are_behind_do_not_hold_settling_up(database: Database) -> None:
    found(database.engine)
    listeners, tracks = [uuid4() for _ in range(LISTENERS)], [uuid4() for _ in range(TRACKS)]
    with database.engine.begin() as conn:
        top_up_all(conn, listeners, CREDITS_MICRO)
    believe_the_queue_empty(database.superuser_url)
    batches = itertools.islice(claims(listeners, tracks), settling.BATCH_MAX // BATCH_MAX)
    assert asyncio.run(record_all(database.app_url, batches)) == settling.BATCH_MAX

    with database.engine.begin() as conn:
        # A plan that went through the batch once for each of its accounts would take minutes.
        conn.execute(text(f"set local statement_timeout = '{STATEMENT_S_MAX}s'"))
        assert settling.settle(conn, NOW + timedelta(hours=1)) == settling.BATCH_MAX
    assert findings(database.engine) == []
