"""A load generator that is not the bottleneck: HTTP/1.1 on kept-alive raw sockets, in a process of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import uvloop

HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class WrongAnswers(Exception):
    """The server answered with something else than what is measured."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a run: how long it took, its answers by status, and each request's time."""

    seconds: float
    statuses: Counter[int]
    latencies_s: list[float]

    def per_second(self, status: int) -> float:
        """Requests a second. Raises WrongAnswers unless all were answered with `status`."""
        if set(self.statuses) != {status}:
            raise WrongAnswers(f"answers by status: {dict(self.statuses)}, all should be {status}")
        return len(self.latencies_s) / self.seconds


def written(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """A request as it goes over the wire."""
    told = {"Host": "bench", **headers, "Content-Length": str(len(body))}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
    return "\r\n".join(lines).encode() + HEAD_END + body


def content_length(head: bytes) -> int:
    """How long the body is that follows an answer's head."""
    length = _LENGTH.search(head)
    return int(length[1]) if length else 0


@contextmanager
def generator() -> Iterator[ProcessPoolExecutor]:
    """The process that requests are sent from: `pool.submit(drive, …)`."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def drive(port: int, requests: Sequence[bytes], connections: int) -> Run:
    """Send all requests, the next on each connection as soon as its last is answered."""
    return uvloop.run(_drive(port, requests, connections))


async def _drive(port: int, requests: Sequence[bytes], connections: int) -> Run:
    loop = asyncio.get_running_loop()
    waiting = iter(requests)
    statuses: Counter[int] = Counter()
    latencies_s: list[float] = []
    made = [
        await loop.create_connection(lambda: _Connection(waiting, statuses, latencies_s), "127.0.0.1", port)
        for _ in range(connections)
    ]
    begun = time.perf_counter()
    for _, connection in made:
        connection.send_next()
    await asyncio.gather(*(connection.finished for _, connection in made))
    return Run(time.perf_counter() - begun, statuses, latencies_s)


class _Connection(asyncio.Protocol):
    def __init__(self, waiting: Iterator[bytes], statuses: Counter[int], latencies_s: list[float]) -> None:
        self._waiting, self._statuses, self._latencies_s = waiting, statuses, latencies_s
        self._answer = b""
        self._sent_at = 0.0
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]  # a socket's can write

    def send_next(self) -> None:
        request = next(self._waiting, None)
        if request is None:
            self.finished.set_result(None)
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head_end = self._answer.find(HEAD_END)
        if head_end < 0:
            return
        if len(self._answer) < head_end + len(HEAD_END) + content_length(self._answer[:head_end]):
            return
        self._latencies_s.append(time.perf_counter() - self._sent_at)
        self._statuses[int(self._answer[9:12])] += 1
        self._answer = b""
        self.send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_exception(exc or ConnectionError("the server hung up"))
