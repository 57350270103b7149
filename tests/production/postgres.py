"""Debian's PostgreSQL 15 as a process of ours: what the embedded launcher does for its own binaries, for these."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

from streamcoop.embedded import ports, postgres, process
from streamcoop.embedded.postgres import Cluster, RunningPostgres
from streamcoop.embedded.private import write_private
from streamcoop.embedded.process import Child, StopSteps
from tests import debian_parts
from tests.production import compose

BINARIES = "usr/lib/postgresql/15/bin"
INITDB_S_MAX = 120.0
KILL_STEPS: StopSteps = process.KILL_STEPS


def open_cluster(folder: Path) -> Cluster:
    """A fresh cluster in a folder of its own, initialised as the composition says."""
    folder.mkdir(mode=0o711, parents=True)
    held = process.lock(folder / "lock")
    identity = postgres.server_identity(folder)
    if identity is not None and not identity.namespaced:
        folder.chmod(0o711)
    password = secrets.token_urlsafe(postgres.PASSWORD_BYTES)
    for own in ("data", "initdb"):
        (folder / own).mkdir(mode=0o700)
    write_private(folder / "initdb" / "password", password + "\n")
    for own in ("data", "initdb"):
        postgres._hand_over(folder / own, identity)
    told = compose.services()["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()
    command = [debian_parts.place(BINARIES) / "initdb", "-D", folder / "data"]
    command += [f"--pwfile={folder / 'initdb' / 'password'}"]
    log = folder / "initdb.log"
    with process.open_log(log) as output:
        child = process.spawn(
            [*command, f"--username={postgres.SUPERUSER}", "--auth=scram-sha-256", *told],
            output=output,
            identity=identity,
            env=debian_parts.environment(),
            cwd=folder,
        )
    try:
        assert child.wait(INITDB_S_MAX) == 0, process.last_lines(log)
    finally:
        process.stop(child, KILL_STEPS)
    return Cluster(folder, identity, ports.any_free(), password, held)


def launch(cluster: Cluster, log: Path) -> Child:
    """Start the server without waiting for it."""
    postgres.end_orphans(cluster.data)
    settings = {
        "listen_addresses": cluster.host,
        "port": str(cluster.port),
        "unix_socket_directories": "",
        "max_connections": "300",
    }
    command: list[str | Path] = [debian_parts.place(BINARIES) / "postgres", "-D", cluster.data]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    with process.open_log(log) as output:
        return process.spawn(
            command,
            output=output,
            death_signal=postgres.DEATH_SIGNAL,
            identity=cluster.identity,
            env=debian_parts.environment(),
            cwd=cluster.folder,
        )


def start(folder: Path) -> RunningPostgres:
    """A fresh server that accepts connections."""
    cluster = open_cluster(folder)
    log = folder / "server.log"
    running = RunningPostgres(cluster, launch(cluster, log), log)
    try:
        running.wait_ready()
    except BaseException:
        running.stop()
        raise
    return running


def make_roles(cluster: Cluster, environment: dict[str, str]) -> None:
    """Run `deploy/postgres-init.sh` as the image does at the first start."""
    login = {"PGHOST": cluster.host, "PGPORT": str(cluster.port), "PGPASSWORD": cluster.superuser_password}
    programs = {"PATH": f"{debian_parts.place(BINARIES)}:/usr/bin:/bin", "POSTGRES_USER": postgres.SUPERUSER}
    subprocess.run(
        ["sh", compose.INIT_SCRIPT],
        env=debian_parts.environment() | environment | login | programs,
        check=True,
        timeout=INITDB_S_MAX,
        stdout=subprocess.DEVNULL,
    )
