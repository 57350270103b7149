"""Closing epochs that are due."""

from __future__ import annotations

import logging
import time

from ledger.store import closing
from streamcoop.clock import now
from streamcoop.database import transaction
from streamcoop.founded import founded
from streamcoop.royalties import splits
from streamcoop.royalties.service import close_epoch
from workers.app import app

log = logging.getLogger(__name__)

# A co-op that was away for long closes so many epochs a tick, and the rest at the next.
EPOCHS_A_TICK_MAX = 24
# Releasing gives way to the next tick after this long.
RELEASE_S_MAX = 20.0


@app.task(name="workers.royalties.close_due")
def close_due() -> list[int]:
    """Close each epoch whose grace has passed, in order. Safe to lose and to run twice at once."""
    closed: list[int] = []
    for _ in range(EPOCHS_A_TICK_MAX):
        with transaction() as session:
            epoch = closing.due_epoch(session.connection(), founded(), now())
        if epoch is None:
            break
        try:
            close_epoch(transaction, founded(), epoch, now)
        except closing.PlaysUnsettled:
            log.info("epoch waits for settling", extra={"epoch": epoch})
            break
        log.info("epoch closed", extra={"epoch": epoch})
        closed.append(epoch)
    return closed


@app.task(name="workers.royalties.release_lifted")
def release_lifted() -> None:
    """Pay what lifted holds kept back, a few tracks a transaction. Safe to lose and to run twice at once."""
    begun = time.monotonic()
    with transaction() as session:
        lifted = splits.lifted_holds(session)
    for hold_id in lifted:
        last: splits.HeldPair | None = None
        while time.monotonic() - begun < RELEASE_S_MAX:
            with transaction() as session:
                last = splits.release_lifted(session, hold_id, now(), last)
            if last is None:
                log.info("hold released", extra={"hold": str(hold_id)})
                break
