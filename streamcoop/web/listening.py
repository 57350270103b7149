"""Pages of music: what is new, artists, releases, tracks, and what is searched for."""

from __future__ import annotations

import secrets
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from streamcoop.catalogue import discovery, search, service
from streamcoop.catalogue.schemas import GENRE_LENGTH_MAX
from streamcoop.clock import Now
from streamcoop.database import Transaction
from streamcoop.founded import Founded
from streamcoop.royalties import statements
from streamcoop.wallet import statements as wallet
from streamcoop.web import rows
from streamcoop.web.pages import PageRoute, page
from streamcoop.web.viewer import Looking

NEAREST = 5
NEWEST = 24
MOST_OWNED = 12
WALKED = 12
FOUND_MAX = 12
RELEASES_A_PAGE = 48
QUERY_LENGTH_MAX = 200
CURSOR_LENGTH_MAX = 500

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/")
def home(request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now) -> Response:
    """What is nearly hers, what is new, what most people own, and where chance leads."""
    mine = []
    if viewer.user_id is not None and viewer.may("listen"):
        mine = wallet.nearest(session, founding, viewer.user_id, now, NEAREST)
    newest = search.releases(session, None, None, None, None, NEWEST)
    start = discovery.HASH_MIN + secrets.randbelow(discovery.HASHES)
    return page(
        request,
        viewer,
        "home.html",
        nearest=rows.of_progress(session, founding, viewer, mine, now),
        releases=newest.items,
        most_owned=[release for release, _ in discovery.most_owned(session, None, MOST_OWNED).items],
        walk=discovery.random(session, start, WALKED) if len(newest.items) > WALKED else [],
        genres=discovery.genres(session),
    )


@router.get("/genres")
def genre(
    request: Request,
    viewer: Looking,
    session: Transaction,
    name: Annotated[str, Query(max_length=GENRE_LENGTH_MAX)] = "",
    cursor: Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX)] = None,
) -> Response:
    """The releases of a genre, newest first; without a name, all genres."""
    if not name:
        return page(request, viewer, "genres.html", genres=discovery.genres(session))
    releases = search.releases(session, None, None, name, cursor, RELEASES_A_PAGE)
    return page(request, viewer, "genre.html", genre=name, releases=releases)


@router.get("/artists/{artist_id}")
def artist(
    artist_id: UUID,
    request: Request,
    viewer: Looking,
    session: Transaction,
    cursor: Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX)] = None,
) -> Response:
    """An artist and her releases."""
    shown = service.artist(session, artist_id)
    releases = search.releases_of(session, artist_id, viewer.user_id, cursor, RELEASES_A_PAGE)
    return page(request, viewer, "artist.html", artist=shown, releases=releases)


@router.get("/releases/{release_id}")
def release(
    release_id: UUID, request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now
) -> Response:
    """A release and its tracks."""
    shown = service.release(session, viewer.user_id, release_id)
    shown_tracks = rows.of_tracks(session, founding, viewer, [(track, shown) for track in shown.tracks], now)
    to_own = [row.offer for row in shown_tracks if row.is_playable and not (row.is_own or row.offer.owned)]
    left_micro = sum(offer.left_micro for offer in to_own)
    return page(
        request,
        viewer,
        "release.html",
        release=shown,
        rows=shown_tracks,
        to_own=len(to_own),
        left_micro=left_micro,
        minor_micro=founding.minor_micro,
        shared=statements.shared_out(session, founding, left_micro, now) if left_micro else None,
    )


@router.get("/tracks/{track_id}")
def track(
    track_id: UUID, request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now
) -> Response:
    """A track: its curve to ownership."""
    shown = service.track(session, viewer.user_id, track_id)
    (row,) = rows.of_tracks(session, founding, viewer, [(shown, shown.release)], now)
    return page(request, viewer, "track.html", track=shown, row=row)


@router.get("/search")
def searched(
    request: Request,
    viewer: Looking,
    session: Transaction,
    founding: Founded,
    now: Now,
    q: Annotated[str, Query(max_length=QUERY_LENGTH_MAX)] = "",
) -> Response:
    """Artists, releases and tracks that have all of the words."""
    asked = q.strip()
    artists = search.artists(session, asked, None, FOUND_MAX).items if asked else []
    releases = search.releases(session, asked, None, None, None, FOUND_MAX).items if asked else []
    tracks = search.tracks(session, asked, None, FOUND_MAX).items if asked else []
    shown_tracks = rows.of_tracks(session, founding, viewer, [(track, track.release) for track in tracks], now)
    return page(request, viewer, "search.html", q=asked, artists=artists, releases=releases, rows=shown_tracks)
