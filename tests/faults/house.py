"""The whole service in this process for tests of faults: its API is served, its workers' tasks are called, and between
it and each real server it stands on (PostgreSQL, broker, object store, chain) there is a proxy that can fail.
"""

from __future__ import annotations

import base64
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import uvicorn
from eth_keys.datatypes import PrivateKey
from httpx import Client, Response
from psycopg import sql

from ledger.store import checking
from streamcoop import migrate, work
from streamcoop.accounts import service as accounts
from streamcoop.accounts.principals import SCOPES
from streamcoop.app import create_app
from streamcoop.database import _engine, engine, transaction
from streamcoop.demo import music
from streamcoop.embedded import databases
from streamcoop.founded import founded
from streamcoop.membership import officers
from streamcoop.operations import sampling
from streamcoop.settings import settings
from tests.adapters.s3_server import KEY_ID, SECRET, S3Server, own_bucket, running_s3
from tests.conftest import Database
from tests.embedded.chain_process import LOG_ORIGIN
from tests.faults.proxy import PG_COMMIT, FaultyProxy, Trap
from tests.membership.coop import QUICK, Chain, deploy, deploy_anchors, deploy_rate_registry
from tests.officers import OFFICERS

REQUEST_S_MAX = 60
TRAP_S_MAX = 30.0
PASSWORD = "correct horse battery"
EVERY_ATTEMPT = None
"""For traps: also at what a client library tries again by itself."""


class Failure(Enum):
    """The two ways in which a write outside can fail."""

    NOT_APPLIED = "not applied"
    APPLIED = "applied, reported failed"

    def at(self, proxy: FaultyProxy, asked: bytes, *, answer: bytes = b"", **how: Any) -> Trap:
        """Let what holds `asked` fail this way, at every attempt unless told otherwise (`FaultyProxy.cut_before`)."""
        how = {"cuts": EVERY_ATTEMPT} | how
        if self is Failure.NOT_APPLIED:
            return proxy.cut_before(asked, **how)
        return proxy.cut_after(asked, answer=answer, **how)

    def at_commit(self, proxy: FaultyProxy, after: int = 0, cuts: int | None = 1, of: bytes = b"") -> Trap:
        """Let one commit in PostgreSQL fail this way: that of the statement with `of`, or the one after so many."""
        return self.at(proxy, PG_COMMIT, answer=PG_COMMIT, skip=after, cuts=cuts, following=of)


@dataclass
class Clock:
    """The workers' clock."""

    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass(frozen=True)
class Person:
    """Somebody with an account and a token."""

    id: UUID
    email: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Workers:
    """The workers' files, imported once the settings stand."""

    media: ModuleType
    credits: ModuleType
    royalties: ModuleType
    chain: ModuleType
    anchors: ModuleType
    books: ModuleType
    log: ModuleType
    register: ModuleType
    ballots: ModuleType


