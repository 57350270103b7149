"""Officers, and what they approve: an admission, signed as the contract checks it.

An officer signs in a wallet of her own, or the service keeps her key. Both approvals of an admission carry the same
deadline, which the first one sets; past it, or for another class, they are given anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from eth_keys.datatypes import PrivateKey
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from streamcoop.membership import keys, orders, service
from streamcoop.membership.models import APPLIED, CLASSES, Approval, Member, Officer
from streamcoop.membership.refusals import (
    AlreadyApproved,
    ApplicationDecided,
    ApprovalOutdated,
    ApprovalRefused,
    NotAnOfficer,
)
from streamcoop.settings import Settings

APPROVAL_LIFE_S = 7 * 86_400
"""By the chain's clock, from the first approval on."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the chain tells of an approval: for which contract, how often the address was admitted, and the time.

    `officers` are the addresses whose approval counts. `now` is in the chain's seconds.
    """

    chain_id: int
    contract: str
    officers: frozenset[str]
    nonce: int
    now: int


def officer(session: Session, user_id: UUID) -> Officer:
    """An officer by her account. Raises NotAnOfficer."""
    found = session.get(Officer, user_id)
    if found is None:
        raise NotAnOfficer
    return found


def officers(session: Session) -> list[Officer]:
    """All officers, the earliest first."""
    return list(session.scalars(select(Officer).order_by(Officer.since, Officer.user_id)))


def is_officer(session: Session, user_id: UUID) -> bool:
    """Whether somebody is an officer here."""
    return session.get(Officer, user_id) is not None


def remove(session: Session, user_id: UUID) -> None:
    """Take somebody for no officer any more, with what she approved and is not used yet. Raises NotAnOfficer."""
    found = officer(session, user_id)
    session.execute(delete(Approval).where(Approval.user_id == user_id))
    session.delete(found)


def keep(session: Session, user_id: UUID, key: PrivateKey, settings: Settings, now: datetime) -> Officer:
    """Make an operator an officer whose key the service keeps, in place of what she signed with before."""
    sealed = keys.seal(key, user_id, service.secret(settings))
    return _replace(session, user_id, keys.address_of(key), sealed, now)


def bring_wallet(session: Session, user_id: UUID, address: str, now: datetime) -> Officer:
    """Have an officer sign with a wallet of her own from now on. A key that was kept for her is destroyed."""
    return _replace(session, user_id, address, None, now)


def _replace(session: Session, user_id: UUID, address: str, sealed: bytes | None, now: datetime) -> Officer:
    known = session.get(Officer, user_id)
    if known is not None and known.address == address and (sealed is None) == (known.kept_key is None):
        return known
    told = {"address": address, "kept_key": sealed, "since": now}
    made = insert(Officer).values(user_id=user_id, **told)
    session.execute(made.on_conflict_do_update(index_elements=["user_id"], set_=told))
    # What she signed with another key is no officer's any more.
    session.execute(delete(Approval).where(Approval.user_id == user_id, Approval.officer != address))
    session.expire_all()
    return session.get_one(Officer, user_id)


# --- Approving ---


def approvals(session: Session, member_ids: set[UUID]) -> Sequence[Approval]:
    """Who approved the admissions of these applicants, in the order they did."""
    wanted = select(Approval).where(Approval.member_id.in_(member_ids))
    return session.scalars(wanted.order_by(Approval.given_at, Approval.user_id)).all()


def deadline(session: Session, member: Member, asked: Asked) -> int:
    """Until when the approvals of an admission are good: what the first says, as long as that is not past."""
    given = _standing(session, member, asked)
    return given[0].deadline if given else asked.now + APPROVAL_LIFE_S


def typed_data(member: Member, asked: Asked, deadline: int) -> dict[str, Any]:
    """What an officer signs to admit an applicant."""
    from streamcoop.adapters import typed_data as eip712  # here, because it loads what few processes need

    domain = eip712.membership_domain(asked.chain_id, asked.contract)
    return eip712.admission(domain, member.address, CLASSES.index(member.member_class) + 1, asked.nonce, deadline)


def approve(
    session: Session,
    member_id: UUID,
    user_id: UUID,
    signed: tuple[bytes, int] | None,
    asked: Asked,
    settings: Settings,
    now: datetime,
) -> Member:
    """Take an officer's approval: her wallet's signature and its deadline, or else one by the key kept for her.

    With the second approval, and the share paid, the admission is on its way. Raises NotFound, NotAnOfficer,
    ApplicationDecided, AlreadyApproved, ApprovalOutdated and ApprovalRefused.
    """
    from streamcoop.adapters import typed_data as eip712

    member, she = orders.locked(session, member_id), officer(session, user_id)
    if she.address not in asked.officers:
        raise NotAnOfficer
    if member.state != APPLIED:
        raise ApplicationDecided(state=member.state)
    given = _standing(session, member, asked)
    if any(approval.user_id == user_id or approval.officer == she.address for approval in given):
        raise AlreadyApproved
    until = given[0].deadline if given else asked.now + APPROVAL_LIFE_S
    if signed is not None and not given and asked.now < signed[1] <= until:
        until = signed[1]  # the first may have been asked to sign a moment ago
    digest = eip712.digest(typed_data(member, asked, until))
    if signed is None:
        if she.kept_key is None:
            raise ApprovalRefused(reason="the service keeps no key of yours: your wallet signs")
        key = keys.unseal(she.kept_key, user_id, service.secret(settings))
        signature = eip712.sign(digest, key.to_bytes())
    else:
        signature = signed[0]
        if signed[1] != until:
            raise ApprovalOutdated(deadline=until)
        if eip712.signer_of(digest, signature) != she.address:
            raise ApprovalRefused(reason="signed by another address, or another text")
    session.execute(
        delete(Approval).where(
            Approval.member_id == member_id, Approval.user_id.not_in({approval.user_id for approval in given})
        )
    )
    session.add(
        Approval(
            member_id=member_id,
            user_id=user_id,
            officer=she.address,
            member_class=member.member_class,
            nonce=asked.nonce,
            deadline=until,
            signature=signature,
            given_at=now,
        )
    )
    session.flush()
    service.admit_if_ready(session, member, now)
    return member


def _standing(session: Session, member: Member, asked: Asked) -> list[Approval]:
    """The approvals that count still: of this class and admission, in time, of who is an officer."""
    found = session.scalars(
        select(Approval).where(
            Approval.member_id == member.id,
            Approval.member_class == member.member_class,
            Approval.nonce == asked.nonce,
            Approval.deadline > asked.now,
        )
    )
    return [approval for approval in found if approval.officer in asked.officers]
