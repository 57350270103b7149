"""The migrations and the models are held against each other."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from streamcoop import models
from streamcoop.database import Base, with_driver
from streamcoop.migrate import migrate
from tests.conftest import Database


def test_the_migrated_schema_is_that_of_the_models(database: Database) -> None:
    assert models.__all__
    engine = create_engine(with_driver(database.owner_url))
    with engine.connect() as conn:
        options = {"include_schemas": True, "include_name": lambda name, type_, _: type_ != "schema" or name == "coop"}
        differences = compare_metadata(MigrationContext.configure(conn, opts=options), Base.metadata)
    engine.dispose()
    # Alembic's own table is in no model.
    strangers = [d for d in differences if not (d[0] == "remove_table" and d[1].name == "alembic_version")]
    assert strangers == []


def test_migrating_again_changes_nothing(database: Database) -> None:
    migrate(database.owner_url)
    migrate(database.owner_url)


def test_the_service_may_read_its_version_and_not_change_it(database: Database) -> None:
    with database.engine.connect() as conn:
        may = "select has_table_privilege('streamcoop_app', 'coop.alembic_version', :what)"
        assert conn.scalar(text(may), {"what": "select"})
        assert not conn.scalar(text(may), {"what": "update"})
