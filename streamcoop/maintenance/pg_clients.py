"""pg_dump and pg_restore, of a version that suits the server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from psycopg import conninfo

from streamcoop.embedded import postgres

VERSION_S_MAX = 10.0
# How long a dump waits for a migration that is under way.
LOCK_WAIT = "60s"
STDERR_LINES_MAX = 5


class NoClient(Exception):
    """No pg_dump or pg_restore is found that is as new as it must be; install PostgreSQL's client programs."""


class ClientFailed(Exception):
    """pg_dump or pg_restore ended with an error."""


def find(program: str, major: int) -> tuple[Path, int]:
    """The oldest `program` that is not older than `major`, and its own major version. Raises NoClient.

    The oldest, because a newer client writes what an older server does not understand.
    """
    folders = [Path(folder) for folder in os.get_exec_path()]
    with suppress(postgres.BinariesMissing):  # a server of the co-op's own comes with clients of its own
        folders.insert(0, postgres.binaries())
    known = [(_major_of(path), path) for folder in folders if (path := folder / program).is_file()]
    fitting = [(version, path) for version, path in known if version >= major]
    if not fitting:
        seen = ", ".join(f"{path} {version}" for version, path in known) or "none"
        raise NoClient(f"a {program} of PostgreSQL {major} or newer is needed, found: {seen}")
    version, path = min(fitting, key=lambda found: found[0])
    return path, version


def _major_of(path: Path) -> int:
    if shutil.which(path) is None:
        return 0
    told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=VERSION_S_MAX)
    found = re.search(r"\) (\d+)", told.stdout)
    return int(found.group(1)) if found else 0


def dump(url: str, program: Path, snapshot: str, into: Path) -> None:
    """Write the database at `url`, as the exported snapshot shows it, to the file `into`. Raises ClientFailed."""
    options = ["--format=custom", f"--snapshot={snapshot}", f"--lock-wait-timeout={LOCK_WAIT}", f"--file={into}"]
    _run(program, url, options)


def restore(url: str, program: Path, dump: Path) -> None:
    """Load a dump into the empty database at `url`, all of it or nothing. Raises ClientFailed."""
    # Whoever loads it owns it; the grants to the service's role are in the dump.
    _run(program, url, ["--single-transaction", "--exit-on-error", "--no-owner", str(dump)])


def _run(program: Path, url: str, options: list[str]) -> None:
    said = {name: str(value) for name, value in conninfo.conninfo_to_dict(url).items() if value is not None}
    # Not among the arguments, which everybody on the machine may read.
    password = said.pop("password", None)
    environment = {**os.environ, "PGAPPNAME": program.name, "LC_ALL": "C"}
    if password is not None:
        environment["PGPASSWORD"] = password
    command = [str(program), f"--dbname={conninfo.make_conninfo(**said)}", "--no-password", *options]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        told = "\n".join(ended.stderr.strip().splitlines()[:STDERR_LINES_MAX])
        raise ClientFailed(f"{program.name} ended with {ended.returncode}:\n{told}")
