"""Orders to the registrar: what is to change in the membership contract, and how far a worker has carried it.

An order is an intent. The worker stores the signed transaction, sends it and, once its block is final, reads what
became of it: each step is a transaction here, each leaves a state the next can start from, and none is undone by
repeating it. Of a member one order is under way at a time, so that none can overtake another on the chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import delete, exists, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from ledger.ids import new_id
from streamcoop.errors import NotFound
from streamcoop.membership import transactions
from streamcoop.membership.models import (
    ADMISSION,
    APPLIED,
    CLASS_CHANGE,
    FAILED,
    LEFT,
    MEMBER,
    REKEY,
    REMOVAL,
    Approval,
    ChainTransaction,
    Member,
    RegisterOrder,
)
from streamcoop.membership.refusals import OrderUnderWay
from streamcoop.membership.transactions import REASON_LENGTH_MAX

if TYPE_CHECKING:  # only the workers talk to the chain: the service need not load web3
    from streamcoop.adapters.chain import Receipt, SignedTransaction

FAILED_ON_CHAIN = "the contract refused it when it was carried out"
# A transaction that failed has cost its fee; what made it fail is rarely over within seconds.
RETRY_AFTER = timedelta(hours=1)


def give(session: Session, member: Member, kind: str, now: datetime, **told: Any) -> RegisterOrder:
    """Ask the registrar for something about a membership whose row the caller has locked. Raises OrderUnderWay."""
    row = {"id": new_id(), "member_id": member.id, "kind": kind, "address": member.address, "given_at": now, **told}
    given: RegisterOrder | None = session.scalar(
        insert(RegisterOrder).values(row).on_conflict_do_nothing().returning(RegisterOrder)
    )
    if given is None:
        raise OrderUnderWay
    return given


def latest(session: Session, member_ids: set[UUID]) -> dict[UUID, RegisterOrder]:
    """The last order about each of these memberships."""
    wanted = (
        select(RegisterOrder)
        .where(RegisterOrder.member_id.in_(member_ids))
        .order_by(RegisterOrder.member_id, RegisterOrder.id)
    )
    return {order.member_id: order for order in session.scalars(wanted)}


def locked(session: Session, member_id: UUID) -> Member:
    """A membership that nobody else changes before this transaction ends. Raises NotFound."""
    member = session.get(Member, member_id, with_for_update=True, populate_existing=True)
    if member is None:
        raise NotFound
    return member


def forget_approvals(session: Session, member_id: UUID) -> None:
    """What officers approved is not what is asked any more."""
    session.execute(delete(Approval).where(Approval.member_id == member_id))


# --- The steps of an order ---


@dataclass(frozen=True, slots=True)
class UnderWay:
    """An order that is not done: what was asked, who approved it, and the transaction signed for it, if any."""

    order: RegisterOrder
    approvals: tuple[Approval, ...]
    transaction: ChainTransaction | None


_signed_for_it = (
    (ChainTransaction.subject == RegisterOrder.id)
    & (ChainTransaction.purpose == RegisterOrder.kind)
    & transactions.UNFINISHED
)


def unfinished(session: Session, limit: int, now: datetime) -> list[UUID]:
    """Orders to go on with. Those with a transaction first, by nonce: nodes take them in order.

    One whose transaction failed on the chain waits for RETRY_AFTER.
    """
    failed = aliased(ChainTransaction)
    failed_lately = exists().where(
        failed.subject == RegisterOrder.id,
        failed.purpose == RegisterOrder.kind,
        failed.state == FAILED,
        failed.confirmed_at > now - RETRY_AFTER,
    )
    rows = (
        select(RegisterOrder.id)
        .join(ChainTransaction, _signed_for_it, isouter=True)
        .where(RegisterOrder.done_at.is_(None), ~failed_lately)
        .order_by(ChainTransaction.nonce.asc().nulls_last(), RegisterOrder.id)
        .limit(limit)
    )
    return list(session.scalars(rows))


def under_way(session: Session, order_id: UUID) -> UnderWay | None:
    """How far an order has come; None if there is nothing to do."""
    found = session.execute(
        select(RegisterOrder, ChainTransaction)
        .join(ChainTransaction, _signed_for_it, isouter=True)
        .where(RegisterOrder.id == order_id, RegisterOrder.done_at.is_(None))
    ).one_or_none()
    if found is None:
        return None
    order, transaction = found
    approved = select(Approval).where(Approval.member_id == order.member_id).order_by(Approval.given_at)
    approvals = session.scalars(approved) if order.kind == ADMISSION else ()
    return UnderWay(order, tuple(approvals), transaction)


def intend(session: Session, order_id: UUID, signed: SignedTransaction, now: datetime) -> bool:
    """Store an order's signed transaction before it is sent.

    False, and nothing is stored, if it came too late: the order is done or has a transaction already, or the nonce was
    given to another one.
    """
    transactions.lock(session)
    found = under_way(session, order_id)
    if found is None or found.transaction is not None:
        return False
    if not transactions.store(session, found.order.kind, order_id, signed, now):
        return False
    hold_up(session, [order_id], None)
    return True


def confirm(session: Session, transaction_id: UUID, receipt: Receipt, stands: bool, now: datetime) -> None:
    """The transaction is in a final block. `stands`: whether the contract has what was asked, by this one or another.

    What failed has cost its fee and is not tried again by itself: whoever asked is told. But who wants to leave leaves.
    """
    transaction = transactions.finish(session, transaction_id, receipt, now)
    if transaction is None:
        return
    order = _unfinished(session, transaction.subject)
    if order is None:
        return
    if stands:
        _done(session, order, now)
        return
    transaction.state, transaction.error = FAILED, FAILED_ON_CHAIN
    if order.kind == REMOVAL:
        order.held_up_by = FAILED_ON_CHAIN
    else:
        _refused(session, order, FAILED_ON_CHAIN, now)


def found_done(session: Session, order_id: UUID, now: datetime) -> None:
    """The contract has it already: by a transaction of the registrar's that we do not know of.

    Where another worker has stored one in the meantime, that one is confirmed in its own time.
    """
    found = under_way(session, order_id)
    if found is not None and found.transaction is None and (order := _unfinished(session, order_id)):
        _done(session, order, now)


def refuse(session: Session, order_id: UUID, reason: str, now: datetime) -> None:
    """The contract will never take it as it was given: whoever gave it is asked again."""
    found = under_way(session, order_id)
    if found is not None and found.transaction is None and (order := _unfinished(session, order_id)):
        _refused(session, order, reason, now)


def goes_on(session: Session, order_id: UUID) -> None:
    """Nothing holds an order up any more, unless its transaction failed and it has to wait."""
    session.execute(
        update(RegisterOrder)
        .where(RegisterOrder.id == order_id, RegisterOrder.held_up_by != FAILED_ON_CHAIN)
        .values(held_up_by=None)
    )


def hold_up(session: Session, order_ids: Sequence[UUID], reason: str | None) -> None:
    """Tell why these orders do not come further, or that nothing holds them up any more."""
    told = reason and reason[:REASON_LENGTH_MAX]
    session.execute(
        update(RegisterOrder)
        .where(
            RegisterOrder.id.in_(order_ids),
            RegisterOrder.done_at.is_(None),
            RegisterOrder.held_up_by.is_distinct_from(told),
        )
        .values(held_up_by=told)
    )


def _unfinished(session: Session, order_id: UUID) -> RegisterOrder | None:
    order = session.get(RegisterOrder, order_id, with_for_update=True, populate_existing=True)
    return None if order is None or order.done_at is not None else order


def _done(session: Session, order: RegisterOrder, now: datetime) -> None:
    order.done_at, order.held_up_by = now, None
    member = locked(session, order.member_id)
    if order.kind == ADMISSION:
        member.state, member.admitted_at = MEMBER, now
        forget_approvals(session, member.id)
    elif order.kind == REMOVAL:
        member.state, member.ended_at = LEFT, now
    elif order.kind == CLASS_CHANGE:
        member.member_class = order.member_class or member.member_class
    elif order.kind == REKEY:
        member.address, member.kept_key = order.other_address or member.address, None


def _refused(session: Session, order: RegisterOrder, reason: str, now: datetime) -> None:
    order.done_at, order.held_up_by, order.refused_because = now, None, reason[:REASON_LENGTH_MAX]
    member = locked(session, order.member_id)
    if order.kind == ADMISSION:
        member.state = APPLIED
        forget_approvals(session, member.id)
