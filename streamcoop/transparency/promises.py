"""Promises that a vote will be counted: signed with the log's keys when the vote is cast."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from ledger import receipts
from streamcoop.settings import Settings
from streamcoop.transparency import naming
from streamcoop.transparency.keys import keyring, signing_keys

# A chain that does not answer puts the count off by a day at the most; then comes the batch that tells it.
COUNTED_WITHIN = timedelta(days=2)


def vote_promise(
    session: Session,
    settings: Settings,
    ballot_id: UUID,
    address: str,
    digest: bytes,
    nonce: int,
    cast_at: datetime,
    closes_by: datetime,
) -> str | None:
    """The signed note of a promise that this vote is counted; None where this service signs no log."""
    origin = naming.origin(session, settings)
    keys = keyring(session, signing_keys(settings, origin))
    if not keys.own or not keys.is_known:
        return None
    publish_by = closes_by + COUNTED_WITHIN + timedelta(seconds=settings.log_batch_seconds)
    promised = receipts.VotePromise(
        origin, ballot_id, address.lower(), digest, nonce, int(cast_at.timestamp()), int(publish_by.timestamp())
    )
    return receipts.promise(promised, keys.own)
