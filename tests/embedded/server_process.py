"""Run by tests as `python -m tests.embedded.server_process FOLDER [UID]`: somebody who starts the server and is killed.

With UID it first becomes that user. It says `ready` and where the server is, then waits for its input to end.
"""

import os
import sys
from pathlib import Path

from streamcoop.embedded import ports, postgres


def main(folder: Path, uid: int | None) -> None:
    # Loads what Python loads late: another user may not be able to read this Python's files.
    ports.any_free()
    postgres.binaries()
    if uid is not None:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    running = postgres.start(folder)
    print(f"ready {running.cluster.superuser_url()}", flush=True)
    sys.stdin.read()
    running.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
