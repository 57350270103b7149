"""Publishing the shared log: plays become entries, entries become files, and a listener holds a receipt that verifies.

Built: the entries of one batch from its settled plays, hashed into the log and written nowhere, by a process of its
own; per core is by that process's own time, which leaves out the server's sorting. Published: ten times as many plays
of ten times as many tracks, into a folder, with all that belongs to it: the sealed copy, durable tiles, the head. From
play to receipt: plays are recorded at a steady rate while they are settled and published by loops as often as the
workers' (LOG_BATCH_SECONDS=1, SETTLE_INTERVAL_S=0.25); of some of them the receipt is asked for until it is there, and
the clock stops when it has been verified. Without HTTP or a broker.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from psycopg import AsyncConnection
from sqlalchemy import Engine, text
from sqlalchemy.orm import sessionmaker

from benchmarks.coop import EPOCH, NOW, TARIFF, Coop, connected, coop
from benchmarks.figures import Bench, Figure, at_least, at_most, percentile
from ledger import receipts
from ledger.note import KeyType, SigningKey
from ledger.recording import Claim
from ledger.store import batches, commitments, recording, settling
from ledger.store.batches import Batch
from ledger.store.commitments import ToldTrack
from ledger.store.telling import LEAF, entries_of
from ledger.store.terms import Founding
from ledger.tiles import Edge
from streamcoop.adapters.objects import FolderStore
from streamcoop.clock import now
from streamcoop.transparency import publishing
from streamcoop.transparency.keys import Keyring
from streamcoop.transparency.receipts import Log, play_receipt

LISTENERS, TRACKS = 50_000, 100_000
MONTH = EPOCH - 1
PLAYS, PLAYS_QUICK = 10_000_000, 100_000
# A tenth of the listeners, tracks and plays are built over and over: each track has as many plays as in the whole.
BUILT_OF = 10
PLAYS_S_MIN = 150_000
MEMORY_MB_MAX = 500
MB = 1_000_000
TRACKS_A_TIME = 1_000

ORIGIN = "bench.example/log"
SECRET = bytes(32)
KEYS = Keyring(tuple(SigningKey(ORIGIN, kind, bytes([kind]) * 32) for kind in (KeyType.ED25519, KeyType.ML_DSA_44)), ())

RECORDING_S, RECORDING_S_QUICK = 60, 8
# Recorded together, as the desk coalesces what comes at once.
TOGETHER, TOGETHER_EVERY_S = 10, 0.1
# Of so many plays the receipt of one is waited for.
ONE_OF = 10
BATCH_S = 1
SETTLE_S, PUBLISH_S, ASK_S = 0.25, 0.5, 0.02
GIVE_UP_S = 60.0
RECEIPT_S_MAX = 2.0

_SORTED = """
    copy (select epoch, track_id, commitment, price_micro from ledger.log_play where batch = {batch:d}
           order by epoch, track_id, commitment) to stdout (format binary)
