"""PostgreSQL as the service reaches it: SQLAlchemy for the synchronous rooms, psycopg for the hot path.

One request or task is one transaction: it is opened and committed here, never in a service.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http import HTTPStatus
from threading import Lock
from typing import Annotated, Any

from fastapi import Depends
from psycopg import AsyncConnection
from psycopg.errors import ReadOnlySqlTransaction
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import Engine, ExceptionContext, MetaData, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Session

from ledger.errors import DomainError
from streamcoop.problems import register
from streamcoop.settings import settings

POOL_SIZE = 20
ASYNC_POOL_MIN = 2
ASYNC_POOL_MAX = 10
POOL_TIMEOUT_S = 10
# No write transaction lasts over about two seconds; what takes this long has gone wrong.
STATEMENT_TIMEOUT_MS = 30_000
LOCK_TIMEOUT_MS = 10_000
# A server that fell silent, its machine gone, is noticed within half a minute: the system itself would wait for hours.
CONNECTING: dict[str, Any] = {
    "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS} -c timezone=UTC",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
# A connection that was in use so short a time ago is taken to be alive; to ask each time is a round trip.
TRUSTED_S = 1.0
READ_ONLY_RETRY_AFTER_S = 30


class ReadOnly(DomainError):
    """The service is being looked after and takes nothing in just now: try again a little later."""

    def __init__(self) -> None:
        super().__init__(retry_after_s=READ_ONLY_RETRY_AFTER_S)


register({ReadOnly: HTTPStatus.SERVICE_UNAVAILABLE})


class Base(DeclarativeBase):
    """The service's own tables. The books are `ledger.store`'s, as SQL."""

    metadata = MetaData(
        schema="coop",
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s",
            "uq": "%(table_name)s_%(column_0_N_name)s_unique",
            "ck": "%(table_name)s_%(constraint_name)s",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
            "pk": "%(table_name)s_pkey",
        },
    )


def with_driver(url: str) -> str:
    """A PostgreSQL URL as SQLAlchemy wants it, with psycopg 3 as its driver."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def engine() -> Engine:
    """This process's engine, made at first use: one, also where several threads ask first at once."""
    with _MAKING:  # `cache` alone makes one for each of them, and forgets all but the last with their connections
        return _engine()


_MAKING = Lock()


@cache
def _engine() -> Engine:
    made = create_engine(
        with_driver(settings().database_url.get_secret_value()),
        pool_size=POOL_SIZE,
        pool_timeout=POOL_TIMEOUT_S,
        pool_pre_ping=True,
        hide_parameters=True,  # an error that is logged must not carry e-mail addresses along
        connect_args=CONNECTING,
    )
    event.listen(made, "handle_error", _tell_read_only)
    return made


def _tell_read_only(context: ExceptionContext) -> None:
    if isinstance(context.original_exception, ReadOnlySqlTransaction):
        raise ReadOnly from context.original_exception


@contextmanager
def transaction() -> Iterator[Session]:
    """A session whose work is committed at the end, or rolled back by an exception."""
    with Session(engine(), expire_on_commit=False) as session, session.begin():
        yield session


def _request_transaction() -> Iterator[Session]:
    with transaction() as session:
        yield session


# Scope "function": committed before the answer is sent, so nothing is promised that is not durable.
Transaction = Annotated[Session, Depends(_request_transaction, scope="function")]


class HotConnection(AsyncConnection[Any]):
    """A connection that knows when it was last in use (monotonic seconds)."""

    used_s = 0.0


async def _prepare(conn: HotConnection) -> None:
    await conn.set_autocommit(True)


async def _note_use(conn: HotConnection) -> None:
    conn.used_s = time.monotonic()


async def _check(conn: HotConnection) -> None:
    if time.monotonic() - conn.used_s > TRUSTED_S:
        await AsyncConnectionPool.check_connection(conn)


def async_pool() -> AsyncConnectionPool[HotConnection]:
    """A pool for the asynchronous rooms (playback, and who a request is from). Opened by the caller.

    Its connections are in autocommit mode: a transaction there is opened by name.
    """
    return AsyncConnectionPool(
        settings().database_url.get_secret_value(),
        min_size=ASYNC_POOL_MIN,
        max_size=ASYNC_POOL_MAX,
        timeout=POOL_TIMEOUT_S,
        connection_class=HotConnection,
        kwargs=CONNECTING,
        configure=_prepare,
        check=_check,
        reset=_note_use,
        open=False,
    )
