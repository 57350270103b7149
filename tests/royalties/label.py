"""A label's desk for tests: the royalties' API over real HTTP requests, real books, and a clock that stands still."""

from __future__ import annotations

import base64
import csv
import io
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
import uvicorn
from fastapi import FastAPI, Request
from httpx import Client, Response
from psycopg import sql
from sqlalchemy import text

from ledger import accounts as chart
from ledger.ids import new_id
from ledger.rules import Rules
from ledger.store.terms import Founding
from ledger.tariff import Tariff
from streamcoop import clock, models, problems
from streamcoop.accounts import routes as accounts
from streamcoop.accounts import service as accounts_service
from streamcoop.accounts.principals import Principal, scopes_of, visitor_or_principal
from streamcoop.adapters.objects import open_store
from streamcoop.catalogue import routes as catalogue
from streamcoop.catalogue.models import Artist, Release, Track
from streamcoop.database import _engine, engine, transaction
from streamcoop.erasure import routes as erasure
from streamcoop.founded import founded as founded_once
from streamcoop.library import routes as library
from streamcoop.moderation import routes as moderation
from streamcoop.royalties import routes as royalties
from streamcoop.royalties.service import close_epoch
from streamcoop.settings import settings
from streamcoop.transparency import certificate_routes as certificates
from streamcoop.transparency import routes as transparency
from streamcoop.wallet import routes as wallet
from tests.conftest import Database
from tests.ledger import factories

PASSWORD_HASH = "nobody signs in with a password here"
CREDITS_MICRO = 50_000_000
# A split has to be proposed in an epoch before the one it holds in.
FIRST_EPOCH = factories.EPOCH - 1
REQUEST_S_MAX = 30


@dataclass
class Clock:
    """The service's clock: it stands still unless it is told to go on."""

    at: datetime = factories.NOW

    def now(self) -> datetime:
        return self.at


@dataclass(frozen=True)
class Person:
    """Somebody with an account."""

    user_id: UUID
    email: str
    roles: frozenset[str]


@dataclass
class Label:
    """Royalties as their clients see them, and the plays and closes that lead to them."""

    client: Client
    database: Database
    founding: Founding
    clock: Clock
    played: dict[tuple[UUID, UUID], int] = field(default_factory=dict)

    def person(self, name: str, *roles: str) -> Person:
        email = f"{secrets.token_hex(8)}@example.org"
        with transaction() as session:
            user = models.accounts.User(
                id=new_id(), email=email, password_hash=PASSWORD_HASH, name=name,
                roles=["listener", *roles], created_at=self.clock.now(),
            )  # fmt: skip
            session.add(user)
        return Person(user.id, email, frozenset(user.roles))

    def listener(self, name: str = "Lestari") -> Person:
        """Somebody with credits."""
        someone = self.person(name)
        with self.database.engine.begin() as conn:
            factories.top_up(conn, someone.user_id, CREDITS_MICRO, self.clock.now())
        return someone

    def track(self, owner: Person, title: str = "Pagi", artist_name: str = "Kyai") -> UUID:
        """A published track of an artist of hers."""
        at = self.clock.now()
        artist = Artist(id=new_id(), owner_id=owner.user_id, name=artist_name, created_at=at, words="")
        release = Release(
            id=new_id(), artist_id=artist.id, title="Release", kind="single", state="published", created_at=at,
            published_at=at, words="",
        )  # fmt: skip
        track = Track(
            id=new_id(), release_id=release.id, artist_id=artist.id, position=1, title=title, state="ready",
            duration_ms=1_000, original="none", sha256=secrets.token_bytes(32), format="flac",
            content_type="audio/flac", lossless=True, bytes=1, filename="pagi.flac", uploaded_at=at, tags={},
            words="", release_words="",
        )  # fmt: skip
        with transaction() as session:
            for row in (artist, release, track):
                session.add(row)
                session.flush()
        return track.id

    def play(self, listener: Person, track_id: UUID, times: int = 1, epoch: int = factories.EPOCH) -> None:
        """Plays of a track by one listener, at the tariff's prices, recorded and settled."""
        claims = []
        for _ in range(times):
            ordinal = self.played[listener.user_id, track_id] = self.played.get((listener.user_id, track_id), 0) + 1
            price_micro = Tariff().first_price_micro << (ordinal - 1)
            claims.append(factories.claim(listener.user_id, track_id, ordinal, price_micro, epoch=epoch))
        factories.record_now(self.database.app_url, claims, now=self.clock.now())
        factories.settle_all(self.database.engine, self.clock.now())

    def go_to(self, epoch: int) -> None:
        """On to the middle of an epoch."""
        self.clock.at = self.founding.calendar.starts_at(epoch) + timedelta(days=10)

    def close(self, epoch: int = factories.EPOCH) -> bool:
        """Close an epoch as the worker does, as soon as it may be closed."""
        at = max(self.founding.may_close_at(epoch), self.clock.at)
        return close_epoch(transaction, self.founding, epoch, lambda: at)

    def call(self, method: str, path: str, person: Person, body: Any = None) -> Response:
        return self.client.request(method, f"/api/v1{path}", headers={"X-User": str(person.user_id)}, json=body)

    def get(self, path: str, person: Person) -> Any:
        answer = self.call("GET", path, person)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def table(self, path: str, person: Person) -> list[dict[str, str]]:
        """A CSV statement's rows."""
        answer = self.call("GET", path, person)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        return list(csv.DictReader(io.StringIO(answer.text)))

    def split(self, owner: Person, track_id: UUID, shares: dict[str, int]) -> Response:
        """Propose a split over (e-mail: basis points)."""
        body = {"shares": [{"payee_email": email, "share_bp": bp} for email, bp in shares.items()]}
        return self.call("PUT", f"/tracks/{track_id}/split", owner, body)

    def split_in_force(self, owner: Person, track_id: UUID, shares: dict[Person, int], *, consented: bool) -> str:
        """A split proposed in the epoch before the usual one; with the payees' consent, or only its owner's."""
        now, self.clock.at = self.clock.at, self.founding.calendar.starts_at(factories.EPOCH) - timedelta(days=1)
        answer = self.split(owner, track_id, {person.email: bp for person, bp in shares.items()})
        assert answer.status_code == 200, answer.text
        for payee in shares if consented else ():
            assert self.call("POST", f"/splits/{answer.json()['id']}/consent", payee).status_code == 204
        self.clock.at = now
        return str(answer.json()["id"])

    def balance(self, person: Person) -> int:
        return factories.balance_micro(self.database.engine, chart.royalty(person.user_id))

    def held(self, track_id: UUID) -> int:
        return factories.balance_micro(self.database.engine, chart.held(track_id))

    def lines(self, person: Person) -> list[dict[str, Any]]:
        """The lines of one's own statement that are one's own."""
        told = self.get("/royalties/statement", person)["lines"]
        return [line for line in told if line["payee"] == str(person.user_id)]

    def rows(self, statement: str, **values: Any) -> list[Any]:
        with self.database.engine.connect() as conn:
            return list(conn.execute(text(statement), values))


