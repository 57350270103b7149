"""The page of the shared log: how far it is published, who vouches for it, and how anybody checks it."""

from __future__ import annotations

from hashlib import sha256

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from ledger.errors import NoteRefused
from ledger.store import attestations, batches
from ledger.witness import parse_witnesses
from streamcoop.adapters.objects import ObjectStoreUnavailable
from streamcoop.anchoring import service as anchoring
from streamcoop.clock import Now
from streamcoop.database import Transaction
from streamcoop.founded import Founded
from streamcoop.royalties import statements
from streamcoop.settings import settings
from streamcoop.transparency import founding, places
from streamcoop.transparency import routes as transparency
from streamcoop.web.pages import PageRoute, page
from streamcoop.web.viewer import Looking

EPOCHS_SHOWN = 12
GROUP = 4

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/proof")
def proof(request: Request, viewer: Looking, session: Transaction, founded: Founded, now: Now) -> Response:
    """What anybody can check, and how."""
    conn = session.connection()
    log, witnesses = transparency.log_facts(session), parse_witnesses(settings().log_witnesses)
    epochs = statements.epochs(session, founded, now, EPOCHS_SHOWN)
    return page(
        request,
        viewer,
        "proof.html",
        log=log,
        head=batches.published_head(conn),
        waiting=batches.waiting(conn),
        batch_seconds=settings().log_batch_seconds,
        sealed=[epoch for epoch in epochs if epoch.state == "closed"],
        anchors={anchor.epoch: anchor for anchor in anchoring.newest(session, EPOCHS_SHOWN)},
        attested=attestations.told(conn, EPOCHS_SHOWN),
        prints=[(key, _fingerprint(key)) for key in log.keys],
        founding_note=_founding_pin(request, conn),
        witnesses=[(witness.name, str(key)) for witness in witnesses for key in witness.keys],
        witnesses_needed=settings().log_witnesses_needed,
    )


def _fingerprint(key: str) -> str:
    """SHA-256 of a verifier key as the log publishes it, in groups: as `checking.js` tells what a browser remembers."""
    digest = sha256(key.encode()).hexdigest()
    return " ".join(digest[at : at + GROUP] for at in range(0, len(digest), GROUP))


def _founding_pin(request: Request, conn: Connection) -> str | None:
    try:
        return founding.published_pin(places.here(conn, request.app.state.objects))
    except (ObjectStoreUnavailable, NoteRefused):
        # The rest of the page is true all the same.
        return None
