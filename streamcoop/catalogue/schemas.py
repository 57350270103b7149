"""What the catalogue's routes take and give."""

from __future__ import annotations

import base64
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from stdnum import isrc

from streamcoop.accounts.schemas import Line, Payload
from streamcoop.catalogue.lookup import artwork_path
from streamcoop.catalogue.models import Artist, Release, ReleaseKind, ReleaseState, TakenDownAs, Track
from streamcoop.catalogue.search import Page

NAME_LENGTH_MAX = 200
BIO_LENGTH_MAX = 5_000
TITLE_LENGTH_MAX = 300
GENRE_LENGTH_MAX = 100
ISRC_LENGTH_MAX = 20
POSITION_MAX = 9_999

_LINE_BREAKS = frozenset("\n\r\t")


def no_control_characters_but_breaks(text: str) -> str:
    """The text as it is. Raises ValueError where it has others."""
    if any((ord(sign) < 0x20 and sign not in _LINE_BREAKS) or sign == "\x7f" for sign in text):
        raise ValueError("control characters are not allowed")
    return _no_lone_surrogates(text)


def _no_lone_surrogates(text: str) -> str:
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError("must be valid Unicode")
    return text


def trimmed(text: str) -> str:
    """What is left without blanks around it. Raises ValueError where that is nothing."""
    rest = _no_lone_surrogates(text).strip()
    if not rest:
        raise ValueError("must not be blank")
    return rest


def _valid_isrc(text: str) -> str:
    compact: str = isrc.compact(text)
    if not isrc.is_valid(compact):
        raise ValueError("not a valid ISRC")
    return compact


Name = Annotated[Line, Field(min_length=1, max_length=NAME_LENGTH_MAX), AfterValidator(trimmed)]
Title = Annotated[Line, Field(min_length=1, max_length=TITLE_LENGTH_MAX), AfterValidator(trimmed)]
Genre = Annotated[Line, Field(min_length=1, max_length=GENRE_LENGTH_MAX), AfterValidator(trimmed)]
Bio = Annotated[str, Field(max_length=BIO_LENGTH_MAX), AfterValidator(no_control_characters_but_breaks)]
Isrc = Annotated[Line, Field(max_length=ISRC_LENGTH_MAX, examples=["GBAYE0601498"]), AfterValidator(_valid_isrc)]
Position = Annotated[int, Field(ge=1, le=POSITION_MAX)]


class NewArtist(Payload):
    """A name to publish music under."""

    name: Name
    bio: Bio | None = None


class ArtistChange(Payload):
    """What is to change about an artist; a member left out stays as it is."""

    name: Name = Field(default_factory=str)
    bio: Bio | None = None


class ArtistOut(BaseModel):
    """An artist."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    bio: str | None
    created_at: datetime


class ArtistRef(BaseModel):
    """An artist, named."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str


class NewRelease(Payload):
    """A release to upload tracks to. It is a draft, seen by its owner only, until it is published."""

    title: Title
    kind: ReleaseKind
    released_on: date | None = None
    genre: Genre | None = None


class ReleaseChange(Payload):
    """What is to change about a release; a member left out stays as it is."""

    title: Title = Field(default_factory=str)
    kind: ReleaseKind = Field(default_factory=lambda: "album")
    released_on: date | None = None
    genre: Genre | None = None


class ReleaseOut(BaseModel):
    """A release. `artwork` is the address of its picture."""

    id: UUID
    artist: ArtistRef
    title: str
    kind: ReleaseKind
    released_on: date | None
    genre: str | None
    artwork: str | None
    state: ReleaseState
    created_at: datetime
    published_at: datetime | None
    taken_down: TakenDownAs | None = Field(description="By the co-op's operators. Others do not see it.")


class TrackProblem(BaseModel):
    """Why a track failed, as a problem document tells it."""

    type: str = Field(examples=["/problems/damaged-audio"])
    title: str
    detail: str


class UploadOut(BaseModel):
    """The file a track was made from. Shown to its owner only."""

    filename: str
    format: Literal["mp3", "flac", "vorbis", "opus", "m4a", "wav", "aiff"]
    lossless: bool
    size: int = Field(description="In bytes.")
    sha256: str
    uploaded_at: datetime
    tags: dict[str, Any] = Field(description="What the file says about itself.")
    problem: TrackProblem | None


class TrackOut(BaseModel):
    """A track. Tracks of equal position stand in the order of their upload."""

    id: UUID
    release_id: UUID
    release_title: str
    artist: ArtistRef
    position: int
    title: str
    isrc: str | None
    genre: str | None
    duration_ms: int | None = Field(description="Measured once the track is ready; before, as far as the file says.")
    state: Literal["processing", "ready", "failed"]
    taken_down: TakenDownAs | None = Field(description="By the co-op's operators. Others do not see it.")
    upload: UploadOut | None
    waveform: str | None = Field(
        default=None,
        description="How loud it is from beginning to end: bytes in base64, of equal parts. Told of a track alone.",
    )


