"""What the library's routes take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field

from streamcoop.accounts.schemas import Line, Payload
from streamcoop.catalogue.schemas import ArtistRef
from streamcoop.library.models import Playlist, Visibility
from streamcoop.library.playlists import TRACKS_PER_PLAYLIST_MAX, Placed
from streamcoop.library.tracks import Shown

PLAYLIST_NAME_LENGTH_MAX = 200


def _trimmed(text: str) -> str:
    trimmed = text.strip()
    if not trimmed:
        raise ValueError("must not be blank")
    return trimmed


PlaylistName = Annotated[Line, Field(min_length=1, max_length=PLAYLIST_NAME_LENGTH_MAX), AfterValidator(_trimmed)]
Place = Annotated[int, Field(strict=True, ge=1, le=TRACKS_PER_PLAYLIST_MAX, description="The first is 1.")]


class LibraryTrack(BaseModel):
    """A track in a list. What it is called is null where the viewer may not know: it was never published."""

    id: UUID
    title: str | None
    artist: ArtistRef | None
    release_id: UUID | None
    release_title: str | None
    artwork: str | None = Field(description="The address of its release's picture.")
    duration_ms: int | None
    available: bool = Field(description="Whether you can play it: published, yours by your plays, or your own music.")
    owned: bool
    favourite: bool


class PlayOut(BaseModel):
    """A play of yours. `recorded_at` is when it began to count."""

    play_id: UUID
    recorded_at: datetime
    track: LibraryTrack
    kind: Literal["play", "buyout"]
    ordinal: int
    price_micro: int
    price_money_micro: int
    settled: bool


class PlayPage(BaseModel):
    """Some of your plays, newest first, and the cursor of the next page."""

    items: list[PlayOut]
    currency: str
    next_cursor: UUID | None


class FavouriteOut(BaseModel):
    """A track you like."""

    track: LibraryTrack
    added_at: datetime


class FavouritePage(BaseModel):
    """Some of your favourites, the last added first, and the cursor of the next page."""

    items: list[FavouriteOut]
    next_cursor: UUID | None


class NewPlaylist(Payload):
    """A list to put tracks in."""

    name: PlaylistName
    visibility: Visibility = "private"


class PlaylistChange(Payload):
    """What is to change about a list; a member left out stays as it is."""

    name: PlaylistName = Field(default_factory=str)
    visibility: Visibility = Field(default_factory=lambda: "private")


class NewItem(Payload):
    """A track to put in a list: at a place, or at the end."""

    track_id: UUID
    position: Place | None = None


class ItemMove(Payload):
    """Where an item is to stand. Beyond the end is the end."""

    position: Place


class PlaylistOut(BaseModel):
    """A list of tracks, and whose it is."""

    id: UUID
    name: str
    visibility: Visibility
    owner: str = Field(description="The display name.")
    own: bool
    tracks: int
    created_at: datetime
    changed_at: datetime


class ItemOut(BaseModel):
    """A track in a list. The same may stand there more than once, each an item of its own."""

    id: UUID
    position: int
    added_at: datetime
    track: LibraryTrack


class PlaylistWithItems(PlaylistOut):
    """A list with what is in it, in order."""

    items: list[ItemOut]


def track_out(shown: Shown) -> LibraryTrack:
    """A track as it is shown."""
    card = shown.card
    return LibraryTrack(
        id=shown.track_id,
        title=card.title if card else None,
        artist=ArtistRef(id=card.artist_id, name=card.artist) if card else None,
        release_id=card.release_id if card else None,
        release_title=card.release if card else None,
        artwork=card.artwork if card else None,
        duration_ms=card.duration_ms if card else None,
        available=shown.available,
        owned=shown.owned,
        favourite=shown.favourite,
    )


def playlist_out(playlist: Playlist, owner: str, viewer_id: UUID | None, tracks: int) -> PlaylistOut:
    """A list of an owner called `owner`, with so many tracks, as this viewer is shown it."""
    return PlaylistOut(
        id=playlist.id,
        name=playlist.name,
        visibility=playlist.visibility,
        owner=owner,
        own=playlist.owner_id == viewer_id,
        tracks=tracks,
        created_at=playlist.created_at,
        changed_at=playlist.changed_at,
    )


def item_out(placed: Placed, track: Shown) -> ItemOut:
    """An item as it is shown."""
    item = placed.item
    return ItemOut(id=item.id, position=placed.position, added_at=item.added_at, track=track_out(track))
