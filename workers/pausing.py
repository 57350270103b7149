"""Workers wait while the database is read-only, and say so once.

A task that is left out meanwhile is not put back into the queue: what it was to do stands in the tables, and the
timetable's sweeps find it afterwards.
"""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from streamcoop.database import ReadOnly, engine
from streamcoop.maintenance import readonly
from workers.watched import WatchedTask

log = logging.getLogger(__name__)


class PausingTask(WatchedTask):
    """A task that is left out while nothing can be written."""

    abstract = True
    pausing: ClassVar[bool] = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it, unless this process knows that the database is read-only."""
        if PausingTask.pausing:
            with engine().connect() as conn:
                if readonly.is_on(conn):
                    return None
            PausingTask.pausing = False
            log.info("going on: the database takes writes again")
        try:
            return super().__call__(*args, **kwargs)
        except ReadOnly:
            PausingTask.pausing = True
            log.info("waiting: the database is read-only")
            return None
