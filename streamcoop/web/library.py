"""What is a listener's own: the tracks she owns or is on the way to, her plays, favourites and playlists."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from streamcoop.clock import Now
from streamcoop.database import Transaction
from streamcoop.downloads import service as downloads
from streamcoop.founded import Founded
from streamcoop.library import routes as library
from streamcoop.wallet import statements
from streamcoop.web import rows
from streamcoop.web.pages import PageRoute, page
from streamcoop.web.viewer import Looking, Viewer

A_PAGE = 50

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Cursor = Annotated[UUID | None, Query()]


@router.get("/library")
def owned(
    request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now, cursor: Cursor = None
) -> Response:
    """What she owns."""
    return _paid_for(request, viewer, session, founding, now, cursor, is_owned=True)


@router.get("/library/on-the-way")
def on_the_way(
    request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now, cursor: Cursor = None
) -> Response:
    """What she has played and does not own yet."""
    return _paid_for(request, viewer, session, founding, now, cursor, is_owned=False)


def _paid_for(
    request: Request,
    viewer: Viewer,
    session: Transaction,
    founding: Founded,
    now: Now,
    cursor: UUID | None,
    *,
    is_owned: bool,
) -> Response:
    listener = viewer.require("listen").user_id
    all_owned = downloads.owned(session, founding, listener, now) if is_owned else []
    archived = all_owned[: downloads.TRACKS_AT_ONCE_MAX]
    mine = statements.progress(session, founding, listener, now, cursor, A_PAGE, owned=is_owned)
    return page(
        request,
        viewer,
        "library.html",
        mine=mine,
        rows=rows.of_progress(session, founding, viewer, mine.items, now),
        owned_at={track.track_id: track.owned_at for track in mine.items},
        owned=len(all_owned),
        archived=len(archived),
        sizes=downloads.sizes(session, archived),
        is_owned=is_owned,
    )


@router.get("/library/history")
def history(
    request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now, cursor: Cursor = None
) -> Response:
    """Her plays, each to be checked against the shared log."""
    plays = library.plays(viewer.require("listen"), session, founding, now, cursor, A_PAGE)
    return page(request, viewer, "history.html", plays=plays)


@router.get("/library/favourites")
def favourites(
    request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now, cursor: Cursor = None
) -> Response:
    """What she likes."""
    liked = library.newest_favourites(viewer.require("listen"), session, founding, now, cursor, A_PAGE)
    listed = rows.of_listed(session, founding, viewer, [each.track for each in liked.items], now)
    return page(request, viewer, "favourites.html", liked=liked, rows=listed)


@router.get("/library/playlists")
def playlists(request: Request, viewer: Looking, session: Transaction) -> Response:
    """Her playlists."""
    return page(request, viewer, "playlists.html", playlists=library.own_playlists(viewer.require("listen"), session))


@router.get("/playlists/{playlist_id}")
def playlist(
    playlist_id: UUID, request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now
) -> Response:
    """A playlist: one of hers, or one that is public."""
    shown = library.playlist(playlist_id, viewer.principal, session, founding, now)
    listed = rows.of_listed(session, founding, viewer, [item.track for item in shown.items], now)
    return page(request, viewer, "playlist.html", playlist=shown, rows=listed)
