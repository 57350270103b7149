"""One PostgreSQL for the whole run, embedded or Debian's; a test that asks for a database gets a clone of it."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql
from sqlalchemy import Engine, create_engine

from streamcoop.embedded import databases, postgres
from streamcoop.migrate import migrate
from tests import production
from tests.production import postgres as postgres_15

# Where PostgreSQL has to run as another account, that one must get through.
PASSABLE = 0o711
TEMPLATE = "books_template"

settings.register_profile("quick", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On production parts, leave out what is about the embedded ones."""
    left_out = [item for item in items if production.IS_CHOSEN and item.get_closest_marker("embedded_parts")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@dataclass(frozen=True)
class Database:
    """An empty database with the service's schema: three roles' addresses, and an engine as the service's role."""

    superuser_url: str
    owner_url: str
    app_url: str
    engine: Engine


@dataclass(frozen=True)
class _Server:
    cluster: postgres.Cluster
    databases: databases.Databases

    def urls(self, database: str) -> tuple[str, str, str]:
        owner_url, app_url = (
            f"{url.rpartition('/')[0]}/{database}" for url in (self.databases.owner_url, self.databases.app_url)
        )
        return self.cluster.superuser_url(database), owner_url, app_url

    def administer(self, statement: str, **names: str) -> None:
        with psycopg.connect(self.cluster.superuser_url(), autocommit=True) as connection:
            identifiers = {name: sql.Identifier(value) for name, value in names.items()}
            connection.execute(sql.SQL(statement).format(**identifiers))


@pytest.fixture(scope="session")
def _postgres_server() -> Iterator[_Server]:
    with tempfile.TemporaryDirectory(prefix="streamcoop-tests-") as folder:
        Path(folder).chmod(PASSABLE)
        start = postgres_15.start if production.IS_CHOSEN else postgres.start
        running = start(Path(folder) / "postgres")
        try:
            server = _Server(running.cluster, databases.bootstrap(running.cluster))
            # What the tests write is thrown away with the folder.
            server.administer("ALTER SYSTEM SET fsync = off")
            server.administer("SELECT pg_reload_conf()")
            server.administer("CREATE DATABASE {name} OWNER {owner}", name=TEMPLATE, owner=databases.OWNER)
            migrate(server.urls(TEMPLATE)[1])
            yield server
        finally:
            running.stop()


@pytest.fixture(scope="session")
def cloned_database(_postgres_server: _Server) -> Callable[[], AbstractContextManager[Database]]:
    """Makes a database for as long as a `with` block lasts: for tests that need several."""
    numbers = itertools.count(1)

    @contextmanager
    def clone() -> Iterator[Database]:
        name = f"books_{next(numbers)}"
        _postgres_server.administer(
            # Without fsync, copying files takes a third of the time of writing them to the log.
            "CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY OWNER {owner}",
            name=name,
            template=TEMPLATE,
            owner=databases.OWNER,
        )
        superuser_url, owner_url, app_url = _postgres_server.urls(name)
        engine = create_engine(app_url.replace("postgresql://", "postgresql+psycopg://", 1), pool_size=20)
        try:
            yield Database(superuser_url, owner_url, app_url, engine)
        finally:
            engine.dispose()
            _postgres_server.administer("DROP DATABASE {name} WITH (FORCE)", name=name)

    return clone


@pytest.fixture
def database(cloned_database: Callable[[], AbstractContextManager[Database]]) -> Iterator[Database]:
    """A database of this test's own."""
    with cloned_database() as cloned:
        yield cloned


@pytest.fixture
def objects_at(tmp_path: Path) -> dict[str, str]:
    """The settings that say where objects are; a test that wants them elsewhere has its own."""
    return {"OBJECTS_URL": (tmp_path / "objects").as_uri()}
