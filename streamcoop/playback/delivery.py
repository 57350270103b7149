"""Sending music: paced while it is metered, never beyond the free part of a play that is not recorded."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import unicodedata
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ledger.errors import DomainError
from streamcoop import metrics
from streamcoop.adapters.objects import ObjectMissing, ObjectStore
from streamcoop.catalogue.storage import StorageUnavailable, storing
from streamcoop.clock import now
from streamcoop.playback.ranges import ByteRange, parse
from streamcoop.playback.rule import Meter
from streamcoop.settings import settings

log = logging.getLogger(__name__)

# Each block is read in a thread of its own. A paced stream holds one all the while: some four seconds of music.
BLOCK_BYTES = 256 * 1024
PACED_BLOCK_BYTES = 64 * 1024
NAP_S_MAX = 5.0
NAP_S_MIN = 0.01
_KEPT_BY_NOBODY = {"Cache-Control": "private, no-store"}


def saved_as(filename: str, content_type: str) -> dict[str, str]:
    """The headers of a file to save: of any name (RFC 8187), and for old clients one without its accents."""
    plain = unicodedata.normalize("NFKD", filename).encode("ascii", "ignore").decode()
    plain = "".join(sign if sign.isprintable() and sign not in '"\\%' else "_" for sign in plain)
    disposition = f"attachment; filename*=UTF-8''{quote(filename, safe='')}; filename=\"{plain}\""
    return {**_KEPT_BY_NOBODY, "Content-Type": content_type, "Content-Disposition": disposition}


async def whole(
    request: Request,
    key: str,
    size: int,
    content_type: str,
    range_header: str | None,
    filename: str | None = None,
    instead: Instead | None = None,
) -> Response:
    """An object without pacing: for owners, for previews, and for downloads (`filename`).

    Where `accel_location` is set, the proxy in front is told to send it, unless it begins with something else. Raises
    RangeNotSatisfiable and StorageUnavailable.
    """
    store: ObjectStore = request.app.state.objects
    headers = {**_KEPT_BY_NOBODY, "Content-Type": content_type}
    if filename is not None:
        headers = saved_as(filename, content_type)
    # Objects are never changed, so the key tells one from another.
    digest = hashlib.sha256(key.encode())
    if instead is not None:
        size += instead.moved_by
        digest.update(instead.head)
    etag = f'"{digest.hexdigest()[:32]}"'
    # Before the range is judged: one that does not hold is no reason to refuse anything.
    if request.headers.get("if-range", etag) != etag:
        range_header = None
    asked, location = parse(range_header, size, request.method), settings().accel_location
    # A range that we take for none a proxy may take for another; and an S3 signs for one method.
    if location is not None and instead is None and (range_header is None or asked.partial) and request.method == "GET":
        with storing():
            # In a thread, for credentials may have to be fetched.
            path = key if store.local_path(key) else await to_thread.run_sync(store.presigned_path, key)
        return Response(headers={**headers, "X-Accel-Redirect": location + path})
    return ObjectResponse(store, key, asked, size, {**headers, "ETag": etag}, instead)


@dataclass(frozen=True, slots=True)
class Instead:
    """What is sent instead of the first `skipped` bytes of an object."""

    head: bytes
    skipped: int

    @property
    def moved_by(self) -> int:
        """How much further back the rest of the object stands."""
        return len(self.head) - self.skipped


class ObjectResponse(Response):
    """A range of an object, or of one that begins with something else.

    Its first block is read before the status is sent: a store that fails is StorageUnavailable. Where it fails later
    the connection ends short of its length, and the client asks for the rest.
    """

    block_bytes = BLOCK_BYTES

    def __init__(
        self,
        store: ObjectStore,
        key: str,
        asked: ByteRange,
        size: int,
        headers: dict[str, str],
        instead: Instead | None = None,
    ) -> None:
        super().__init__(status_code=HTTPStatus.PARTIAL_CONTENT if asked.partial else HTTPStatus.OK, headers=headers)
        self.headers["Accept-Ranges"] = "bytes"
        self.headers["Content-Length"] = str(asked.length)
        if asked.partial:
            self.headers["Content-Range"] = asked.content_range(size)
        self._store, self._key, self._asked = store, key, asked
        self._instead = instead or Instead(b"", 0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the range; stop when the client hangs up."""
        block = await self._read(self._asked.start)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        try:
            await unless_hung_up(receive, self._send(block, send))
        except StorageUnavailable:
            log.warning("audio ended short of its length")

    async def _read(self, at: int) -> bytes:
        """A block of the range; empty at its end. Raises StorageUnavailable, also where the object ends before it."""
        end = min(at + self.block_bytes, self._asked.end)
        head, moved_by = self._instead.head, self._instead.moved_by
        start, stop = max(at, len(head)) - moved_by, max(end, len(head)) - moved_by
        with storing():
            block = await to_thread.run_sync(lambda: b"".join(self._store.open_range(self._key, start, stop)))
            block = head[at:end] + block
            if at + len(block) != end:
                raise ObjectMissing(f"{self._key}: cut off at {at + len(block)}")
        return block

    async def _send(self, block: bytes, send: Send) -> None:
        at = self._asked.start
        while block:
            at += len(block)
            more = at < self._asked.end
            await send({"type": "http.response.body", "body": block, "more_body": more})
            block = await self._read(at) if more else b""


