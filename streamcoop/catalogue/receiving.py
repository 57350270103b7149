"""Receiving a body into a file: counted, hashed and bounded while it comes, and gone again when it is not wanted."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar
from uuid import UUID

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from starlette.requests import ClientDisconnect, Request

from ledger.errors import DomainError
from streamcoop.catalogue import places, scratch
from streamcoop.catalogue.places import Pool
from streamcoop.catalogue.storage import storing
from streamcoop.problems import register
from streamcoop.traffic import TooManyRequests

WRITE_BYTES = 1 << 20
# An upload may be slow, but must not hold its place for ever.
SILENCE_S_MAX = 60
# What the framework lets through to us: we count ourselves, against the setting, while the body comes.
COUNTED_BYTES_MAX = 1 << 50
RECEIVING_S_MAX = 2 * 3600
# Per process of the service. The disk must hold this many uploads of the largest size.
UPLOADS_AT_ONCE_MAX = 32
# On all processes together.
UPLOADS_PER_ACCOUNT_MAX = 4
RETRY_AFTER_S = 5
# Inspecting and storing take seconds each; the threads of all other requests are not used up for it.
THREADS_MAX = 4

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class EmptyUpload(DomainError):
    """There is nothing in this upload."""


class UploadTooLarge(DomainError):
    """The upload is larger than is accepted here."""


class UploadCutOff(DomainError):
    """The upload ended before all of it had come."""


class UploadStalled(DomainError):
    """The upload takes too long: nothing was kept."""


class TooManyUploads(DomainError):
    """Too many uploads are under way: wait for one of them to end."""


register(
    {
        EmptyUpload: HTTPStatus.BAD_REQUEST,
        UploadTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        UploadCutOff: HTTPStatus.BAD_REQUEST,
        UploadStalled: HTTPStatus.REQUEST_TIMEOUT,
        TooManyUploads: HTTPStatus.TOO_MANY_REQUESTS,
    }
)
REFUSALS = (EmptyUpload, UploadTooLarge, UploadCutOff, UploadStalled, TooManyUploads, TooManyRequests)

# How many uploads this process receives now. Touched by its event loop only, never across an await.
_under_way = 0
_threads: RunVar[CapacityLimiter] = RunVar("streamcoop.catalogue.receiving")


@dataclass(frozen=True, slots=True)
class Received:
    """A body that has come whole. The file is there as long as the block it was received in."""

    path: Path
    size: int
    sha256: bytes


@asynccontextmanager
async def received(request: Request, account_id: UUID, size_max: int) -> AsyncIterator[Received]:
    """The request's body as a file, which is removed at the end of the block, however it ends.

    Raises EmptyUpload, UploadTooLarge (at once if the request says so itself), UploadCutOff, UploadStalled,
    TooManyUploads, StorageUnavailable.
    """
    declared = request.headers.get("content-length")
    if declared is not None and declared.isdecimal() and int(declared) > size_max:
        raise UploadTooLarge(bytes_max=size_max)
    async with _place(request.app.state.pool, account_id):
        path, file = await in_thread(_new_file)
        try:
            with scratch.held(path):
                with file:
                    size, sha256 = await _receive(request, file, size_max)
                yield Received(path, size, sha256)
        finally:
            # At once: a task that is being cancelled may await nothing.
            path.unlink(missing_ok=True)


async def in_thread(work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Run what blocks, in one of the THREADS_MAX threads for uploads. It goes on to its end even if cancelled."""
    try:
        limiter = _threads.get()
    except LookupError:
        limiter = CapacityLimiter(THREADS_MAX)
        _threads.set(limiter)
    return await to_thread.run_sync(lambda: work(*args, **kwargs), limiter=limiter)


@asynccontextmanager
async def _place(pool: Pool, account_id: UUID) -> AsyncIterator[None]:
    """One of the places for uploads, of this process and of the account. Raises TooManyUploads."""
    global _under_way  # noqa: PLW0603  # one number of this process
    if _under_way >= UPLOADS_AT_ONCE_MAX:
        raise TooManyUploads(at_once_max=UPLOADS_PER_ACCOUNT_MAX, retry_after_s=RETRY_AFTER_S)
    _under_way += 1
    try:
        async with places.held(pool, account_id, "upload", UPLOADS_PER_ACCOUNT_MAX) as has_place:
            if not has_place:
                raise TooManyUploads(at_once_max=UPLOADS_PER_ACCOUNT_MAX, retry_after_s=RETRY_AFTER_S)
            yield
    finally:
        _under_way -= 1


def _new_file() -> tuple[Path, BinaryIO]:
    with storing():
        descriptor, name = tempfile.mkstemp(prefix="upload-", dir=scratch.folder())
    return Path(name), os.fdopen(descriptor, "wb", buffering=0)


async def _receive(request: Request, file: BinaryIO, size_max: int) -> tuple[int, bytes]:
    """Write the body to the file. Returns its size and SHA-256."""
    size, digest, waiting = 0, hashlib.sha256(), bytearray()

    def write(chunk: bytes) -> None:
        digest.update(chunk)
        with storing():
            # An unbuffered file may write less than it was given.
            rest = memoryview(chunk)
            while rest:
                rest = rest[file.write(rest) :]

    try:
        async with asyncio.timeout(RECEIVING_S_MAX), asyncio.timeout(SILENCE_S_MAX) as silence:
            async for chunk in request.stream():
                silence.reschedule(asyncio.get_running_loop().time() + SILENCE_S_MAX)
                size += len(chunk)
                if size > size_max:
                    raise UploadTooLarge(bytes_max=size_max)
                waiting += chunk
                if len(waiting) >= WRITE_BYTES:
                    await in_thread(write, bytes(waiting))
                    waiting.clear()
    except TimeoutError as error:
        raise UploadStalled(silence_s_max=SILENCE_S_MAX, receiving_s_max=RECEIVING_S_MAX) from error
    except ClientDisconnect as error:
        raise UploadCutOff from error
    if not size:
        raise EmptyUpload
    await in_thread(write, bytes(waiting))
    return size, digest.digest()
