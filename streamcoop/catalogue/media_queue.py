"""Asking the media worker for its work. A request that gets lost costs nothing but time: the sweeper repeats it."""

from __future__ import annotations

import logging
from functools import cache
from uuid import UUID

from celery import Celery

from streamcoop.settings import settings

log = logging.getLogger(__name__)

TASK = "workers.media.render"
QUEUE = "media"
BROKER_WAIT_S_MAX = 2

# A sender needs no notifications: the queue's trigger is the workers' to set.
_PGMQ_OPTIONS = {"init_extension": False, "pool_size": 2, "pool_timeout": BROKER_WAIT_S_MAX}


@cache
def _sender() -> Celery:
    """This process's way to the broker. It only sends: the workers' own application is not imported here."""
    broker_url = settings().broker_url.get_secret_value()
    celery = Celery("streamcoop-catalogue", broker=broker_url, set_as_current=False)
    celery.conf.update(
        task_ignore_result=True,
        broker_connection_timeout=BROKER_WAIT_S_MAX,
        broker_transport_options=_PGMQ_OPTIONS if broker_url.startswith("pgmq:") else {},
    )
    return celery


def ask_to_render(track_id: UUID) -> bool:
    """Ask for a track to be rendered. Call it after the commit. False: the broker could not be reached just now."""
    try:
        _sender().send_task(TASK, args=[str(track_id)], queue=QUEUE, retry=False)
    # Each transport has errors of its own, and none of them may undo an upload that is durable.
    except Exception as error:
        log.warning("media worker not asked", extra={"track": str(track_id), "error": type(error).__name__})
        return False
    return True
