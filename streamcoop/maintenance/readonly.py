"""The read-only switch. PostgreSQL itself enforces it, on every session of the service's role in its database.

A role may set its own defaults, so nobody else's rights are needed; the owner's migrations still run.
"""

from __future__ import annotations

import time
from datetime import datetime

import psycopg
from psycopg import sql
from sqlalchemy import Connection, text

# Transactions that are under way may end well; what takes longer is cut off and was never acknowledged.
DRAIN_S_MAX = 5.0
ENDED_S_MAX = 10.0
POLL_S = 0.05

# The switch must work while it is on.
_WRITABLE = "-c default_transaction_read_only=off"

_OLDER_SESSIONS = """
    select pid, state from pg_stat_activity
     where usename = current_user and datname = current_database() and pid <> pg_backend_pid() and backend_start < %s
"""


class SessionsLeft(Exception):
    """Some sessions of the service could not be ended: they still go by the old setting."""


def is_on(conn: Connection) -> bool:
    """Whether this session may only read."""
    return bool(conn.scalar(text("select current_setting('default_transaction_read_only')::boolean")))


def switch(app_url: str, on: bool) -> None:
    """Let the service's role only read, or let it write again. Holds for every session once this returns.

    `app_url` is the service's own address. Safe to repeat. Raises SessionsLeft.
    """
    with psycopg.connect(app_url, autocommit=True, options=_WRITABLE) as conn:
        role, database = sql.Identifier(conn.info.user), sql.Identifier(conn.info.dbname)
        told = sql.SQL("set default_transaction_read_only = on" if on else "reset default_transaction_read_only")
        conn.execute(sql.SQL("alter role {} in database {} {}").format(role, database, told))
        found = conn.execute("select clock_timestamp()").fetchone()
        assert found is not None  # a select without a table gives one row
        _end_sessions_older_than(conn, found[0])


def _end_sessions_older_than(conn: psycopg.Connection, switched_at: datetime) -> None:
    """A session keeps the default it began with. Idle ones are ended at once, the others when their work is done."""
    begun = time.monotonic()
    while sessions := conn.execute(_OLDER_SESSIONS, (switched_at,)).fetchall():
        waited_s = time.monotonic() - begun
        if waited_s > DRAIN_S_MAX + ENDED_S_MAX:
            raise SessionsLeft(f"{SessionsLeft.__doc__} {', '.join(str(pid) for pid, _ in sessions)}")
        for pid, state in sessions:
            if state == "idle" or waited_s > DRAIN_S_MAX:
                conn.execute("select pg_terminate_backend(%s)", (pid,))
        time.sleep(POLL_S)
