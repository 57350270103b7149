"""Membership: applying, being decided on, leaving, and what other features ask of it.

A member is who the contract says is one. What changes there is an order to the registrar (`orders`), which a worker
carries; what an order has come to is written here once its block is final.
"""

from __future__ import annotations

import base64
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from eth_keys.datatypes import PrivateKey
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ledger.ids import new_id
from streamcoop.errors import NotFound
from streamcoop.membership import keys, orders, shares
from streamcoop.membership.models import (
    ADMISSION,
    ADMITTING,
    APPLIED,
    CLASS_CHANGE,
    ENDED,
    LEAVING,
    LEFT,
    MEMBER,
    REFUSED,
    REKEY,
    REMOVAL,
    Approval,
    Member,
    Officer,
    Passkey,
    RegisterOrder,
)
from streamcoop.membership.refusals import (
    AddressTaken,
    AdmissionUnderWay,
    AlreadyApplied,
    ApplicationDecided,
    ContractNotConfigured,
    MembersOnly,
    NoKeptKey,
    OrderUnderWay,
    RegistrarKeyMissing,
)
from streamcoop.settings import Settings

__all__ = ["ContractNotConfigured", "MembersOnly", "NoKeptKey", "RegistrarKeyMissing"]

APPROVALS = 2
"""Officers who must approve an admission; the contract says the same."""


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


def secret(settings: Settings) -> bytes:
    """What the keys that are kept are sealed under."""
    return base64.b64decode(settings.secret_key.get_secret_value())


# --- Applying and deciding ---


def apply(
    session: Session, user_id: UUID, member_class: str, address: str | None, settings: Settings, now: datetime
) -> Member:
    """Ask for membership, with an address that was proved to be one's own, or else a key the co-op keeps.

    Raises AlreadyApplied and AddressTaken.
    """
    member_id, kept_key = new_id(), None
    if address is None:
        key = keys.make_key()
        address = keys.address_of(key)
        kept_key = keys.seal(key, member_id, secret(settings))
    elif is_address_taken(session, address) and not _has_membership(session, user_id):
        raise AddressTaken
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
        raise AlreadyApplied if _has_membership(session, user_id) else AddressTaken
    return applied


def _has_membership(session: Session, user_id: UUID) -> bool:
    found = select(Member.id).where(Member.user_id == user_id, Member.state.not_in(ENDED))
    return session.scalar(found) is not None


def of_user(session: Session, user_id: UUID) -> Member:
    """A user's latest membership or application, in whatever state. Raises NotFound."""
    found = session.scalar(select(Member).where(Member.user_id == user_id).order_by(Member.id.desc()).limit(1))
    if found is None:
        raise NotFound
    return found


def member(session: Session, member_id: UUID) -> Member:
    """A membership by its id. Raises NotFound."""
    found = session.get(Member, member_id)
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


def counts(session: Session) -> dict[str, int]:
    """How many memberships are in each state; one that none is in is left out."""
    return dict(session.execute(select(Member.state, func.count()).group_by(Member.state)).all())


def admit_if_ready(session: Session, member: Member, now: datetime) -> RegisterOrder | None:
    """Have an applicant admitted once two officers have approved and the share is paid. The caller locked the row."""
    approvals = session.scalar(select(func.count()).where(Approval.member_id == member.id)) or 0
    if member.state != APPLIED or approvals < APPROVALS or not shares.is_paid(session, member.id):
        return None
    member.state = ADMITTING
    return orders.give(session, member, ADMISSION, now, member_class=member.member_class)


def refuse(session: Session, member_id: UUID, now: datetime) -> Member:
    """Decide against an applicant. Repeating it changes nothing. Raises NotFound and ApplicationDecided."""
    member = orders.locked(session, member_id)
    if member.state == REFUSED:
        return member
    if member.state != APPLIED:
        raise ApplicationDecided(state=member.state)
    member.state, member.ended_at = REFUSED, now
    return member


def change_class(session: Session, member_id: UUID, member_class: str, now: datetime) -> Member:
    """Put a member in another class; the chain follows. Of an applicant it is the class applied for.

    Raises NotFound, ApplicationDecided and OrderUnderWay.
    """
    member = orders.locked(session, member_id)
    if member.state == MEMBER:
        if member.member_class != member_class:
            orders.give(session, member, CLASS_CHANGE, now, member_class=member_class)
    elif member.state != APPLIED:
        raise ApplicationDecided(state=member.state)
    elif member.member_class != member_class:
        member.member_class = member_class
        orders.forget_approvals(session, member.id)
    return member


# --- Leaving ---


def leave(session: Session, user_id: UUID, now: datetime) -> Member:
    """A member's own decision to leave, or an applicant's to withdraw. Repeating it changes nothing.

    Raises NotFound, AdmissionUnderWay and OrderUnderWay.
    """
    member = orders.locked(session, of_user(session, user_id).id)
    if member.state == APPLIED:
        member.state, member.ended_at = LEFT, now
    elif member.state == ADMITTING:
        raise AdmissionUnderWay
    elif member.state == MEMBER:
        member.state = LEAVING
        orders.give(session, member, REMOVAL, now)
    return member


