"""Two officers whose keys the tests have, the same in every process, and what they sign."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from streamcoop.adapters import typed_data
from streamcoop.adapters.chain import SignedTransaction
from streamcoop.adapters.members import Approval, MemberClass, Membership
from streamcoop.adapters.typed_data import Domain, TypedData
from streamcoop.embedded.chain.founding import CONSTITUTION, Founding, founding

OFFICERS: tuple[LocalAccount, LocalAccount] = (
    Account.from_key(keccak(text="the first officer of the tests")),
    Account.from_key(keccak(text="the second officer of the tests")),
)
FAR_OFF = 2**40
"""A deadline no test reaches, in the chain's seconds."""


def founded_with(constitution: dict[str, Any] = CONSTITUTION) -> Founding:
    """What the contracts of tests are made with."""
    return founding([officer.address for officer in OFFICERS], constitution)


def signature(data: TypedData, signer: LocalAccount) -> bytes:
    return typed_data.sign(typed_data.digest(data), bytes(signer.key))


def approvals(data: TypedData, officers: Sequence[LocalAccount] = OFFICERS) -> list[Approval]:
    return [Approval(officer.address, signature(data, officer)) for officer in officers]


def approved(
    membership: Membership,
    member: str,
    member_class: MemberClass,
    deadline: int = FAR_OFF,
    nonce: int | None = None,
) -> SignedTransaction:
    """The order to admit `member`, whom both officers have approved."""
    domain: Domain = membership.domain()
    data = typed_data.admission(domain, member, member_class, membership.admissions_of(member), deadline)
    return membership.build_admission(member, member_class, deadline, approvals(data), nonce)