"""


def run(bench: Bench) -> Iterator[Figure]:
    """Plays a second and core, seconds and memory of a whole batch, and how long a listener waits for a receipt."""
    plays = bench.size(PLAYS, PLAYS_QUICK)
    listeners, tracks = bench.size(LISTENERS, LISTENERS // 10), bench.size(TRACKS, TRACKS // 10)
    yield from _built(bench, listeners // BUILT_OF, tracks // BUILT_OF, plays // BUILT_OF)
    with (
        coop(bench.seed, listeners, tracks, capacity=plays) as made,
        tempfile.TemporaryDirectory(prefix="streamcoop-publishing-") as folder,
    ):
        bench.say(f"telling {tracks:,} tracks, and loading {plays:,} settled plays")
        _tell_tracks(made)
        writer = _writer(made.engine, made.founding, folder)
        publishing.publish(writer, _ended(made.engine))
        made.load_plays([MONTH], plays)
        made.book([MONTH], batch=2)
        batch = _ended(made.engine)
        published = _apart(_publish, made.app_url, batch, made.founding, folder)
        yield Figure(f"{published.plays:,} plays published", published.seconds, "s")
        memory = published.peak_bytes / MB
        work = f"memory of publishing {published.plays:,} plays"
        yield Figure(work, memory, "MB", bar=at_most(MEMORY_MB_MAX))

        waited = _Listening(made, writer).waits(bench.size(RECORDING_S, RECORDING_S_QUICK))
        yield Figure("play to verified receipt, batches of 1 s, p50", percentile(waited, 50), "s")
        work = "play to verified receipt, batches of 1 s, p99"
        yield Figure(work, percentile(waited, 99), "s", bar=at_most(RECEIPT_S_MAX))


def _built(bench: Bench, listeners: int, tracks: int, plays: int) -> Iterator[Figure]:
    with coop(bench.seed, listeners, tracks, capacity=plays) as made:
        _tell_tracks(made)
        _ended(made.engine)
        made.load_plays([MONTH], plays)
        made.book([MONTH], batch=2)
        batch = _ended(made.engine)
        built, sorted_only = [], []
        for _ in range(bench.runs):
            built.append(_apart(_build, made.app_url, batch))
            sorted_only.append(_apart(_copy, made.app_url, batch))
    control = "the same rows copied in their order, and nothing else"
    rate, bare = (median(each.plays / each.core_s for each in took) for took in (built, sorted_only))
    yield Figure("plays hashed into the log, per core", rate, "plays/s", control, bare, at_least(PLAYS_S_MIN))
    rate, bare = (median(each.plays / each.seconds for each in took) for took in (built, sorted_only))
    yield Figure("plays hashed into the log, with the server's sorting", rate, "plays/s", control, bare)


def _tell_tracks(made: Coop) -> None:
    """As if each had been played before: the batch that is measured tells plays and nothing else."""
    for first in range(0, len(made.tracks), TRACKS_A_TIME):
        some = made.tracks[first : first + TRACKS_A_TIME]
        told = [ToldTrack(track, track, made.random.randbytes(32), made.listeners[0]) for track in some]
        with made.engine.begin() as connection:
            commitments.tell_tracks(connection, 1, made.founding.first_epoch, told)


def _ended(engine: Engine) -> Batch:
    with engine.begin() as connection:
        number = batches.end_batch(connection, now())
        return next(batch for batch in batches.unpublished(connection, number) if batch.number == number)


def _writer(engine: Engine, founding: Founding, folder: str) -> publishing.Writer:
    return publishing.Writer(
        transaction=sessionmaker(engine).begin,
        engine=engine,
        store=FolderStore(Path(folder)),
        keys=KEYS,
        origin=ORIGIN,
        founding=founding,
        clock=now,
        secret=SECRET,
        cosign=lambda _note, _head: "",
    )


# --- In a process of its own ---


@dataclass(frozen=True, slots=True)
class _Took:
    plays: int
    seconds: float
    core_s: float
    peak_bytes: int


def _apart(work: Callable[..., _Took], *arguments: Any) -> _Took:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(work, *arguments).result()


def _build(app_url: str, batch: Batch) -> _Took:
    plays, edge, engine = 0, Edge(), connected(app_url)
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
        connection.execute(text("set local statement_timeout = 0"))
        begun, begun_core = time.perf_counter(), time.process_time()
        for told in entries_of(connection, batch, ORIGIN, ()):
            plays += len(told.leaves) // LEAF.size
            for _ in edge.append(told.data):
                pass
        edge.root()
        return _took(plays, begun, begun_core)


def _copy(app_url: str, batch: Batch) -> _Took:
    """What whoever builds it must do at least: have the rows in their order."""
    with psycopg.connect(app_url) as connection, connection.cursor() as cursor:
        cursor.execute("set statement_timeout = 0")
        begun, begun_core = time.perf_counter(), time.process_time()
        with cursor.copy(_SORTED.format(batch=batch.number)) as rows:
            for _ in rows:
                pass
        return _took(cursor.rowcount, begun, begun_core)


def _publish(app_url: str, batch: Batch, founding: Founding, folder: str) -> _Took:
    engine = connected(app_url)
    begun, begun_core = time.perf_counter(), time.process_time()
    publishing.publish(_writer(engine, founding, folder), batch)
    seconds, core_s = time.perf_counter() - begun, time.process_time() - begun_core
    with engine.connect() as connection:
        counted = text("select sum(count) from ledger.log_plays where batch = :batch")
        plays = int(connection.scalar(counted, {"batch": batch.number}))
    return _Took(plays, seconds, core_s, _peak_bytes())


def _took(plays: int, begun: float, begun_core: float) -> _Took:
    return _Took(plays, time.perf_counter() - begun, time.process_time() - begun_core, _peak_bytes())


def _peak_bytes() -> int:
    """The most this process ever had in memory, by the kernel's count."""
    status = Path("/proc/self/status").read_text("ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


# --- From play to receipt ---


class _Listening:
    """Plays that come in steadily, the loops that settle and publish them, and somebody who waits for receipts."""

    def __init__(self, made: Coop, writer: publishing.Writer) -> None:
        self._made, self._writer = made, writer
        self._log = Log(writer.store, writer.keys, writer.origin)
        self._recorded: queue.SimpleQueue[tuple[Claim, float] | None] = queue.SimpleQueue()
        self._is_over = threading.Event()

    def waits(self, seconds: int) -> list[float]:
        """Record for so long; how many seconds each of the awaited receipts took from its play's commit on."""
        claims = self._made.claims(int(seconds / TOGETHER_EVERY_S) * TOGETHER)
        with ThreadPoolExecutor(4) as threads:
            recording_on = threads.submit(lambda: asyncio.run(self._record(claims)))
            loops = [threads.submit(self._again, *each) for each in ((self._settle, SETTLE_S), (self._tick, PUBLISH_S))]
            waited = threads.submit(self._wait)
            try:
                return waited.result(timeout=seconds + 2 * GIVE_UP_S)
            finally:
                self._is_over.set()
                for ended in (recording_on, *loops):
                    ended.result()

    async def _record(self, claims: list[Claim]) -> None:
        connection = await AsyncConnection.connect(self._made.app_url, autocommit=True)
        begun = time.monotonic()
        for number, first in enumerate(range(0, len(claims), TOGETHER)):
            await asyncio.sleep(begun + number * TOGETHER_EVERY_S - time.monotonic())
            some = claims[first : first + TOGETHER]
            await recording.record(connection, some, lambda _epoch: TARIFF, NOW)
            committed = time.monotonic()
            for claim in some[::ONE_OF]:
                self._recorded.put((claim, committed))
        self._recorded.put(None)
        await connection.close()

    def _again(self, work: Callable[[], object], every_s: float) -> None:
        due = time.monotonic()
        while not self._is_over.wait(max(0.0, due - time.monotonic())):
            work()
            due = max(due + every_s, time.monotonic())

    def _settle(self) -> None:
        with self._made.engine.begin() as connection:
            settling.settle(connection, NOW)

    def _tick(self) -> None:
        with self._made.engine.begin() as connection:
            if batches.is_due(connection, now(), BATCH_S, listeners_min=1):
                batches.end_batch(connection, now())
            ended = batches.unpublished(connection, 1)
        for batch in ended:
            publishing.publish(self._writer, batch)

    def _wait(self) -> list[float]:
        waited = []
        while (one := self._recorded.get(timeout=GIVE_UP_S)) is not None:
            claim, committed = one
            while (receipt := self._receipt(claim)) is None and not self._is_over.is_set():
                time.sleep(ASK_S)
            if receipt is None:
                break
            shown = receipts.verify_play(receipts.parse(receipt.encode()), self._log.keys.all)
            waited.append(time.monotonic() - committed)
            if shown.play != claim.play_id:
                raise RuntimeError(f"a receipt for {claim.play_id} shows {shown.play}")
        return waited

    def _receipt(self, claim: Claim) -> str | None:
        with self._writer.transaction() as session:
            listener, play = claim.listener_id, claim.play_id
            return play_receipt(session, self._log, self._made.founding, listener, play).receipt
