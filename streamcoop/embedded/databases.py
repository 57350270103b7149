"""What the embedded server holds: the service's database, the broker's database, and the three roles that use them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from urllib.parse import quote

import psycopg
from pgmq.install import install_pgmq_from_sql
from psycopg import sql

from streamcoop.embedded.postgres import PASSWORD_BYTES, Cluster
from streamcoop.embedded.private import PRIVATE_FOLDER_MODE, generated_once

DATABASE = "streamcoop"
BROKER_DATABASE = "streamcoop_broker"
OWNER = "streamcoop_owner"
APP = "streamcoop_app"
BROKER = "streamcoop_broker"


@dataclass(frozen=True)
class Databases:
    """Addresses, passwords included."""

    owner_url: str
    app_url: str
    broker_database_url: str
    broker_url: str


def bootstrap(cluster: Cluster) -> Databases:
    """Make the roles, both databases and the broker's pgmq schema, as far as they are missing.

    `streamcoop_owner` owns the database `streamcoop`: it runs the migrations. `streamcoop_app` may
    connect to it and has no right but those that migrations grant. `streamcoop_broker` owns the
    database of its name. Nobody else may connect to either. The passwords are generated once and
    kept in `<folder>/passwords/<role>`. The server must be ready.
    """
    passwords = {role: _password(cluster, role) for role in (OWNER, APP, BROKER)}
    with psycopg.connect(cluster.superuser_url(), autocommit=True) as connection:
        for role, password in passwords.items():
            _ensure_role(connection, role, password)
        for database, owner in ((DATABASE, OWNER), (BROKER_DATABASE, BROKER)):
            _ensure_database(connection, database, owner)
        connection.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(DATABASE), sql.Identifier(APP))
        )
    pgmq_login = f"{BROKER}:{quote(passwords[BROKER], safe='')}"
    broker_database_url = cluster.url(BROKER_DATABASE, BROKER, passwords[BROKER])
    _ensure_queues(broker_database_url)
    return Databases(
        owner_url=cluster.url(DATABASE, OWNER, passwords[OWNER]),
        app_url=cluster.url(DATABASE, APP, passwords[APP]),
        broker_database_url=broker_database_url,
        broker_url=f"pgmq://{pgmq_login}@{cluster.host}:{cluster.port}/{BROKER_DATABASE}",
    )


def _password(cluster: Cluster, role: str) -> str:
    folder = cluster.folder / "passwords"
    folder.mkdir(mode=PRIVATE_FOLDER_MODE, exist_ok=True)
    return generated_once(folder / role, lambda: secrets.token_urlsafe(PASSWORD_BYTES))


def _ensure_role(connection: psycopg.Connection, role: str, password: str) -> None:
    # Hashed on this side: the server's log may show a statement, never a password.
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is not None
    # Set at every start: the file is what the service reads, so the file is right.
    statement = sql.SQL(
        "{} ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD {}"
    ).format(sql.SQL("ALTER" if known else "CREATE"), sql.Identifier(role), sql.Literal(verifier))
    connection.execute(statement)


def _ensure_database(connection: psycopg.Connection, database: str, owner: str) -> None:
    if connection.execute("SELECT FROM pg_database WHERE datname = %s", (database,)).fetchone() is None:
        # ALLOW_CONNECTIONS waits for the REVOKE: a new database is open to every role.
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} ALLOW_CONNECTIONS false").format(
                sql.Identifier(database), sql.Identifier(owner)
            )
        )
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))
    connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(database)))


def _ensure_queues(broker_database_url: str) -> None:
    """Install pgmq as plain SQL: the server has no such extension, so Celery is told `init_extension=False`."""
    with psycopg.connect(broker_database_url) as connection:
        # One transaction installs all of it, so the schema is there whole or not at all.
        if connection.execute("SELECT to_regnamespace('pgmq')").fetchone() == (None,):
            install_pgmq_from_sql(conn=connection)
