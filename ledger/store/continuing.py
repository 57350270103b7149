"""What the log is called: the first name it had, and where a stolen key ended it, the one it goes on under."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from ledger.store.batches import end_batch


@dataclass(frozen=True, slots=True)
class Continued:
    """The log of this `place`, the first being 1, begins with the one before as of the head of `batch`."""

    place: int
    origin: str
    batch: int


def continued(conn: Connection) -> list[Continued]:
    """The logs after the first, in their order."""
    return [Continued(*row) for row in conn.execute(_CONTINUED)]


_CONTINUED = text("select place, origin, batch from ledger.log_continued order by place")


@dataclass(frozen=True, slots=True)
class Told:
    """A published batch: what it began with, and the tree as of it."""

    number: int
    first_index: int
    size: int
    root: bytes


def published(conn: Connection, until: int) -> list[Told]:
    """The published batches up to one."""
    return [
        Told(row.number, row.first_index, row.size, bytes(row.root)) for row in conn.execute(_TOLD, {"until": until})
    ]


_TOLD = text("""
    select number, first_index, size, root from ledger.log_batch
     where published_at is not null and number <= :until order by number
""")


def batch_of(conn: Connection, size: int, root: bytes) -> int | None:
    """The batch as of which the published log had this head; None if it never had."""
    number = conn.scalar(_OF_HEAD, {"size": size, "root": root})
    return None if number is None else int(number)


_OF_HEAD = text("select number from ledger.log_batch where published_at is not null and size = :size and root = :root")


def go_on(conn: Connection, place: int, origin: str, batch: int, now: datetime) -> None:
    """From here on the log is the one of this place and name, which begins with what was published up to `batch`.

    What was published of later batches is to be published again, by the new log. The open batch ends: no rotation can
    be told in it that both logs would take for theirs.
    """
    told = {"place": place, "origin": origin, "batch": batch, "ended": end_batch(conn, now)}
    conn.execute(_GO_ON, told)
    conn.execute(_TAKE_BACK, {"batch": batch})


_GO_ON = text("""
    insert into ledger.log_continued (place, origin, batch, ended) values (:place, :origin, :batch, :ended)
""")
_TAKE_BACK = text("""
    update ledger.log_batch set first_index = null, size = null, root = null, published_at = null where number > :batch
""")
