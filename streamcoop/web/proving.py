"""The page of the shared log: how far it is published, who vouches for it, and how anybody checks it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from ledger.store import batches
from streamcoop.anchoring import service as anchoring
from streamcoop.clock import Now
from streamcoop.database import Transaction
from streamcoop.founded import Founded
from streamcoop.royalties import statements
from streamcoop.settings import settings
from streamcoop.transparency import routes as transparency
from streamcoop.web.pages import PageRoute, page
from streamcoop.web.viewer import Looking

EPOCHS_SHOWN = 12

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/proof")
def proof(request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now) -> Response:
    """What anybody can check, and how."""
    conn = session.connection()
    epochs = statements.epochs(session, founding, now, EPOCHS_SHOWN)
    return page(
        request,
        viewer,
        "proof.html",
        log=transparency.log_facts(session),
        head=batches.published_head(conn),
        waiting=batches.waiting(conn),
        batch_seconds=settings().log_batch_seconds,
        sealed=[epoch for epoch in epochs if epoch.state == "closed"],
        anchors={anchor.epoch: anchor for anchor in anchoring.newest(session, EPOCHS_SHOWN)},
        address=f"{settings().public_address}/log",
    )
