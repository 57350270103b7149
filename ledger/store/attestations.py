"""Attestations of the bank: an officer's word is an intent, which another's completes and the log then tells."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from ledger.store.batches import open_batch


@dataclass(frozen=True, slots=True)
class Sealed:
    """An epoch and the batch that ends with its seal."""

    epoch: int
    batch: int


def sealed(conn: Connection, most: int) -> list[Sealed]:
    """The epochs that are sealed, the latest first."""
    return [Sealed(*row) for row in conn.execute(_SEALED, {"most": most})]


_SEALED = text("""
    select seals, number from ledger.log_batch where seals is not null and closed_at is not null
     order by number desc limit :most
""")


def bank_micro(conn: Connection, batch: int) -> int:
    """What the bank holds by all that the log tells up to a batch: payments and shares of members less payouts."""
    return int(conn.scalar(_BANK, {"batch": batch}) or 0)


_BANK = text("""
    select (select coalesce(sum(money_micro), 0) from ledger.log_credit where kind = 'top-up' and batch <= :batch)
         - (select coalesce(sum(t.amount_micro), 0) from ledger.posting p
              join ledger.transfer t on t.posting_id = p.id
              join ledger.account bank on bank.id = t.credit_account and bank.kind = 'bank'
             where p.batch <= :batch and p.kind = 'payout-confirmed')
         + (select coalesce(sum(case t.debit_account when bank.id then t.amount_micro else -t.amount_micro end), 0)
              from ledger.posting p
              join ledger.transfer t on t.posting_id = p.id
              join ledger.account bank on bank.id in (t.debit_account, t.credit_account) and bank.kind = 'bank'
             where p.batch <= :batch and p.kind in ('share', 'share-refund'))
""")


@dataclass(frozen=True, slots=True)
class Attestation:
    """What officers said. `batch`: where it is told, once two have."""

    epoch: int
    sealed_in: int
    bank_micro: int
    officers: tuple[str, ...]
    signatures: tuple[str, ...]
    batch: int | None


def intend(conn: Connection, epoch: Sealed, bank_micro: int, officer: str, signature: str) -> bool:
    """Note what a first officer says. False if somebody has said something of the epoch already."""
    told = {"epoch": epoch.epoch, "sealed_in": epoch.batch, "bank": bank_micro, "officer": officer, "by": signature}
    return bool(conn.execute(_INTEND, told).rowcount)


_INTEND = text("""
    insert into ledger.log_attestation (epoch, sealed_in, bank_micro, officers, signatures)
    values (:epoch, :sealed_in, :bank, array[cast(:officer as text)], array[cast(:by as text)]) on conflict do nothing
""")


def of_epoch(conn: Connection, epoch: int) -> Attestation | None:
    """What was said of an epoch; nobody else adds to it before this transaction ends."""
    row = conn.execute(_OF_EPOCH, {"epoch": epoch}).one_or_none()
    if row is None:
        return None
    return Attestation(row.epoch, row.sealed_in, row.bank_micro, tuple(row.officers), tuple(row.signatures), row.batch)


_OF_EPOCH = text("select * from ledger.log_attestation where epoch = :epoch for update")


def complete(conn: Connection, epoch: int, officer: str, signature: str) -> int:
    """Add the second officer's word, and tell both in the open batch; returns its number."""
    batch = open_batch(conn)
    conn.execute(_COMPLETE, {"epoch": epoch, "officer": officer, "by": signature, "batch": batch})
    return batch


_COMPLETE = text("""
    update ledger.log_attestation
       set officers = officers || cast(:officer as text), signatures = signatures || cast(:by as text), batch = :batch
     where epoch = :epoch
""")


def told(conn: Connection, most: int) -> dict[int, int]:
    """How many officers attested the bank at the close of an epoch, of the latest epochs that the log tells it of."""
    return dict(conn.execute(_ATTESTED, {"most": most}).all())


_ATTESTED = text("""
    select epoch, cardinality(officers) from ledger.log_attestation
     where batch is not null order by epoch desc limit :most
""")


def withdraw(conn: Connection, epoch: int) -> bool:
    """Forget what only one officer has said. False if there is nothing of the kind."""
    return bool(conn.execute(_WITHDRAW, {"epoch": epoch}).rowcount)


_WITHDRAW = text("delete from ledger.log_attestation where epoch = :epoch and batch is null")
