"""What is done to the books now and then: adding them up again, so that somebody is told when they stop balancing;
erasing from them; and counting owners for the catalogue.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from ledger.store.checking import add_up_books
from streamcoop.catalogue import discovery
from streamcoop.clock import now
from streamcoop.database import engine, transaction
from streamcoop.erasure import service as erasure
from streamcoop.operations import books_check
from streamcoop.settings import settings
from workers.app import app

log = logging.getLogger(__name__)

CHECK_S_MAX = 540
STATEMENT_S_MAX = 300
# Erasures that a tick looks at, and how long it goes on; the next one goes on from there.
ERASURES_A_TICK_MAX = 100
ERASE_TICK_S_MAX = 60.0
# A count that takes longer ends where it is; what comes after keeps its older figures.
COUNT_TICK_S_MAX = 300.0


@app.task(name="workers.books.check", soft_time_limit=CHECK_S_MAX)
def check() -> bool | None:
    """Check the books if that is due; whether they balance. A check that is killed is begun anew after an interval."""
    with transaction() as session:
        check_id = books_check.begin(session, timedelta(seconds=settings().books_check_interval_s), now())
    if check_id is None:
        return None
    report = add_up_books(engine(), STATEMENT_S_MAX)
    with transaction() as session:
        books_check.end(session, check_id, report, now())
    facts = {"transfers": report.transfers, "plays": report.plays, "findings": len(report.findings)}
    log.log(logging.INFO if report.balanced else logging.CRITICAL, "books checked", extra=facts)
    return report.balanced


@app.task(name="workers.books.erase")
def erase() -> int:
    """Go on with erasures of accounts, a chunk a transaction; returns how many steps. Safe to lose and to repeat."""
    begun, steps = time.monotonic(), 0
    with transaction() as session:
        left = erasure.unfinished(session, ERASURES_A_TICK_MAX)
    for user_id in left:
        while time.monotonic() - begun < ERASE_TICK_S_MAX:
            with transaction() as session:
                if not erasure.go_on(session, user_id, now()):
                    break
            steps += 1
    if steps:
        log.info("erased", extra={"steps": steps, "accounts": len(left)})
    return steps


@app.task(name="workers.books.count_owners")
def count_owners() -> int:
    """Count the owners of every published release, a chunk a transaction; returns how many chunks. Safe to lose."""
    after, chunks = None, 0
    begun = time.monotonic()
    while time.monotonic() - begun < COUNT_TICK_S_MAX:
        with transaction() as session:
            after = discovery.count_owners(session, after)
        if after is None:
            break
        chunks += 1
    return chunks
