"""Pages about music that is reported: reporting it, what was decided, and what was taken down of one's own."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from streamcoop.catalogue import takedown
from streamcoop.catalogue.takedown import Subject
from streamcoop.database import Transaction
from streamcoop.moderation import answering, service
from streamcoop.moderation.schemas import TEXT_LENGTH_MAX
from streamcoop.web.pages import PageRoute, page
from streamcoop.web.viewer import Looking

DECISIONS_A_PAGE = 30

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/report")
def report(
    request: Request,
    viewer: Looking,
    session: Transaction,
    track: UUID | None = None,
    release: UUID | None = None,
) -> Response:
    """Where somebody says what is wrong with a track or a release."""
    viewer.require()
    subject, about = Subject(track, None if track else release), None
    if track or release:
        takedown.require_public(session, subject)
        about = takedown.named(session, [subject])[subject]
    return page(request, viewer, "report.html", about=about, text_max=TEXT_LENGTH_MAX)


@router.get("/moderation")
def decisions(
    request: Request, viewer: Looking, session: Transaction, cursor: Annotated[UUID | None, Query()] = None
) -> Response:
    """What was decided on reports, and why."""
    found = service.decisions(session, cursor, DECISIONS_A_PAGE + 1)
    shown = found[:DECISIONS_A_PAGE]
    return page(
        request,
        viewer,
        "moderation.html",
        decisions=answering.decisions(session, shown),
        next_cursor=shown[-1].id if len(found) > DECISIONS_A_PAGE else None,
    )


@router.get("/moderation/own")
def own(request: Request, viewer: Looking, session: Transaction) -> Response:
    """What was taken down of one's own music, why, and the way to appeal."""
    artist = viewer.require("catalogue")
    found = service.of_owner(session, artist.user_id)
    return page(
        request,
        viewer,
        "moderation_own.html",
        decisions=answering.decisions(session, found),
        text_max=TEXT_LENGTH_MAX,
    )
