"""Certificates of ownership over HTTP."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from streamcoop.accounts.principals import Listener
from streamcoop.clock import Now
from streamcoop.database import Transaction
from streamcoop.errors import NotFound, NotPermitted, NotSignedIn
from streamcoop.founded import Founded
from streamcoop.problems import answers
from streamcoop.transparency import certificates, files, receipts
from streamcoop.transparency.routes import Log
from streamcoop.transparency.schemas import CertificateOut, CertificatePage

router = APIRouter(prefix="/api/v1", tags=["transparency"])
_NOT_SIGNED = (receipts.LogNotSigned, receipts.NotYetTold)


@router.get(
    "/tracks/{track_id}/certificate",
    response_class=Response,
    responses=answers(NotSignedIn, NotPermitted, NotFound, certificates.NotOwned, *_NOT_SIGNED)
    | {200: {"content": {"text/plain": {}}, "description": "A signed note (C2SP)."}},
)
def track_certificate(
    track_id: UUID, listener: Listener, session: Transaction, log: Log, founding: Founded, now: Now
) -> Response:
    """A signed certificate that whoever bears it owns this track: it names nobody, and outlives your account.

    Each time it is another one; the co-op keeps none of them.
    """
    note = certificates.of_track(session, log, founding, listener.user_id, track_id, now)
    return Response(note, headers={"Content-Type": files.TEXT, "Cache-Control": "private, no-store"})


@router.get("/me/certificates", responses=answers(NotSignedIn, NotPermitted, *_NOT_SIGNED))
def my_certificates(
    listener: Listener,
    session: Transaction,
    log: Log,
    founding: Founded,
    now: Now,
    cursor: Annotated[UUID | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=certificates.PAGE_MAX)] = 50,
) -> CertificatePage:
    """Certificates of all tracks you own, to keep as files."""
    found, rest = certificates.of_listener(session, log, founding, listener.user_id, cursor, limit, now)
    items = [
        CertificateOut(
            track_id=each.track_id,
            title=each.title,
            artist=each.artist,
            owned_at=each.owned_at,
            certificate=each.note,
        )
        for each in found
    ]
    return CertificatePage(items=items, next_cursor=None if rest is None else str(rest))