def forget(session: Session, user_id: UUID, now: datetime) -> None:
    """Of an account that is erased: its membership ends, and keys kept for it are destroyed. Safe to repeat.

    The caller has seen that nothing is under way. Addresses stay: they lead to nobody, and the register needs them.
    """
    with suppress(NotFound, AdmissionUnderWay, OrderUnderWay):
        leave(session, user_id, now)
    session.execute(update(Member).where(Member.user_id == user_id).values(kept_key=None))
    for of_hers in (Officer, Passkey):
        session.execute(delete(of_hers).where(of_hers.user_id == user_id))


# --- What other features ask ---


@dataclass(frozen=True, slots=True)
class HeldSeat:
    """Whose votes a user casts: the membership, its address, and whether the co-op keeps the key of it."""

    member_id: UUID
    address: str
    is_kept: bool


def require_member(session: Session, user_id: UUID) -> UUID:
    """The id of a user's membership that is on the chain. Raises MembersOnly."""
    found = session.scalar(select(Member.id).where(Member.user_id == user_id, Member.state == MEMBER))
    if found is None:
        raise MembersOnly
    return found


def seat_of(session: Session, user_id: UUID) -> HeldSeat:
    """A user's membership, in whatever state: a ballot's snapshot tells who has a vote in it. Raises MembersOnly.

    Of several it is the latest that was ever admitted.
    """
    found = _seat_row(session, user_id)
    return HeldSeat(found.id, found.address, found.kept_key is not None)


def sign_with_kept_key(session: Session, user_id: UUID, digest: bytes, settings: Settings) -> bytes:
    """The signature (65 bytes) of a digest by the key the co-op keeps for a user. Raises MembersOnly and NoKeptKey.

    The caller has seen that she wants this signed, in person.
    """
    return sign_for(_seat_row(session, user_id), digest, settings)


def sign_for(member: Member, digest: bytes, settings: Settings) -> bytes:
    """The same for one membership. Raises NoKeptKey."""
    from streamcoop.adapters import typed_data  # here, because it loads what the hot path has no use for

    return typed_data.sign(digest, kept_key(member, settings).to_bytes())


def kept_key(member: Member, settings: Settings) -> PrivateKey:
    """The key the co-op keeps of a membership. Raises NoKeptKey."""
    if member.kept_key is None:
        raise NoKeptKey
    return keys.unseal(member.kept_key, member.id, secret(settings))


def export_key(session: Session, user_id: UUID, settings: Settings) -> tuple[str, bytes]:
    """The address and the key the co-op keeps for a user: the caller has seen that it is she. Raises as above."""
    member = _seat_row(session, user_id)
    return member.address, kept_key(member, settings).to_bytes()


def is_waiting_for_chain(session: Session, user_id: UUID) -> bool:
    """Whether anything but leaving is on its way to the chain for a user."""
    hers = select(RegisterOrder.id).join(Member, Member.id == RegisterOrder.member_id).where(Member.user_id == user_id)
    open_ = hers.where(RegisterOrder.done_at.is_(None), RegisterOrder.kind != REMOVAL)
    return session.scalar(open_.limit(1)) is not None


def under_way(session: Session, member_id: UUID) -> list[RegisterOrder]:
    """What about this membership is on its way to the chain: one order at most."""
    mine = (RegisterOrder.member_id == member_id) & RegisterOrder.done_at.is_(None)
    return list(session.scalars(select(RegisterOrder).where(mine)))


def _seat_row(session: Session, user_id: UUID) -> Member:
    wanted = select(Member).where(Member.user_id == user_id)
    found = session.scalar(wanted.order_by(Member.admitted_at.is_(None), Member.id.desc()).limit(1))
    if found is None:
        raise MembersOnly
    return found


def is_address_taken(session: Session, address: str) -> bool:
    """Whether somebody is a member, or has applied, with this address, or is about to move to it."""
    members = select(Member.id).where(Member.address == address, Member.state.not_in(ENDED))
    moving = select(RegisterOrder.id).where(
        RegisterOrder.kind == REKEY, RegisterOrder.other_address == address, RegisterOrder.done_at.is_(None)
    )
    return session.scalar(select(members.exists() | moving.exists())) is True


def is_member(session: Session, user_id: UUID) -> bool:
    """Whether a user's admission is on the chain and final, and she has not asked to leave."""
    found = select(Member.id).where(Member.user_id == user_id, Member.state == MEMBER)
    return session.scalar(found) is not None


def waiting(session: Session) -> tuple[int, int]:
    """How many orders to the registrar are under way, and how many of them something holds up."""
    under_way, held_up = session.execute(
        select(func.count(), func.count(RegisterOrder.held_up_by)).where(RegisterOrder.done_at.is_(None))
    ).one()
    return under_way, held_up
