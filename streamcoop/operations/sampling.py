"""Each process's own measures, taken every few seconds: memory, processor, and its pools of connections."""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from psycopg_pool import AsyncConnectionPool
from sqlalchemy import QueuePool

from streamcoop import metrics
from streamcoop.database import engine

SAMPLE_S = 5.0
_STATM = Path("/proc/self/statm")

PoolFigures = dict[tuple[str, str], float]
"""(pool, state) -> connections."""


def begin(part: str, more_pools: Callable[[], PoolFigures] = dict) -> None:
    """Measure this process as one of `part` until it ends. Once a process, after its fork."""
    metrics.take_room()
    metrics.PROCESSES.labels(part).set(1)
    threading.Thread(target=_measure, args=(part, more_pools), name="measuring", daemon=True).start()


def _measure(part: str, more_pools: Callable[[], PoolFigures]) -> None:
    spent_s = 0.0
    while True:
        now_spent_s = time.process_time()
        metrics.CPU_SECONDS.labels(part).inc(now_spent_s - spent_s)
        spent_s = now_spent_s
        metrics.MEMORY_BYTES.labels(part).set(resident_bytes())
        for (pool, state), connections in {**_engine_pool(), **more_pools()}.items():
            metrics.POOL_CONNECTIONS.labels(pool, state).set(connections)
        time.sleep(SAMPLE_S)


def _engine_pool() -> PoolFigures:
    pool = engine().pool
    if not isinstance(pool, QueuePool):
        return {}
    return {("threads", "used"): pool.checkedout(), ("threads", "size"): pool.size()}


def figures_of(pool: AsyncConnectionPool[Any]) -> PoolFigures:
    """The pool of the asynchronous rooms."""
    told = pool.get_stats()
    size, idle = told.get("pool_size", 0), told.get("pool_available", 0)
    waiting = told.get("requests_waiting", 0)
    return {("hot", "used"): size - idle, ("hot", "size"): pool.max_size, ("hot", "waiting"): waiting}


def resident_bytes() -> int:
    """Memory in use; where the system does not tell that, the most there ever was."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
