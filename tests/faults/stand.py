"""The service that faults are tried on: the real supervisor and its parts, with PostgreSQL behind a faulty network."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from dotenv import dotenv_values
from sqlalchemy import Engine, create_engine

from streamcoop.embedded import crew, ports, process
from streamcoop.embedded.plan import ROOT_FOLDER_MODE, Places, make_root, source_root
from streamcoop.embedded.private import PRIVATE_FOLDER_MODE
from streamcoop.embedded.temporary import STOP_STEPS, Service
from streamcoop.settings import PREFIX
from tests.faults.child import PROXY
from tests.faults.levers import FOLDER, Levers
from tests.faults.proxy import FaultyProxy

# Epochs are closed while the rounds go on. Their grace exceeds the life of a play token.
SETTINGS = {
    "STREAMCOOP_EPOCH_SECONDS": "5",
    "STREAMCOOP_EPOCH_GRACE_SECONDS": "8",
    "STREAMCOOP_TOKEN_MS_MIN": "6000",
    "STREAMCOOP_LISTEN_MS_MAX": "500",
    "STREAMCOOP_FREE_EXTRA_MS": "300",
    "STREAMCOOP_SETTLE_INTERVAL_S": "0.25",
    "STREAMCOOP_LOG_BATCH_SECONDS": "1",
    "STREAMCOOP_LOG_BATCH_LISTENERS_MIN": "1",
    "STREAMCOOP_UPLOAD_BYTES_MAX": str(8 << 20),
    # All of them ask from one address.
    "STREAMCOOP_REQUESTS_PER_MINUTE_ADDRESS": "0",
    "STREAMCOOP_REQUESTS_PER_MINUTE_ACCOUNT": "0",
    "STREAMCOOP_SIGN_IN_FAILURES_FREE": "0",
}
PARTS = ("api", "credits", "worker", "media", "beat")
READY_S_MAX = 180.0
POLL_S = 0.1
PG_DISK_BYTES = 640 << 20
OBJECTS_DISK_BYTES = 256 << 20
BALLAST = "ballast"
BALLAST_PIECES = (32 << 20, 1 << 20, 4 << 10)
_CLONE_NEWNS = 0x00020000


@dataclass(frozen=True)
class Stand:
    """What a round can reach: the service, its levers, the network to its database, and the database itself."""

    service: Service
    supervisor_pid: int
    levers: Levers
    network: FaultyProxy
    small_disks: bool
    database: Engine
    superuser_url: str

    @property
    def places(self) -> Places:
        """Where its data are."""
        return Places(self.service.data_dir)

    def setting(self, name: str) -> str:
        """A setting as the service has it, with the database's own address."""
        value = dotenv_values(self.places.root / "service.env")[f"{PREFIX}{name}"]
        assert value is not None
        return value

    def part(self, name: str) -> psutil.Process | None:
        """The part's main process, if it runs."""
        words = {"postgres": ["postgres", "-D"], "chain": ["streamcoop.embedded.chain"]}
        wanted = words.get(name, ["tests.faults.child", name])
        for child in psutil.Process(self.supervisor_pid).children():
            with suppress(psutil.NoSuchProcess):
                line = child.cmdline()
                named = [Path(line[0]).name, *line[1:]] if line else []
                at = named.index(wanted[0]) if wanted[0] in named else -1
                if at >= 0 and named[at : at + len(wanted)] == wanted and child.status() != psutil.STATUS_ZOMBIE:
                    return child
        return None

    def has_run_for(self, seconds: float) -> bool:
        """Whether all parts are there and have been for so long."""
        parts = [self.part(name) for name in (*PARTS, "postgres", "chain")]
        with suppress(psutil.NoSuchProcess):
            return all(part is not None and time.time() - part.create_time() >= seconds for part in parts)
        return False

    def fill_disk(self, folder: Path) -> None:
        """Nothing more can be written to the small disk of this folder."""
        file = os.open(folder / BALLAST, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            for piece in BALLAST_PIECES:
                with suppress(OSError):
                    while True:
                        os.posix_fallocate(file, os.fstat(file).st_size, piece)
        finally:
            os.close(file)

    def empty_disk(self, folder: Path) -> None:
        """There is room again."""
        (folder / BALLAST).unlink(missing_ok=True)


@contextmanager
def running(data_dir: Path) -> Iterator[Stand]:
    """A fresh service on these terms, ready and with parts that count as sound, until the block ends."""
    with ExitStack() as stack:
        levers = Levers(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamcoop-levers-"))))
        places = Places(make_root(data_dir))
        small_disks = stack.enter_context(_small_disks(places))
        database_port = ports.any_free()
        (places.postgres / "port").write_text(f"{database_port}\n", encoding="utf-8")
        network = stack.enter_context(FaultyProxy(database_port))
        variables = {FOLDER: str(levers.folder), PROXY: f"{database_port}:{network.port}", **SETTINGS}
        supervisor = stack.enter_context(_supervisor(places, variables))
        told = json.loads(places.running.read_text(encoding="utf-8"))
        password = places.operator_password.read_text(encoding="utf-8").strip()
        second_password = places.second_officer_password.read_text(encoding="utf-8").strip()
        officers = told["operator_email"], password, told["second_officer_email"], second_password
        service = Service(told["address"], places.root, *officers)
        superuser = (places.postgres / "superuser.password").read_text(encoding="utf-8").strip()
        url = f"postgresql://postgres:{superuser}@{ports.LOOPBACK}:{database_port}/streamcoop"
        database = create_engine(url.replace("postgresql", "postgresql+psycopg", 1), pool_pre_ping=True)
        stack.callback(database.dispose)
        yield Stand(service, supervisor.pid, levers, network, small_disks, database, url)


@contextmanager
def _supervisor(places: Places, variables: Mapping[str, str]) -> Iterator[process.Child]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    output = places.root / "supervisor.log"
    with process.open_log(output) as file:
        child = process.spawn(
            [sys.executable, "-m", "tests.faults.supervised", str(places.root)],
            output=file,
            death_signal=signal.SIGTERM,
            env={**inherited, **variables},
            cwd=source_root(),
        )
    try:
        process.until(lambda: places.running.exists() or child.poll() is not None, READY_S_MAX, POLL_S)
        if not places.running.exists():
            raise crew.CrewError(f"the service did not come up:\n{process.last_lines(output)}")
        yield child
    finally:
        process.stop(child, STOP_STEPS)


@contextmanager
def _small_disks(places: Places) -> Iterator[bool]:
    """Give PostgreSQL and the objects disks that can be filled. False, and nothing is mounted, where we may not."""
    folders = {
        places.postgres: (PG_DISK_BYTES, ROOT_FOLDER_MODE),
        places.objects: (OBJECTS_DISK_BYTES, PRIVATE_FOLDER_MODE),
    }
    for folder in folders:
        folder.mkdir(mode=PRIVATE_FOLDER_MODE)
    # In a mount namespace of our own, so that the disks vanish with us.
    if (
        os.geteuid() != 0
        or ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) != 0
        or not _run("mount", "--make-rprivate", "/")
    ):
        yield False
        return
    mounted = [
        _run("mount", "-t", "tmpfs", "-o", f"size={size},mode={mode:o}", "tmpfs", str(folder))
        for folder, (size, mode) in folders.items()
    ]
    try:
        yield all(mounted)
    finally:
        for folder in folders:
            _run("umount", "--lazy", str(folder))


def _run(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def backends(url: str) -> list[int]:
    """The process ids of the connections to the service's databases, but not of the one that asks."""
    with psycopg.connect(url, connect_timeout=2) as conn:
        asked = conn.execute(
            "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
            " order by pid"
        )
        return [int(pid) for (pid,) in asked]
