"""Membership: applying, and being admitted on the chain.

An admission is a row in the state `admitting`; a worker carries it to the contract. It stores the
signed transaction, sends it and, once its block is final, reads what became of it: each step is a
transaction here, each leaves a state the next can start from, and none is undone by repeating it.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ledger.errors import DomainError
from ledger.ids import new_id
from streamcoop.errors import NotFound
from streamcoop.membership import keys, transactions
from streamcoop.membership.models import ADMITTING, APPLIED, MEMBER, REFUSED, ChainTransaction, Member
from streamcoop.membership.transactions import REASON_LENGTH_MAX
from streamcoop.problems import register
from streamcoop.settings import Settings

if TYPE_CHECKING:  # only the workers talk to the chain: the service need not load web3
    from streamcoop.adapters.chain import Receipt, SignedTransaction

ADMISSION = "admission"


class AlreadyApplied(DomainError):
    """You have applied for membership before."""


class AddressTaken(DomainError):
    """Somebody else applied with this address."""


class MembersOnly(DomainError):
    """Only members of the co-op can do this."""


class AdmissionUnderWay(DomainError):
    """This applicant is a member, or about to be."""


class ContractNotConfigured(DomainError):
    """No membership contract is configured: nobody can be admitted, and nothing voted on."""


class RegistrarKeyMissing(DomainError):
    """No registrar's key is configured: the membership can be read here, not changed."""


register(
    {
        AlreadyApplied: HTTPStatus.CONFLICT,
        AddressTaken: HTTPStatus.CONFLICT,
        MembersOnly: HTTPStatus.FORBIDDEN,
        AdmissionUnderWay: HTTPStatus.CONFLICT,
        ContractNotConfigured: HTTPStatus.CONFLICT,
        RegistrarKeyMissing: HTTPStatus.CONFLICT,
    }
)


def require_contract(settings: Settings) -> str:
    """The membership contract's address. Raises ContractNotConfigured."""
    if settings.membership_contract is None:
        raise ContractNotConfigured
    return settings.membership_contract


def require_registrar(settings: Settings) -> str:
    """The registrar's key. Raises RegistrarKeyMissing."""
    if settings.registrar_key is None:
        raise RegistrarKeyMissing
    return settings.registrar_key.get_secret_value()


# --- Applying and deciding ---


def apply(
    session: Session, user_id: UUID, member_class: str, address: str | None, settings: Settings, now: datetime
) -> Member:
    """Ask for membership, with an address of one's own or else a key the co-op keeps.

    Raises AlreadyApplied and AddressTaken.
    """
    member_id, kept_key = new_id(), None
    if address is None:
        key = keys.make_key()
        address = keys.address_of(key)
        kept_key = keys.seal(key, member_id, _secret(settings))
    row = {
        "id": member_id,
        "user_id": user_id,
        "member_class": member_class,
        "address": address,
        "kept_key": kept_key,
        "state": APPLIED,
        "applied_at": now,
    }
    applied: Member | None = session.scalar(insert(Member).values(row).on_conflict_do_nothing().returning(Member))
    if applied is None:
        known = session.scalar(select(Member.id).where(Member.user_id == user_id))
        raise AlreadyApplied if known else AddressTaken
    return applied


def _secret(settings: Settings) -> bytes:
    return base64.b64decode(settings.secret_key.get_secret_value())


def of_user(session: Session, user_id: UUID) -> Member:
    """A user's membership, in whatever state. Raises NotFound."""
    found = session.scalar(select(Member).where(Member.user_id == user_id))
    if found is None:
        raise NotFound
    return found


def members(session: Session, state: str | None, after: UUID | None, limit: int) -> list[Member]:
    """Members and applicants in the order of their applications, from `after` on."""
    wanted = select(Member).order_by(Member.id).limit(limit)
    if state is not None:
        wanted = wanted.where(Member.state == state)
    if after is not None:
        wanted = wanted.where(Member.id > after)
    return list(session.scalars(wanted))


def admit(session: Session, member_id: UUID) -> Member:
    """Decide that an applicant becomes a member; the chain follows. Repeating it changes nothing. Raises NotFound."""
    member = _locked(session, member_id)
    if member.state in (APPLIED, REFUSED):
        member.state, member.held_up_by = ADMITTING, None
    return member


def refuse(session: Session, member_id: UUID) -> Member:
    """Decide against an applicant. Repeating it changes nothing. Raises NotFound and AdmissionUnderWay."""
    member = _locked(session, member_id)
    if member.state not in (APPLIED, REFUSED):
        raise AdmissionUnderWay(state=member.state)
    member.state = REFUSED
    return member


def _locked(session: Session, member_id: UUID) -> Member:
    member = session.get(Member, member_id, with_for_update=True)
    if member is None:
        raise NotFound
    return member


