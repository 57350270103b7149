"""All of somebody's music as one ZIP file, made while it is sent: nothing is kept of it, neither on disk nor in memory.

Its files are stored as they are, for music does not shrink. Their lengths and check sums follow them, as in any ZIP
that is written to a pipe. What cannot be read is told in a text file at its end; the rest comes all the same.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from http import HTTPStatus
from typing import IO, Any, cast
from uuid import UUID

from anyio import to_thread
from starlette.types import Receive, Scope, Send

from ledger.errors import DomainError
from streamcoop.adapters.objects import ObjectStore
from streamcoop.catalogue import places
from streamcoop.catalogue.lookup import Recording
from streamcoop.catalogue.places import Pool
from streamcoop.catalogue.storage import StorageUnavailable
from streamcoop.database import ReadOnly
from streamcoop.downloads import naming, service
from streamcoop.downloads.sending import PiecesResponse
from streamcoop.downloads.service import Wanted
from streamcoop.playback.delivery import saved_as
from streamcoop.playback.service import NoRendition
from streamcoop.problems import register

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/zip"
# On all processes together.
ARCHIVES_PER_ACCOUNT_MAX = 1
# Per process of the service: each holds a thread now and then, and a good deal of the network.
ARCHIVES_AT_ONCE_MAX = 16
RETRY_AFTER_S = 60
# What is longer than this says so in 64 bits. With room for tags and cover.
ZIP32_BYTES_MAX = (1 << 31) - (64 << 20)
FILE_MODE = 0o644
MISSING_NAME = "Not in this archive.txt"

# How many archives this process sends now. Touched by its event loop only, never across an await.
_under_way = 0


class TooManyArchives(DomainError):
    """An archive of yours is being sent already: wait for it to end."""


register({TooManyArchives: HTTPStatus.TOO_MANY_REQUESTS})


class ArchiveResponse(PiecesResponse):
    """The archive, as long as its reader stays. Raises TooManyArchives before anything is sent."""

    def __init__(self, pool: Pool, account_id: UUID, pieces: AsyncIterator[bytes], filename: str) -> None:
        super().__init__(pieces, saved_as(filename, CONTENT_TYPE))
        self._pool, self._account_id = pool, account_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, from one of the account's places."""
        global _under_way  # noqa: PLW0603  # one number of this process
        if _under_way >= ARCHIVES_AT_ONCE_MAX:
            raise TooManyArchives(retry_after_s=RETRY_AFTER_S)
        _under_way += 1
        try:
            async with AsyncExitStack() as holding:
                place = places.held(self._pool, self._account_id, "archive", ARCHIVES_PER_ACCOUNT_MAX)
                # While the service takes nothing in, what only reads goes on, and nobody's archives are counted.
                with suppress(ReadOnly):
                    if not await holding.enter_async_context(place):
                        raise TooManyArchives(at_once_max=ARCHIVES_PER_ACCOUNT_MAX, retry_after_s=RETRY_AFTER_S)
                await super().__call__(scope, receive, send)
        finally:
            _under_way -= 1


class _Pipe:
    """Where zipfile writes to: what was written is taken out and sent."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def taken(self) -> bytes:
        """What was written since it was asked last."""
        taken = bytes(self._written)
        self._written.clear()
        return taken


async def pieces(
    store: ObjectStore, recordings: list[Recording], wanted: Wanted, left_out: bool, at: datetime
) -> AsyncIterator[bytes]:
    """The archive in pieces. `left_out`: there are more tracks than these."""
    pipe = _Pipe()
    missing: list[str] = []
    taken: set[str] = set()
    artwork, cover = None, None
    with zipfile.ZipFile(cast(IO[bytes], pipe), "w", zipfile.ZIP_STORED) as made:
        for recording in recordings:
            path = naming.path_in_archive(
                recording.artist,
                recording.release,
                recording.position,
                recording.title,
                service.extension(recording, wanted),
                taken,
            )
            taken.add(path.casefold())
            try:
                if wanted != "original" and recording.artwork != artwork:
                    artwork, cover = recording.artwork, await to_thread.run_sync(service.cover, store, recording)
                what = await to_thread.run_sync(service.prepared, store, recording, wanted, cover)
                music = service.pieces(store, what)
                first = await anext(music)
            except (StorageUnavailable, NoRendition, ValueError) as error:
                missing.append(_line(path, error, "left out"))
                continue
            is_long = service.size(recording, wanted) > ZIP32_BYTES_MAX
            with made.open(_entry(path, at), "w", force_zip64=is_long) as entry:
                try:
                    entry.write(first)
                    async for piece in music:
                        yield pipe.taken()
                        entry.write(piece)
                except (StorageUnavailable, ValueError) as error:
                    missing.append(_line(path, error, "incomplete"))
            yield pipe.taken()
        if left_out:
            missing.append(f"There are more tracks of yours than the {len(recordings)} that one archive holds.")
        if missing:
            made.writestr(_entry(MISSING_NAME, at), "\r\n".join([*_WHY, *missing, ""]))
    yield pipe.taken()


_WHY = (
    "Some of your music is not in this archive, or not all of it. It is yours all the same:",
    "download it again later, one by one or all at once.",
    "",
)


def _line(path: str, error: Exception, what: str) -> str:
    log.warning("not whole in an archive", extra={"error": type(error).__name__})
    return f"{what}: {path}"


def _entry(path: str, at: datetime) -> zipfile.ZipInfo:
    entry: Any = zipfile.ZipInfo(path, at.timetuple()[:6])
    entry.external_attr = FILE_MODE << 16
    return cast(zipfile.ZipInfo, entry)