@dataclass
class House:
    """A founded co-op, empty but for its operator."""

    client: Client
    database: Database
    postgres: FaultyProxy
    broker: FaultyProxy
    objects: FaultyProxy
    chain: FaultyProxy
    broker_url: str
    bucket: Any
    workers: Workers
    clock: Clock
    folder: Path
    operator: Person = field(init=False)
    second_officer: Person = field(init=False)

    def __post_init__(self) -> None:
        self.operator = self.person("operator", "treasurer")
        self.second_officer = self.person("operator")
        with transaction() as session:
            for person, officer in zip((self.operator, self.second_officer), OFFICERS, strict=True):
                officers.keep(session, person.id, PrivateKey(bytes(officer.key)), settings(), self.clock.now())

    def person(self, *roles: str) -> Person:
        email = f"{secrets.token_hex(8)}@example.org"
        with transaction() as session:
            user = accounts.open_account(session, email, PASSWORD, "Somebody", ["listener", *roles], datetime.now(UTC))
            _, secret = accounts.make_token(session, user.id, "test", list(SCOPES), datetime.now(UTC))
        return Person(user.id, email, {"Authorization": f"Bearer {secret}"})

    def call(self, method: str, path: str, person: Person | None = None, **how: Any) -> Response:
        headers = (person.headers if person else {}) | how.pop("headers", {})
        return self.client.request(method, f"/api/v1{path}", headers=headers, **how)

    def get(self, path: str, person: Person | None = None, **params: Any) -> Any:
        answer = self.call("GET", path, person, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, person: Person, body: Any = None, status: int = 201) -> Any:
        answer = self.call("POST", path, person, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a statement gives, past the proxies."""
        with psycopg.connect(self.database.owner_url) as conn:
            cursor = conn.execute(statement, values)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def messages(self, queue: str, subject: UUID | str) -> int:
        """How many messages about this wait in a queue."""
        asked = sql.SQL("select count(*) from {} where message::text like %s").format(
            sql.Identifier("pgmq", f"q_{queue}")
        )
        with psycopg.connect(self.broker_url) as conn:
            return int(conn.execute(asked, (f"%{subject}%",)).fetchall()[0][0])

    def kept(self) -> set[str]:
        """The keys of the objects there are."""
        return {each.key for each in self.bucket.objects.all()}

    def piece(self, seconds: float = 1.0) -> Path:
        """A recording that nobody has uploaded before."""
        path = self.folder / f"{secrets.token_hex(4)}.wav"
        path.write_bytes(music.compose(secrets.randbits(32), seconds))
        return path

    def draft(self, artist: Person) -> str:
        profile = self.post("/artists", artist, {"name": "Kyai Guntur"})
        body = {"title": "Gong", "kind": "single"}
        return str(self.post(f"/artists/{profile['id']}/releases", artist, body)["id"])

    def upload(self, artist: Person, release: str, piece: Path) -> Response:
        return self.call("POST", f"/releases/{release}/tracks", artist, content=piece.read_bytes())

    def uploaded(self, artist: Person, release: str) -> str:
        answer = self.upload(artist, release, self.piece())
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def track(self, artist: Person, track_id: str) -> Any:
        return self.get(f"/tracks/{track_id}", artist)

    def published(self, artist: Person) -> str:
        """A track that can be played."""
        release = self.draft(artist)
        track_id = self.uploaded(artist, release)
        self.workers.media.render(track_id)
        self.post(f"/releases/{release}/publish", artist, status=200)
        return track_id

    def listener(self, amount_minor: int = 1_000) -> Person:
        """Somebody who can pay."""
        someone = self.person()
        self.post("/treasury/topups", self.operator, self.top_up(someone, amount_minor))
        return someone

    def top_up(self, someone: Person, amount_minor: int = 1_000) -> dict[str, Any]:
        return {"request_id": str(uuid4()), "listener_email": someone.email, "amount_minor": amount_minor}

    def approved_once(self, prove: Callable[[Person], Any] | None = None) -> tuple[Person, str]:
        """An applicant who has paid her share and whom one officer has approved: the person and the membership.

        `prove` gives the proof of a wallet of her own.
        """
        someone = self.person()
        application = {"member_class": "listener"} | ({} if prove is None else {"wallet": prove(someone)})
        member_id = str(self.post("/membership", someone, application)["id"])
        self.post(f"/members/{member_id}/share", self.operator, {"request_id": str(uuid4())})
        self.post(f"/members/{member_id}/approve", self.operator, status=202)
        return someone, member_id

    def admitting(self, prove: Callable[[Person], Any] | None = None) -> tuple[Person, str]:
        """Somebody whom two officers have approved, before any worker has seen it: the person and the membership."""
        someone, member_id = self.approved_once(prove)
        self.post(f"/members/{member_id}/approve", self.second_officer, status=202)
        return someone, member_id

    def order(self, member_id: str) -> str:
        """What the registrar is asked about a membership."""
        ((order,),) = self.rows("select id from coop.register_order where member_id = %s", member_id)
        return str(order)

    def pass_time(self, **by: float) -> None:
        """The workers' clock goes on."""
        self.clock.ahead += timedelta(**by)

    def mend(self) -> None:
        """Nothing fails any more."""
        for proxy in (self.postgres, self.broker, self.objects, self.chain):
            proxy.pass_on()

    def require_balanced_books(self) -> None:
        with engine().connect() as conn:
            assert checking.check_books(conn).findings == ()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("weed")) as running:
        yield running


