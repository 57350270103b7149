"""The processes of a service on production parts, as a test meets them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from streamcoop.demo.client import until
from streamcoop.embedded import supervisor
from streamcoop.embedded.temporary import Service
from tests import production
from tests.whole_service import supervisor_of

BACK_S_MAX = 60.0
API = ("streamcoop", "serve")
WORKERS = ("celery", "--queues")

needed = pytest.mark.skipif(not production.IS_CHOSEN, reason="needs the parts of `make test-production-parts`")


def processes_of(service: Service, *words: str) -> list[psutil.Process]:
    """The running parts whose command lines have all these words, in the order they were started."""
    found = []
    for child in supervisor_of(service).children():
        try:
            line = child.cmdline()
            is_running = child.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            continue
        if is_running and all(any(word in part for part in line) for word in words):
            found.append(child)
    return sorted(found, key=lambda process: process.create_time())


def replaced(service: Service, victim: psutil.Process, sent: signal.Signals) -> psutil.Process:
    """Send a part a signal that ends it; returns who was started in its place, ready or not."""
    line = victim.cmdline()
    victim.send_signal(sent)

    def successor() -> psutil.Process | None:
        others = [process for process in processes_of(service, *line) if process != victim]
        return next(iter(others), None)

    return until(successor, f"a successor of {' '.join(line)[-80:]}", BACK_S_MAX)


def serves(api: psutil.Process) -> bool:
    """Whether an API process says that it can serve."""
    line = api.cmdline()
    return supervisor.answers_ready(f"http://127.0.0.1:{line[line.index('--port') + 1]}")


def is_used(log: Path, since_bytes: int) -> bool:
    """Whether the proxy has sent an API process a listener, by what its log holds beyond so many bytes."""
    return b"/stream/{play_token}" in log.read_bytes()[since_bytes:]


def log_of(service: Service, api: psutil.Process) -> Path:
    """The API process's log: whichever tells of its port."""
    line = api.cmdline()
    listening = f"127.0.0.1:{line[line.index('--port') + 1]} "
    logs = sorted((service.data_dir / "logs").glob("api-*.log"))
    return next(log for log in logs if listening in log.read_text(encoding="utf-8"))


@contextmanager
def suspended(service: Service, *words: str) -> Iterator[None]:
    """Parts, with their children, do nothing for the length of the block."""
    with ExitStack() as resuming:
        for process in processes_of(service, *words):
            os.killpg(process.pid, signal.SIGSTOP)
            resuming.callback(os.killpg, process.pid, signal.SIGCONT)
        yield
