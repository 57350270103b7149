"""What officers and the treasurer do about memberships, over HTTP."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from ledger.errors import RequestIdReused
from ledger.store.posting import Posted
from ledger.store.terms import founding
from streamcoop import work
from streamcoop.accounts.principals import Operator, Treasurer
from streamcoop.clock import Now
from streamcoop.database import Transaction, transaction
from streamcoop.errors import NotFound, NotPermitted, NotSignedIn
from streamcoop.membership import answering, officers, orders, reconciling, refusals, register, service, shares
from streamcoop.membership.models import Member
from streamcoop.membership.officers import Asked
from streamcoop.membership.schemas import (
    ApprovalAskedOut,
    ClassWanted,
    DifferenceOut,
    MemberOut,
    MembersPage,
    MemberState,
    NewApproval,
    ShareBooked,
    ShareBooking,
    SharesWaiting,
)
from streamcoop.problems import answers
from streamcoop.settings import settings

PAGE_MAX = 200
DIFFERENCES_MAX = 1_000
SHARES_MAX = 200

router = APIRouter(prefix="/api/v1", tags=["membership"])
_PERSONAL = (NotSignedIn, NotPermitted)
_CHAIN = (refusals.ContractNotConfigured, refusals.RegisterUnavailable)


@router.get("/members", responses=answers(*_PERSONAL))
def members(
    _: Operator,
    session: Transaction,
    state: MemberState | None = None,
    cursor: Annotated[UUID | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
) -> MembersPage:
    """Members and applicants, oldest application first."""
    page = service.members(session, state, cursor, limit)
    return MembersPage(
        items=answering.of_operator(session, page), next_cursor=page[-1].id if len(page) == limit else None
    )


@router.get("/members/differences", responses=answers(*_PERSONAL))
def differences(_: Operator, session: Transaction) -> list[DifferenceOut]:
    """Where the membership contract and the members here did not agree when they were last compared."""
    found = reconciling.differences(session, DIFFERENCES_MAX)
    return [DifferenceOut.model_validate(each, from_attributes=True) for each in found]


@router.get(
    "/members/{member_id}/approval",
    responses=answers(*_PERSONAL, *_CHAIN, NotFound, refusals.NotAnOfficer, refusals.ApplicationDecided),
)
def approval(member_id: UUID, principal: Operator) -> ApprovalAskedOut:
    """What an officer's wallet signs to approve an admission. Both officers sign the same, deadline and all."""
    with transaction() as session:
        officers.officer(session, principal.user_id)
        applicant = service.member(session, member_id)
    if applicant.state != "applied":
        raise refusals.ApplicationDecided(state=applicant.state)
    asked = _asked(applicant)
    with transaction() as session:
        deadline = officers.deadline(session, applicant, asked)
    return ApprovalAskedOut(typed_data=officers.typed_data(applicant, asked, deadline), deadline=deadline)


@router.post(
    "/members/{member_id}/approve",
    status_code=202,
    responses=answers(
        *_PERSONAL,
        *_CHAIN,
        NotFound,
        refusals.NotAnOfficer,
        refusals.ApplicationDecided,
        refusals.AlreadyApproved,
        refusals.ApprovalRefused,
        refusals.ApprovalOutdated,
    ),
)
def approve(member_id: UUID, principal: Operator, now: Now, given: NewApproval | None = None) -> MemberOut:
    """Approve an admission, as an officer. With two approvals and the share paid, the membership contract is told.

    The body is empty where the service keeps your officer's key; else it is your wallet's signature.
    """
    with transaction() as session:
        officers.officer(session, principal.user_id)
        applicant = service.member(session, member_id)
    asked = _asked(applicant)
    signed = None
    if given is not None and given.signature is not None:
        signed = bytes.fromhex(given.signature.removeprefix("0x")), given.deadline or 0
    with transaction() as session:
        approved = officers.approve(session, member_id, principal.user_id, signed, asked, settings(), now)
        return _answer(session, approved)


def _asked(applicant: Member) -> Asked:
    with register.asked() as contract:
        chain_id, _ = contract.check()
        return Asked(
            chain_id=chain_id,
            contract=contract.address,
            officers=frozenset(contract.officers()),
            nonce=contract.admissions_of(applicant.address),
            now=contract.newest_block().timestamp,
        )


def _answer(session: Session, member: Member) -> MemberOut:
    """The membership as it is, and a worker asked for what is on its way to the chain."""
    session.flush()
    for order in service.under_way(session, member.id):
        work.ask_once_committed(session, work.CARRY_ORDER, order.id)
    return answering.of_operator(session, [member])[0]


@router.post("/members/{member_id}/refuse", responses=answers(*_PERSONAL, NotFound, refusals.ApplicationDecided))
def refuse(member_id: UUID, _: Operator, session: Transaction, now: Now) -> MemberOut:
    """Refuse an applicant. What she paid as a share is paid back; she may apply again."""
    return _answer(session, service.refuse(session, member_id, now))


@router.post(
    "/members/{member_id}/class",
    status_code=202,
    responses=answers(*_PERSONAL, NotFound, refusals.ApplicationDecided, refusals.OrderUnderWay),
)
def change_class(member_id: UUID, wanted: ClassWanted, _: Operator, session: Transaction, now: Now) -> MemberOut:
    """Put a member, or an applicant, in another class. Ballots that are open already count by the class of before."""
    return _answer(session, service.change_class(session, member_id, wanted.member_class, now))


# --- The member share ---


@router.get("/treasury/shares", responses=answers(*_PERSONAL))
def shares_waiting(
    _: Treasurer, session: Transaction, limit: Annotated[int, Query(ge=1, le=SHARES_MAX)] = 50
) -> SharesWaiting:
    """Member shares to be paid in and to be paid back, so many of each, the longest waiting first."""
    return answering.shares_waiting(session, limit)


@router.post(
    "/members/{member_id}/share",
    status_code=201,
    responses=answers(*_PERSONAL, NotFound, refusals.ApplicationDecided, refusals.SharePaid, RequestIdReused),
)
def pay_share(member_id: UUID, booking: ShareBooking, by: Treasurer, session: Transaction, now: Now) -> ShareBooked:
    """Book an applicant's member share as paid at the bank. Safe to send again with the same request id."""
    posted = shares.pay(session, member_id, booking.request_id, by.user_id, now)
    applicant = orders.locked(session, member_id)
    service.admit_if_ready(session, applicant, now)
    _answer(session, applicant)
    return _booked(session, booking, member_id, posted)


@router.post(
    "/members/{member_id}/share/refund",
    status_code=201,
    responses=answers(*_PERSONAL, NotFound, refusals.ShareNotDue, refusals.ShareNotPaid, RequestIdReused),
)
def refund_share(member_id: UUID, booking: ShareBooking, by: Treasurer, session: Transaction, now: Now) -> ShareBooked:
    """Book a member share as paid back: some time after she left, as the constitution says; at once if never admitted.

    Safe to send again with the same request id.
    """
    return _booked(session, booking, member_id, shares.refund(session, member_id, booking.request_id, by.user_id, now))


def _booked(session: Session, booking: ShareBooking, member_id: UUID, posted: Posted) -> ShareBooked:
    founded = founding(session.connection())
    return ShareBooked(
        request_id=booking.request_id,
        member_id=member_id,
        amount_minor=shares.amount_micro(session, posted) // founded.minor_micro,
        currency=founded.currency,
        booked_at=posted.posted_at,
        repeated=posted.repeated,
    )
