"""Taking in an uploaded recording: inspect it, write down the intent, put the object, confirm, ask the media worker.

Each step is durable before the next begins, so this module opens a transaction per step instead of being given one.
Whatever is killed in between leaves a row in state `storing`, which the sweeper finishes or removes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ledger.errors import DomainError
from ledger.ids import new_id
from streamcoop import work
from streamcoop.adapters import audio
from streamcoop.adapters.audio import Inspection
from streamcoop.adapters.audio_tags import clean
from streamcoop.adapters.objects import ObjectStore
from streamcoop.catalogue import artwork, scratch, service, storage
from streamcoop.catalogue.models import Release, Track
from streamcoop.catalogue.receiving import Received
from streamcoop.catalogue.schemas import GENRE_LENGTH_MAX, POSITION_MAX, TITLE_LENGTH_MAX
from streamcoop.catalogue.search import fold
from streamcoop.clock import now
from streamcoop.database import transaction
from streamcoop.problems import register
from streamcoop.settings import settings

# With the largest upload, this is what one release can take of the object store.
TRACKS_PER_RELEASE_MAX = 200
FILENAME_LENGTH_MAX = 200
UNTITLED = "Untitled"
# The usual way to number the tracks of several discs: 201 is the second disc's first.
DISC_STRIDE = 100
DISC_MAX = 99

# An upload whose object is not in the store by then counts as dead.
STORING_MAX = timedelta(minutes=15)
# When the sweeper asks for a rendering, should the first request have got lost.
ASK_AGAIN_AFTER = timedelta(seconds=30)


class NotAudio(DomainError):
    """The file is not audio, whatever its name says."""


class UnsupportedAudio(DomainError):
    """The file is audio of a kind that is not accepted here: send FLAC, WAV, AIFF, MP3, Ogg Vorbis, Opus or M4A."""


class DamagedAudio(DomainError):
    """The file is cut short or damaged."""


class RecordingTooLong(DomainError):
    """The recording lasts longer than is accepted here."""


class AudioTooCostly(DomainError):
    """The file cannot be handled within the limits of time and memory."""


class DuplicateUpload(DomainError):
    """These very bytes are in this artist's catalogue already."""


class TooManyTracks(DomainError):
    """The release has as many tracks as a release may have."""


register(
    {
        NotAudio: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        UnsupportedAudio: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        DamagedAudio: HTTPStatus.BAD_REQUEST,
        RecordingTooLong: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        AudioTooCostly: HTTPStatus.BAD_REQUEST,
        DuplicateUpload: HTTPStatus.CONFLICT,
        TooManyTracks: HTTPStatus.CONFLICT,
    }
)
REFUSALS: Final = (NotAudio, UnsupportedAudio, DamagedAudio, RecordingTooLong, AudioTooCostly)
_REFUSED: Final[dict[type[audio.AudioRefused], type[DomainError]]] = {
    audio.NotAudio: NotAudio,
    audio.UnsupportedAudio: UnsupportedAudio,
    audio.DamagedAudio: DamagedAudio,
    audio.RecordingTooLong: RecordingTooLong,
    audio.AudioTooCostly: AudioTooCostly,
}


@dataclass(frozen=True, slots=True)
class TakenIn:
    """A track that was uploaded, and what was noticed about its file."""

    track_id: UUID
    notes: list[str]


def refusal(error: audio.AudioRefused) -> DomainError:
    """What the audio adapter refuses, as the catalogue says it."""
    return _REFUSED[type(error)](detail=error.detail)


def admit(session: Session, owner_id: UUID, release_id: UUID) -> Release:
    """The release, locked, if this account may upload to it: asked before a byte is read, and again afterwards.

    Raises NotFound, ReleaseNotDraft, TooManyTracks.
    """
    release = service.own_draft(session, owner_id, release_id)
    if (session.scalar(select(func.count()).where(Track.release_id == release_id)) or 0) >= TRACKS_PER_RELEASE_MAX:
        raise TooManyTracks(tracks_max=TRACKS_PER_RELEASE_MAX)
    return release


def take_in(store: ObjectStore, owner_id: UUID, release_id: UUID, received: Received, filename: str) -> TakenIn:
    """Make a track of a received file. The file itself stays the caller's.

    Raises what `admit` raises, NotAudio, UnsupportedAudio, DamagedAudio, RecordingTooLong, AudioTooCostly,
    DuplicateUpload and StorageUnavailable.
    """
    try:
        about = audio.inspect(received.path, settings().duration_s_max)
    except audio.AudioRefused as error:
        raise refusal(error) from error
    notes = list(about.notes)
    with transaction() as session:
        track = intend(session, owner_id, release_id, received, about, cleaned_filename(filename, about), now())
    if not about.title:
        notes.append("no title in the file: named after the file")
    try:
        with storage.storing():
            store.put_file(track.original, received.path, track.content_type)
    except BaseException:
        with transaction() as session:
            give_up(session, track.id)
        raise
    with transaction() as session:
        confirm(session, track.id, track.original, now())
    if about.artwork:
        notes += _artwork_notes(store, owner_id, release_id, about.artwork)
    work.ask(work.RENDER, track.id)
    return TakenIn(track.id, notes)


