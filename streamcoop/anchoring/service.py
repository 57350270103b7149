"""Anchoring: the log's head and the totals paid, written to a contract at each epoch's close.

Whoever publishes the log stores what is to be anchored, in the transaction that notes the publication. A worker carries
it to the contract, as it does admissions: signed and stored, sent, confirmed once its block is final. Epochs go one
after the other, since the contract takes no earlier one once a later one is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ledger.errors import DomainError
from streamcoop.anchoring.models import Anchor
from streamcoop.membership import transactions
from streamcoop.membership.models import FAILED, ChainTransaction
from streamcoop.membership.transactions import REASON_LENGTH_MAX

if TYPE_CHECKING:  # only the workers talk to the chain: the service need not load web3
    from streamcoop.adapters.chain import Receipt, SignedTransaction

ANCHOR = "anchor"
# A transaction that failed has cost its fee; what made it fail is rarely over within seconds.
RETRY_AFTER = timedelta(hours=1)
_SUBJECTS = UUID("5c0a3d1e-6f0b-5d0c-9a6e-a2c40e1f7b53")


class AnchorDiffers(DomainError):
    """Something else is to be anchored of this epoch already."""


class AnchorOutOfOrder(DomainError):
    """Anchors come in the order of epochs, and the log never has fewer entries than at the one before."""


def subject_of(epoch: int) -> UUID:
    """What an epoch's transaction is stored under."""
    return uuid5(_SUBJECTS, str(epoch))


# --- For whoever publishes the log ---


def intend_anchor(
    session: Session, epoch: int, size: int, root: bytes, gross_micro: int, royalties_micro: int, now: datetime
) -> None:
    """Have an epoch anchored: the head of the log that holds its seal, and what was paid. Repeating it changes nothing.

    Without a contract in the settings it waits for one. Raises AnchorDiffers and AnchorOutOfOrder.
    """
    told = {"size": size, "root": root, "gross_micro": gross_micro, "royalties_micro": royalties_micro}
    fresh = insert(Anchor).values(epoch=epoch, **told, intended_at=now).on_conflict_do_nothing().returning(Anchor.epoch)
    if session.scalar(fresh) is None:
        known = session.get_one(Anchor, epoch)
        if told != {name: getattr(known, name) for name in told}:
            raise AnchorDiffers(epoch=epoch)
        return
    out_of_order = or_(Anchor.epoch > epoch, Anchor.size > size)
    if session.scalar(select(Anchor.epoch).where(Anchor.epoch != epoch, out_of_order).limit(1)) is not None:
        raise AnchorOutOfOrder(epoch=epoch, size=size)


def forget_beyond(session: Session, size: int, reason: str) -> None:
    """Of a log that goes on from its first `size` entries under another name, later epochs are anchored again."""
    let_go(session, reason)
    session.execute(delete(Anchor).where(Anchor.size > size))


# --- An anchor's steps ---


@dataclass(frozen=True, slots=True)
class Anchoring:
    """An unfinished anchor, and the transaction signed for it, if there is one."""

    epoch: int
    size: int
    root: bytes
    gross_micro: int
    royalties_micro: int
    transaction: ChainTransaction | None


def first_unfinished(session: Session, now: datetime) -> int | None:
    """The earliest epoch whose anchor is not on the chain for good; None if there is none, or if it has to wait."""
    found = session.execute(
        select(Anchor.epoch, Anchor.not_before).where(Anchor.confirmed_at.is_(None)).order_by(Anchor.epoch).limit(1)
    ).one_or_none()
    if found is None or (found.not_before is not None and found.not_before > now):
        return None
    epoch: int = found.epoch
    return epoch


def waiting(session: Session) -> tuple[int, datetime | None]:
    """How many anchors are not on the chain for good, and since when the oldest of them is to be."""
    count, oldest = session.execute(
        select(func.count(), func.min(Anchor.intended_at)).where(Anchor.confirmed_at.is_(None))
    ).one()
    return count, oldest


