"""Asking the workers for work. A request that gets lost costs nothing but time: a sweep finds what is to do."""

from __future__ import annotations

import logging
from functools import cache
from uuid import UUID

from celery import Celery
from sqlalchemy import event
from sqlalchemy.orm import Session

from streamcoop.settings import settings

log = logging.getLogger(__name__)

BROKER_WAIT_S_MAX = 2

RENDER = "workers.media.render"
ADMIT = "workers.chain.admit"
READ_WEIGHTS = "workers.chain.read_weights"

# A sender needs no notifications: the queue's trigger is the workers' to set.
_PGMQ_OPTIONS = {"init_extension": False, "pool_size": 2, "pool_timeout": BROKER_WAIT_S_MAX}


@cache
def _sender() -> Celery:
    """This process's way to the broker. It only sends: the workers' own application is not imported here."""
    broker_url = settings().broker_url.get_secret_value()
    celery = Celery("streamcoop-sender", broker=broker_url, set_as_current=False)
    celery.conf.update(
        task_ignore_result=True,
        broker_connection_timeout=BROKER_WAIT_S_MAX,
        broker_transport_options=_PGMQ_OPTIONS if broker_url.startswith("pgmq:") else {},
    )
    return celery


def ask(task: str, subject: UUID) -> bool:
    """Ask for a task on a subject that is committed. False: the broker could not be reached just now."""
    queue = task.split(".")[1]
    try:
        _sender().send_task(task, args=[str(subject)], queue=queue, retry=False)
    # Each transport has errors of its own, and none of them may undo what is durable already.
    except Exception as error:
        log.warning("worker not asked", extra={"task": task, "subject": str(subject), "error": type(error).__name__})
        return False
    return True


def ask_once_committed(session: Session, task: str, subject: UUID) -> None:
    """Ask for a task as soon as the session's transaction is committed; not at all if it is rolled back."""
    event.listen(session, "after_commit", lambda _: ask(task, subject), once=True)
