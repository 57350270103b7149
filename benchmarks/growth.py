"""Growth: with ever more plays behind it, recording and settling keep their speed and settling its memory.

The histories stand in databases of their own on one server and are measured in turn, so that a machine that slows
down slows them all. A month of history is a million plays with their progress, spending, tallies and transfers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

from benchmarks.coop import MONTHS_BEFORE, Coop, coop, settle_all
from benchmarks.figures import Bench, Figure, at_least, at_most
from benchmarks.recording import plays_a_second, record_batch
from benchmarks.settling import MB, settled_apart
from ledger.store import recording

LISTENERS, TRACKS = 50_000, 100_000
HISTORIES_MONTHS = (1, 30)
MONTH_PLAYS, MONTH_PLAYS_QUICK = 1_000_000, 3_100
PLAYS, PLAYS_QUICK = 40_000, 2_000
# Right after loading, pages are read and autovacuum works for the first time, most of it where most was loaded. In a
# service that runs a history grows by months, not at one go.
ROUNDS_UNCOUNTED, ROUNDS_UNCOUNTED_QUICK = 5, 1
FLAT_MIN = 0.8
MEMORY_FLAT_MAX = 1.25


def run(bench: Bench) -> Iterator[Figure]:
    """Each history's speeds and memory, and the longest beside the shortest."""
    listeners, tracks = bench.size(LISTENERS, LISTENERS // 10), bench.size(TRACKS, TRACKS // 10)
    month_plays = bench.size(MONTH_PLAYS, MONTH_PLAYS_QUICK)
    recorded: dict[int, list[float]] = {months * month_plays: [] for months in HISTORIES_MONTHS}
    settled: dict[int, list[float]] = {history: [] for history in recorded}
    memory: dict[int, float] = {}
    with coop(bench.seed, listeners, tracks, capacity=MONTHS_BEFORE * month_plays) as made, ExitStack() as copies:
        coops: dict[int, Coop] = {}
        loaded = 0
        for months in HISTORIES_MONTHS:
            bench.say(f"loading a history of {months * month_plays:,} plays")
            epochs = [made.founding.first_epoch + n for n in range(loaded, months)]
            made.load_plays(epochs, month_plays)
            made.book(epochs)
            loaded, last = months, months == HISTORIES_MONTHS[-1]
            coops[months * month_plays] = made if last else copies.enter_context(made.copied(f"after_{months}_months"))
        uncounted = bench.size(ROUNDS_UNCOUNTED, ROUNDS_UNCOUNTED_QUICK)
        for round_number in range(uncounted + bench.runs):
            bench.say(f"round {round_number + 1} of {uncounted + bench.runs}, of which {uncounted} do not count")
            for history, some in coops.items():
                speed = plays_a_second(
                    some.app_url, record_batch, some.claims(bench.size(PLAYS, PLAYS_QUICK)), recording.BATCH_MAX
                )
                settling = settle_all(some.engine)
                recorded[history].append(speed)
                settled[history].append(settling.plays / settling.seconds)
        for history, some in coops.items():
            claims = some.claims(bench.size(PLAYS, PLAYS_QUICK))
            plays_a_second(some.app_url, record_batch, claims, recording.BATCH_MAX)
            memory[history] = settled_apart(some)[1] / MB
    yield from _beside_shortest("plays recorded", "plays/s", {h: median(v[uncounted:]) for h, v in recorded.items()})
    yield from _beside_shortest("plays settled", "plays/s", {h: median(v[uncounted:]) for h, v in settled.items()})
    yield from _beside_shortest("memory of settling", "MB", memory)


def _beside_shortest(work: str, unit: str, by_history: dict[int, float]) -> Iterator[Figure]:
    (shortest, first), *longer = by_history.items()
    yield Figure(f"{work} after {shortest:,} plays", first, unit)
    for history, value in longer:
        bar = None
        if (history, value) == longer[-1]:
            bar = at_most(MEMORY_FLAT_MAX, "ratio") if unit == "MB" else at_least(FLAT_MIN, "ratio")
        yield Figure(f"{work} after {history:,} plays", value, unit, f"after {shortest:,}", first, bar)
