"""Services that are witnesses, each a process of its own on a database of its own; and logs to be witnessed."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import psycopg
from click.testing import CliRunner, Result
from sqlalchemy.orm import Session

from ledger import note
from ledger.merkle import consistency_proof, leaf_hash, root_of
from ledger.note import Checkpoint, KeyType, Note, SigningKey, VerifierKey
from ledger.witness import Submission, Witness
from streamcoop import migrate
from streamcoop.cli import main
from streamcoop.database import _engine
from streamcoop.embedded import ports
from streamcoop.embedded.plan import source_root
from streamcoop.settings import PREFIX, Settings, settings
from streamcoop.witness import service
from tests.conftest import Database

READY_S_MAX = 60.0
REQUEST_S_MAX = 30.0
STOP_S_MAX = 20.0
NOW_S = 1_790_000_000


@dataclass
class Log:
    """A log that signs whatever it is asked to."""

    origin: str = field(default_factory=lambda: f"{secrets.token_hex(6)}.example/log")
    kinds: tuple[KeyType, ...] = (KeyType.ED25519, KeyType.ML_DSA_44)

    @property
    def keys(self) -> list[SigningKey]:
        return [SigningKey(self.origin, kind, sha256(self.origin.encode()).digest()) for kind in self.kinds]

    @property
    def verifiers(self) -> list[VerifierKey]:
        return [key.verifier for key in self.keys]

    def leaves(self, size: int, forked_from: int | None = None) -> list[bytes]:
        fork = size if forked_from is None else forked_from
        return [leaf_hash(b"%d" % n if n < fork else b"other %d" % n) for n in range(size)]

    def head(self, size: int, forked_from: int | None = None) -> Checkpoint:
        return Checkpoint(self.origin, size, root_of(self.leaves(size, forked_from)))

    def signed(self, size: int, forked_from: int | None = None) -> Note:
        return note.signed(str(self.head(size, forked_from)), self.keys, NOW_S)

    def proof(self, old: int, size: int, forked_from: int | None = None) -> list[bytes]:
        tree = self.leaves(size, forked_from)
        return consistency_proof(old, size, lambda level, at: root_of(tree[at << level : (at + 1) << level]))

    def asks(self, old: int, size: int, forked_from: int | None = None) -> str:
        """The body of a request, with the proof that belongs to it if there can be one."""
        proof = self.proof(old, size, forked_from) if old <= size else []
        head = self.head(size, forked_from)
        return str(Submission(old, tuple(proof), self.signed(size, forked_from), head))


@dataclass
class Service:
    """A service that witnesses."""

    database: Database
    http: httpx.Client
    process: subprocess.Popen[bytes]
    settings: Settings
    environment: dict[str, str]

    @property
    def prefix(self) -> str:
        return f"{self.settings.public_address}/witness"

    def knows(self, *logs: Log) -> None:
        """The operator names logs."""
        with Session(self.database.engine) as session, session.begin():
            for log in logs:
                for key in log.verifiers:
                    service.add_log(session, str(key), _now())

    def add(self, body: str | bytes, **headers: str) -> httpx.Response:
        content = body.encode() if isinstance(body, str) else body
        return self.http.post("/witness/add-checkpoint", content=content, headers=headers)

    def command(self, *words: str) -> Result:
        """What `streamcoop witness` says here."""
        _forget()
        try:
            return CliRunner(env=self.environment).invoke(main, ["witness", *words])
        finally:
            _engine().dispose()
            _forget()

    @property
    def keys(self) -> list[VerifierKey]:
        return [key.verifier for key in service.own_keys(self.settings)]

    @property
    def witness(self) -> Witness:
        return Witness(self.keys[0].name, tuple(self.keys), self.prefix)

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database.owner_url) as conn:
            return conn.execute(statement, values).fetchall()  # type: ignore[arg-type]

    def known(self, log: Log) -> tuple[int, bytes]:
        ((size, root),) = self.rows("select size, root from coop.witnessed_log where origin = %s", log.origin)
        return size, root

    def kept(self, log: Log) -> list[tuple[bool, int, str]]:
        """What it holds against a log."""
        return self.rows(
            "select shows_a_fork, size, text from coop.log_evidence where origin = %s order by size, text", log.origin
        )

    def forks(self) -> tuple[int, datetime | None]:
        """What its operator is told of all logs."""
        with Session(self.database.engine) as session:
            return service.forks(session)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(STOP_S_MAX)

    def start(self) -> None:
        """Again, at the same address."""
        self.process = _started(self.environment, self.http)


@contextmanager
def running(database: Database, folder: Path, **values: str) -> Iterator[Service]:
    """A service on this database, with a witness key unless told otherwise."""
    port = ports.any_free(ports.LOOPBACK)
    address = f"http://{ports.LOOPBACK}:{port}"
    chosen = {
        "DATA_DIR": str(folder),
        "DATABASE_URL": database.app_url,
        "BROKER_URL": database.app_url.replace("postgresql://", "pgmq://", 1),
        "OBJECTS_URL": folder.as_uri(),
        "CHAIN_RPC_URL": "http://127.0.0.1:9",
        "SECRET_KEY": base64.b64encode(bytes(32)).decode(),
        "PUBLIC_ADDRESS": address,
        "WITNESS_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "REQUESTS_PER_MINUTE_ADDRESS": "0",
        **values,
    }
    configured = Settings(**{name.lower(): value for name, value in chosen.items() if value})  # type: ignore[arg-type]
    with Session(database.engine) as session, session.begin():
        migrate.found(session, configured, _now())
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment = inherited | {f"{PREFIX}{name}": value for name, value in chosen.items() if value}
    with httpx.Client(base_url=address, timeout=REQUEST_S_MAX, trust_env=False) as http:
        made = Service(database, http, _started(environment, http), configured, environment)
        try:
            yield made
        finally:
            made.process.terminate()
            made.process.wait(STOP_S_MAX)


def _forget() -> None:
    settings.cache_clear()
    _engine.cache_clear()


def _now() -> datetime:
    return datetime.now(UTC)


def _started(environment: dict[str, str], http: httpx.Client) -> subprocess.Popen[bytes]:
    port = str(http.base_url.port)
    command = [sys.executable, "-m", "uvicorn", "streamcoop.app:create_app", "--factory", "--port", port]
    process = subprocess.Popen([*command, "--no-access-log"], cwd=source_root(), env=environment)
    until = time.monotonic() + READY_S_MAX
    while time.monotonic() < until:
        assert process.poll() is None
        try:
            if http.get("/healthz").is_success:
                return process
        except httpx.TransportError:
            time.sleep(0.05)
    process.kill()
    raise AssertionError("it does not start")
