"""What is seen of workers: each task as a span and a figure, each process as one of its part."""

from __future__ import annotations

import logging
import time
from typing import Any

from celery import Task
from celery.signals import beat_init, celeryd_init, worker_process_init, worker_process_shutdown, worker_ready
from prometheus_client import start_http_server

from streamcoop import metrics, tracing
from streamcoop.operations import exposition, sampling
from streamcoop.settings import settings

log = logging.getLogger(__name__)

DONE, FAILED = "done", "failed"

_part = "worker"


class WatchedTask(Task):  # type: ignore[misc]  # Celery has no types
    """A task that is counted, and traced within the request that asked for it. What beat asks for begins no trace."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it."""
        carried = {name: value for name, value in (self.request.headers or {}).items() if name == "traceparent"}
        begun, outcome = time.perf_counter(), FAILED
        try:
            if carried:
                with tracing.span(f"task {self.name}", carried):
                    result = super().__call__(*args, **kwargs)
            else:
                result = super().__call__(*args, **kwargs)
            outcome = DONE
            return result
        except Exception as error:
            metrics.EXCEPTIONS.labels(type(error).__name__).inc()
            raise
        finally:
            metrics.TASKS.labels(self.name, outcome).inc()
            metrics.TASK_SECONDS.labels(self.name).observe(time.perf_counter() - begun)


@celeryd_init.connect
def _know_our_name(sender: str, **_: Any) -> None:
    global _part  # noqa: PLW0603  # told once, to the parent; its children inherit it
    _part = sender.partition("@")[0]


@worker_process_init.connect
def _begin(**_: Any) -> None:
    tracing.configure(_part)
    sampling.begin(_part)


@worker_process_shutdown.connect
def _end(**_: Any) -> None:
    tracing.shut_down()


@beat_init.connect
def _begin_beat(**_: Any) -> None:
    sampling.begin("beat")


@worker_ready.connect
def _tell_metrics(**_: Any) -> None:
    """From the parent, so that a child that dies does not take the figures along."""
    port = settings().metrics_port
    if port is None:
        return
    try:
        start_http_server(port, settings().metrics_host, exposition.registry())
    except OSError as error:
        # Another worker of this machine was first; where they share their files it tells of us too.
        log.info("metrics port not ours", extra={"port": port, "reason": error.strerror})
