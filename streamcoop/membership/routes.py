"""Membership over HTTP."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from streamcoop import work
from streamcoop.accounts import service as accounts
from streamcoop.accounts.principals import Operator, Voter
from streamcoop.clock import Now
from streamcoop.database import Transaction
from streamcoop.errors import NotFound, NotPermitted, NotSignedIn
from streamcoop.membership import service
from streamcoop.membership.models import Member
from streamcoop.membership.schemas import Application, MemberOut, MembershipOut, MembersPage, MemberState
from streamcoop.problems import answers
from streamcoop.settings import settings

PAGE_MAX = 200

router = APIRouter(prefix="/api/v1", tags=["membership"])
_PERSONAL = (NotSignedIn, NotPermitted)


def _own(member: Member) -> MembershipOut:
    return MembershipOut(
        id=member.id,
        member_class=member.member_class,  # type: ignore[arg-type]  # the table checks it
        state=member.state,  # type: ignore[arg-type]
        address=member.address,
        key_kept_by_coop=member.kept_key is not None,
        applied_at=member.applied_at,
        admitted_at=member.admitted_at,
    )


def _out(member: Member, names: dict[UUID, str]) -> MemberOut:
    return MemberOut(
        **_own(member).model_dump(),
        user_id=member.user_id,
        name=names[member.user_id],
        held_up_by=member.held_up_by,
    )


@router.post(
    "/membership", status_code=201, responses=answers(*_PERSONAL, service.AlreadyApplied, service.AddressTaken)
)
def apply(application: Application, principal: Voter, session: Transaction, now: Now) -> MembershipOut:
    """Apply for membership. Everything on the chain is public: the address should be used for nothing else."""
    return _own(
        service.apply(session, principal.user_id, application.member_class, application.address, settings(), now)
    )


@router.get("/membership", responses=answers(*_PERSONAL, NotFound))
def membership(principal: Voter, session: Transaction) -> MembershipOut:
    """Your membership, or how far your application has come."""
    return _own(service.of_user(session, principal.user_id))


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
    names = accounts.names(session, {member.user_id for member in page})
    return MembersPage(
        items=[_out(member, names) for member in page], next_cursor=page[-1].id if len(page) == limit else None
    )


@router.post(
    "/members/{member_id}/admit",
    status_code=202,
    responses=answers(*_PERSONAL, NotFound, service.ContractNotConfigured),
)
def admit(member_id: UUID, _: Operator, session: Transaction) -> MemberOut:
    """Admit an applicant. The membership begins when the contract has it, which takes a few seconds or more."""
    # Not the registrar's key: that is the worker's alone.
    service.require_contract(settings())
    member = service.admit(session, member_id)
    work.ask_once_committed(session, work.ADMIT, member.id)
    return _out(member, accounts.names(session, {member.user_id}))


@router.post("/members/{member_id}/refuse", responses=answers(*_PERSONAL, NotFound, service.AdmissionUnderWay))
def refuse(member_id: UUID, _: Operator, session: Transaction) -> MemberOut:
    """Refuse an applicant. An operator may still admit her later."""
    member = service.refuse(session, member_id)
    return _out(member, accounts.names(session, {member.user_id}))