def leave(session: Session, user_id: UUID) -> None:
    """Nobody can vote with a key of hers that the co-op kept, and an application is withdrawn. Safe to repeat.

    An admission stays on the chain and in the electorate, since both have to add up: its address leads to nobody.
    """
    session.execute(update(Member).where(Member.user_id == user_id).values(kept_key=None))
    session.execute(update(Member).where(Member.user_id == user_id, Member.state == APPLIED).values(state=REFUSED))


# --- What other features ask ---


def member_of(session: Session, user_id: UUID) -> UUID:
    """The id of a user's membership, whatever its state: the contract tells who has a vote. Raises MembersOnly."""
    member_id = session.scalar(select(Member.id).where(Member.user_id == user_id))
    if member_id is None:
        raise MembersOnly
    return member_id


def is_member(session: Session, user_id: UUID) -> bool:
    """Whether a user's admission is on the chain and final."""
    found = select(Member.id).where(Member.user_id == user_id, Member.state == MEMBER)
    return session.scalar(found) is not None


def electorate(session: Session) -> dict[str, UUID]:
    """Member ids by address: all who are on the chain or may be at this moment."""
    rows = select(Member.address, Member.id).where(Member.state.in_((ADMITTING, MEMBER))).order_by(Member.id)
    return dict(session.execute(rows).all())


# --- An admission's steps ---


@dataclass(frozen=True, slots=True)
class Admission:
    """An unfinished admission: who, and the transaction signed for it, if there is one."""

    member_id: UUID
    address: str
    member_class: str
    transaction: ChainTransaction | None


def unfinished(session: Session, limit: int) -> list[UUID]:
    """Members whose admission is under way. Those with a transaction first, by nonce: nodes take them in order."""
    rows = (
        select(Member.id)
        .join(ChainTransaction, _signed_for_it, isouter=True)
        .where(Member.state == ADMITTING)
        .order_by(ChainTransaction.nonce.asc().nulls_last(), Member.id)
        .limit(limit)
    )
    return list(session.scalars(rows))


def waiting(session: Session) -> tuple[int, int]:
    """How many admissions are under way, and how many of them something holds up."""
    under_way, held_up = session.execute(
        select(func.count(), func.count(Member.held_up_by)).where(Member.state == ADMITTING)
    ).one()
    return under_way, held_up


_signed_for_it = (
    (ChainTransaction.subject == Member.id) & (ChainTransaction.purpose == ADMISSION) & transactions.UNFINISHED
)


def admission(session: Session, member_id: UUID) -> Admission | None:
    """How far an admission has come; None if there is nothing to do."""
    found = session.execute(
        select(Member, ChainTransaction)
        .join(ChainTransaction, _signed_for_it, isouter=True)
        .where(Member.id == member_id, Member.state == ADMITTING)
    ).one_or_none()
    if found is None:
        return None
    member, transaction = found
    return Admission(member.id, member.address, member.member_class, transaction)


def intend(session: Session, member_id: UUID, signed: SignedTransaction, now: datetime) -> bool:
    """Store an admission's signed transaction before it is sent.

    False, and nothing is stored, if it came too late: the admission is finished or has a
    transaction already, or the nonce was given to another one.
    """
    transactions.lock(session)
    under_way = admission(session, member_id)
    if under_way is None or under_way.transaction is not None:
        return False
    return transactions.store(session, ADMISSION, member_id, signed, now)


def confirm(session: Session, transaction_id: UUID, receipt: Receipt, is_member: bool, now: datetime) -> None:
    """The transaction stands in a final block. `is_member` is what the contract says of the address.

    A transaction that failed has cost its fee: unless the address is a member by another one, the
    operator has to admit again.
    """
    transaction = transactions.finish(session, transaction_id, receipt, now)
    if transaction is None:
        return
    member = _locked(session, transaction.subject)
    if is_member:
        _become_member(member, now)
    else:
        transaction.error = "the contract refused it"
        member.state, member.held_up_by = APPLIED, transaction.error


def found_on_chain(session: Session, member_id: UUID, now: datetime) -> None:
    """The contract says the address is a member already: by a transaction of the registrar we do not know of.

    Where another worker has stored one in the meantime, that one is confirmed in its own time.
    """
    under_way = admission(session, member_id)
    if under_way is not None and under_way.transaction is None:
        _become_member(_locked(session, member_id), now)


def _become_member(member: Member, now: datetime) -> None:
    member.state, member.admitted_at, member.held_up_by = MEMBER, now, None


def hold_up(session: Session, member_ids: list[UUID], reason: str | None) -> None:
    """Tell the operator why these admissions do not come further, or that nothing holds them up any more."""
    told = reason and reason[:REASON_LENGTH_MAX]
    session.execute(
        update(Member)
        .where(Member.id.in_(member_ids), Member.state == ADMITTING, Member.held_up_by.is_distinct_from(told))
        .values(held_up_by=told)
    )
