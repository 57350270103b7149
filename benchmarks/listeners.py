"""Many listeners at once, each on a paced stream: how soon a play starts, and whether music ever stops."""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from random import Random

import uvloop

from benchmarks.figures import Bench, Figure, at_least, at_most, percentile
from benchmarks.load import HEAD_END, WrongAnswers, content_length, generator, written
from benchmarks.stage import BYTES_A_SECOND, Listener, resident_bytes, server, stage

LISTENERS, LISTENERS_QUICK = 2_000, 200
ARRIVE_S, ARRIVE_S_QUICK = 30, 2
# Beyond the free part, so that every play is recorded on the way.
STEADY_S, STEADY_S_QUICK = 70, 4
TRACKS = 200
START_MS_BAR = 200
START_PERCENTILE = 99
MEMORY_POLL_S = 1.0
READ_BYTES = 1 << 16
MEGABYTE = 1e6
# Of this process and of those it starts: a connection is a file.
FILES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Heard:
    """One listener's play: from asking for it to its first byte, all that came, and for how long music stood still."""

    start_s: float
    received: int
    still_s: float


def run(bench: Bench) -> Iterator[Figure]:
    """Listeners arrive evenly, open a play, and listen on, each at the pace of the music."""
    _, files_hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files_hard, FILES_MAX), files_hard))
    count, arrive_s = bench.size(LISTENERS, LISTENERS_QUICK), bench.size(ARRIVE_S, ARRIVE_S_QUICK)
    steady_s = bench.size(STEADY_S, STEADY_S_QUICK)
    with stage(bench.seed, count, TRACKS) as made, server(made) as (pid, port), generator() as pool:
        chosen = islice(made.plays(Random(bench.seed)), count)  # noqa: S311  # synthetic data
        plays = [(listener, json.dumps({"track_id": str(track)}).encode()) for listener, track in chosen]
        bench.say(f"{count:,} listeners arrive within {arrive_s} s and listen for {steady_s} s more")
        listening = pool.submit(listen, port, plays, arrive_s, steady_s)
        memory = [resident_bytes(pid)]
        while not listening.done():
            time.sleep(MEMORY_POLL_S)
            memory.append(resident_bytes(pid))
        heard = listening.result()
    start_ms = percentile([one.start_s * 1_000 for one in heard], START_PERCENTILE)
    yield Figure("listeners at once, on paced 128 kbit/s", len(heard), "listeners", bar=at_least(count))
    yield Figure("from asking for a play to its first byte, p99", start_ms, "ms", bar=at_most(START_MS_BAR))
    yield Figure(
        "listeners whose music stood still", sum(one.still_s > 0 for one in heard), "listeners", bar=at_most(0)
    )
    yield Figure("memory of the API with them", max(memory) / MEGABYTE, "MB")


def listen(port: int, plays: Sequence[tuple[Listener, bytes]], arrive_s: float, steady_s: float) -> list[Heard]:
    """Play all of it. Raises WrongAnswers, and ConnectionError where a stream ends."""
    return uvloop.run(_listen(port, plays, arrive_s, steady_s))


async def _listen(port: int, plays: Sequence[tuple[Listener, bytes]], arrive_s: float, steady_s: float) -> list[Heard]:
    begun = asyncio.get_running_loop().time()
    ends = begun + arrive_s + steady_s
    arrivals = (begun + arrive_s * number / len(plays) for number in range(len(plays)))
    return await asyncio.gather(*(_play(port, *play, at, ends) for play, at in zip(plays, arrivals, strict=True)))


async def _play(port: int, listener: Listener, body: bytes, at: float, ends: float) -> Heard:
    clock = asyncio.get_running_loop().time
    await asyncio.sleep(at - clock())
    asked = clock()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=READ_BYTES)
    try:
        writer.write(written("POST", "/api/v1/plays", listener.headers, body))
        opened = json.loads(await reader.readexactly(content_length(await _head(reader, b"201"))))
        writer.write(written("GET", opened["stream_url"], listener.headers))
        await _head(reader, b"200")
        received = len(await _music(reader))
        first, still_s = clock(), 0.0
        while (now := clock()) < ends:
            block = b""
            with suppress(TimeoutError):
                async with asyncio.timeout(ends - now):
                    block = await _music(reader)
            # What had come before lasts until then; so late is what comes now.
            still_s = max(still_s, clock() - first - received / BYTES_A_SECOND)
            received += len(block)
        return Heard(first - asked, received, still_s)
    finally:
        writer.close()


async def _music(reader: asyncio.StreamReader) -> bytes:
    block = await reader.read(READ_BYTES)
    if not block:
        raise ConnectionError("a stream ended")
    return block


async def _head(reader: asyncio.StreamReader, status: bytes) -> bytes:
    head = await reader.readuntil(HEAD_END)
    if head[9:12] != status:
        raise WrongAnswers(head.decode("latin-1"))
    return head
