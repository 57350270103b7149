"""Recovering: a database that was put back to an older state is brought to where its published log is.

What the sealed copies hold beyond it is put back, batch by batch, each in a transaction; then each batch's entries are
made again, and have to lead to the head that was signed. Meanwhile the service only reads. Whatever was done before a
crash is found done, so it is simply begun again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, create_engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ledger import founding
from ledger.note import Checkpoint
from ledger.store import batches, copying, partitions, terms
from ledger.store.checking import Report, add_up_books
from ledger.store.copying import WentItsOwnWay
from streamcoop.adapters.objects import ObjectStore
from streamcoop.database import with_driver
from streamcoop.maintenance import readonly
from streamcoop.settings import Settings
from streamcoop.transparency import files, naming, places, sealing
from streamcoop.transparency.keys import keyring, signing_keys
from streamcoop.transparency.publishing import LogForked, Writer, accept
from streamcoop.transparency.sealing import CopyRefused, Table

log = logging.getLogger(__name__)

# Of batches that have ended and are not published, looked at in one go.
WAITING_MAX = 10_000
BEHIND = "the published log goes on beyond this database: `streamcoop log recover` brings it there"
GONE_ON = "the log goes on under another name, and this database does not know: repeat `streamcoop log continue`"

_TABLES = {f"ledger.{table.name}": table for table in copying.TABLES}
_COPIED = "pg_temp.copied"


class CannotRecover(Exception):
    """The database cannot be brought to where the log is."""


REFUSALS = (CannotRecover, CopyRefused, WentItsOwnWay, LogForked, readonly.SessionsLeft)
"""What stops a recovery and carries a message for whoever runs it."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """How many batches were put back, how many were noted as published, the head then, and what the books add up to."""

    put_back: int
    published: int
    head: Checkpoint | None
    books: Report


def is_behind(conn: Connection, store: ObjectStore) -> bool:
    """Whether the open batch has ended before: then this database was put back to an older state."""
    number = conn.scalar(_OPEN)
    return number is not None and _has_ended(places.here(conn, store), number)


def why_behind(conn: Connection, store: ObjectStore) -> str | None:
    """Why nothing may be published from this database, in words for the operator; None if all that ended is known."""
    if is_behind(conn, store):
        return BEHIND
    next_log = places.at(store, places.place_of(conn) + 1)
    return GONE_ON if next_log.exists(files.key_of(founding.PATH)) else None


def may_lack(conn: Connection, store: ObjectStore) -> bool:
    """The same of the first batch that is not published: what was told of it after it had ended may be missing."""
    number = conn.scalar(text("select min(number) from ledger.log_batch where published_at is null"))
    return number is not None and _has_ended(places.here(conn, store), number)


_OPEN = text("select number from ledger.log_batch where closed_at is null")


def _has_ended(store: ObjectStore, number: int) -> bool:
    return store.exists(files.rows_key(number)) or store.exists(files.key_of(files.head_path(number)))


def recover(settings: Settings, store: ObjectStore, clock: Callable[[], datetime]) -> Recovered:
    """Bring the database to where its log is. Safe to repeat and to be killed anywhere; a database that is there stays.

    The service only reads from the beginning on, and writes again once all is well. Raises CannotRecover,
    CopyRefused, WentItsOwnWay, LogForked and ObjectStoreUnavailable.
    """
    if settings.database_owner_url is None:
        raise CannotRecover("STREAMCOOP_DATABASE_OWNER_URL is not set: rows are put back as the owner")
    app_url, secret = settings.database_url.get_secret_value(), sealing.secret_of(settings)
    readonly.switch(app_url, on=True)
    with _as_owner(settings.database_owner_url.get_secret_value()) as engine:
        with engine.begin() as conn:
            partitions.ensure_partitions(conn, clock())
            waiting = batches.unpublished(conn, WAITING_MAX)
            ended_in = places.here(conn, store)
        for batch in waiting:
            if _has_ended(ended_in, batch.number):
                _tell_again(engine, store, secret, batch.number)
        put_back = 0
        while (number := _ended_before(engine, store)) is not None:
            _put_back(engine, store, secret, number)
            put_back += 1
            log.info("batch put back", extra={"batch": number})
        heads = list(_accepted(_writer(settings, engine, store, clock)))
        books = add_up_books(engine)
    if not books.balanced:
        raise CannotRecover(f"the books do not balance, so the service stays read-only: {books.findings[0]}")
    readonly.switch(app_url, on=False)
    return Recovered(put_back, len(heads), heads[-1] if heads else None, books)


@contextmanager
def _as_owner(owner_url: str) -> Iterator[Engine]:
    engine = create_engine(
        with_driver(owner_url),
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={"options": "-c timezone=UTC"},
    )
    try:
        yield engine
    finally:
        engine.dispose()


def _ended_before(engine: Engine, store: ObjectStore) -> int | None:
    with engine.connect() as conn:
        number, ended_in = conn.scalar(_OPEN), places.here(conn, store)
    return int(number) if number is not None and _has_ended(ended_in, number) else None


def _put_back(engine: Engine, store: ObjectStore, secret: bytes, number: int) -> None:
    """Bring all tables to the instant of a batch's copy, if the batch is still open here."""
    counts: dict[str, int] = {}
    with engine.begin() as conn:
        conn.execute(text("lock table ledger.log_batch in exclusive mode"))
        if conn.scalar(_OPEN) != number:
            return
        with sealing.opened(store, secret, _origin(conn), number) as copy:
            own = sealing.own_tables(conn)
            emptied = ", ".join(f'coop."{each}"' for each in sorted({*own, *sealing.EMPTIED}))
            conn.execute(text(f"truncate {emptied}"))
            for table in copy.tables():
                count = _into_temporary(conn, copy, table)
                if (told := _TABLES.get(table.name)) is not None:
                    counts[told.name] = count
                    _into_books(conn, told, number, table)
                elif table.name.removeprefix("coop.") in own:
                    _into_own(conn, table)
                else:
                    raise CopyRefused(f"the sealed copy of batch {number} has a table unknown here: {table.name}")
                conn.execute(text(f"drop table {_COPIED}"))
        copying.require_nothing_else(conn, number, counts)
        for schema in ("ledger", "coop"):
            copying.set_sequences(conn, schema)
        # What was erased since is in an older database: a worker goes over it again.
        conn.execute(text("update coop.erasure set ended_at = null"))


