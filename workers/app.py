"""The Celery application: the broker is a setting, the timetable is in `schedule`, the tasks in a file per duty."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

from celery import Celery
from celery.signals import celeryd_init, setup_logging, worker_process_init
from celery.worker.consumer import Consumer as CeleryConsumer

from streamcoop import logs
from streamcoop.database import engine
from streamcoop.settings import settings
from streamcoop.work import DUTIES, broker_settings
from workers.pausing import PausingTask
from workers.schedule import TIMETABLE

# A message not acknowledged for this long is delivered again: longer than any task's hard limit. RabbitMQ's own limit
# (consumer_timeout, half an hour) is longer than a task and the one that its worker has fetched behind it.
VISIBILITY_TIMEOUT_S = 900
TASK_SOFT_LIMIT_S = 600
TASK_HARD_LIMIT_S = 660
NOTIFY_THROTTLE_MS = 50
RECONNECT_S_MAX = 3

_PGMQ_OPTIONS = {
    "init_extension": False,  # the schema is installed from the wheel's SQL: there is no extension to create
    "use_notify": True,
    "notify_throttle_interval_ms": NOTIFY_THROTTLE_MS,
    "visibility_timeout": VISIBILITY_TIMEOUT_S,
    "wait_time_seconds": 0,
    "polling_interval": 0.5,
}


class Consumer(CeleryConsumer):  # type: ignore[misc]  # Celery has no types
    """Celery's, back soon after its broker is, and without the 28 queues it makes on RabbitMQ for delayed messages.

    We send none of those.
    """

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[misc]
        default_steps = tuple(step for step in CeleryConsumer.Blueprint.default_steps if "delayed_delivery" not in step)

    def ensure_connected(self, conn: Any) -> Any:
        """Celery's own pause between two tries grows to half a minute."""
        conn.ensure_connection = partial(conn.ensure_connection, interval_max=RECONNECT_S_MAX)
        return super().ensure_connected(conn)


def rooms_of(queues: Collection[str]) -> list[str]:
    """The modules whose tasks come by these queues."""
    return [f"workers.{duty}" for duty in DUTIES if duty in queues]


def make_app(broker_url: str) -> Celery:
    """An application on this broker."""
    celery = Celery("streamcoop", broker=broker_url, include=rooms_of(DUTIES), task_cls=PausingTask)
    celery.conf.update(
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=TASK_HARD_LIMIT_S,
        task_soft_time_limit=TASK_SOFT_LIMIT_S,
        task_serializer="json",
        accept_content=["json"],
        task_default_queue="default",
        task_routes={f"workers.{duty}.*": {"queue": duty} for duty in DUTIES},
        worker_consumer="workers.app:Consumer",
        worker_pool="workers.pool:Pool",
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        beat_schedule=TIMETABLE,
        # Celery's own keeps the times of day of the last ticks in a file.
        beat_scheduler="celery.beat:Scheduler",
        timezone="UTC",
        broker_transport="workers.broker:Transport" if broker_url.startswith("pgmq:") else None,
        **broker_settings(broker_url, _PGMQ_OPTIONS),
    )
    return celery


app = make_app(settings().broker_url.get_secret_value())


@celeryd_init.connect
def _open_own_rooms(conf: Any, options: dict[str, Any], **_: Any) -> None:
    """A worker that settles starts in half the time without what speaks to the chain."""
    if queues := options.get("queues"):
        conf.include = rooms_of(queues.split(",") if isinstance(queues, str) else queues)


@setup_logging.connect
def _log_as_the_service_does(**_: Any) -> None:
    logs.configure(settings().log_level, settings().secrets())


@worker_process_init.connect
def _own_connections(**_: Any) -> None:
    """A forked worker process must not share its parent's database connections."""
    engine().dispose(close=False)