class TrackChange(Payload):
    """What is to change about a track; a member left out stays as it is."""

    title: Title = Field(default_factory=str)
    position: Position = Field(default_factory=lambda: 1)
    isrc: Isrc | None = None
    genre: Genre | None = None


class Uploaded(TrackOut):
    """A track just uploaded, and what was noticed about its file."""

    notes: list[str]


class OwnedRelease(ReleaseOut):
    """A release, and how many listeners own something of it, as it was last counted, a quarter of an hour ago."""

    owners: int


class OwnedReleasePage(BaseModel):
    """Some releases, the most owned first, and the cursor of the next page."""

    items: list[OwnedRelease]
    next_cursor: str | None


class GenreOut(BaseModel):
    """A genre, and how many published releases have it, however they write it."""

    name: str
    releases: int


class ReleaseWithTracks(ReleaseOut):
    """A release with its tracks."""

    tracks: list[TrackOut]


class ArtistPage(BaseModel):
    """Some artists, and the cursor of the next page."""

    items: list[ArtistOut]
    next_cursor: str | None


class ReleasePage(BaseModel):
    """Some releases, and the cursor of the next page."""

    items: list[ReleaseOut]
    next_cursor: str | None


class TrackPage(BaseModel):
    """Some tracks, and the cursor of the next page."""

    items: list[TrackOut]
    next_cursor: str | None


def artist_out(artist: Artist) -> ArtistOut:
    """An artist as it is shown."""
    return ArtistOut.model_validate(artist)


def release_out(release: Release) -> ReleaseOut:
    """A release, loaded with its artist, as it is shown."""
    return ReleaseOut(
        id=release.id,
        artist=ArtistRef.model_validate(release.artist),
        title=release.title,
        kind=release.kind,
        released_on=release.released_on,
        genre=release.genre,
        artwork=artwork_path(release.id) if release.artwork else None,
        state=release.state,
        created_at=release.created_at,
        published_at=release.published_at,
        taken_down=release.taken_down,
    )


def track_out(track: Track, release: Release, viewer_id: UUID | None) -> TrackOut:
    """A track of a release that is loaded with its artist, as this viewer is shown it."""
    return TrackOut(
        id=track.id,
        release_id=release.id,
        release_title=release.title,
        artist=ArtistRef.model_validate(release.artist),
        position=track.position,
        title=track.title,
        isrc=track.isrc,
        genre=track.genre,
        duration_ms=track.duration_ms,
        # An upload is not answered before it is stored, so nobody knows the difference.
        state="processing" if track.state == "storing" else track.state,
        taken_down=track.taken_down,
        upload=_upload_out(track) if release.artist.owner_id == viewer_id else None,
    )


def track_alone(track: Track, viewer_id: UUID | None) -> TrackOut:
    """A track that was asked for by itself, loaded with its release, artist and waveform."""
    told = track_out(track, track.release, viewer_id)
    told.waveform = base64.b64encode(track.waveform).decode() if track.waveform else None
    return told


def _upload_out(track: Track) -> UploadOut:
    return UploadOut(
        filename=track.filename,
        format=track.format,  # type: ignore[arg-type]  # a column of text, filled from audio.Format
        lossless=track.lossless,
        size=track.bytes,
        sha256=track.sha256.hex(),
        uploaded_at=track.uploaded_at,
        tags=track.tags,
        problem=TrackProblem.model_validate(track.problem) if track.problem else None,
    )


def release_with_tracks(release: Release, viewer_id: UUID | None) -> ReleaseWithTracks:
    """A release, loaded with its artist and tracks, as this viewer is shown it."""
    tracks = [track_out(track, release, viewer_id) for track in release.tracks]
    return ReleaseWithTracks(**release_out(release).model_dump(), tracks=tracks)


def artist_page(page: Page[Artist]) -> ArtistPage:
    """A page of artists."""
    return ArtistPage(items=[artist_out(artist) for artist in page.items], next_cursor=page.next_cursor)


def release_page(page: Page[Release]) -> ReleasePage:
    """A page of releases, loaded with their artists."""
    return ReleasePage(items=[release_out(release) for release in page.items], next_cursor=page.next_cursor)


def track_page(page: Page[Track], viewer_id: UUID | None) -> TrackPage:
    """A page of tracks, loaded with their releases and artists."""
    items = [track_out(track, track.release, viewer_id) for track in page.items]
    return TrackPage(items=items, next_cursor=page.next_cursor)
