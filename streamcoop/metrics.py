"""What is counted and measured while the service runs, in the words of Prometheus.

Several processes share one folder (PROMETHEUS_MULTIPROC_DIR) and are read as one; without it each process tells of
itself alone. Labels have few values, known beforehand: route patterns, never addresses; no ids, nothing of a person.
Figures that stand in the shared database are no concern of this file: see `operations/exposition.py`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's own setting. It counts from the first import on."""

UNKNOWN_ROUTE = "unknown"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Of each kind, and the room of one: twice what all routes with all their buckets take.
_FILES = ("counter", "histogram", "gauge_livesum", "gauge_mostrecent")
FILE_BYTES = 512 << 10
_ANSWER_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCH_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
_TASK_S = (0.01, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0, 180.0, 600.0)


def take_room() -> None:
    """Take the room on the disk that this process may need, before it counts; again after a fork. Raises OSError.

    The files are mapped: where the disk is full, a write to a page that has no room yet would kill the process.
    """
    if _FOLDER is None:
        return
    for kind in _FILES:
        path = _FOLDER / f"{kind}_{os.getpid()}.db"
        try:
            with path.open("ab") as file:
                file.write(bytes(max(FILE_BYTES - file.tell(), 0)))
        except OSError:
            path.unlink(missing_ok=True)  # nobody can read half a file
            raise


def _folder() -> Path | None:
    named = os.environ.get(FOLDER_VARIABLE)
    if not named:
        return None
    folder = Path(named)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


_FOLDER = _folder()
try:
    take_room()
except OSError as error:
    # The service must go on with a full disk: this process then tells of itself alone.
    log.warning("metrics are kept in memory", extra={"reason": error.strerror})
    _FOLDER, values.ValueClass = None, values.MutexValue
INSTRUMENTS = CollectorRegistry()

# --- Plays ---

PLAYS_RECORDED = Counter("streamcoop_plays_recorded", "Plays and buy-outs made durable.", registry=INSTRUMENTS)
PLAYS_REFUSED = Counter(
    "streamcoop_plays_refused", "Plays that were not recorded, by reason.", ["reason"], registry=INSTRUMENTS
)
RECORDING_SECONDS = Histogram(
    "streamcoop_recording_seconds", "Time of one recording transaction.", buckets=_BATCH_S, registry=INSTRUMENTS
)
PLAYS_SETTLED = Counter("streamcoop_plays_settled", "Plays that became transfers.", registry=INSTRUMENTS)
SETTLING_SECONDS = Histogram(
    "streamcoop_settling_seconds", "Time of one settling transaction.", buckets=_BATCH_S, registry=INSTRUMENTS
)
STREAMS = Gauge("streamcoop_streams", "Metered streams under way.", multiprocess_mode="livesum", registry=INSTRUMENTS)

# --- Requests ---

REQUESTS = Counter(
    "streamcoop_requests",
    "Requests answered. Status 0: the client left first.",
    ["method", "route", "status"],
    registry=INSTRUMENTS,
)
REQUEST_SECONDS = Histogram(
    "streamcoop_request_seconds",
    "Time until the answer began.",
    ["method", "route"],
    buckets=_ANSWER_S,
    registry=INSTRUMENTS,
)
PROBLEMS = Counter("streamcoop_problems", "Refusals by problem type.", ["type"], registry=INSTRUMENTS)
EXCEPTIONS = Counter(
    "streamcoop_exceptions", "Failures of our own, by class of exception.", ["exception"], registry=INSTRUMENTS
)

# --- Work and the parts it needs ---

TASKS = Counter("streamcoop_tasks", "Tasks ended, by how.", ["task", "outcome"], registry=INSTRUMENTS)
TASK_SECONDS = Histogram(
    "streamcoop_task_seconds", "Time of one task.", ["task"], buckets=_TASK_S, registry=INSTRUMENTS
)
RENDERINGS = Counter(
    "streamcoop_renderings", "Attempts to render a recording, by outcome.", ["outcome"], registry=INSTRUMENTS
)
OBJECT_SECONDS = Histogram(
    "streamcoop_object_store_seconds",
    "Time of one call of the object store.",
    ["operation"],
    buckets=_ANSWER_S,
    registry=INSTRUMENTS,
)
OBJECT_ERRORS = Counter(
    "streamcoop_object_store_errors", "Calls of the object store that failed.", ["operation"], registry=INSTRUMENTS
)
LOG_STOPPED = Gauge(
    "streamcoop_log_stopped",
    "1 once the shared log and these rows contradict one another.",
    multiprocess_mode="mostrecent",  # whoever found it may be gone, and another has published since
    registry=INSTRUMENTS,
)
CHAIN_ERRORS = Counter(
    "streamcoop_chain_errors", "Work on the chain that was put off, by reason.", ["error"], registry=INSTRUMENTS
)

# --- Processes ---

PROCESSES = Gauge(
    "streamcoop_processes", "Processes that live.", ["part"], multiprocess_mode="livesum", registry=INSTRUMENTS
)
MEMORY_BYTES = Gauge(
    "streamcoop_process_resident_memory_bytes",
    "Memory in use.",
    ["part"],
    multiprocess_mode="livesum",
    registry=INSTRUMENTS,
)
CPU_SECONDS = Counter("streamcoop_process_cpu_seconds", "Processor time used.", ["part"], registry=INSTRUMENTS)
POOL_CONNECTIONS = Gauge(
    "streamcoop_database_pool_connections",
    "Connections to the database that are used, the size of their pool, and who waits for one.",
    ["pool", "state"],
    multiprocess_mode="livesum",
    registry=INSTRUMENTS,
)

RENDERED, REFUSED, PUT_OFF = "rendered", "refused", "put-off"
for _outcome in (RENDERED, REFUSED, PUT_OFF):
    RENDERINGS.labels(_outcome)

_requests: dict[tuple[str, str | None, int], tuple[Counter, Histogram]] = {}


def count_request(method: str, route: str | None, status: int, seconds: float) -> None:
    """Count a request by its route's pattern; None where no route of ours matched."""
    known = _requests.get((method, route, status))
    if known is None:
        labels = (method if method in METHODS else "other", route or UNKNOWN_ROUTE)
        known = REQUESTS.labels(*labels, str(status)), REQUEST_SECONDS.labels(*labels)
        _requests[method, route, status] = known
    known[0].inc()
    known[1].observe(seconds)


class Instruments(Collector):
    """A collector of all of the above, over all processes that share the folder.

    An instrument that has counted nothing yet is told of too, without a figure.
    """

    def collect(self) -> Iterable[Metric]:
        """The metrics as they stand."""
        own = list(INSTRUMENTS.collect())
        if _FOLDER is None:
            return own
        _forget_the_dead(_FOLDER)
        together = MultiProcessCollector(None, str(_FOLDER))  # type: ignore[no-untyped-call]
        merged = {metric.name: metric for metric in together.collect()}  # type: ignore[no-untyped-call]
        return [merged.get(metric.name) or Metric(metric.name, metric.documentation, metric.type) for metric in own]


def _forget_the_dead(folder: Path) -> None:
    """What was counted stays; what a process had under way when it was killed is under way no more."""
    for file in folder.glob("gauge_live*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
        except PermissionError:
            continue
