"""A track as a file to keep: what is stored, with tags and cover put before it while it is sent.

Nothing is copied and nothing encoded. MP3 and FLAC begin with tags of ours; Opus moves from WebM into Ogg on the way.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args
from uuid import UUID

from anyio import to_thread
from sqlalchemy.orm import Session

from ledger.store import owning
from ledger.store.terms import Founding
from streamcoop.adapters import audio_labels
from streamcoop.adapters.audio_labels import Label
from streamcoop.adapters.objects import ObjectConflict, ObjectMissing, ObjectStore, read_whole
from streamcoop.adapters.ogg_opus import OggOpus
from streamcoop.catalogue import lookup
from streamcoop.catalogue.lookup import File, Recording
from streamcoop.catalogue.storage import storing
from streamcoop.playback.delivery import Instead
from streamcoop.playback.service import NoRendition

log = logging.getLogger(__name__)

Wanted = Literal["original", "mp3", "flac", "opus"]
WANTED: Final[tuple[Wanted, ...]] = get_args(Wanted)

BLOCK_BYTES = 256 * 1024
# Pictures are kept far smaller; FLAC cannot hold more.
COVER_BYTES_MAX = (16 << 20) - 1024
TRACKS_AT_ONCE_MAX = 5_000
EXTENSIONS: Final = {"vorbis": "ogg", "aiff": "aiff"}
OGG = "audio/ogg"
_SERIAL_MAX = 1 << 32


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file that can be sent: an object, or one that begins with something else, or one whose container changes."""

    file: File
    content_type: str
    instead: Instead | None = None
    ogg: OggOpus | None = None


def owned(session: Session, founding: Founding, listener_id: UUID, now: datetime) -> list[UUID]:
    """The tracks that are hers by her plays: as many as go at once, and one more where there are more."""
    calendar, most = founding.calendar, TRACKS_AT_ONCE_MAX + 1
    found = owning.owned(session.connection(), calendar, listener_id, calendar.epoch_at(now), None, most)
    return [one.track_id for one in found]


def forms(session: Session, track_ids: Collection[UUID]) -> dict[UUID, list[Wanted]]:
    """What each of these tracks can be had as, if it is ready."""
    found = lookup.kept_as(session, track_ids)
    return {track_id: [wanted for wanted in WANTED if wanted in kept] for track_id, kept in found.items()}


def extension(recording: Recording, wanted: Wanted) -> str:
    """How the file's name ends."""
    return EXTENSIONS.get(recording.format, recording.format) if wanted == "original" else wanted


def size(recording: Recording, wanted: Wanted) -> int:
    """About how many bytes it has, without tags and cover. Raises NoRendition."""
    return _required(recording, wanted).size


def prepared(store: ObjectStore, recording: Recording, wanted: Wanted, cover: bytes | None) -> Prepared:
    """The track in the form that is wanted. Raises NoRendition, StorageUnavailable, and ValueError where what is
    stored is not what it should be.
    """
    file = _required(recording, wanted)
    if wanted == "original":
        return Prepared(file, file.content_type)
    label = Label(
        title=recording.title,
        artist=recording.artist,
        album=recording.release,
        track=recording.position,
        date=recording.date,
        genre=recording.genre,
        isrc=recording.isrc,
        cover=cover,
    )
    if wanted == "mp3":
        return Prepared(file, file.content_type, Instead(audio_labels.id3(label), 0))
    if wanted == "opus":
        return Prepared(file, OGG, ogg=OggOpus(label, recording.track_id.int % _SERIAL_MAX))
    with storing():
        head, frames_at = audio_labels.flac_head(
            label, lambda start, end: b"".join(store.open_range(file.key, start, min(end, file.size)))
        )
    return Prepared(file, file.content_type, Instead(head, frames_at))


def cover(store: ObjectStore, recording: Recording) -> bytes | None:
    """The picture of its release, None where there is none. Raises StorageUnavailable."""
    if recording.artwork is None:
        return None
    try:
        with storing():
            return _cover(store, recording.artwork)
    except ObjectConflict:
        return None


def _cover(store: ObjectStore, key: str) -> bytes | None:
    try:
        return read_whole(store, key, COVER_BYTES_MAX)
    except ObjectMissing:  # replaced since we looked
        return None


async def pieces(store: ObjectStore, what: Prepared) -> AsyncIterator[bytes]:
    """The whole file, a block at a time. Raises StorageUnavailable, and ValueError as `prepared` does."""
    at = 0
    if what.instead is not None:
        at = what.instead.skipped
        yield what.instead.head
    while at < what.file.size:
        end = min(at + BLOCK_BYTES, what.file.size)
        yield await to_thread.run_sync(_piece, store, what, at, end)
        at = end
    if what.ogg is not None:
        yield await to_thread.run_sync(what.ogg.close)


def _piece(store: ObjectStore, what: Prepared, start: int, end: int) -> bytes:
    with storing():
        block = b"".join(store.open_range(what.file.key, start, end))
        if len(block) != end - start:
            raise ObjectMissing(f"{what.file.key}: cut off at {start + len(block)}")
    return what.ogg.feed(block) if what.ogg is not None else block


def _file(recording: Recording, wanted: Wanted) -> File | None:
    if wanted == "original" or (wanted == "flac" and recording.format == "flac"):
        return recording.original
    return recording.renditions.get(wanted)


def _required(recording: Recording, wanted: Wanted) -> File:
    file = _file(recording, wanted)
    if file is None:
        raise NoRendition(codec=wanted)
    return file


def sizes(session: Session, track_ids: Collection[UUID]) -> dict[str, int]:
    """How many bytes these tracks have together in each form that all of them can be had in."""
    found = lookup.sizes(session, track_ids)
    return {wanted: found.get(wanted, 0) for wanted in ("original", "mp3", "opus")}
