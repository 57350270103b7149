"""Settling to an empty queue: speed, the longest transaction, and memory that does not grow with what waits."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from sqlalchemy import text

from benchmarks.coop import EPOCH, Coop, Settled, connected, coop, settle_all
from benchmarks.figures import Bench, Figure, alternating, at_least, at_most
from ledger.store import settling

LISTENERS, TRACKS = 50_000, 100_000
MONTH = EPOCH - 36
# Far enough on that their plays are of other libraries than the month's.
LONG_EPOCHS = range(EPOCH - 32, EPOCH - 30)
PLAYS, PLAYS_QUICK = 200_000, 40_000
PLAYS_LONG, PLAYS_LONG_QUICK = 5_000_000, 100_000
PLAYS_S_MIN = 30_000
TRANSACTION_S_MAX = 2.0
MEMORY_MB_MAX = 500
MB = 1_000_000
WATCH_S = 0.05

# What any settling must do at least: take the rows out and add them up both ways.
_BARE = text("""
    with taken as (
        delete from ledger.play_queue where id = any(array(
            select id from ledger.play_queue order by id limit :batch))
        returning listener_id, track_id, price_micro
    ), wallets as (select listener_id, sum(price_micro) from taken group by listener_id
    ), tracks as (select track_id, sum(price_micro) from taken group by track_id)
    select (select count(*) from taken), (select count(*) from wallets), (select count(*) from tracks)
""")


def run(bench: Bench) -> Iterator[Figure]:
    """Plays per second in production's batches, one process; then a long queue by a process whose memory is read."""
    listeners, tracks = bench.size(LISTENERS, LISTENERS // 5), bench.size(TRACKS, TRACKS // 5)
    plays, long_plays = bench.size(PLAYS, PLAYS_QUICK), bench.size(PLAYS_LONG, PLAYS_LONG_QUICK)
    with coop(bench.seed, listeners, tracks, capacity=3 * long_plays) as made:
        longest_s = 0.0
        parts = iter(range(1 + bench.runs))

        def settle() -> float:
            nonlocal longest_s
            settled = settle_all(made.engine)
            longest_s = max(longest_s, settled.longest_transaction_s)
            return settled.plays / settled.seconds

        def bare() -> float:
            first = next(parts) * plays
            made.enqueue(MONTH, first, plays)
            rate = _bare_rate(made)
            made.enqueue(MONTH, first, plays)
            return rate

        made.load_plays([MONTH], (1 + bench.runs) * plays)
        # The first plays of an epoch open its tracks' accounts; from then on fewer and fewer do.
        first_bare_rate, first_rate = alternating(1, bare, settle)
        bare_rate, rate = alternating(bench.runs, bare, settle)
        control = "the same rows deleted, summed by listener and by track"
        yield Figure("plays settled, to an empty queue", rate, "plays/s", control, bare_rate, at_least(PLAYS_S_MIN))
        yield Figure("plays settled, the first of an epoch", first_rate, "plays/s", control, first_bare_rate)

        bench.say(f"queueing {long_plays:,} plays")
        made.load_plays(LONG_EPOCHS, long_plays // len(LONG_EPOCHS))
        for epoch in LONG_EPOCHS:
            made.enqueue(epoch)
        settled, memory_bytes = settled_apart(made)
        yield Figure(f"plays settled, {long_plays:,} waiting", settled.plays / settled.seconds, "plays/s")
        longest_s = max(longest_s, settled.longest_transaction_s)
        yield Figure("longest settling transaction", longest_s, "s", bar=at_most(TRANSACTION_S_MAX))
        yield Figure(
            f"memory of settling {long_plays:,} plays, worker and its database session",
            memory_bytes / MB,
            "MB",
            bar=at_most(MEMORY_MB_MAX),
        )


def _bare_rate(made: Coop) -> float:
    plays, begun = 0, time.perf_counter()
    while True:
        with made.engine.begin() as connection:
            count = connection.execute(_BARE, {"batch": settling.BATCH_MAX}).one()[0]
        if not count:
            return plays / (time.perf_counter() - begun)
        plays += count


def settled_apart(made: Coop) -> tuple[Settled, int]:
    """Settle until nothing waits, in a process of its own; and the most memory it and its server session ever held."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as worker:
        return worker.submit(_settle_and_tell, made.app_url).result()


def _settle_and_tell(app_url: str) -> tuple[Settled, int]:
    engine = connected(app_url)
    with engine.connect() as connection:
        session = connection.scalar(text("select pg_backend_pid()"))
    peak_bytes, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal peak_bytes
        while not ended.wait(WATCH_S):
            peak_bytes = max(peak_bytes, _own_bytes(os.getpid()) + _own_bytes(session))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        settled = settle_all(engine)
    finally:
        ended.set()
        watching.join()
        engine.dispose()
    return settled, peak_bytes


def _own_bytes(pid: int) -> int:
    """What a process has in memory without what it shares: the server's buffers are of one size whatever is settled."""
    status = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in status if line.startswith(("RssAnon", "RssFile")))
