"""The processes that a worker's tasks run in."""

from __future__ import annotations

import logging
import os
from typing import Any

from celery.concurrency import prefork

log = logging.getLogger(__name__)

POOL_BROKEN_EXIT = 70


class Pool(prefork.TaskPool):  # type: ignore[misc]  # Celery has no types
    """Celery's, but its worker ends with a process that was killed; whoever keeps the worker starts it again.

    Where the transport is not asynchronous (pgmq), an idle process waits for work under a lock that all of them share.
    Killed there it takes the lock along: the worker would look well and never run a task again.
    """

    def on_start(self) -> None:
        """Start the processes."""
        super().on_start()
        if isinstance(self._pool, self.BlockingPool):
            self._pool.on_process_down = _end_with


def _end_with(process: Any) -> None:
    if process.exitcode is not None and process.exitcode < 0:
        log.critical("a pool process was killed: the worker ends", extra={"status": process.exitcode})
        os._exit(POOL_BROKEN_EXIT)
