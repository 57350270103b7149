"""Children that die with us: how they are spawned, logged, locked against a second start, and stopped. Linux only."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from streamcoop.embedded import guardian
from streamcoop.embedded.private import PRIVATE_FILE_MODE

LOG_BYTES_MAX = 10 * 1024 * 1024
LOG_TAIL_BYTES_MAX = 16 * 1024
LOG_TAIL_LINES_MAX = 20
LOCK_POLL_S = 0.05
GUARDIAN_EXIT_S_MAX = guardian.SWEEP_S_MAX + 2.0

_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER = 0x10000000
_EXIT_ORPHANED = 125
# Loaded here: between fork and exec a child should do as little as it can.
_libc = ctypes.CDLL(None, use_errno=True)

Child = subprocess.Popen[bytes]
StopSteps = Sequence[tuple[signal.Signals, float]]
"""Signals to send in turn, each with the seconds to wait for the process to end before the next."""

KILL_STEPS: StopSteps = ((signal.SIGKILL, 5.0),)


class FolderInUse(Exception):
    """Another process is working in this folder; stop it first."""


@dataclass(frozen=True)
class Identity:
    """The account a child runs as.

    If `namespaced`, the child keeps our own account towards the rest of the machine and only sees itself
    as `uid`, inside a user namespace of its own.
    """

    uid: int
    gid: int
    namespaced: bool = False


def spawn(
    command: Sequence[str | Path],
    *,
    output: IO[bytes] | int,
    errors: IO[bytes] | int = subprocess.STDOUT,
    death_signal: signal.Signals = signal.SIGKILL,
    identity: Identity | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Child:
    """Start a child in its own session that is sent `death_signal` when the calling thread ends.

    The kernel ties the signal to the thread, so call this from one that outlives the child. Raises
    OSError if the program cannot be run and subprocess.SubprocessError if the user namespace is refused.
    """
    parent = os.getpid()
    own = (os.geteuid(), os.getegid())
    account: dict[str, Any] = {}
    if identity is not None and not identity.namespaced:
        account = {"user": identity.uid, "group": identity.gid, "extra_groups": []}

    def before_exec() -> None:
        # Last, since a change of credentials clears the death signal.
        if identity is not None and identity.namespaced:
            _enter_user_namespace(identity, own)
        _die_with(parent, death_signal)

    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        env=env,
        cwd=cwd,
        start_new_session=True,
        preexec_fn=before_exec,  # noqa: PLW1509  # it calls the kernel only, takes no lock
        **account,
    )


def _enter_user_namespace(identity: Identity, own: tuple[int, int]) -> None:
    if _libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "user namespaces are refused")
    for file, line in (
        ("setgroups", "deny"),
        ("uid_map", f"{identity.uid} {own[0]} 1"),
        ("gid_map", f"{identity.gid} {own[1]} 1"),
    ):
        descriptor = os.open(f"/proc/self/{file}", os.O_WRONLY)
        os.write(descriptor, line.encode())
        os.close(descriptor)


def _die_with(parent: int, death_signal: signal.Signals) -> None:
    if _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_PDEATHSIG")
    # The parent may have died before the signal was armed.
    if os.getppid() != parent:
        os._exit(_EXIT_ORPHANED)


def stop(process: Child, steps: StopSteps) -> None:
    """Stop a spawned child and everything left in its process group. Returns once the child is reaped.

    Raises subprocess.TimeoutExpired if even the last step leaves it alive.
    """
    last = len(steps) - 1
    for number, (signal_number, wait_s) in enumerate(steps):
        process.send_signal(signal_number)
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            if number == last:
                raise
            continue
        break
    guardian.kill_group(process.pid)


def in_folder(folder: Path, program: str) -> list[int]:
    """Ids of the processes that run `program` with a working folder in or under `folder`, as far as we may look."""
    root = folder.resolve()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            working, image = Path(os.readlink(entry / "cwd")), Path(os.readlink(entry / "exe"))
        except OSError:
            continue
        # A program replaced by an upgrade while it runs is shown as "<path> (deleted)".
        if working.is_relative_to(root) and image.name.split(" ")[0] == program:
            found.append(int(entry.name))
    return found


def is_running(pid: int) -> bool:
    """Whether there is such a process; one that has ended and only waits to be reaped does not run."""
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    # The name, in parentheses, may hold anything; after it comes the state.
    return status.rpartition(b")")[2].split()[0] not in (b"Z", b"X")


def lock(path: Path, wait_s_max: float = 0.0) -> BinaryIO:
    """Take the lock file; it is held until the returned file is closed in every process that shares it.

    Raises `FolderInUse` at once if the process that took it is running, and after `wait_s_max` seconds if
    that one is gone and those it shared the lock with (the guardian) are not.
    """
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE_MODE), "r+b")
    deadline = time.monotonic() + wait_s_max
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            file.seek(0)
            holder = file.read().decode().strip()
            if time.monotonic() >= deadline or (holder.isdigit() and is_running(int(holder))):
                file.close()
                raise FolderInUse(
                    f"{path.parent} is in use by another process (id {holder}); stop that one first"
                ) from None
            time.sleep(LOCK_POLL_S)
    file.seek(0)
    file.truncate(0)
    file.write(f"{os.getpid()}\n".encode())
    file.flush()
    return file


def open_log(path: Path) -> BinaryIO:
    """Open the log for appending, mode 0600. One larger than `LOG_BYTES_MAX` is first moved to `<name>.1`."""
    if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
        path.replace(path.with_name(f"{path.name}.1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE_MODE), "ab")


def last_lines(path: Path) -> str:
    """The end of a log: at most `LOG_TAIL_LINES_MAX` lines, and empty if there is no log."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LOG_TAIL_BYTES_MAX))
        text = file.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-LOG_TAIL_LINES_MAX:])


class Guardian:
    """Our end of the guardian process: what is watched is killed, group by group, once we are gone."""

    def __init__(self, held: Sequence[IO[bytes]] = ()) -> None:
        """Start it. It keeps the files `held` open (the lock) until the last watched child is gone."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", guardian.__file__],
            stdin=subprocess.PIPE,
            pass_fds=[file.fileno() for file in held],
            start_new_session=True,
        )

    def watch(self, group: int) -> None:
        """Kill this process group when we die."""
        self._tell(b"+%d\n" % group)

    def forget(self, group: int) -> None:
        """The group has ended; its number may be given to somebody else."""
        self._tell(b"-%d\n" % group)

    def close(self) -> None:
        """Let it kill what is still watched, and end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(GUARDIAN_EXIT_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tell(self, line: bytes) -> None:
        if self._process.stdin is None:
            return
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError:
            # Somebody killed the guardian. The children still die with us by their death signal.
            return


def until(condition: Callable[[], bool], wait_s_max: float, poll_s: float) -> bool:
    """Poll until the condition holds; False if it does not within `wait_s_max` seconds."""
    deadline = time.monotonic() + wait_s_max
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(poll_s)
    return True
