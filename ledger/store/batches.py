"""Batches of the shared log: what is told together, and whoever reads it learns no finer times.

One batch is open at any time. Whoever writes something that is told locks its row for sharing (`open_batch`), so that a
batch is ended only when all of it is there, and from then on nothing is added to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

# Between two looks the batch may have been ended once, or at the worst a few times by batches of a second.
OPEN_TRIES_MAX = 10


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that has ended. `seals` is the epoch whose close it ends with."""

    number: int
    opened_at: datetime
    closed_at: datetime
    seals: int | None


def open_batch(conn: Connection) -> int:
    """The number of the open batch, which stays open until this transaction ends."""
    for _ in range(OPEN_TRIES_MAX):
        # A row that whoever ended the batch had locked is looked at again and is open no more: then there is a next.
        number = conn.scalar(text("select number from ledger.log_batch where closed_at is null for share"))
        if number is not None:
            return int(number)
    raise RuntimeError("no batch of the log stays open")


def end_batch(conn: Connection, now: datetime, seals: int | None = None) -> int:
    """End the open batch and open the next one; returns its number. Waits for those who write to it."""
    for _ in range(OPEN_TRIES_MAX):
        number = conn.scalar(text("select number from ledger.log_batch where closed_at is null for update"))
        if number is not None:
            conn.execute(_END, {"number": number, "now": now, "seals": seals})
            return int(number)
    raise RuntimeError("no batch of the log stays open")


_END = text("""
    with ended as (
        update ledger.log_batch set closed_at = greatest(cast(:now as timestamptz), opened_at), seals = :seals
         where number = :number returning closed_at
    )
    insert into ledger.log_batch (number, opened_at) select cast(:number as integer) + 1, closed_at from ended
""")


def is_due(conn: Connection, now: datetime, seconds: int, listeners_min: int) -> bool:
    """Whether the open batch is to be ended: its time is up, and it holds something; if plays, of enough listeners.

    Batches end at whole multiples of `seconds`. One that a clock gone wrong has opened in another time ends at once.
    """
    opened_at = conn.scalar(text("select opened_at from ledger.log_batch where closed_at is null"))
    if opened_at is None or int(opened_at.timestamp()) // seconds == int(now.timestamp()) // seconds:
        return False
    is_empty, listeners = conn.execute(_CONTENT, {"listeners_min": listeners_min}).one()
    return not is_empty and (listeners == 0 or listeners >= listeners_min)


_CONTENT = text("""
    with open as materialized (select number from ledger.log_batch where closed_at is null)
    select not exists (select from ledger.posting where batch = (select number from open)
                          and kind not in ('royalties', 'payouts-planned'))   -- told at the seal, and once paid
           and not exists (select from ledger.log_split where batch = (select number from open))
           and not exists (select from ledger.tariff where batch = (select number from open))
           and not exists (select from ledger.rates where batch = (select number from open))
           and not exists (select from ledger.rules where batch = (select number from open))
           and not exists (select from ledger.net_factors where batch = (select number from open))
           and not exists (select from ledger.log_attestation where batch = (select number from open))
           and not exists (select from ledger.log_keys where batch = (select number from open)),
           (select count(*) from (
                select distinct t.debit_account from ledger.posting p join ledger.transfer t on t.posting_id = p.id
                 where p.batch = (select number from open) and p.kind = 'settling'
                   and t.debit_account <> (select id from ledger.account where code = 'plays:clearing')
                 limit :listeners_min) as played)
""")


def unpublished(conn: Connection, most: int) -> list[Batch]:
    """The batches that have ended and are not published, the earliest first."""
    rows = conn.execute(_UNPUBLISHED, {"most": most})
    return [Batch(*row) for row in rows]


_UNPUBLISHED = text("""
    select number, opened_at, closed_at, seals from ledger.log_batch
     where closed_at is not null and published_at is null order by number limit :most
""")


@dataclass(frozen=True, slots=True)
class Head:
    """The tree as of a published batch."""

    batch: int
    size: int
    root: bytes
    published_at: datetime


def published_head(conn: Connection) -> Head | None:
    """The tree as of the last batch that is published, by these rows; None before the first."""
    row = conn.execute(_PUBLISHED).one_or_none()
    return None if row is None else Head(row.number, row.size, bytes(row.root), row.published_at)


_PUBLISHED = text("""
    select number, size, root, published_at from ledger.log_batch
     where published_at is not null order by number desc limit 1
""")


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many batches have ended and are not published, and since when the first of them."""

    count: int
    since: datetime | None


def waiting(conn: Connection) -> Waiting:
    """What is to be published."""
    return Waiting(*conn.execute(_WAITING).one())


_WAITING = text("""
    select count(*), min(closed_at) from ledger.log_batch where closed_at is not null and published_at is null
""")


def mark_published(conn: Connection, number: int, first_index: int, size: int, root: bytes, now: datetime) -> None:
    """Note that a batch is in the log from `first_index` on. Safe to repeat."""
    facts = {"number": number, "first_index": first_index, "size": size, "root": root, "now": now}
    conn.execute(_MARK_PUBLISHED, facts)


_MARK_PUBLISHED = text("""
    update ledger.log_batch set first_index = :first_index, size = :size, root = :root, published_at = :now
     where number = :number and published_at is null
""")


def sealed_totals(conn: Connection, batch: Batch) -> tuple[int, int]:
    """What listeners' plays were worth, and the royalties on them, of all that a sealing batch tells as shared out."""
    gross_micro, royalties_micro = conn.execute(_SEALED_TOTALS, {"number": batch.number, "epoch": batch.seals}).one()
    return int(gross_micro), int(royalties_micro)


_SEALED_TOTALS = text("""
    select coalesce(sum(gross_micro), 0), coalesce(sum(artists_micro), 0) from ledger.track_close
     where closed_in <= :epoch
       and closed_in > (select coalesce(max(seals), -2147483648) from ledger.log_batch
                         where seals is not null and number < :number)
""")
