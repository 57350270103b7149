"""Kills the supervisor's children should the supervisor itself be killed. Runs as a script, standard library only.

The supervisor writes a line `+<process group>` for every child it starts and `-<process group>` for
every child it has seen end. The end of the input means that the supervisor is gone, however it went:
what is still on the list is killed, whole groups at a time, so that grandchildren (Celery's pool
processes, an ffmpeg) go too. PR_SET_PDEATHSIG alone would reach the direct children only.

The guardian shares the supervisor's lock on the data folder, so the folder stays taken until the last child is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable

SWEEP_S_MAX = 3.0
SWEEP_POLL_S = 0.02


def listed(lines: Iterable[bytes]) -> list[int]:
    """The process groups on the list once the input has ended, in the order they were started."""
    groups: dict[int, None] = {}
    for line in lines:
        group = int(line[1:])
        if line.startswith(b"+"):
            groups[group] = None
        else:
            groups.pop(group, None)
    return list(groups)


def kill_group(group: int) -> None:
    """Kill every process of the group that is still there and ours."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def living_groups() -> set[int]:
    """The process groups that have a member which runs; who has ended and only waits to be reaped does not count."""
    groups = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                # The name, in parentheses, may hold anything; after it come state, parent, group.
                state, _, group = file.read().rpartition(b")")[2].split()[:3]
        except OSError:
            continue
        if state not in (b"Z", b"X"):
            groups.add(int(group))
    return groups


def sweep(groups: list[int]) -> None:
    """Kill the groups, last started first, and wait until they are gone, `SWEEP_S_MAX` at the most."""
    deadline = time.monotonic() + SWEEP_S_MAX
    for group in reversed(groups):
        kill_group(group)
    while (left := living_groups().intersection(groups)) and time.monotonic() < deadline:
        time.sleep(SWEEP_POLL_S)
        for group in left:
            kill_group(group)


if __name__ == "__main__":
    sweep(listed(sys.stdin.buffer))
