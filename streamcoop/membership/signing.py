"""What members sign for the membership contract: a delegation, and a seat's move to another address.

A wallet signs the typed data itself. Where the co-op keeps the key, the member says in person that it may: with a
passkey over the very digest, or, to take the key's power away from it, with the password.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from streamcoop.membership import orders, passkeys, service
from streamcoop.membership.models import DELEGATION, MEMBER, REKEY, Member, RegisterOrder
from streamcoop.membership.refusals import AddressTaken, MembersOnly, SignatureNotYours
from streamcoop.settings import Settings

SIGNED_LIFE_S = 86_400
"""How long what is signed is good, by the chain's clock, unless the signer says otherwise."""


@dataclass(frozen=True, slots=True)
class Contract:
    """Which contract something is signed for."""

    chain_id: int
    address: str


def own_membership(session: Session, user_id: UUID, *, with_lock: bool = False) -> Member:
    """A user's membership that is on the chain. Raises MembersOnly."""
    member_id = service.require_member(session, user_id)
    found = orders.locked(session, member_id) if with_lock else service.member(session, member_id)
    if found.state != MEMBER:
        raise MembersOnly
    return found


# --- Delegating ---


def delegation(contract: Contract, delegate: str, nonce: int, expiry: int) -> dict[str, Any]:
    """The typed data of a delegation. `nonce` is the contract's for this member."""
    from streamcoop.adapters import typed_data

    domain = typed_data.membership_domain(contract.chain_id, contract.address)
    return typed_data.delegation(domain, delegate, nonce, expiry)


def digest(asked: dict[str, Any]) -> bytes:
    """The 32 bytes that are signed of typed data."""
    from streamcoop.adapters import typed_data

    return typed_data.digest(asked)


def delegate(
    session: Session,
    user_id: UUID,
    contract: Contract,
    to: str,
    nonce: int,
    expiry: int,
    signed: bytes | Mapping[str, Any],
    settings: Settings,
    now: datetime,
) -> RegisterOrder:
    """Have a member's delegation carried to the chain: by her wallet's signature, or her passkey's assertion.

    Raises MembersOnly, SignatureNotYours, NoKeptKey, NoPasskey, PasskeyRefused and OrderUnderWay.
    """
    from streamcoop.adapters import typed_data

    member = own_membership(session, user_id, with_lock=True)
    told = digest(delegation(contract, to, nonce, expiry))
    evidence = None
    if isinstance(signed, bytes):
        signature = signed
        if typed_data.signer_of(told, signature) != member.address:
            raise SignatureNotYours
    else:
        # The order of both: nothing is asked of a passkey that no key would follow.
        service.kept_key(member, settings)
        evidence = passkeys.verified(session, user_id, told, signed, settings)
        signature = service.sign_for(member, told, settings)
    return orders.give(
        session,
        member,
        DELEGATION,
        now,
        other_address=to,
        nonce=nonce,
        deadline=expiry,
        signature=signature,
        evidence=evidence,
    )


# --- Another address ---


def rekey(contract: Contract, old: str, new: str, nonce: int, deadline: int) -> dict[str, Any]:
    """The typed data of a seat's move. `nonce` is how often the contract gave `old` a seat."""
    from streamcoop.adapters import typed_data

    domain = typed_data.membership_domain(contract.chain_id, contract.address)
    return typed_data.rekey(domain, old, new, nonce, deadline)


def move(
    session: Session,
    user_id: UUID,
    contract: Contract,
    to: str,
    nonce: int,
    deadline: int,
    new_signature: bytes,
    old_signature: bytes | None,
    settings: Settings,
    now: datetime,
) -> RegisterOrder:
    """Have a member's seat moved to an address of her own wallet. Both addresses sign; the kept key for itself.

    The caller has seen that it is she who asks. Raises MembersOnly, AddressTaken, SignatureNotYours, NoKeptKey and
    OrderUnderWay.
    """
    from streamcoop.adapters import typed_data

    member = own_membership(session, user_id, with_lock=True)
    told = digest(rekey(contract, member.address, to, nonce, deadline))
    if typed_data.signer_of(told, new_signature) != to:
        raise SignatureNotYours(of=to)
    if old_signature is None:
        old_signature = service.sign_for(member, told, settings)
    if typed_data.signer_of(told, old_signature) != member.address:
        raise SignatureNotYours(of=member.address)
    if service.is_address_taken(session, to):
        raise AddressTaken
    return orders.give(
        session,
        member,
        REKEY,
        now,
        other_address=to,
        nonce=nonce,
        deadline=deadline,
        signature=old_signature,
        second_signature=new_signature,
    )
