"""The Celery application: the broker is a setting, the timetable is in `schedule`, the tasks in a file per duty."""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_process_init

from streamcoop import logs
from streamcoop.database import engine
from streamcoop.settings import settings
from workers.schedule import TIMETABLE

# A message not acknowledged for this long is delivered again: longer than any task's hard limit.
VISIBILITY_TIMEOUT_S = 900
TASK_SOFT_LIMIT_S = 600
TASK_HARD_LIMIT_S = 660
NOTIFY_THROTTLE_MS = 50

DUTIES = ("credits", "royalties", "media", "chain")

_PGMQ_OPTIONS = {
    "init_extension": False,  # the schema is installed from the wheel's SQL: there is no extension to create
    "use_notify": True,
    "notify_throttle_interval_ms": NOTIFY_THROTTLE_MS,
    "visibility_timeout": VISIBILITY_TIMEOUT_S,
    "wait_time_seconds": 0,
    "polling_interval": 0.5,
}


def make_app(broker_url: str) -> Celery:
    """An application on this broker."""
    celery = Celery("streamcoop", broker=broker_url, include=[f"workers.{duty}" for duty in DUTIES])
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
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options=_PGMQ_OPTIONS if broker_url.startswith("pgmq:") else {},
        beat_schedule=TIMETABLE,
        timezone="UTC",
    )
    return celery


app = make_app(settings().broker_url.get_secret_value())


@setup_logging.connect
def _log_as_the_service_does(**_: Any) -> None:
    logs.configure(settings().log_level)


@worker_process_init.connect
def _own_connections(**_: Any) -> None:
    """A forked worker process must not share its parent's database connections."""
    engine().dispose(close=False)