@pytest.fixture
def house(
    s3: S3Server, chain: Chain, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[House]:
    """A house of this test's own, on servers that all share."""
    broker_url = f"{database.superuser_url.rpartition('/')[0]}/{databases.BROKER_DATABASE}"
    with ExitStack() as standing:
        bucket = standing.enter_context(own_bucket(s3))
        proxies = [
            standing.enter_context(FaultyProxy.before(url))
            for url in (database.app_url, broker_url, s3.endpoint_url, chain.rpc_url)
        ]
        postgres, broker, objects, chain_proxy = proxies
        values = {
            "DATA_DIR": str(tmp_path / "data"),
            "DATABASE_URL": postgres.instead_in(database.app_url),
            "BROKER_URL": broker.instead_in(broker_url).replace("postgresql://", "pgmq://", 1),
            "OBJECTS_URL": f"s3://{bucket.name}",
            "S3_ENDPOINT_URL": objects.instead_in(s3.endpoint_url),
            "S3_ACCESS_KEY_ID": KEY_ID,
            "S3_SECRET_ACCESS_KEY": SECRET,
            "CHAIN_RPC_URL": chain_proxy.instead_in(chain.rpc_url),
            "CHAIN_ID": str(chain.chain_id),
            **{name: str(number) for name, number in QUICK.items()},
            "MEMBERSHIP_CONTRACT": deploy(chain),
            "ANCHOR_CONTRACT": deploy_anchors(chain),
            "RATE_REGISTRY": deploy_rate_registry(chain),
            "LOG_ORIGIN": LOG_ORIGIN,
            "REGISTRAR_KEY": f"0x{chain.registrar.key.hex()}",
            "SECRET_KEY": base64.b64encode(bytes(range(32))).decode(),
        }
        for name in [name for name in os.environ if name.startswith("STREAMCOOP_")]:
            monkeypatch.delenv(name)
        for name, value in values.items():
            monkeypatch.setenv(f"STREAMCOOP_{name}", value)
        standing.enter_context(_own_caches())
        monkeypatch.setattr(sampling, "begin", lambda *_: None)  # its thread would outlive the house
        clock = Clock()
        workers = _workers(clock, monkeypatch)
        with transaction() as session:
            migrate.found(session, settings(), clock.now())
        client = standing.enter_context(_serving())
        yield House(client, database, *proxies, broker_url, bucket, workers, clock, tmp_path)


def _workers(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Workers:
    # Here, because they read the settings.
    from workers import anchors, ballots, books, chain, credits, log, media, register, royalties

    media._store.cache_clear()
    for each in (anchors, ballots, books, credits, log, media, register, royalties):
        monkeypatch.setattr(each, "now", clock.now)
    return Workers(media, credits, royalties, chain, anchors, books, log, register, ballots)


@contextmanager
def _own_caches() -> Iterator[None]:
    """What this process keeps of its settings is this house's."""
    kept: tuple[Callable[[], Any], ...] = (settings, _engine, founded, work._sender)

    def forget() -> None:
        for each in kept:
            each.cache_clear()  # type: ignore[attr-defined]

    forget()
    try:
        yield
    finally:
        engine().dispose()
        forget()


@contextmanager
def _serving() -> Iterator[Client]:
    server = uvicorn.Server(uvicorn.Config(create_app(), log_config=None, timeout_graceful_shutdown=1))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            address = f"http://127.0.0.1:{listening.getsockname()[1]}"
            with Client(base_url=address, timeout=REQUEST_S_MAX, trust_env=False) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()
