"""Rotations of the log's keys: which verifier keys sign the heads from which batch on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from ledger.errors import DomainError
from ledger.store.batches import open_batch


class RotationUnderWay(DomainError):
    """The log's keys are being changed to others already: one rotation after the other."""


class BatchesWait(DomainError):
    """Batches have ended that the keys in force are still to sign: rotate once they are published."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """From the head of `batch` on, the first that covers the entry, `keys` sign and not those `before`."""

    batch: int
    before: tuple[str, ...]
    keys: tuple[str, ...]
    is_published: bool


def rotations(conn: Connection) -> tuple[Rotation, ...]:
    """All of them under the name that the log has now, the earliest first."""
    rows = conn.execute(_ALL)
    return tuple(Rotation(row.batch, tuple(row.before), tuple(row.keys), row.is_published) for row in rows)


_ALL = text("""
    select k.batch, k.before, k.keys, b.published_at is not null as is_published
      from ledger.log_rotation k join ledger.log_batch b on b.number = k.batch
     where k.batch > (select coalesce(max(batch), 0) from ledger.log_continued) order by k.batch
""")


def rotate(conn: Connection, before: Sequence[str], keys: Sequence[str], signatures: Sequence[str]) -> int:
    """Tell in the open batch that `keys` follow on those `before`, whose signatures these are; returns its number.

    Raises RotationUnderWay, and BatchesWait.
    """
    batch = open_batch(conn)
    if any(not rotation.is_published for rotation in rotations(conn)):
        raise RotationUnderWay
    if conn.scalar(_WAITING):
        raise BatchesWait
    told = {"batch": batch, "before": list(before), "keys": list(keys), "signatures": list(signatures)}
    if not conn.execute(_ROTATE, told).rowcount:
        raise RotationUnderWay
    return batch


_WAITING = text("select exists (select from ledger.log_batch where closed_at is not null and published_at is null)")
_ROTATE = text("""
    insert into ledger.log_keys (batch, before, keys, signatures) values (:batch, :before, :keys, :signatures)
        on conflict do nothing
""")
