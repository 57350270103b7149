"""The member share: paid before a member is admitted, paid back some time after she has left.

An account of the books for each membership, so that no more is ever paid back than was paid. Whoever was never admitted
is paid back at once.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Select, Uuid, column, select, table, text
from sqlalchemy.orm import Session

from ledger import accounts
from ledger.constitution import Constitution
from ledger.store import posting, terms
from ledger.store.batches import open_batch
from ledger.store.posting import Posted, Transfer
from streamcoop.membership import orders
from streamcoop.membership.models import APPLIED, ENDED, Member
from streamcoop.membership.refusals import ApplicationDecided, ShareNotDue, ShareNotPaid, SharePaid

PAID, REFUNDED = "share", "share-refund"


def price_micro(session: Session) -> int:
    """The member share, in micro-units of the co-op's currency."""
    founded = terms.founding(session.connection())
    return founded.constitution.share_minor * founded.minor_micro


def held_micro(session: Session, member_id: UUID) -> int:
    """What the co-op holds of a membership's share."""
    return posting.balance_micro(session.connection(), accounts.shares(member_id))


def held_of(session: Session, member_ids: set[UUID]) -> dict[UUID, int]:
    """The same for several memberships; those without an account yet are left out."""
    wanted = text("select owner, balance_micro from ledger.account where kind = 'shares' and owner = any(:members)")
    return dict(session.execute(wanted, {"members": list(member_ids)}).all())


def held_of_user_micro(session: Session, user_id: UUID) -> int:
    """What the co-op holds of the shares of all of a user's memberships."""
    ids = set(session.scalars(select(Member.id).where(Member.user_id == user_id)))
    return sum(held_of(session, ids).values())


def is_paid(session: Session, member_id: UUID) -> bool:
    """Whether a membership's share is paid."""
    return held_micro(session, member_id) >= price_micro(session)


def unpaid(session: Session, most: int) -> list[Member]:
    """Applicants whose share is not paid, the earliest first."""
    paid = _held_at_least(price_micro(session))
    wanted = select(Member).where(Member.state == APPLIED, Member.id.not_in(paid))
    return list(session.scalars(wanted.order_by(Member.id).limit(most)))


def to_refund(session: Session, most: int) -> list[Member]:
    """Whose membership has ended and whose share the co-op still holds, the earliest ended first. Not all are due."""
    wanted = select(Member).where(Member.state.in_(ENDED), Member.id.in_(_held_at_least(1)))
    return list(session.scalars(wanted.order_by(Member.ended_at, Member.id).limit(most)))


def _held_at_least(amount_micro: int) -> Select[tuple[UUID]]:
    account = table("account", column("owner", Uuid), column("kind"), column("balance_micro"), schema="ledger")
    return select(account.c.owner).where(
        account.c.kind == "shares", account.c.balance_micro >= amount_micro, account.c.owner.is_not(None)
    )


def pay(session: Session, member_id: UUID, request_id: UUID, booked_by: UUID, now: datetime) -> Posted:
    """Book an applicant's share as paid at the bank. The same request again is answered alike.

    Raises NotFound, ApplicationDecided, SharePaid, and RequestIdReused where the request was another one.
    """
    member = orders.locked(session, member_id)
    amount_micro = price_micro(session)
    move = Transfer(accounts.BANK, accounts.shares(member_id), amount_micro)
    if not _is_known(session, request_id):
        if member.state != APPLIED:
            raise ApplicationDecided(state=member.state)
        if is_paid(session, member_id):
            raise SharePaid
    return _post(session, request_id, PAID, move, booked_by, now)


def refund(session: Session, member_id: UUID, request_id: UUID, booked_by: UUID, now: datetime) -> Posted:
    """Book what is held of a share as paid back from the bank. The same request again is answered alike.

    Raises NotFound, ShareNotPaid, ShareNotDue, and RequestIdReused where the request was another one.
    """
    member = orders.locked(session, member_id)
    if known := _refunded_micro(session, request_id):
        return _post(session, request_id, REFUNDED, _back(member_id, known), booked_by, now)
    due_at = refund_due_at(terms.founding(session.connection()).constitution, member)
    if due_at is None or due_at > now:
        raise ShareNotDue(due_at=due_at and due_at.isoformat())
    if not (amount_micro := held_micro(session, member_id)):
        raise ShareNotPaid
    return _post(session, request_id, REFUNDED, _back(member_id, amount_micro), booked_by, now)


def amount_micro(session: Session, posted: Posted) -> int:
    """What was booked."""
    found = session.scalar(
        text("select amount_micro from ledger.transfer where posting_id = :posting"), {"posting": posted.id}
    )
    return int(found or 0)


def refund_due_at(constitution: Constitution, member: Member) -> datetime | None:
    """From when on a share is paid back; None as long as the membership has not ended."""
    if member.state not in ENDED or member.ended_at is None:
        return None
    if member.admitted_at is None:
        return member.ended_at
    return member.ended_at + timedelta(seconds=constitution.share_refund_seconds)


def _back(member_id: UUID, amount_micro: int) -> Transfer:
    return Transfer(accounts.shares(member_id), accounts.BANK, amount_micro)


def _post(session: Session, key: UUID, kind: str, move: Transfer, booked_by: UUID, now: datetime) -> Posted:
    conn = session.connection()
    return posting.post(conn, key, kind, [move], now, {"by": str(booked_by)}, open_batch(conn))


def _is_known(session: Session, request_id: UUID) -> bool:
    return bool(session.scalar(text("select true from ledger.posting where key = :key"), {"key": request_id}))


def _refunded_micro(session: Session, request_id: UUID) -> int:
    """What a request was answered with before; 0 if it was not."""
    found = session.scalar(
        text("""select t.amount_micro from ledger.posting p join ledger.transfer t on t.posting_id = p.id
                 where p.key = :key"""),
        {"key": request_id},
    )
    return int(found or 0)
