"""Debian's servers for `make test-production-parts`: PostgreSQL 15, RabbitMQ and nginx.

`python -m tests.debian_parts` fetches what is not installed and unpacks it in build/, without installing anything; what
is installed is used where it is. Exit status 1, and what is missing, where that cannot be done.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import debian_packages

# What each package is recognised by, below / or below the folder it is unpacked in.
PROGRAMS = {
    "postgresql-15": "usr/lib/postgresql/15/bin/postgres",
    "rabbitmq-server": "usr/lib/rabbitmq/lib",
    "nginx": "usr/sbin/nginx",
}
ERLANG = "usr/lib/erlang"
ROOT = Path("/")
FOLDER = Path(__file__).resolve().parents[1] / "build" / "debian-parts"


def missing() -> list[str]:
    """The packages that are not installed. Erlang comes with RabbitMQ's."""
    return [package for package, program in PROGRAMS.items() if not (ROOT / program).exists()]


def place(below: str) -> Path:
    """A file or folder of Debian's, installed or unpacked. Raises FileNotFoundError."""
    for root in (ROOT, FOLDER):
        if (root / below).exists():
            return root / below
    raise FileNotFoundError(f"{below} is neither installed nor unpacked in {FOLDER}: see `make test-production-parts`")


def environment() -> dict[str, str]:
    """What an unpacked program needs to find its libraries, and nothing of the caller's."""
    unpacked = FOLDER / "usr/lib"
    libraries = [str(path) for path in unpacked.glob("*-linux-gnu*")]
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "LD_LIBRARY_PATH": ":".join(libraries)}


def main() -> int:
    """Fetch what is not installed, unless it is there. Exit status 1 where that cannot be done."""
    wanted = missing()
    if not wanted or debian_packages.is_complete(FOLDER):
        return 0
    try:
        debian_packages.fetch(wanted, FOLDER, with_dependencies=True)
    except (debian_packages.NoPackages, OSError, subprocess.SubprocessError) as reason:
        print(f"The production parts cannot be tested: {', '.join(wanted)} missing ({reason}).", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
