"""Sealed copies: the private rows behind a batch, encrypted into the object store before its head is signed.

A copy of batch n is of one instant after that batch has ended: of the books what belongs to the batch or a later one
(`ledger.store.copying`), of the service's own tables all. It is written once and read by `log recover` alone.

The file is MAGIC, a salt, then chunks of CHUNK_BYTES (the last one shorter) under AES-256-GCM. The key is of this file
alone; the nonce is the chunk's number and whether it is the last, so no chunk can be left out, moved or cut off. What
is within is a header, then each table: a header, its rows as PostgreSQL's binary COPY in pieces, how many they were.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Engine, text

from ledger.store import copying
from streamcoop.adapters.objects import ObjectConflict, ObjectMissing, ObjectStore
from streamcoop.settings import Settings
from streamcoop.transparency import files

FORMAT = 1
MAGIC = b"streamcoop rows\x01"
CHUNK_BYTES = 1 << 20
HEADER_BYTES_MAX = 1 << 20
EXPIRES = timedelta(days=30)
"""As backups are to: what was erased is gone from everywhere by then."""
EXPIRED_A_TIME_MAX = 10_000
SALT_BYTES = 32
_TAG_BYTES = 16
_LABEL = b"streamcoop sealed rows"
_NONCE = struct.Struct(">QB3x")
_LENGTH = struct.Struct(">I")
_COUNT = struct.Struct(">Q")

# What a recovered service does better without: sign-ins and tokens that may have been ended since, and transfers
# that nobody goes on with.
EMPTIED = frozenset({"sign_in", "api_token", "transfer_place"})
# What is about this database itself, or must never be older than it is.
KEPT = frozenset({"alembic_version", "sign_in_door", "books_check", "witnessed_log", "log_evidence"})


class CopyRefused(Exception):
    """A sealed copy cannot be read."""


@dataclass(frozen=True, slots=True)
class About:
    """Of which batch a copy is, of which log, and when it was taken."""

    format: int
    batch: int
    origin: str
    taken_at: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table in a copy: its name with the schema, and its columns with their types."""

    name: str
    columns: Sequence[tuple[str, str]]


def secret_of(settings: Settings) -> bytes:
    """What the copies' keys follow from."""
    return base64.b64decode(settings.secret_key.get_secret_value())


def seal(
    store: ObjectStore, engine: Engine, secret: bytes, origin: str, batch: int, clock: Callable[[], datetime]
) -> None:
    """See to it that the sealed copy of a batch that has ended, and of whose tracks and wallets all are told, is there.

    One that is there stays, if it can be read. Raises CopyRefused and ObjectStoreUnavailable.
    """
    key = files.rows_key(batch)
    if not store.exists(key):
        with tempfile.NamedTemporaryFile() as sealed:
            into = _Sealing(sealed, secret, batch)
            _copy(engine, into, About(FORMAT, batch, origin, clock().isoformat()))
            into.end()
            sealed.flush()
            try:
                store.put_file(key, Path(sealed.name), files.BYTES)
            except ObjectConflict:
                pass  # somebody else has put one: it is looked at as any that is there
            else:
                return
    with opened(store, secret, origin, batch) as copy:
        for _ in copy.tables():
            copy.skip()


def _copy(engine: Engine, into: _Sealing, about: About) -> None:
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as conn, conn.begin():
        conn.execute(text("set transaction read only"))
        # As long as it takes to read a day of plays.
        conn.execute(text("set local statement_timeout = 0"))
        _put_header(into, asdict(about))
        for table in copying.TABLES:
            _copy_table(conn, into, f"ledger.{table.name}", table.rows.format(batch=about.batch))
        for name in own_tables(conn):
            _copy_table(conn, into, f"coop.{name}", f'coop."{name}" as t')
        into.write(_LENGTH.pack(0))