@pytest.fixture(scope="session")
def label_database(cloned_database: Callable[[], AbstractContextManager[Database]]) -> Iterator[Database]:
    """One database with all of the service's tables; each test empties it."""
    with cloned_database() as database:
        yield database


@pytest.fixture
def label(
    label_database: Database, objects_at: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Label]:
    """A co-op of calendar months, in its second one. Whatever happens, its books agree at the end."""
    _configure(monkeypatch, label_database, tmp_path, objects_at)
    _empty(label_database)
    with _own_connections():
        founded = factories.founding(first_epoch=FIRST_EPOCH)
        founding = factories.found(label_database.engine, founded, rules=Rules(payout_minimum_minor=1))
        standing = Clock()
        with _serving(_app(standing)) as client:
            label = Label(client, label_database, founding, standing)
            label.close(FIRST_EPOCH)
            yield label
        assert not factories.findings(label_database.engine)


def _empty(database: Database) -> None:
    with psycopg.connect(database.superuser_url) as conn:
        # The books refuse to be emptied; a test's may be.
        conn.execute("set session_replication_role = replica")
        found = conn.execute("select schemaname, tablename from pg_tables where schemaname in ('ledger', 'coop')")
        tables = sql.SQL(", ").join(sql.Identifier(*names) for names in found.fetchall())
        conn.execute(sql.SQL("truncate {} restart identity").format(tables))
        conn.execute("insert into ledger.log_batch (number, opened_at) values (1, %s)", (factories.FOUNDED_AT,))


def _configure(monkeypatch: pytest.MonkeyPatch, database: Database, folder: Path, objects: dict[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("STREAMCOOP_")]:
        monkeypatch.delenv(name)
    values = {
        "DATA_DIR": str(folder),
        "DATABASE_URL": database.app_url,
        "BROKER_URL": "memory://",
        **objects,
        "CHAIN_RPC_URL": "http://127.0.0.1:1",
        "SECRET_KEY": base64.b64encode(bytes(range(32))).decode(),
        "LOG_KEY": base64.b64encode(bytes(range(32, 64))).decode(),
        "LOG_ORIGIN": "log.example/label",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"STREAMCOOP_{name}", value)


@contextmanager
def _own_connections() -> Iterator[None]:
    """Settings, engine and founding of this test, and of no other."""
    kept: tuple[Callable[[], None], ...] = (settings.cache_clear, _engine.cache_clear, founded_once.cache_clear)
    for clear in kept:
        clear()
    try:
        yield
    finally:
        engine().dispose()
        for clear in kept:
            clear()


@contextmanager
def _serving(app: FastAPI) -> Iterator[Client]:
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            # Connections wait in the socket's queue until the server takes them.
            with Client(base_url=address, timeout=REQUEST_S_MAX, trust_env=False) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


def _app(standing: Clock) -> FastAPI:
    app = FastAPI()
    problems.install(app)
    for feature in (accounts, catalogue, certificates, erasure, library, moderation, royalties, transparency, wallet):
        app.include_router(feature.router)
    app.state.objects = open_store(settings())
    app.state.principals = _NobodyIsRemembered()
    app.dependency_overrides[clock.of_request] = standing.now
    app.dependency_overrides[visitor_or_principal] = _whoever_is_named
    return app


class _NobodyIsRemembered:
    def forget(self, digest: bytes) -> None:
        """There is nothing to forget: each request looks up who asks."""


def _whoever_is_named(request: Request) -> Principal | None:
    """Signing in is tested with the accounts; here a header names who asks. A visitor sends none."""
    if "X-User" not in request.headers:
        return None
    with transaction() as session:
        user = accounts_service.user(session, UUID(request.headers["X-User"]))
    return Principal(user.id, new_id(), frozenset(user.roles), scopes_of(frozenset(user.roles)))
