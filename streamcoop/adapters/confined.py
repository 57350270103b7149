"""Runs a program on material from strangers: in a child with few rights, bounded in time, memory, files and output."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from streamcoop.adapters import confine

MESSAGE_BYTES_MAX = 8 << 10
"""Of what the child says on standard error; the rest is read and thrown away."""
READ_BYTES = 16 << 10
POLL_S = 0.05
"""How often we look whether a child ended while something it started still holds its standard error."""
REAP_S_MAX = 10
SYSTEM_LIBRARIES = ("/usr", "/lib", "/lib64", "/nix/store", "/etc/ld.so.cache")
"""What a dynamically linked program reads before its first own instruction."""
PYTHON_CODE = (
    "import importlib, sys; sys.path.insert(0, sys.argv[1]); importlib.import_module(sys.argv[2]).main(*sys.argv[3:])"
)
PACKAGE = Path(confine.__file__).resolve().parents[1]

Ending = Literal["exited", "cpu", "wall", "killed"]


class ProgramNotStarted(Exception):
    """A program this service needs is missing or may not be run."""


@dataclass(frozen=True)
class Limits:
    """What one child may use. RLIMIT_NPROC (`processes`) counts threads, and only holds where it can be told apart."""

    cpu_s: int
    wall_s: int
    memory_bytes: int
    file_bytes: int
    open_files: int = 64
    processes: int = 64


@dataclass(frozen=True)
class Outcome:
    """How the child ended.

    `ending` is "exited" (see `returncode`), "cpu" or "wall" (it used up its time) or "killed" (by another signal:
    a crash, or the kernel short of memory). `protections` is what the machine granted, e.g. "network=none".
    """

    ending: Ending
    returncode: int
    message: str
    protections: tuple[str, ...]


def run(
    command: list[str], limits: Limits, *, folder: Path, readable: Sequence[Path], listable: Sequence[Path] = ()
) -> Outcome:
    """Run `command` (an absolute program path first) in `folder`, the only place it may write.

    `readable` are the files and folders it may read besides `folder` and the system's libraries; of those in
    `listable` it may see the names. Where the kernel has no Landlock, these three are not enforced. It gets no
    environment, no input, no network where that can be arranged, and dies with this process or thread.
    Its whole process group is killed at the end, whatever happened. Raises `ProgramNotStarted`.
    """
    terms = {
        **asdict(limits),
        "parent_pid": os.getpid(),
        "readable": [*SYSTEM_LIBRARIES, command[0], *map(str, readable)],
        "listable": [*map(str, listable)],
        "writable": [str(folder), os.devnull],
    }
    launcher = [sys.executable, "-I", "-S", confine.__file__, json.dumps(terms), *command]
    with subprocess.Popen(
        launcher,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={},
        umask=0o077,
        start_new_session=True,
    ) as child:
        try:
            said, in_time = _listen(child, time.monotonic() + limits.wall_s)
        finally:
            # Before the child is reaped, so that its number cannot have passed to another process.
            _kill_group(child.pid)
        returncode = child.wait(REAP_S_MAX)
    return _outcome(said, in_time, returncode)


def run_python(module: str, arguments: list[str], limits: Limits, *, folder: Path, readable: Sequence[Path]) -> Outcome:
    """Import `module` of this package in a confined Python and call its `main` with `arguments`. Otherwise as `run`.

    `main` must answer for whatever it is given: that it ends with an error raises `ProgramNotStarted`.
    """
    installed = {Path(entry) for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))}
    interpreter = {Path(sys.executable).resolve().parent, Path(sys.prefix), Path(sys.base_prefix)}
    # Isolated mode (-I) keeps the working folder and the environment out of the import path; `-m` would need them.
    python = [sys.executable, "-I", "-B", "-X", "utf8", "-c", PYTHON_CODE, str(PACKAGE.parent), module]
    outcome = run(
        [*python, *arguments],
        limits,
        folder=folder,
        readable=[*readable, PACKAGE, *sorted(installed | interpreter)],
        # To import a package, Python lists the folder that holds it.
        listable=[PACKAGE.parent],
    )
    if outcome.ending == "exited" and outcome.returncode != 0:
        raise ProgramNotStarted(outcome.message)
    return outcome


def _listen(child: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bool]:
    """Collect standard error until the child has ended. Returns what it said and whether it ended by the deadline."""
    assert child.stderr is not None  # asked for by `run`; for the type checker
    said = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(child.stderr, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            ready = selector.select(min(left, POLL_S))
            if ready:
                chunk = os.read(child.stderr.fileno(), READ_BYTES)
                if not chunk:
                    return bytes(said), _ended(child.pid, deadline)
                said += chunk[: MESSAGE_BYTES_MAX - len(said)]
            elif _ended(child.pid, 0):
                return bytes(said), True
    return bytes(said), False


def _ended(pid: int, deadline: float) -> bool:
    """Whether the child has ended, waiting for it until `deadline` (monotonic). Leaves it unreaped."""
    while True:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S / 10)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _outcome(said: bytes, in_time: bool, returncode: int) -> Outcome:
    first, _, rest = said.decode("utf-8", "replace").partition("\n")
    started = first.startswith(confine.STATUS_PREFIX)
    if in_time and (not started or returncode == confine.EXIT_NOT_STARTED):
        raise ProgramNotStarted((rest if started else first).strip())
    ending: Ending = "exited"
    if not in_time:
        ending = "wall"
    elif returncode == -signal.SIGXCPU:
        ending = "cpu"
    elif returncode < 0:
        ending = "killed"
    return Outcome(ending, returncode, rest, tuple(first.removeprefix(confine.STATUS_PREFIX).split()))
