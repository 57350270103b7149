"""Settling recorded plays, about every second; and what the play rows need beforehand."""

from __future__ import annotations

import logging
import time

from psycopg.errors import LockNotAvailable
from sqlalchemy.exc import OperationalError

from ledger.store import partitions
from ledger.store.settling import settle as settle_batch
from streamcoop import metrics, tracing
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
        batch_begun_ns = time.time_ns()
        with transaction() as session:
            count = settle_batch(session.connection(), now())
        if count:
            metrics.PLAYS_SETTLED.inc(count)
            metrics.SETTLING_SECONDS.observe((time.time_ns() - batch_begun_ns) / 1e9)
            tracing.done("settle plays", batch_begun_ns, plays=count)
        settled += count
        if not count:
            break
    if settled:
        log.info("settled", extra={"plays": settled, "ms": round((time.monotonic() - begun) * 1000)})
    return settled


@app.task(name="workers.credits.make_partitions")
def make_partitions() -> list[str]:
    """Make the partitions of the coming months' plays."""
    try:
        with transaction() as session:
            return partitions.ensure_partitions(session.connection(), now())
    except OperationalError as error:
        if not isinstance(error.orig, LockNotAvailable):
            raise
        log.info("partitions wait", extra={"reason": "somebody reads the plays for long, a backup perhaps"})
        return []
