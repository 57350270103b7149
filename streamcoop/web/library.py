"""What is a listener's own: the tracks she owns or is on the way to, her plays, favourites and playlists."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from streamcoop.accounts.principals import Principal
from streamcoop.clock import Now
from streamcoop.database import Transaction
from streamcoop.errors import NotSignedIn
from streamcoop.founded import Founded
from streamcoop.library import routes as library
from streamcoop.library.schemas import LibraryTrack
from streamcoop.wallet import statements
from streamcoop.wallet.offers import Offer, offers
from streamcoop.web.pages import PageRoute, page
from streamcoop.web.viewer import Looking, Viewer

A_PAGE = 50

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Cursor = Annotated[UUID | None, Query()]


def _listener(viewer: Viewer) -> Principal:
    """Whoever looks, as the API knows her. Raises NotSignedIn and NotPermitted."""
    viewer.require("listen")
    if viewer.principal is None:
        raise NotSignedIn
    return viewer.principal


def _offers(
    session: Transaction, founding: Founded, viewer: Viewer, tracks: list[LibraryTrack], now: Now
) -> dict[UUID, Offer]:
    return offers(session.connection(), founding, viewer.user_id, {track.id for track in tracks}, now)


@router.get("/library")
def owned(
    request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now, cursor: Cursor = None
) -> Response:
    """What she owns."""
    listener = _listener(viewer)
    mine = statements.progress(session, founding, listener.user_id, now, cursor, A_PAGE, owned=True)
    return page(request, viewer, "library.html", mine=mine, is_owned=True)


@router.get("/library/on-the-way")
def on_the_way(
    request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now, cursor: Cursor = None
) -> Response:
    """What she has played and does not own yet."""
    listener = _listener(viewer)
    mine = statements.progress(session, founding, listener.user_id, now, cursor, A_PAGE, owned=False)
    return page(request, viewer, "library.html", mine=mine, is_owned=False)


@router.get("/library/history")
def history(
    request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now, cursor: Cursor = None
) -> Response:
    """Her plays, each to be checked against the shared log."""
    plays = library.plays(_listener(viewer), session, founding, now, cursor, A_PAGE)
    return page(request, viewer, "history.html", plays=plays)


@router.get("/library/favourites")
def favourites(
    request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now, cursor: Cursor = None
) -> Response:
    """What she likes."""
    liked = library.newest_favourites(_listener(viewer), session, founding, now, cursor, A_PAGE)
    offered = _offers(session, founding, viewer, [each.track for each in liked.items], now)
    return page(request, viewer, "favourites.html", liked=liked, offered=offered)


@router.get("/library/playlists")
def playlists(request: Request, viewer: Looking, session: Transaction) -> Response:
    """Her playlists."""
    return page(request, viewer, "playlists.html", playlists=library.own_playlists(_listener(viewer), session))


@router.get("/playlists/{playlist_id}")
def playlist(
    playlist_id: UUID, request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now
) -> Response:
    """A playlist: one of hers, or one that is public."""
    shown = library.playlist(playlist_id, viewer.principal, session, founding, now)
    offered = _offers(session, founding, viewer, [item.track for item in shown.items], now)
    return page(request, viewer, "playlist.html", playlist=shown, offered=offered)
