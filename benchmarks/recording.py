"""Recording straight into PostgreSQL: the full decision under the listeners' locks, beside appends without either."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any

from psycopg import AsyncConnection

from benchmarks.coop import NOW, TARIFF, coop, settle_all
from benchmarks.figures import Bench, Figure, alternating, at_least
from ledger.recording import Claim, Recorded
from ledger.store import recording
from streamcoop.playback.desk import LANES

LISTENERS, TRACKS = 50_000, 100_000
PLAYS, PLAYS_QUICK = 40_000, 4_000
PLAYS_SINGLY, PLAYS_SINGLY_QUICK = 4_000, 400
PLAYS_S_MIN = 8_000

RecordBatch = Callable[[AsyncConnection[Any], Sequence[Claim]], Awaitable[None]]


def run(bench: Bench) -> Iterator[Figure]:
    """Plays per second by the desk's number of connections: in full batches, and each in a transaction of its own."""
    listeners, tracks = bench.size(LISTENERS, LISTENERS // 10), bench.size(TRACKS, TRACKS // 10)
    with coop(bench.seed, listeners, tracks, capacity=0) as made:

        def measure(record: RecordBatch, plays: int, batch: int) -> float:
            claims = made.claims(plays)
            rate = plays_a_second(made.app_url, record, claims, batch)
            settled = settle_all(made.engine)
            if settled.plays != plays:
                raise RuntimeError(f"{settled.plays} of {plays} plays were recorded")
            return rate

        measure(record_batch, recording.BATCH_MAX, recording.BATCH_MAX)
        for name, plays, batch, bar in (
            ("recorded, coalesced", bench.size(PLAYS, PLAYS_QUICK), recording.BATCH_MAX, at_least(PLAYS_S_MIN)),
            ("recorded, one per transaction", bench.size(PLAYS_SINGLY, PLAYS_SINGLY_QUICK), 1, None),
        ):
            rate, appended = alternating(
                bench.runs, partial(measure, record_batch, plays, batch), partial(measure, append_batch, plays, batch)
            )
            yield Figure(f"plays {name}", rate, "plays/s", "the same rows, appended only", appended, bar)


async def record_batch(connection: AsyncConnection[Any], claims: Sequence[Claim]) -> None:
    """Record claims as the desk does. That none was refused shows when they are settled."""
    await recording.record(connection, claims, lambda _epoch: TARIFF, NOW)


async def append_batch(connection: AsyncConnection[Any], claims: Sequence[Claim]) -> None:
    """Insert the rows that recording would insert, without a lock, a look or a decision."""
    decided = [Recorded(claim, completes=claim.ordinal == TARIFF.plays) for claim in claims]
    await recording.append(connection, decided, NOW)


def plays_a_second(app_url: str, record: RecordBatch, claims: Sequence[Claim], batch: int) -> float:
    """Plays per second when the desk's lanes take batches in turn, each on a connection of its own."""
    batches = iter([claims[first : first + batch] for first in range(0, len(claims), batch)])

    async def lane(connection: AsyncConnection[Any]) -> None:
        for some in batches:
            await record(connection, some)

    async def all_lanes() -> float:
        connections = [await AsyncConnection.connect(app_url, autocommit=True) for _ in range(LANES)]
        begun = time.perf_counter()
        await asyncio.gather(*map(lane, connections))
        taken_s = time.perf_counter() - begun
        for connection in connections:
            await connection.close()
        return len(claims) / taken_s

    return asyncio.run(all_lanes())