def _tell_again(engine: Engine, store: ObjectStore, secret: bytes, number: int) -> None:
    with engine.begin() as conn, sealing.opened(store, secret, _origin(conn), number) as copy:
        for table in copy.tables():
            name = table.name.removeprefix("ledger.")
            if name not in copying.TOLD_LATER:
                copy.skip()
                continue
            _into_temporary(conn, copy, table)
            copying.tell_again(conn, name, number, _COPIED, [f'"{column}"' for column, _ in table.columns])
            conn.execute(text(f"drop table {_COPIED}"))


def _origin(conn: Connection) -> str | None:
    found = conn.scalar(text("select origin from ledger.log_name"))
    return None if found is None else str(found)


def _into_temporary(conn: Connection, copy: sealing.Copy, table: Table) -> int:
    """Read the rows at hand into a table with the types they had; returns how many."""
    columns = ", ".join(f'"{name}" {kind}' for name, kind in table.columns)
    conn.execute(text(f"create temporary table copied ({columns})"))
    driver: Any = conn.connection.driver_connection
    with driver.cursor() as cursor:
        with cursor.copy(f"copy {_COPIED} from stdin (format binary)") as into:
            for piece in copy.rows():
                into.write(piece)
        count, read = copy.count(), cursor.rowcount
    if read != count:
        raise CopyRefused(f"{table.name}: {read} rows are read, and {count} were written")
    conn.execute(text(f"analyze {_COPIED}"))
    return count


def _into_books(conn: Connection, told: copying.Copied, number: int, table: Table) -> None:
    if told.name == "play_queue":
        copying.require_known_plays(conn, _COPIED, number)
    try:
        copying.put_back(conn, told, number, _COPIED, [f'"{column}"' for column, _ in table.columns])
    except IntegrityError as refused:
        raise WentItsOwnWay(f"{told.name}: other rows are there than in the sealed copy of batch {number}") from refused


def _into_own(conn: Connection, table: Table) -> None:
    name, columns = table.name.removeprefix("coop."), ", ".join(f'"{column}"' for column, _ in table.columns)
    conn.execute(text(f'insert into coop."{name}" ({columns}) overriding system value select {columns} from {_COPIED}'))


def _writer(settings: Settings, engine: Engine, store: ObjectStore, clock: Callable[[], datetime]) -> Writer:
    """What publishing takes, with the owner's rights: nobody else may write now. It signs nothing."""

    @contextmanager
    def transaction() -> Iterator[Session]:
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    with transaction() as session:
        origin = naming.origin(session, settings)
        return Writer(
            transaction=transaction,
            engine=engine,
            store=places.here(session.connection(), store),
            keys=keyring(session, signing_keys(settings, origin)),
            origin=origin,
            founding=terms.founding(session.connection()),
            clock=clock,
            secret=sealing.secret_of(settings),
            cosign=lambda _note, _head: "",
            first_origin=naming.first_origin(session, settings),
        )


def _accepted(writer: Writer) -> Iterator[Checkpoint]:
    """Note what was published, until a batch comes that was not."""
    with writer.transaction() as session:
        waiting = batches.unpublished(session.connection(), WAITING_MAX)
    for batch in waiting:
        head = accept(writer, batch)
        if head is None:
            return
        yield head
