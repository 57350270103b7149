"""The timetable: what beat asks for, and how often. A tick that is lost costs nothing but time.

Beat counts by a clock that cannot be set, and keeps no file: were it to go by the time of day, nothing would be settled
for as long as somebody has set that back.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.schedules import schedule

from streamcoop.settings import settings

MINUTE = 60.0
HOUR = 60 * MINUTE
# A worker that was away does not find a heap of ticks older than this. Two machines' clocks may be apart by less.
TICK_EXPIRES_S = HOUR

_BEGUN, _BEGUN_S = datetime.now(UTC), time.monotonic()


def steady_now() -> datetime:
    """The time of day when this process began, and what has passed since."""
    return _BEGUN + timedelta(seconds=time.monotonic() - _BEGUN_S)


def _every(seconds: float, task: str) -> dict[str, Any]:
    return {
        "task": task,
        "schedule": schedule(seconds, nowfun=steady_now),
        "options": {"expires": max(seconds * 5, TICK_EXPIRES_S)},
    }


TIMETABLE = {
    "settle recorded plays": _every(settings().settle_interval_s, "workers.credits.settle"),
    "make the coming months' partitions": _every(HOUR, "workers.credits.make_partitions"),
    "close epochs that are due": _every(15.0, "workers.royalties.close_due"),
    "publish the shared log": _every(min(5.0, settings().log_batch_seconds / 2), "workers.log.publish"),
    "delete sealed copies that are old enough": _every(HOUR, "workers.log.expire_copies"),
    "pay what lifted holds kept back": _every(10.0, "workers.royalties.release_lifted"),
    "sweep for media work a broker lost": _every(20.0, "workers.media.sweep"),
    "check the books where that is due": _every(min(MINUTE, settings().books_check_interval_s), "workers.books.check"),
    "count the owners of releases": _every(15 * MINUTE, "workers.books.count_owners"),
    "go on with erasures": _every(10.0, "workers.books.erase"),
    "sweep for chain work a broker lost": _every(5.0, "workers.chain.sweep"),
    "hold the register against the contract": _every(5 * MINUTE, "workers.chain.reconcile"),
}
