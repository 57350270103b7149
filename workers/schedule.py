"""The timetable: what beat asks for, and how often. A tick that is lost costs nothing but time.

Every entry expires before its next turn, so that a worker that was away does not find a heap of old ticks.
"""

from __future__ import annotations

from typing import Any

from streamcoop.settings import settings

MINUTE = 60.0
HOUR = 60 * MINUTE


def _every(seconds: float, task: str) -> dict[str, Any]:
    return {"task": task, "schedule": seconds, "options": {"expires": max(seconds, 1.0) * 5}}


TIMETABLE = {
    "settle recorded plays": _every(settings().settle_interval_s, "workers.credits.settle"),
    "make the coming months' partitions": _every(6 * HOUR, "workers.credits.make_partitions"),
    "close epochs that are due": _every(15.0, "workers.royalties.close_due"),
    "sweep for media work a broker lost": _every(20.0, "workers.media.sweep"),
    "sweep for chain work a broker lost": _every(5.0, "workers.chain.sweep"),
}
