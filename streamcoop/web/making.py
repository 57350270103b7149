"""Where artists make: their names, releases and uploads, and who has a share of what."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from ledger import accounts as chart
from ledger.royalties import PAYEES_MAX
from ledger.store import posting
from streamcoop.accounts import service as accounts
from streamcoop.catalogue import search, service, uploads, workbench
from streamcoop.clock import Now
from streamcoop.database import Transaction
from streamcoop.errors import NotFound
from streamcoop.founded import Founded
from streamcoop.royalties import routes as royalties
from streamcoop.royalties import statements
from streamcoop.settings import settings
from streamcoop.web.listening import CURSOR_LENGTH_MAX, RELEASES_A_PAGE
from streamcoop.web.pages import PageRoute, page
from streamcoop.web.viewer import Looking

RELEASES_SHOWN = 12
SPLITS_SHOWN = 12

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/make")
def make(request: Request, viewer: Looking, session: Transaction, founding: Founded) -> Response:
    """What an artist has, what waits for her, and what this month has brought; to others, how to become one."""
    someone = viewer.require("royalties")
    artists = service.artists_of(session, someone.user_id) if viewer.may("catalogue") else []
    return page(
        request,
        viewer,
        "make.html",
        artists=[
            (artist, search.releases_of(session, artist.id, someone.user_id, None, RELEASES_SHOWN))
            for artist in artists
        ],
        artists_max=service.ARTISTS_PER_OWNER_MAX,
        drafts=workbench.drafts(session, someone.user_id) if artists else [],
        shares=royalties.my_splits(someone, session, founding),
        founding=founding,
        current=statements.current(session, founding, someone.user_id),
        balance_micro=posting.balance_micro(session.connection(), chart.royalty(someone.user_id)),
    )


@router.get("/make/artists/{artist_id}")
def artist(
    artist_id: UUID,
    request: Request,
    viewer: Looking,
    session: Transaction,
    cursor: Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX)] = None,
) -> Response:
    """An artist of one's own: what she is called, and her releases."""
    owner = viewer.require("catalogue")
    shown = service.artist(session, artist_id)
    if shown.owner_id != owner.user_id:
        raise NotFound
    releases = search.releases_of(session, artist_id, owner.user_id, cursor, RELEASES_A_PAGE)
    return page(request, viewer, "make_artist.html", artist=shown, releases=releases)


@router.get("/make/releases/{release_id}")
def release(release_id: UUID, request: Request, viewer: Looking, session: Transaction) -> Response:
    """The workshop of a release: its files, what they are called, its picture, and publishing it."""
    owner = viewer.require("catalogue")
    shown = service.release(session, owner.user_id, release_id)
    if shown.artist.owner_id != owner.user_id:
        raise NotFound
    return page(
        request,
        viewer,
        "make_release.html",
        release=shown,
        bytes_max=settings().upload_bytes_max,
        tracks_max=uploads.TRACKS_PER_RELEASE_MAX,
    )


@router.get("/make/tracks/{track_id}")
def track(
    track_id: UUID, request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now
) -> Response:
    """Who has a share of a track: now, from the next epoch on, and how to change it."""
    owner = viewer.require("catalogue")
    shown = service.own_track(session, owner.user_id, track_id)
    this = founding.calendar.epoch_at(now)
    versions = royalties.track_splits(track_id, owner, session, founding)[:SPLITS_SHOWN]
    in_force = next((split for split in versions if split.effective_epoch <= this), None)
    coming = next((split for split in versions if split.effective_epoch > this), None)
    return page(
        request,
        viewer,
        "make_track.html",
        track=shown,
        calendar=founding.calendar,
        in_force=in_force,
        coming=coming,
        before=[split for split in versions if split.effective_epoch <= this and split is not in_force],
        next_begins=founding.calendar.starts_at(this + 1),
        own_email=accounts.user(session, owner.user_id).email,
        payees_max=PAYEES_MAX,
        invitation=f"{settings().public_address}/make/shares",
    )


@router.get("/make/shares")
def shares(request: Request, viewer: Looking, session: Transaction, founding: Founded) -> Response:
    """Shares that wait for one's consent."""
    payee = viewer.require("royalties")
    return page(
        request,
        viewer,
        "make_shares.html",
        shares=royalties.my_splits(payee, session, founding),
        calendar=founding.calendar,
    )
