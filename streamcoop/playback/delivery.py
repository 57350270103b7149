"""Sending music: paced while it is metered, never beyond the free part of a play that is not recorded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from anyio import to_thread
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ledger.errors import DomainError
from streamcoop.adapters.objects import ObjectStore
from streamcoop.clock import now
from streamcoop.playback.ranges import ByteRange, parse
from streamcoop.playback.rule import Meter

log = logging.getLogger(__name__)

# Read in blocks larger than a step, so that a paced stream goes to its thread once in many seconds.
BLOCK_BYTES = 256 * 1024
NAP_S_MAX = 5.0
NAP_S_MIN = 0.01
_HEADERS = {"Accept-Ranges": "bytes", "Cache-Control": "private, no-store"}


async def read_blocks(store: ObjectStore, key: str, start: int, end: int) -> AsyncIterator[bytes]:
    """Bytes [start, end) of an object, in blocks, read in a thread."""
    for at in range(start, end, BLOCK_BYTES):
        stop = min(at + BLOCK_BYTES, end)
        yield await to_thread.run_sync(lambda a=at, z=stop: b"".join(store.open_range(key, a, z)))  # type: ignore[misc]


def whole(
    store: ObjectStore, key: str, size: int, content_type: str, range_header: str | None, filename: str | None = None
) -> Response:
    """An object without pacing: for owners, for previews, and for downloads (`filename`).

    A folder's file goes out as a file response; another store's object in blocks. Raises RangeNotSatisfiable.
    """
    asked = parse(range_header, size)
    path: Path | None = store.local_path(key)
    if path is not None:
        return _FileRange(path, asked, media_type=content_type, filename=filename, headers=_HEADERS)
    headers = _HEADERS | {"Content-Length": str(asked.length)}
    if filename:
        headers["Content-Disposition"] = FileResponse("", filename=filename).headers["content-disposition"]
    if asked.partial:
        headers["Content-Range"] = asked.content_range(size)
    status = HTTPStatus.PARTIAL_CONTENT if asked.partial else HTTPStatus.OK
    return StreamingResponse(read_blocks(store, key, asked.start, asked.end), status, headers, content_type)


class _FileRange(FileResponse):
    """A file of which the range we have read from the header is sent, so that every answer reads that header alike."""

    def __init__(self, path: Path, asked: ByteRange, **about: Any) -> None:
        super().__init__(path, **about)
        self._asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; a client whose If-Range does not hold gets the whole."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        if self._asked.partial:
            headers.append((b"range", f"bytes={self._asked.start}-{self._asked.end - 1}".encode()))
        await super().__call__({**scope, "headers": headers}, receive, send)


@dataclass(frozen=True, slots=True)
class Play:
    """What a paced delivery needs to know of its play: times in milliseconds since 1970.

    `record` makes the play count and raises a DomainError where it may not.
    """

    meter: Meter
    opened_ms: int
    counts_from_ms: int
    record: Callable[[], Awaitable[object]]


class PacedResponse(Response):
    """One range of a metered rendition, sent no faster than the listening rule allows.

    Bytes beyond the free part are sent only once the play is recorded. A response that gets there
    before T waits for T; where recording is then refused the connection ends short of its length,
    for the status has long been sent.
    """

    def __init__(
        self, store: ObjectStore, key: str, content_type: str, asked: ByteRange, play: Play, recorded: bool
    ) -> None:
        super().__init__(status_code=HTTPStatus.PARTIAL_CONTENT if asked.partial else HTTPStatus.OK, headers=_HEADERS)
        self.headers["Content-Type"] = content_type
        self.headers["Content-Length"] = str(asked.length)
        if asked.partial:
            self.headers["Content-Range"] = asked.content_range(play.meter.size)
        self._store, self._key, self._asked, self._play, self._recorded = store, key, asked, play, recorded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the range; stop when the client hangs up."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        hung_up = asyncio.create_task(_hang_up(receive))
        sending = asyncio.create_task(self._send_paced(send))
        try:
            await asyncio.wait({hung_up, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (hung_up, sending):
                task.cancel()
            await asyncio.gather(hung_up, sending, return_exceptions=True)

    async def _send_paced(self, send: Send) -> None:
        at, block, block_start = self._asked.start, b"", self._asked.start
        recorded_at, recorded_from_ms = at, _now_ms()
        meter, play = self._play.meter, self._play
        while at < self._asked.end:
            now_ms = _now_ms()
            if not self._recorded and at >= meter.free_bytes and now_ms >= play.counts_from_ms:
                try:
                    await play.record()
                except DomainError as refused:
                    log.info("play ended at its free part", extra={"reason": type(refused).__name__})
                    return
                self._recorded, recorded_at, recorded_from_ms = True, at, _now_ms()
            if self._recorded:
                limit = meter.sendable_recorded(recorded_at, _now_ms() - recorded_from_ms)
            else:
                limit = meter.sendable(now_ms - play.opened_ms)
            stop = min(at + meter.step_bytes, self._asked.end)
            if not self._recorded and at < meter.free_bytes:
                stop = min(stop, meter.free_bytes)
            if limit < stop:
                await asyncio.sleep(self._nap_s(now_ms))
                continue
            if stop > block_start + len(block) or not block:
                block_start, block = at, await self._read(at)
            await send(
                {"type": "http.response.body", "body": block[at - block_start : stop - block_start], "more_body": True}
            )
            at = stop
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _read(self, at: int) -> bytes:
        end = min(at + max(BLOCK_BYTES, self._play.meter.step_bytes), self._asked.end)
        return await to_thread.run_sync(lambda: b"".join(self._store.open_range(self._key, at, end)))

    def _nap_s(self, now_ms: int) -> float:
        """Until about half a step more may be sent; until T at the free part's end."""
        meter = self._play.meter
        step_s = meter.step_bytes * meter.duration_ms / max(meter.size, 1) / 1000
        until_counted_s = (self._play.counts_from_ms - now_ms) / 1000
        nap_s = step_s / 2 if self._recorded or until_counted_s <= 0 else min(step_s / 2, until_counted_s)
        return max(min(nap_s, NAP_S_MAX), NAP_S_MIN)


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _now_ms() -> int:
    return int(now().timestamp() * 1000)
