"""The catalogue for tests: real PostgreSQL, a real server, a folder of objects, and the media worker to call."""

from __future__ import annotations

import base64
import os
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
import uvicorn
from fastapi import FastAPI
from httpx import Client, Response
from sqlalchemy import text

from streamcoop import problems, work
from streamcoop.accounts import models as account_tables
from streamcoop.accounts import routes as accounts
from streamcoop.accounts import service as accounts_service
from streamcoop.accounts.principals import PrincipalCache
from streamcoop.adapters.audio_formats import Format
from streamcoop.adapters.objects import ObjectStore, ObjectStoreUnavailable, open_store
from streamcoop.catalogue import models as tables
from streamcoop.catalogue import receiving
from streamcoop.catalogue import routes as catalogue
from streamcoop.database import _engine, async_pool, engine, transaction
from streamcoop.settings import settings
from streamcoop.traffic import Allowance
from tests.adapters import audio_files
from tests.conftest import Database

TABLES = (
    account_tables.User,
    account_tables.SignIn,
    account_tables.ApiToken,
    tables.Artist,
    tables.Release,
    tables.Track,
    tables.Rendition,
    tables.DiscardedObject,
)
REQUEST_TIMEOUT_S = 60
PASSWORD = "correct horse battery"
UPLOAD_BYTES_MAX = 4 << 20


class FaultyStore:
    """The folder's store, which can be told to be away."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.is_away = False
        self.before_put: Callable[[str], None] = lambda key: None

    def __getattr__(self, name: str) -> Any:
        if self.is_away:
            raise ObjectStoreUnavailable("away")
        return getattr(self._store, name)

    def put_file(self, key: str, path: Path, content_type: str) -> None:
        if self.is_away:
            raise ObjectStoreUnavailable("away")
        self.before_put(key)
        self._store.put_file(key, path, content_type)


@dataclass
class Clock:
    """The media worker's clock."""

    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def advance(self, **by: float) -> None:
        self.ahead += timedelta(**by)


@dataclass(frozen=True)
class Person:
    """Somebody signed in."""

    user_id: UUID
    headers: dict[str, str]