def newest(session: Session, most: int) -> list[Anchor]:
    """The anchors of the latest epochs, the latest first, whether they are on the chain yet or not."""
    return list(session.scalars(select(Anchor).order_by(Anchor.epoch.desc()).limit(most)))


def anchoring(session: Session, epoch: int) -> Anchoring | None:
    """How far an anchor has come; None if there is nothing to do."""
    signed_for_it = (ChainTransaction.purpose == ANCHOR) & (ChainTransaction.subject == subject_of(epoch))
    # In one statement: between two of them another worker may confirm it, and it would seem to need a transaction.
    found = session.execute(
        select(Anchor, ChainTransaction)
        .join(ChainTransaction, signed_for_it & transactions.UNFINISHED, isouter=True)
        .where(Anchor.epoch == epoch, Anchor.confirmed_at.is_(None))
    ).one_or_none()
    if found is None:
        return None
    anchor, transaction = found
    head = anchor.size, bytes(anchor.root), anchor.gross_micro, anchor.royalties_micro
    return Anchoring(epoch, *head, transaction)


def pin(session: Session, contract: str) -> tuple[int | None, str | None]:
    """Chain id and code hash found at this address at the last anchor there; nothing the first time.

    A later anchor must find the same.
    """
    found = session.execute(
        select(Anchor.chain_id, Anchor.code_hash)
        .where(func.lower(Anchor.contract) == contract.lower(), Anchor.confirmed_at.is_not(None))
        .order_by(Anchor.epoch.desc())
        .limit(1)
    ).one_or_none()
    return (None, None) if found is None else (found.chain_id, found.code_hash)


def intend(session: Session, epoch: int, signed: SignedTransaction, now: datetime) -> bool:
    """Store an anchor's signed transaction before it is sent.

    False, and nothing is stored, if it came too late: the anchor is finished or has a transaction already, or the nonce
    was given to another one.
    """
    transactions.lock(session)
    under_way = anchoring(session, epoch)
    if under_way is None or under_way.transaction is not None:
        return False
    if not transactions.store(session, ANCHOR, subject_of(epoch), signed, now):
        return False
    session.execute(update(Anchor).where(Anchor.epoch == epoch).values(not_before=None))
    return True


@dataclass(frozen=True, slots=True)
class Place:
    """Where an anchor stands: what the contract is pinned by from then on."""

    chain_id: int
    contract: str
    code_hash: str


def confirm(
    session: Session, epoch: int, transaction_id: UUID, receipt: Receipt, place: Place | None, now: datetime
) -> None:
    """The transaction stands in a final block. `place` is where the contract has the anchor; None if it has it not.

    Then it is signed anew after RETRY_AFTER.
    """
    transaction = transactions.finish(session, transaction_id, receipt, now)
    if transaction is None:
        return
    anchor = session.get_one(Anchor, epoch, with_for_update=True)
    if place is None:
        transaction.state, transaction.error = FAILED, "the contract does not have it"
        anchor.held_up_by, anchor.not_before = transaction.error, now + RETRY_AFTER
        return
    anchor.chain_id, anchor.contract, anchor.code_hash = place.chain_id, place.contract, place.code_hash
    anchor.confirmed_at, anchor.held_up_by, anchor.not_before = now, None, None


def hold_up(session: Session, epoch: int, reason: str) -> None:
    """Tell the operator why an anchor does not come further."""
    session.execute(
        update(Anchor)
        .where(Anchor.epoch == epoch, Anchor.confirmed_at.is_(None))
        .values(held_up_by=reason[:REASON_LENGTH_MAX])
    )


def goes_on(session: Session, epoch: int) -> None:
    """Nothing holds an anchor up any more, unless its transaction failed and it has to wait."""
    held_up = Anchor.held_up_by.is_not(None) & Anchor.not_before.is_(None)
    session.execute(update(Anchor).where(Anchor.epoch == epoch, held_up).values(held_up_by=None))


def let_go(session: Session, reason: str) -> None:
    """Give up the transaction that is signed, if there is one: no contract to go on with, and its nonce is needed.

    Should it come to the chain all the same, the one signed in its place later changes nothing there.
    """
    transactions.give_up_all(session, ANCHOR, reason)
