"""Asking the workers for work. A request that gets lost costs nothing but time: a sweep finds what is to do."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any
from uuid import UUID

from celery import Celery
from kombu.entity import Exchange, Queue
from sqlalchemy import event
from sqlalchemy.orm import Session

from streamcoop import tracing
from streamcoop.settings import settings

log = logging.getLogger(__name__)

BROKER_WAIT_S_MAX = 2

DUTIES = ("credits", "royalties", "media", "chain", "books", "log")
"""What workers do: each has a queue and a file of its own."""
QUEUES = (*DUTIES, "default")

# A message that so often ended with its worker's death is dropped; a sweep that still finds work asks anew.
DELIVERIES_MAX = 5
# The first try may find a connection that the broker has given up meanwhile; the second one is a fresh one's.
_RETRIES = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
_PROMPTLY: dict[str, Any] = {"retry": True, "retry_policy": _RETRIES, "confirm_timeout": BROKER_WAIT_S_MAX}

RENDER = "workers.media.render"
CARRY_ORDER = "workers.chain.carry_order"

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
        **broker_settings(broker_url, _PGMQ_OPTIONS),
    )
    return celery


def broker_settings(broker_url: str, pgmq_options: dict[str, Any]) -> dict[str, Any]:
    """Celery's settings that depend on the broker: pgmq's options, or what all have to say alike to RabbitMQ.

    There, each queue is a quorum queue, and a message counts as sent once it is confirmed.
    """
    if not broker_url.startswith("amqp"):
        return {"broker_transport_options": pgmq_options if broker_url.startswith("pgmq:") else {}}
    exchange = Exchange("streamcoop", type="direct")  # type: ignore[no-untyped-call]
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": DELIVERIES_MAX}
    queues = [
        Queue(name, exchange, routing_key=name, queue_arguments=arguments)  # type: ignore[no-untyped-call]
        for name in QUEUES
    ]
    return {
        "task_queues": queues,
        "task_create_missing_queues": False,
        "broker_transport_options": {"confirm_publish": True},
    }


def ask(task: str, subject: UUID) -> bool:
    """Ask for a task on a subject that is committed. False: the broker could not be reached just now."""
    queue = task.split(".")[1]
    try:
        _sender().send_task(task, args=[str(subject)], queue=queue, headers=tracing.carrier(), **_PROMPTLY)
    # Each transport has errors of its own, and none of them may undo what is durable already.
    except Exception as error:
        log.warning("worker not asked", extra={"task": task, "subject": str(subject), "error": type(error).__name__})
        return False
    return True


def ask_once_committed(session: Session, task: str, subject: UUID) -> None:
    """Ask for a task as soon as the session's transaction is committed; not at all if it is rolled back."""
    event.listen(session, "after_commit", lambda _: ask(task, subject), once=True)