def last_expired(conn: Connection, now: datetime) -> int:
    """The last published batch that ended longer ago than EXPIRES; 0 if none did."""
    return int(conn.scalar(_LAST_EXPIRED, {"before": now - EXPIRES}) or 0)


_LAST_EXPIRED = text("select max(number) from ledger.log_batch where closed_at < :before and published_at is not null")


def expire(store: ObjectStore, last: int, most: int = EXPIRED_A_TIME_MAX) -> int:
    """Delete the copies up to the one of batch `last`, the oldest first; returns how many.

    Safe to repeat and to be killed anywhere. Raises ObjectStoreUnavailable.
    """
    # Those that are gone, or never were, are the earliest: the first that is there is found by halving.
    first, behind = 1, last + 1
    while first < behind:
        middle = (first + behind) // 2
        if store.exists(files.rows_key(middle)):
            behind = middle
        else:
            first = middle + 1
    expired = range(first, min(last, first + most - 1) + 1)
    for number in expired:
        store.delete(files.rows_key(number))
    return len(expired)


def own_tables(conn: Connection) -> list[str]:
    """The service's tables that a copy holds, each after those that it refers to."""
    names = {row.name for row in conn.execute(_OWN)} - KEPT - EMPTIED
    refers: dict[str, set[str]] = {name: set() for name in names}
    for row in conn.execute(_REFERENCES):
        if row.name in names and row.name != row.other:
            refers[row.name].add(row.other)
    ordered: list[str] = []
    while refers:
        ready = sorted(name for name, others in refers.items() if not others - set(ordered))
        if not ready:
            raise RuntimeError(f"tables that refer to each other in a circle: {', '.join(sorted(refers))}")
        ordered += ready
        for name in ready:
            del refers[name]
    return ordered


_OWN = text("select relname as name from pg_class where relnamespace = 'coop'::regnamespace and relkind in ('r', 'p')")
_REFERENCES = text("""
    select here.relname as name, there.relname as other from pg_constraint c
      join pg_class here on here.oid = c.conrelid join pg_class there on there.oid = c.confrelid
     where c.contype = 'f' and here.relnamespace = 'coop'::regnamespace and there.relnamespace = 'coop'::regnamespace
""")


def _copy_table(conn: Connection, into: _Sealing, name: str, rows: str) -> None:
    columns = [(row.name, row.type) for row in conn.execute(_COLUMNS, {"name": _quoted(name)})]
    _put_header(into, {"name": name, "columns": columns})
    wanted = ", ".join(f't."{column}"' for column, _ in columns)
    driver: Any = conn.connection.driver_connection
    with driver.cursor() as cursor:
        with cursor.copy(f"copy (select {wanted} from {rows}) to stdout (format binary)") as copy:
            for block in copy:
                into.write(_LENGTH.pack(len(block)))
                into.write(block)
        into.write(_LENGTH.pack(0))
        into.write(_COUNT.pack(cursor.rowcount))


_COLUMNS = text("""
    select attname as name, format_type(atttypid, atttypmod) as type from pg_attribute
     where attrelid = cast(:name as regclass) and attnum > 0 and not attisdropped and attgenerated = '' order by attnum
""")


def _quoted(name: str) -> str:
    schema, _, table = name.partition(".")
    return f'{schema}."{table}"'


def _put_header(into: _Sealing, told: dict[str, Any]) -> None:
    data = json.dumps(told).encode()
    into.write(_LENGTH.pack(len(data)))
    into.write(data)


def _cipher(secret: bytes, salt: bytes, batch: int) -> AESGCM:
    label = hmac.digest(secret, _LABEL, "sha256")
    return AESGCM(hmac.digest(label, salt + batch.to_bytes(8, "big"), "sha256"))


