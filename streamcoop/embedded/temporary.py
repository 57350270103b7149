"""The whole service in a folder of its own, for as long as a `with` block lasts: for tests and the demo."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streamcoop.embedded import ports, process
from streamcoop.embedded.crew import CrewError
from streamcoop.embedded.plan import ROOT_FOLDER_MODE, Places, source_root
from streamcoop.embedded.process import Child, StopSteps
from streamcoop.settings import PREFIX

READY_S_MAX = 180.0
READY_POLL_S = 0.1
# More than the supervisor's own bounds add up to.
STOP_STEPS: StopSteps = ((signal.SIGTERM, 90.0), *process.KILL_STEPS)


@dataclass(frozen=True)
class Service:
    """A service that is running: where it is reached, and its first operators' sign-ins."""

    address: str
    data_dir: Path
    operator_email: str
    operator_password: str
    second_officer_email: str
    second_officer_password: str


class ServiceNotUp(CrewError):
    """The service ended, or was not ready in time, before the block could begin."""


@contextmanager
def running_service(
    settings: Mapping[str, str] | None = None,
    *,
    data_dir: Path | None = None,
    host: str = ports.LOOPBACK,
    port: int = 0,
    module: str = "streamcoop.embedded.supervisor",
) -> Iterator[Service]:
    """Run the service in a process of its own and yield it once it is ready; stop it afterwards.

    `settings` are environment variables `STREAMCOOP_<NAME>`; those of our own environment do not reach the service.
    `module` is what runs it, and says where in `running.json`.
    Without `data_dir` the folder is temporary and removed at the end. If we are killed, the service stops.
    Call it from a thread that lives as long as the block. Raises `ServiceNotUp`, with the service's output.
    """
    with tempfile.TemporaryDirectory(prefix="streamcoop-") as scratch:
        # Where PostgreSQL has to run as another account, that one must get through.
        Path(scratch).chmod(ROOT_FOLDER_MODE)
        root = (data_dir or Path(scratch) / "data").resolve()
        output = Path(scratch) / "output"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        command = [sys.executable, "-m", module, "--data", str(root)]
        with process.open_log(output) as file:
            child = process.spawn(
                [*command, "--host", host, "--port", str(port)],
                output=file,
                death_signal=signal.SIGTERM,
                env=environment | dict(settings or {}),
                cwd=source_root(),
            )
        try:
            process.until(lambda: _told(root, child) is not None or child.poll() is not None, READY_S_MAX, READY_POLL_S)
            told = _told(root, child)
            if told is None:
                raise ServiceNotUp(f"the service did not come up:\n{process.last_lines(output)}")
            passwords = {
                f"{who}_password": Path(told[f"{who}_password_file"]).read_text(encoding="utf-8").strip()
                for who in ("operator", "second_officer")
            }
            yield Service(
                address=told["address"],
                data_dir=root,
                operator_email=told["operator_email"],
                second_officer_email=told["second_officer_email"],
                **passwords,
            )
        finally:
            process.stop(child, STOP_STEPS)


def _told(root: Path, supervisor: Child) -> dict[str, str] | None:
    """What this supervisor says about its service once it is up; what another one has said does not count."""
    try:
        told: dict[str, str] = json.loads(Places(root).running.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return told if told["process"] == str(supervisor.pid) else None