def intend(
    session: Session,
    owner_id: UUID,
    release_id: UUID,
    received: Received,
    about: Inspection,
    filename: str,
    at: datetime,
) -> Track:
    """A track in state `storing`: its object is about to be put. Raises what `admit` raises, and DuplicateUpload."""
    release = admit(session, owner_id, release_id)
    title = (about.title or PurePath(filename).stem or UNTITLED)[:TITLE_LENGTH_MAX]
    track_id = new_id()
    values = {
        "id": track_id,
        "release_id": release_id,
        "artist_id": release.artist_id,
        "position": _position(session, release, about),
        "title": title,
        "isrc": about.isrc,
        "genre": about.genre[:GENRE_LENGTH_MAX].strip() if about.genre else None,
        "state": "storing",
        "duration_ms": about.duration_ms or None,
        "original": storage.original_key(track_id, about.format),
        "sha256": received.sha256,
        "format": about.format,
        "content_type": storage.CONTENT_TYPES[about.format],
        "lossless": about.lossless,
        "bytes": received.size,
        "filename": filename,
        "uploaded_at": at,
        "tags": _tags(about),
        "leased_until": at + STORING_MAX,
        "due_at": at + STORING_MAX,
        "words": fold(title),
        "release_words": release.words,
    }
    unless_there = insert(Track).on_conflict_do_nothing(index_elements=[Track.artist_id, Track.sha256])
    track: Track | None = session.scalar(unless_there.values(values).returning(Track))
    if track is None:
        return _under_way(session, release, received.sha256, at)
    storage.discard(session, [track.original], at)
    return track


def _under_way(session: Session, release: Release, sha256: bytes, at: datetime) -> Track:
    """The same recording in the same release, not stored yet: whoever began has died, or does the same at this moment.

    Raises DuplicateUpload for one that is stored, or somewhere else.
    """
    track: Track | None = session.scalar(
        select(Track)
        .where(Track.release_id == release.id, Track.sha256 == sha256, Track.state == "storing")
        .with_for_update()
    )
    if track is None:
        raise _duplicate(session, release.artist_id, sha256)
    track.leased_until = track.due_at = at + STORING_MAX
    return track


def confirm(session: Session, track_id: UUID, original: str, at: datetime) -> None:
    """The object is in the store: the track waits to be rendered. Raises StorageUnavailable if it was given up."""
    moved = session.scalar(
        update(Track)
        .where(Track.id == track_id, Track.state == "storing")
        .values(state="processing", leased_until=None, due_at=at + ASK_AGAIN_AFTER)
        .returning(Track.id)
    )
    if moved is not None and not storage.keep(session, original):
        raise storage.StorageUnavailable(retry_after_s=storage.RETRY_AFTER_S)
    if moved is None and session.scalar(select(Track.id).where(Track.id == track_id)) is None:
        raise storage.StorageUnavailable(retry_after_s=storage.RETRY_AFTER_S)


def give_up(session: Session, track_id: UUID) -> None:
    """Remove the row of an upload that was not stored. Its object stands on the list of the discarded already."""
    session.execute(delete(Track).where(Track.id == track_id, Track.state == "storing"))


def dead(session: Session, at: datetime, limit: int) -> list[tuple[UUID, str, int]]:
    """Uploads that should long have been stored: (track, object key, size)."""
    # One that is due later than any upload was written by a clock that has been set back since.
    over = or_(Track.due_at <= at, Track.due_at > at + STORING_MAX)
    found = select(Track.id, Track.original, Track.bytes).where(Track.state == "storing", over)
    return list(session.execute(found.order_by(Track.due_at).limit(limit)))


def cleaned_filename(filename: str, about: Inspection) -> str:
    """The file's name without folders and whatever could harm where it is shown or saved; never empty."""
    base = clean(filename).replace("\\", "/").rpartition("/")[2]
    kept = "".join(character for character in base if character.isprintable() and character not in '<>:"|?*')
    suffix = PurePath(kept).suffix[:10]
    stem = PurePath(kept).stem.strip(". ")[: FILENAME_LENGTH_MAX - len(suffix)]
    return f"{stem}{suffix}" if stem else f"recording.{about.format}"


def _position(session: Session, release: Release, about: Inspection) -> int:
    """Where the file says it belongs, else after the last."""
    if about.track and about.track < DISC_STRIDE and about.disc and 1 < about.disc <= DISC_MAX:
        return about.disc * DISC_STRIDE + about.track
    if about.track:
        return min(about.track, POSITION_MAX)
    last = session.scalar(select(func.max(Track.position)).where(Track.release_id == release.id)) or 0
    return min(last + 1, POSITION_MAX)


def _tags(about: Inspection) -> dict[str, Any]:
    names = ("title", "artist", "album", "genre", "track", "disc", "date", "isrc")
    return {name: value for name in names if (value := getattr(about, name)) is not None}


def _duplicate(session: Session, artist_id: UUID, sha256: bytes) -> DuplicateUpload:
    found = session.execute(
        select(Track.id, Track.release_id).where(Track.artist_id == artist_id, Track.sha256 == sha256)
    ).one_or_none()
    # It may have been deleted since: then nothing is named, and the next try succeeds.
    return DuplicateUpload(track_id=str(found.id), release_id=str(found.release_id)) if found else DuplicateUpload()


def _artwork_notes(store: ObjectStore, owner_id: UUID, release_id: UUID, jpeg: bytes) -> list[str]:
    """Give the release the file's picture if it has none. An upload does not fail for a picture."""
    try:
        with scratch.own_folder("artwork-") as folder:
            picture = folder / "artwork.jpg"
            picture.write_bytes(jpeg)
            taken = artwork.keep(store, owner_id, release_id, picture, if_missing=True)
    except DomainError:
        return ["artwork left out: it could not be stored just now"]
    return ["artwork of the release taken from the file"] if taken else []
