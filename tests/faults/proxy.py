"""A TCP proxy on loopback before a real server: it passes everything on until it is told to fail as networks fail."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

LOOPBACK = "127.0.0.1"
CHUNK_BYTES = 64 << 10
CONTROL_S_MAX = 10.0

PG_COMMIT = b"COMMIT\0"
"""In PostgreSQL's protocol both the statement, simple or prepared, and what the server says once it is done."""
HTTP_CONTINUE = b"HTTP/1.1 100 "
"""No answer yet, but what a client waits for before it sends the body."""
# Closing with nothing left to say: the other side is told at once that the connection is reset.
_RESET = struct.pack("ii", 1, 0)

T = TypeVar("T")


@dataclass
class Trap:
    """Cuts connections at a chosen moment; made by `cut_before` and `cut_after`."""

    pattern: bytes
    applied: bool
    answer: bytes
    skip: int
    cuts_left: int | None
    following: bytes = b""
    _seen: int = 0
    _cuts: int = 0
    _cut: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, seconds: float, cuts: int = 1) -> bool:
        """Whether so many connections have been cut, at the latest after this time."""
        with self._cut:
            return self._cut.wait_for(lambda: self._cuts >= cuts, seconds)

    @property
    def cuts(self) -> int:
        """How many connections were cut so far."""
        with self._cut:
            return self._cuts

    def catches(self, data: bytes, said: set[bytes]) -> bool:
        """Whether this chunk, seen once, is one to cut at. `said`: of the traps' `following`, what came before it."""
        if self.cuts_left == 0 or self.pattern not in data or self.following not in said | {b""}:
            return False
        self._seen += 1
        if self._seen <= self.skip:
            return False
        if self.cuts_left is not None:
            self.cuts_left -= 1
        return True

    def note_cut(self) -> None:
        with self._cut:
            self._cuts += 1
            self._cut.notify_all()


@dataclass(eq=False)
class _Line:
    """One client's connection, and the one made for it to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    said: set[bytes] = field(default_factory=set)
    withheld_for: Trap | None = None
    withheld: bytes = b""

    def cut(self) -> None:
        for side in (self.client, self.server):
            sock = side.get_extra_info("socket")
            if sock is not None and not side.transport.is_closing():
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            side.transport.abort()


class FaultyProxy:
    """Stands before the server at `host:port`, in a thread of its own, for as long as a `with` block lasts.

    Every control may be called from any thread and holds once it returns; `pass_on` takes all of them back.
    """

    def __init__(self, port: int, host: str = LOOPBACK) -> None:
        self.port = 0
        self._upstream = host, port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faulty proxy", daemon=True)
        self._door: asyncio.Server | None = None
        self._lines: set[_Line] = set()
        self._serving: set[asyncio.Task[Any]] = set()
        self._traps: list[Trap] = []
        self._delay_s = 0.0

    @classmethod
    def before(cls, url: str) -> FaultyProxy:
        """A proxy before the server that this URL names."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        return cls(parts.port, parts.hostname)

    def instead_in(self, url: str) -> str:
        """The URL with the proxy's address in place of the server's."""
        parts = urlsplit(url)
        login, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{login}{at}{LOOPBACK}:{self.port}"))

    def start(self) -> Self:
        self._thread.start()
        self._call(self._open_door())
        return self

    def stop(self) -> None:
        self._call(self._close_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CONTROL_S_MAX)
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def pass_on(self) -> None:
        """Fail no more: connections are accepted, nothing is delayed, all traps are taken away."""
        self._call(self._pass_on())

    def refuse(self) -> None:
        """Refuse new connections. Those there are go on: `cut_now` ends them."""
        self._call(self._close_door())

    def cut_now(self) -> int:
        """Cut every connection there is; returns how many. New ones are accepted."""
        return self._call(self._cut_all())

    def delay(self, seconds: float) -> None:
        """Hold every chunk on its way to the server back for so long."""
        self._call(self._set_delay(seconds))

    def cut_before(self, pattern: bytes, *, following: bytes = b"", skip: int = 0, cuts: int | None = 1) -> Trap:
        """Cut instead of passing on the next chunk to the server that holds `pattern`: what it asks is not done.

        With `following`, only on a connection that has sent that before. The first `skip` such chunks pass. The trap
        is used up after so many `cuts`; None: never.
        """
        return self._call(self._add(Trap(pattern, False, b"", skip, cuts, following)))

    def cut_after(
        self, pattern: bytes, *, answer: bytes = b"", following: bytes = b"", skip: int = 0, cuts: int | None = 1
    ) -> Trap:
        """Pass on the next chunk with `pattern` and what follows, and cut in place of the answer: it is done, untold.

        The cut waits for an answer that holds `answer`, by default any: only then has the server acted for certain.
        For PostgreSQL, which may answer in pieces, say `PG_COMMIT`.
        """
        return self._call(self._add(Trap(pattern, True, answer, skip, cuts, following)))

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CONTROL_S_MAX)

    async def _open_door(self) -> None:
        if self._door is None:
            self._door = await asyncio.start_server(self._serve, LOOPBACK, self.port)
            self.port = int(self._door.sockets[0].getsockname()[1])

    async def _close_door(self) -> None:
        if self._door is not None:
            self._door.close()
            self._door = None

    async def _pass_on(self) -> None:
        self._traps.clear()
        self._delay_s = 0.0
        await self._open_door()

    async def _cut_all(self) -> int:
        lines = list(self._lines)
        for line in lines:
            line.cut()
        await asyncio.gather(*(line.client.wait_closed() for line in lines), return_exceptions=True)
        return len(lines)

    async def _set_delay(self, seconds: float) -> None:
        self._delay_s = seconds

    async def _add(self, trap: Trap) -> Trap:
        self._traps.append(trap)
        return trap

    async def _close_all(self) -> None:
        await self._close_door()
        await self._cut_all()
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await self._connect(from_client, to_client)
        except (OSError, asyncio.CancelledError):
            to_client.transport.abort()
        finally:
            self._serving.discard(task)

    async def _connect(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        host, port = self._upstream
        from_server, to_server = await asyncio.open_connection(host, port)
        line = _Line(to_client, to_server)
        self._lines.add(line)
        try:
            await asyncio.gather(self._ask(line, from_client), self._answer(line, from_server))
        finally:
            self._lines.discard(line)
            to_server.transport.abort()
            to_client.close()

    async def _ask(self, line: _Line, from_client: asyncio.StreamReader) -> None:
        while data := await from_client.read(CHUNK_BYTES):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            line.said |= {trap.following for trap in self._traps if trap.following and trap.following in data}
            trap = next((trap for trap in self._traps if trap.catches(data, line.said)), None)
            if trap is not None and not trap.applied:
                line.cut()
                trap.note_cut()
                return
            line.withheld_for = line.withheld_for or trap
            line.server.write(data)
            await line.server.drain()
        if not line.server.is_closing():
            line.server.write_eof()

    async def _answer(self, line: _Line, from_server: asyncio.StreamReader) -> None:
        while data := await from_server.read(CHUNK_BYTES):
            trap = line.withheld_for
            if trap is not None and not data.startswith(HTTP_CONTINUE):
                line.withheld += data
                if trap.answer in line.withheld:
                    line.cut()
                    trap.note_cut()
                    return
                continue
            line.client.write(data)
            await line.client.drain()
        if not line.client.is_closing():
            line.client.write_eof()