@dataclass
class Studio:
    """The catalogue as its clients see it, its worker, and what it stands on."""

    client: Client
    port: int
    worker: Any
    clock: Clock
    store: FaultyStore
    folder: Path
    asked: list[UUID]
    really_ask: Callable[[UUID], bool]
    owner: Person = field(init=False)

    def __post_init__(self) -> None:
        self.owner = self.person("listener", "artist")

    def person(self, *roles: str) -> Person:
        with transaction() as session:
            email = f"{secrets.token_hex(8)}@example.org"
            at = datetime.now(UTC)
            user = accounts_service.open_account(session, email, PASSWORD, "Somebody", list(roles), at)
            _, _, secret = accounts_service.sign_in(session, email, PASSWORD, at)
            return Person(user.id, {"Authorization": f"Bearer {secret}"})

    def call(self, method: str, path: str, person: Person | None = None, **how: Any) -> Response:
        headers = (person.headers if person else {}) | how.pop("headers", {})
        return self.client.request(method, f"/api/v1{path}", headers=headers, **how)

    def get(self, path: str, person: Person | None = None, **params: Any) -> Any:
        answer = self.call("GET", path, person, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def make(self, path: str, body: Any, person: Person | None = None) -> Any:
        answer = self.call("POST", path, person or self.owner, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def artist(self, name: str = "Kyai", person: Person | None = None) -> str:
        return str(self.make("/artists", {"name": name}, person)["id"])

    def release(self, title: str = "Gong", artist_id: str | None = None) -> str:
        body = {"title": title, "kind": "album"}
        return str(self.make(f"/artists/{artist_id or self.artist()}/releases", body)["id"])

    def upload(self, release_id: str, content: Any, filename: str = "song.flac", **how: Any) -> Response:
        """Upload a file by its path, or whatever httpx takes as content."""
        content = content.read_bytes() if isinstance(content, Path) else content
        person = how.pop("person", self.owner)
        path = f"/releases/{release_id}/tracks"
        return self.call("POST", path, person, content=content, params={"filename": filename}, **how)

    def uploaded(self, release_id: str, path: Path) -> str:
        answer = self.upload(release_id, path, path.name)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def track(self, track_id: str) -> Any:
        return self.get(f"/tracks/{track_id}", self.owner)

    def published(self, title: str, path: Path, artist_id: str | None = None) -> tuple[str, str]:
        """A published release of one track: (release, track)."""
        release_id = self.release(title, artist_id)
        track_id = self.uploaded(release_id, path)
        self.worker.render(track_id)
        answer = self.call("POST", f"/releases/{release_id}/publish", self.owner)
        assert answer.status_code == 200, answer.text
        return release_id, track_id

    def rows(self, statement: str, **values: Any) -> list[Any]:
        with engine().connect() as conn:
            return list(conn.execute(text(statement), values))

    def execute(self, statement: str, **values: Any) -> None:
        with engine().begin() as conn:
            conn.execute(text(statement), values)

    def objects(self) -> set[str]:
        root = self.folder / "objects"
        return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}

    def scratch(self) -> list[str]:
        folder = self.folder / "scratch"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def kept(self) -> tuple[int, set[str], list[str]]:
        """How many tracks, which objects and which temporary files there are."""
        return len(self.rows("select 1 from coop.track")), self.objects(), self.scratch()


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[Format, Path]:
    """A good file of every format, fully tagged."""
    folder = tmp_path_factory.mktemp("sources")
    tags = {
        "title": "Ladrang Wilujeng",
        "artist": "Kyai Guntur",
        "album": "Pélog",
        "genre": "Gamelan",
        "track": "3",
        "date": "2024",
        "isrc": "GBAYE0601498",
    }
    cover = audio_files.picture(600, 400)
    return {
        kind: audio_files.music.encode(audio_files.piece(), kind, tags, cover, folder=folder, name=f"tagged-{kind}")
        for kind in audio_files.FORMATS
    }


@pytest.fixture(scope="session")
def catalogue_database(cloned_database: Callable[[], AbstractContextManager[Database]]) -> Iterator[Database]:
    """One database for all tests of the catalogue; each empties it."""
    with cloned_database() as database:
        yield database


@pytest.fixture
def studio(catalogue_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    """An empty catalogue and one artist-member."""
    _configure(monkeypatch, catalogue_database, tmp_path)
    with psycopg.connect(catalogue_database.superuser_url) as conn:
        conn.execute('truncate coop."user", coop.discarded_object cascade')
    with _own_connections():
        from workers import media as worker  # reads the settings

        clock, store, asked = Clock(), FaultyStore(open_store(settings())), []
        monkeypatch.setattr(worker, "now", clock.now)
        monkeypatch.setattr(worker, "_store", lambda: store)
        really_ask = work.ask
        monkeypatch.setattr(work, "ask", lambda _, track_id: asked.append(track_id))
        with _serving(_app(store)) as (client, port):
            yield Studio(client, port, worker, clock, store, tmp_path, asked, really_ask)
        assert not receiving._under_way, "an upload kept its place"


def _configure(monkeypatch: pytest.MonkeyPatch, database: Database, folder: Path) -> None:
    for name in [name for name in os.environ if name.startswith("STREAMCOOP_")]:
        monkeypatch.delenv(name)
    values = {
        "DATA_DIR": str(folder),
        "DATABASE_URL": database.app_url,
        "BROKER_URL": "memory://",
        "OBJECTS_URL": (folder / "objects").as_uri(),
        "CHAIN_RPC_URL": "http://127.0.0.1:1",
        "SECRET_KEY": base64.b64encode(bytes(range(32))).decode(),
        "UPLOAD_BYTES_MAX": str(UPLOAD_BYTES_MAX),
        "DURATION_S_MAX": "600",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"STREAMCOOP_{name}", value)


@contextmanager
def _own_connections() -> Iterator[None]:
    """This test's settings, and what depends on them."""
    for kept in (settings, _engine, work._sender):
        kept.cache_clear()
    try:
        yield
    finally:
        engine().dispose()
        for kept in (settings, _engine, work._sender):
            kept.cache_clear()


@contextmanager
def _serving(app: FastAPI) -> Iterator[tuple[Client, int]]:
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            # Connections wait in the socket's queue until the server takes them.
            with Client(base_url=f"http://127.0.0.1:{port}", timeout=REQUEST_TIMEOUT_S) as client:
                yield client, port
        finally:
            server.should_exit = True
            thread.join()


def _app(store: Any) -> FastAPI:
    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        app.state.accounts = Allowance(0)
        app.state.objects = store
        async with async_pool() as pool:
            app.state.pool = pool
            app.state.principals = PrincipalCache(pool)
            yield

    app = FastAPI(lifespan=running)
    problems.install(app)

    # As the service does it: a middleware stands between a route and the connection.
    @app.middleware("http")
    async def passed_on(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    for feature in (accounts, catalogue):
        app.include_router(feature.router)
    return app
