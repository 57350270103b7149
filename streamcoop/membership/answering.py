"""Memberships as requests are answered with them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from ledger.store import terms
from streamcoop.accounts import service as accounts
from streamcoop.membership import officers, orders, shares
from streamcoop.membership.models import Member
from streamcoop.membership.schemas import (
    ApprovalOut,
    MemberOut,
    MembershipOut,
    OrderOut,
    SharesWaiting,
    ShareWaiting,
)


def own(session: Session, members: Sequence[Member]) -> list[MembershipOut]:
    """Memberships as their members see them."""
    founded = terms.founding(session.connection())
    ids = {member.id for member in members}
    held, last = shares.held_of(session, ids), orders.latest(session, ids)
    price_micro = founded.constitution.share_minor * founded.minor_micro
    return [
        MembershipOut(
            id=member.id,
            member_class=member.member_class,  # type: ignore[arg-type]  # the table checks it
            state=member.state,  # type: ignore[arg-type]
            address=member.address,
            key_kept_by_coop=member.kept_key is not None,
            applied_at=member.applied_at,
            admitted_at=member.admitted_at,
            ended_at=member.ended_at,
            share_paid=held.get(member.id, 0) >= price_micro,
            share_minor=founded.constitution.share_minor,
            share_refund_due_at=shares.refund_due_at(founded.constitution, member) if held.get(member.id) else None,
            last_order=OrderOut.model_validate(last[member.id], from_attributes=True) if member.id in last else None,
        )
        for member in members
    ]


def of_operator(session: Session, members: Sequence[Member]) -> list[MemberOut]:
    """The same with who they are and who approved them."""
    names = accounts.names(session, {member.user_id for member in members})
    approved: dict[UUID, list[ApprovalOut]] = defaultdict(list)
    for approval in officers.approvals(session, {member.id for member in members}):
        approved[approval.member_id].append(ApprovalOut.model_validate(approval, from_attributes=True))
    return [
        MemberOut(
            **seen.model_dump(),
            user_id=member.user_id,
            name=names[member.user_id],
            approvals=approved[member.id],
        )
        for seen, member in zip(own(session, members), members, strict=True)
    ]


def shares_waiting(session: Session, most: int) -> SharesWaiting:
    """Shares to be paid in and to be paid back, so many of each."""
    founded = terms.founding(session.connection())
    unpaid, to_refund = shares.unpaid(session, most), shares.to_refund(session, most)
    names = accounts.names(session, {member.user_id for member in (*unpaid, *to_refund)})
    held = shares.held_of(session, {member.id for member in to_refund})

    def told(member: Member, amount_minor: int) -> ShareWaiting:
        return ShareWaiting(
            member_id=member.id,
            name=names[member.user_id],
            member_class=member.member_class,  # type: ignore[arg-type]  # the table checks it
            amount_minor=amount_minor,
            applied_at=member.applied_at,
            due_at=shares.refund_due_at(founded.constitution, member),
        )

    return SharesWaiting(
        currency=founded.currency,
        unpaid=[told(member, founded.constitution.share_minor) for member in unpaid],
        to_refund=[told(member, held[member.id] // founded.minor_micro) for member in to_refund],
    )