@dataclass(frozen=True, slots=True)
class Play:
    """What a paced delivery needs to know of its play: times in milliseconds since 1970.

    `record` makes the play count and raises a DomainError where it may not.
    """

    meter: Meter
    opened_ms: int
    counts_from_ms: int
    record: Callable[[], Awaitable[object]]


class PacedResponse(ObjectResponse):
    """One range of a metered rendition, sent no faster than the listening rule allows.

    Bytes beyond the free part are sent only once the play is recorded. A response that gets there
    before T waits for T; where recording is then refused the connection ends short of its length,
    for the status has long been sent.
    """

    def __init__(
        self, store: ObjectStore, key: str, content_type: str, asked: ByteRange, play: Play, recorded: bool
    ) -> None:
        super().__init__(store, key, asked, play.meter.size, {**_KEPT_BY_NOBODY, "Content-Type": content_type})
        self.block_bytes = max(PACED_BLOCK_BYTES, play.meter.step_bytes)
        self._play, self._recorded = play, recorded

    async def _send(self, block: bytes, send: Send) -> None:
        with metrics.STREAMS.track_inprogress():
            await self._send_paced(block, send)

    async def _send_paced(self, block: bytes, send: Send) -> None:
        at = block_start = self._asked.start
        recorded_at, recorded_from_ms = at, _now_ms()
        meter, play = self._play.meter, self._play
        step_bytes, free_bytes = meter.step_bytes, meter.free_bytes
        while at < self._asked.end:
            now_ms = _now_ms()
            if not self._recorded and at >= free_bytes and now_ms >= play.counts_from_ms:
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
            stop = min(at + step_bytes, self._asked.end)
            if not self._recorded and at < free_bytes:
                stop = min(stop, free_bytes)
            if limit < stop:
                await asyncio.sleep(self._nap_s(stop - limit, now_ms))
                continue
            if stop > block_start + len(block):
                block_start, block = at, await self._read(at)
            await send(
                {"type": "http.response.body", "body": block[at - block_start : stop - block_start], "more_body": True}
            )
            at = stop
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _nap_s(self, missing_bytes: int, now_ms: int) -> float:
        """Until about so many bytes more may be sent, which is never slower than real time; at most until T."""
        meter = self._play.meter
        missing_ms = missing_bytes * meter.duration_ms // max(meter.size - meter.header_bytes, 1)
        until_counted_ms = self._play.counts_from_ms - now_ms
        nap_ms = missing_ms if self._recorded or until_counted_ms <= 0 else min(missing_ms, until_counted_ms)
        return max(min(nap_ms / 1000, NAP_S_MAX), NAP_S_MIN)


async def unless_hung_up(receive: Receive, sending: Coroutine[Any, Any, None]) -> None:
    """Send until the end, or until the client hangs up. Raises what sending raises."""
    hung_up, sent = asyncio.create_task(_hang_up(receive)), asyncio.create_task(sending)
    try:
        await asyncio.wait({hung_up, sent}, return_when=asyncio.FIRST_COMPLETED)
        if sent.done():
            sent.result()
    finally:
        for task in (hung_up, sent):
            task.cancel()
        await asyncio.gather(hung_up, sent, return_exceptions=True)


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _now_ms() -> int:
    return int(now().timestamp() * 1000)
