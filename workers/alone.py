"""Doing something in one place at a time, however many workers there are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from streamcoop.database import engine


@contextmanager
def alone(key: int) -> Iterator[bool]:
    """Whether nobody else is within this block with the same key. A killed worker's lock ends with its connection."""
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        is_alone = bool(connection.scalar(text("select pg_try_advisory_lock(:key)"), {"key": key}))
        try:
            yield is_alone
        finally:
            # Where the connection has ended meanwhile, its lock has ended with it.
            with suppress(OperationalError):
                if is_alone:
                    connection.execute(text("select pg_advisory_unlock(:key)"), {"key": key})