class _Sealing:
    """Writes chunks as they fill up."""

    def __init__(self, file: IO[bytes], secret: bytes, batch: int) -> None:
        salt = secrets.token_bytes(SALT_BYTES)
        self._file, self._cipher = file, _cipher(secret, salt, batch)
        self._number, self._open = 0, bytearray()
        file.write(MAGIC + salt)

    def write(self, data: bytes) -> None:
        self._open += data
        # The last chunk is known to be it only at the end, so a full one waits for what comes after.
        while len(self._open) > CHUNK_BYTES:
            self._put(bytes(self._open[:CHUNK_BYTES]), is_last=False)
            del self._open[:CHUNK_BYTES]

    def end(self) -> None:
        self._put(bytes(self._open), is_last=True)

    def _put(self, chunk: bytes, *, is_last: bool) -> None:
        self._file.write(self._cipher.encrypt(_NONCE.pack(self._number, is_last), chunk, MAGIC))
        self._number += 1


class Copy:
    """A sealed copy that is being read from its beginning to its end. What is read of it is as it was written."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._open, self._place = chunks, b"", 0
        told = self._header()
        if told is None or told.get("format") != FORMAT:
            raise CopyRefused("of another format than this version reads")
        self.about = About(**told)

    def tables(self) -> Iterator[Table]:
        """Table after table, the rows of each to be read before the next."""
        while (told := self._header()) is not None:
            yield Table(told["name"], [(name, kind) for name, kind in told["columns"]])
        if self._place < len(self._open) or next(self._chunks, None) is not None:
            raise CopyRefused("something stands behind its end")

    def rows(self) -> Iterator[bytes]:
        """The rows of the table at hand, as binary COPY; then `count` says how many."""
        while length := _LENGTH.unpack(self._read(_LENGTH.size))[0]:
            yield self._read(length)

    def count(self) -> int:
        """How many rows those were."""
        return int(_COUNT.unpack(self._read(_COUNT.size))[0])

    def skip(self) -> None:
        """Pass over the rows of the table at hand."""
        for _ in self.rows():
            pass
        self.count()

    def _header(self) -> dict[str, Any] | None:
        length = _LENGTH.unpack(self._read(_LENGTH.size))[0]
        if length > HEADER_BYTES_MAX:
            raise CopyRefused("a header that is too long")
        return dict(json.loads(self._read(length))) if length else None

    def _read(self, size: int) -> bytes:
        while len(self._open) - self._place < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise CopyRefused("it ends too early")
            self._open, self._place = self._open[self._place :] + chunk, 0
        self._place += size
        return self._open[self._place - size : self._place]


@contextmanager
def opened(store: ObjectStore, secret: bytes, origin: str | None, batch: int) -> Iterator[Copy]:
    """The sealed copy of a batch, in a temporary file meanwhile.

    Raises CopyRefused where it is missing, damaged, cut off, of another batch or log, or under another key: in the
    middle of reading too, so nothing may be kept of it before its end. Raises ObjectStoreUnavailable.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows")
        try:
            store.fetch_to(files.rows_key(batch), path)
        except ObjectMissing as missing:
            raise CopyRefused(f"there is no sealed copy of batch {batch}") from missing
        copy = Copy(_chunks(path, secret, batch))
        if copy.about.batch != batch or origin not in (None, copy.about.origin):
            raise CopyRefused(f"the sealed copy of batch {batch} is of batch {copy.about.batch} of {copy.about.origin}")
        yield copy


def _chunks(path: Path, secret: bytes, batch: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise CopyRefused(f"the sealed copy of batch {batch} is damaged: it does not begin as one")
        cipher, number = _cipher(secret, file.read(SALT_BYTES), batch), 0
        sealed = file.read(CHUNK_BYTES + _TAG_BYTES)
        while sealed:
            after = file.read(CHUNK_BYTES + _TAG_BYTES)
            try:
                yield cipher.decrypt(_NONCE.pack(number, not after), sealed, MAGIC)
            except InvalidTag as refused:
                raise CopyRefused(
                    f"the sealed copy of batch {batch} is damaged, or sealed under another STREAMCOOP_SECRET_KEY"
                ) from refused
            sealed, number = after, number + 1
