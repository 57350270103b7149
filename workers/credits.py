"""Settling recorded plays, about every second; and what the play rows need beforehand."""

from __future__ import annotations

import logging
import time

from ledger.store import partitions
from ledger.store.settling import settle as settle_batch
from streamcoop.clock import now
from streamcoop.database import transaction
from workers.app import app

log = logging.getLogger(__name__)

# A tick goes on while there is something to settle, but gives way to the next after this long.
TICK_S_MAX = 20.0


@app.task(name="workers.credits.settle")
def settle() -> int:
    """Settle all that is recorded, a transaction per batch. Safe to run twice at once and to lose."""
    begun, settled = time.monotonic(), 0
    while time.monotonic() - begun < TICK_S_MAX:
        with transaction() as session:
            count = settle_batch(session.connection(), now())
        settled += count
        if not count:
            break
    if settled:
        log.info("settled", extra={"plays": settled, "ms": round((time.monotonic() - begun) * 1000)})
    return settled


@app.task(name="workers.credits.make_partitions")
def make_partitions() -> list[str]:
    """Make the partitions of the coming months' plays."""
    with transaction() as session:
        return partitions.ensure_partitions(session.connection(), now())
