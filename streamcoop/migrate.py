"""Bringing the database to this version's schema, and founding the co-op in it."""

from __future__ import annotations

from datetime import datetime
from importlib.resources import files

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from ledger.store import partitions, terms
from streamcoop.database import with_driver
from streamcoop.founding import first_terms, founding_of
from streamcoop.settings import Settings

_MIGRATION_LOCK = 0x5C_00


def config() -> Config:
    """Alembic's configuration: the scripts in this package."""
    configured = Config()
    configured.set_main_option("script_location", str(files("streamcoop").joinpath("migrations")))
    return configured


def migrate(owner_url: str) -> None:
    """Bring the database at `owner_url` to the newest schema. Safe to repeat and to run twice at once."""
    engine = create_engine(with_driver(owner_url))
    with engine.begin() as conn:
        conn.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        conn.execute(text("create schema if not exists coop"))
        configured = config()
        configured.attributes["connection"] = conn
        command.upgrade(configured, "head")
    engine.dispose()


def found(session: Session, settings: Settings, now: datetime) -> bool:
    """Found the co-op with the settings' values unless it was founded before; make the first partitions."""
    conn = session.connection()
    partitions.ensure_partitions(conn, now)
    return terms.found(conn, founding_of(settings, now), *first_terms(settings))
