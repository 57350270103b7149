"""Artists, their releases and tracks, and what listeners are sent of a track."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column, relationship

from streamcoop.database import Base

ReleaseKind = Literal["album", "ep", "single"]
ReleaseState = Literal["draft", "published", "withdrawn"]
TrackState = Literal["storing", "processing", "ready", "failed"]
RenditionCodec = Literal["mp3", "opus", "flac", "preview"]
TakenDownAs = Literal["hidden", "removed"]
TransferKind = Literal["upload", "archive"]
Waveform = bytes  # `Track.bytes` hides the name where it is needed

Instant = TIMESTAMP(timezone=True)


def _vector_of(*columns: str) -> Computed:
    """The words in these columns as a vector. They are folded before they are stored, so no parser touches them."""
    words = " || ' ' || ".join(columns)
    return Computed(f"array_to_tsvector(array_remove(string_to_array({words}, ' '), ''))", persisted=True)


class Artist(Base):
    """A name music is published under. `words` is the name folded for search and for sorting."""

    __tablename__ = "artist"
    __table_args__ = (
        Index("artist_search", "search", postgresql_using="gin"),
        Index("artist_words", "words", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("coop.user.id"), index=True)
    name: Mapped[str] = mapped_column(Text)
    bio: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)
    words: Mapped[str] = mapped_column(Text)
    search: Mapped[str] = mapped_column(TSVECTOR, _vector_of("words"), deferred=True, deferred_raiseload=True)


class Release(Base):
    """An album, EP or single. `published_at` is when it was first published.

    `taken_down` by the co-op's operators: `hidden` as if withdrawn, or `removed` from those who own its tracks too. It
    cannot be published as long as that stands. `words` is its title folded; it is found by these and by its artist's.
    """

    __tablename__ = "release"
    __table_args__ = (
        UniqueConstraint("id", "artist_id"),
        CheckConstraint("kind in ('album', 'ep', 'single')", name="kind_known"),
        CheckConstraint("state in ('draft', 'published', 'withdrawn')", name="state_known"),
        CheckConstraint("state = 'draft' or published_at is not null", name="published_has_date"),
        CheckConstraint("taken_down in ('hidden', 'removed')", name="taken_down_known"),
        CheckConstraint("taken_down is null or state = 'withdrawn'", name="taken_down_is_withdrawn"),
        Index("release_artist", "artist_id", "id"),
        Index("release_search", "search", postgresql_using="gin"),
        Index("release_newest", "published_at", "id", postgresql_where="state = 'published'"),
        # With the genre as it is written, so that counting genres reads the index alone.
        Index("release_genre", text("lower(genre)"), "genre", postgresql_where="state = 'published'"),
        # An order that nobody chose and that stays: from a random place in it on, the releases are random ones.
        Index("release_shuffled", text("uuid_hash(id)"), "id", postgresql_where="state = 'published'"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    artist_id: Mapped[UUID] = mapped_column(ForeignKey("coop.artist.id"))
    title: Mapped[str] = mapped_column(Text)
    kind: Mapped[ReleaseKind] = mapped_column(Text)
    released_on: Mapped[date | None]
    genre: Mapped[str | None] = mapped_column(Text)
    artwork: Mapped[str | None] = mapped_column(Text)  # object key, never used twice
    state: Mapped[ReleaseState] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)
    published_at: Mapped[datetime | None] = mapped_column(Instant)
    taken_down: Mapped[TakenDownAs | None] = mapped_column(Text)
    words: Mapped[str] = mapped_column(Text)
    search: Mapped[str] = mapped_column(TSVECTOR, _vector_of("words"), deferred=True, deferred_raiseload=True)

    artist: Mapped[Artist] = relationship(lazy="raise")
    tracks: Mapped[list[Track]] = relationship(
        lazy="raise", order_by="Track.position, Track.id", viewonly=True, foreign_keys="Track.release_id"
    )


class ReleaseOwnership(Base):
    """How many listeners own something of a release, as it was last counted. Fewer than are told of have no row."""

    __tablename__ = "release_ownership"
    __table_args__ = (Index("release_ownership_most", "owners", "release_id"),)

    release_id: Mapped[UUID] = mapped_column(ForeignKey("coop.release.id", ondelete="CASCADE"), primary_key=True)
    owners: Mapped[int]


class Track(Base):
    """An uploaded recording and its place on a release.

    storing → processing → ready or failed. While `storing`, the original may or may not be in the object store yet;
    `leased_until` is then when the upload counts as dead. While `processing`, the holder of `lease` renders it until
    `leased_until`, and `due_at` is when the sweeper asks for it (again). `problem` says why it failed.
    `taken_down` as a release.
    It is found by the words of its title, its release's and its artist's.
    """

    __tablename__ = "track"
    __table_args__ = (
        # The same bytes once in an artist's catalogue; the artist is the release's.
        UniqueConstraint("artist_id", "sha256"),
        ForeignKeyConstraint(["release_id", "artist_id"], ["coop.release.id", "coop.release.artist_id"]),
        CheckConstraint("state in ('storing', 'processing', 'ready', 'failed')", name="state_known"),
        CheckConstraint("state <> 'ready' or duration_ms > 0", name="ready_has_duration"),
        CheckConstraint("(state = 'failed') = (problem is not null)", name="failed_has_problem"),
        CheckConstraint("bytes > 0", name="not_empty"),
        CheckConstraint("taken_down in ('hidden', 'removed')", name="taken_down_known"),
        Index("track_release", "release_id"),
        Index("track_search", "search", postgresql_using="gin"),
        Index("track_unfinished", "due_at", postgresql_where="state in ('storing', 'processing')"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    release_id: Mapped[UUID]
    artist_id: Mapped[UUID]
    position: Mapped[int]
    title: Mapped[str] = mapped_column(Text)
    isrc: Mapped[str | None] = mapped_column(Text)
    genre: Mapped[str | None] = mapped_column(Text)
    state: Mapped[TrackState] = mapped_column(Text)
    problem: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    duration_ms: Mapped[int | None]
    taken_down: Mapped[TakenDownAs | None] = mapped_column(Text)

    original: Mapped[str] = mapped_column(Text)  # object key
    sha256: Mapped[bytes] = mapped_column(LargeBinary)
    format: Mapped[str] = mapped_column(Text)
    content_type: Mapped[str] = mapped_column(Text)
    lossless: Mapped[bool]
    # How loud it is from beginning to end, a byte for each of equal parts; older tracks have none.
    waveform: Mapped[Waveform | None] = mapped_column(LargeBinary, deferred=True, deferred_raiseload=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    filename: Mapped[str] = mapped_column(Text)
    uploaded_at: Mapped[datetime] = mapped_column(Instant)
    tags: Mapped[dict[str, Any]] = mapped_column(JSONB)

    attempts: Mapped[int] = mapped_column(default=0)
    lease: Mapped[UUID | None]
    leased_until: Mapped[datetime | None] = mapped_column(Instant)
    due_at: Mapped[datetime | None] = mapped_column(Instant)

    words: Mapped[str] = mapped_column(Text)
    release_words: Mapped[str] = mapped_column(Text)
    search: Mapped[str] = mapped_column(
        TSVECTOR, _vector_of("words", "release_words"), deferred=True, deferred_raiseload=True
    )

    release: Mapped[Release] = relationship(lazy="raise", viewonly=True, foreign_keys="Track.release_id")


class Rendition(Base):
    """A file made from a track's original. Audio begins after the first `header_bytes`."""

    __tablename__ = "rendition"
    __table_args__ = (
        UniqueConstraint("track_id", "codec"),
        CheckConstraint("codec in ('mp3', 'opus', 'flac', 'preview')", name="codec_known"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    track_id: Mapped[UUID] = mapped_column(ForeignKey("coop.track.id", ondelete="CASCADE"))
    codec: Mapped[RenditionCodec] = mapped_column(Text)
    object_key: Mapped[str] = mapped_column(Text)
    content_type: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger)
    duration_ms: Mapped[int]
    bitrate: Mapped[int]
    header_bytes: Mapped[int]


class DiscardedObject(Base):
    """An object that nothing refers to, or will not unless its upload is confirmed: deleted once it is due."""

    __tablename__ = "discarded_object"

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    due_at: Mapped[datetime] = mapped_column(Instant, index=True)


class TransferPlace(Base):
    """One of the uploads or archives an account has under way, on whichever process. One that dies stops holding it."""

    __tablename__ = "transfer_place"
    __table_args__ = (CheckConstraint("kind in ('upload', 'archive')", name="kind_known"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("coop.user.id", ondelete="CASCADE"), index=True)
    kind: Mapped[TransferKind] = mapped_column(Text)
    held_until: Mapped[datetime] = mapped_column(Instant)
