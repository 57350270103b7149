"""A listener's library over HTTP."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from ledger.store import history
from streamcoop.accounts import service as accounts
from streamcoop.accounts.principals import Listener, MaybePrincipal
from streamcoop.clock import Now
from streamcoop.database import Transaction
from streamcoop.errors import NotFound, NotPermitted, NotSignedIn
from streamcoop.founded import Founded
from streamcoop.library import favourites, playlists
from streamcoop.library.schemas import (
    FavouriteOut,
    FavouritePage,
    ItemMove,
    ItemOut,
    NewItem,
    NewPlaylist,
    PlaylistChange,
    PlaylistOut,
    PlaylistWithItems,
    PlayOut,
    PlayPage,
    item_out,
    playlist_out,
    track_out,
)
from streamcoop.library.tracks import shown
from streamcoop.problems import answers

router = APIRouter(prefix="/api/v1/library", tags=["library"])

PLAYS_PAGE_MAX = 200
PAGE = 50
_PERSONAL = (NotSignedIn, NotPermitted)
_OWNERS = (*_PERSONAL, NotFound)

Cursor = Annotated[UUID | None, Query(description="`next_cursor` of the page before.")]


@router.get("/plays", responses=answers(*_PERSONAL))
def plays(
    listener: Listener,
    session: Transaction,
    founding: Founded,
    now: Now,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=PLAYS_PAGE_MAX)] = PAGE,
) -> PlayPage:
    """Your plays, newest first, whether they are settled or not yet."""
    found = history.plays(session.connection(), listener.user_id, cursor, limit + 1)
    page = found[:limit]
    tracks = shown(session, founding, listener.user_id, [play.track_id for play in page], now)
    items = [
        PlayOut(
            play_id=play.play_id,
            recorded_at=play.recorded_at,
            track=track_out(tracks[play.track_id]),
            kind=play.kind,
            ordinal=play.ordinal,
            price_micro=play.price_micro,
            price_money_micro=founding.credit_price.value_micro(play.price_micro),
            settled=play.settled,
        )
        for play in page
    ]
    next_cursor = page[-1].play_id if len(found) > limit else None
    return PlayPage(items=items, currency=founding.currency, next_cursor=next_cursor)


@router.get("/favourites", responses=answers(*_PERSONAL))
def newest_favourites(
    listener: Listener,
    session: Transaction,
    founding: Founded,
    now: Now,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=favourites.PAGE_MAX)] = PAGE,
) -> FavouritePage:
    """The tracks you like, the last added first."""
    found = favourites.newest(session, listener.user_id, cursor, limit + 1)
    page = found[:limit]
    tracks = shown(session, founding, listener.user_id, [liked.track_id for liked in page], now)
    items = [FavouriteOut(track=track_out(tracks[liked.track_id]), added_at=liked.added_at) for liked in page]
    return FavouritePage(items=items, next_cursor=page[-1].id if len(found) > limit else None)


@router.put(
    "/favourites/{track_id}", status_code=204, responses=answers(*_OWNERS, favourites.TooManyFavourites)
)  # fmt: skip
def like(track_id: UUID, listener: Listener, session: Transaction, founding: Founded, now: Now) -> None:
    """Like a track. Again, nothing happens."""
    favourites.add(session, founding, listener.user_id, track_id, now)


@router.delete("/favourites/{track_id}", status_code=204, responses=answers(*_PERSONAL))
def like_no_more(track_id: UUID, listener: Listener, session: Transaction) -> None:
    """Like a track no more. Again, nothing happens."""
    favourites.remove(session, listener.user_id, track_id)


@router.post("/playlists", status_code=201, responses=answers(*_PERSONAL, playlists.TooManyPlaylists))
def create_playlist(new: NewPlaylist, listener: Listener, session: Transaction, now: Now) -> PlaylistOut:
    """Make a playlist."""
    made = playlists.create(session, listener.user_id, new.name, new.visibility, now)
    return playlist_out(made, _name(session, listener.user_id), listener.user_id, 0)


@router.get("/playlists", responses=answers(*_PERSONAL))
def own_playlists(listener: Listener, session: Transaction) -> list[PlaylistOut]:
    """Your playlists, the last made first."""
    name = _name(session, listener.user_id)
    made = playlists.of_owner(session, listener.user_id)
    return [playlist_out(playlist, name, listener.user_id, tracks) for playlist, tracks in made]


@router.get("/playlists/{playlist_id}", responses=answers(NotSignedIn, NotFound))
def playlist(
    playlist_id: UUID, viewer: MaybePrincipal, session: Transaction, founding: Founded, now: Now
) -> PlaylistWithItems:
    """A playlist with its tracks in order: one of yours, or one that is public."""
    viewer_id = viewer.user_id if viewer else None
    found = playlists.readable(session, viewer_id, playlist_id)
    placed = playlists.items(session, playlist_id)
    tracks = shown(session, founding, viewer_id, [one.item.track_id for one in placed], now)
    told = playlist_out(found, _name(session, found.owner_id), viewer_id, len(placed))
    return PlaylistWithItems(
        **told.model_dump(), items=[item_out(one, tracks[one.item.track_id]) for one in placed]
    )  # fmt: skip


@router.patch("/playlists/{playlist_id}", responses=answers(*_OWNERS))
def change_playlist(
    playlist_id: UUID, change: PlaylistChange, listener: Listener, session: Transaction, now: Now
) -> PlaylistOut:
    """Give a playlist of yours another name, or show it to everybody who has its id, or to nobody else."""
    told = change.model_dump(exclude_unset=True)
    changed = playlists.change(
        session, listener.user_id, playlist_id, told.get("name"), told.get("visibility"), now
    )  # fmt: skip
    tracks = playlists.count(session, playlist_id)
    return playlist_out(changed, _name(session, listener.user_id), listener.user_id, tracks)


@router.delete("/playlists/{playlist_id}", status_code=204, responses=answers(*_OWNERS))
def delete_playlist(playlist_id: UUID, listener: Listener, session: Transaction) -> None:
    """Delete a playlist of yours."""
    playlists.remove(session, listener.user_id, playlist_id)


@router.post(
    "/playlists/{playlist_id}/items", status_code=201, responses=answers(*_OWNERS, playlists.PlaylistFull)
)  # fmt: skip
def add_track(
    playlist_id: UUID, new: NewItem, listener: Listener, session: Transaction, founding: Founded, now: Now
) -> ItemOut:
    """Put a track in a playlist of yours, at a place or at the end. The same may be put there again."""
    placed = playlists.add(session, founding, listener.user_id, playlist_id, new.track_id, new.position, now)
    return item_out(placed, shown(session, founding, listener.user_id, [new.track_id], now)[new.track_id])


@router.patch("/playlists/{playlist_id}/items/{item_id}", responses=answers(*_OWNERS))
def move_item(
    playlist_id: UUID,
    item_id: UUID,
    to: ItemMove,
    listener: Listener,
    session: Transaction,
    founding: Founded,
    now: Now,
) -> ItemOut:
    """Put an item of a playlist of yours at another place."""
    placed = playlists.move(session, listener.user_id, playlist_id, item_id, to.position, now)
    track_id = placed.item.track_id
    return item_out(placed, shown(session, founding, listener.user_id, [track_id], now)[track_id])


@router.delete("/playlists/{playlist_id}/items/{item_id}", status_code=204, responses=answers(*_OWNERS))
def remove_item(playlist_id: UUID, item_id: UUID, listener: Listener, session: Transaction, now: Now) -> None:
    """Take an item out of a playlist of yours."""
    playlists.take_out(session, listener.user_id, playlist_id, item_id, now)


def _name(session: Transaction, user_id: UUID) -> str:
    return accounts.user(session, user_id).name
