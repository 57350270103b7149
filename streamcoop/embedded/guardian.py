"""Kills the supervisor's children should the supervisor itself be killed. Runs as a script, standard library only.

The supervisor writes a line `+<process group>` for every child it starts and `-<process group>` for
every child it has seen end. The end of the input means that the supervisor is gone, however it went:
what is still on the list is killed, whole groups at a time, so that grandchildren (Celery's pool
processes, an ffmpeg) go too. PR_SET_PDEATHSIG alone would reach the direct children only.

The guardian shares the supervisor's lock on the data folder, so the folder stays taken until the last child is gone.
"""

from __future__ import annotations

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


def kill_group(group: int) -> bool:
    """Kill every process of the group; False if there is none left."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def sweep(groups: list[int]) -> None:
    """Kill the groups, last started first, and wait until they are gone, `SWEEP_S_MAX` at the most."""
    deadline = time.monotonic() + SWEEP_S_MAX
    left = groups[::-1]
    while (left := [group for group in left if kill_group(group)]) and time.monotonic() < deadline:
        time.sleep(SWEEP_POLL_S)


if __name__ == "__main__":
    sweep(listed(sys.stdin.buffer))
