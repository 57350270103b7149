"""What people sign for the membership contract: EIP-712 typed data, its digest, and whose a signature is.

Pure: no node is needed. Typed data is the JSON object that wallets take (`eth_signTypedData_v4`); whoever keeps a key
signs the digest with `sign`. A signature is 65 bytes r‖s‖v with v 27 or 28 and s in the lower half of the curve's
order; of a contract (ERC-1271) it is whatever that contract takes, and only a node can tell: `CoopContract.is_signed`.

Addresses are taken in any case and told checksummed (EIP-55). Deadlines are POSIX seconds on the chain's clock: the
contract refuses what is carried to it later.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from eth_account.messages import encode_typed_data
from eth_keys.datatypes import PrivateKey, Signature
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

TypedData = dict[str, Any]

DIGEST_BYTES = 32
SIGNATURE_BYTES = 65
_RS_BYTES = 64
_V_OFFSET = 27
_S_MAX = 0x7FFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_5D576E73_57A4501D_DFE92F46_681B20A0
"""Half of secp256k1's order: of the two signatures that say the same, only the lower counts (EIP-2)."""

_DOMAIN = (("name", "string"), ("version", "string"), ("chainId", "uint256"), ("verifyingContract", "address"))


class Office(IntEnum):
    """`ICoopMembership.Office`."""

    REGISTRAR = 0
    OFFICER = 1


@dataclass(frozen=True)
class Domain:
    """For which contract on which chain something is signed. It counts nowhere else."""

    name: str
    version: str
    chain_id: int
    contract: str


def membership_domain(chain_id: int, contract: str) -> Domain:
    """The domain of one CoopMembership contract."""
    return Domain("StreamCoop Membership", "1", chain_id, contract)


# --- What is signed ---


def admission(domain: Domain, member: str, member_class: int, nonce: int, deadline: int) -> TypedData:
    """What an officer signs to admit `member` in a class. `nonce` is `Membership.admissions_of(member)`."""
    return typed_data(
        domain,
        "Admission",
        member=("address", to_checksum_address(member)),
        **{"class": ("uint8", int(member_class))},
        nonce=("uint256", nonce),
        deadline=("uint256", deadline),
    )


def rekey(domain: Domain, old: str, new: str, nonce: int, deadline: int) -> TypedData:
    """What a member signs with the old and with the new address to keep the membership under the new one.

    `nonce` is `Membership.admissions_of(old)`.
    """
    return typed_data(
        domain,
        "Rekey",
        **{"from": ("address", to_checksum_address(old))},
        to=("address", to_checksum_address(new)),
        nonce=("uint256", nonce),
        deadline=("uint256", deadline),
    )


def delegation(domain: Domain, delegate: str, nonce: int, expiry: int) -> TypedData:
    """What a member signs to have `delegate` vote for them, or to vote again themselves.

    `nonce` is `Membership.nonce_of(member)`; `expiry` is a deadline.
    """
    return typed_data(
        domain,
        "Delegation",
        delegatee=("address", to_checksum_address(delegate)),
        nonce=("uint256", nonce),
        expiry=("uint256", expiry),
    )


def office_change(domain: Domain, office: Office, account: str, *, holds: bool, nonce: int, deadline: int) -> TypedData:
    """What an officer signs to give an office to `account` or take it. `nonce` is `Membership.last_change()`."""
    return typed_data(
        domain,
        "OfficeChange",
        office=("uint8", int(office)),
        account=("address", to_checksum_address(account)),
        holds=("bool", holds),
        nonce=("uint256", nonce),
        deadline=("uint256", deadline),
    )


def office_withdrawal(domain: Domain, change: int, deadline: int) -> TypedData:
    """What an officer signs to withdraw the announced change of offices number `change`."""
    return typed_data(domain, "OfficeWithdrawal", change=("uint256", change), deadline=("uint256", deadline))


def typed_data(domain: Domain, kind: str, **fields: tuple[str, Any]) -> TypedData:
    """Typed data of one flat struct: its fields in order, each with its type and value."""
    return {
        "types": {
            "EIP712Domain": [{"name": name, "type": solidity} for name, solidity in _DOMAIN],
            kind: [{"name": name, "type": solidity} for name, (solidity, _) in fields.items()],
        },
        "primaryType": kind,
        "domain": {
            "name": domain.name,
            "version": domain.version,
            "chainId": domain.chain_id,
            "verifyingContract": to_checksum_address(domain.contract),
        },
        "message": {name: value for name, (_, value) in fields.items()},
    }


# --- Signing ---


def digest(data: TypedData) -> bytes:
    """The 32 bytes that are signed. Raises ValueError or TypeError for what is no typed data."""
    signable = encode_typed_data(full_message=data)
    return keccak(b"\x19" + signable.version + signable.header + signable.body)


def sign(to_sign: bytes, key: bytes) -> bytes:
    """The signature of a digest by a key of 32 bytes: deterministic (RFC 6979)."""
    if len(to_sign) != DIGEST_BYTES:
        raise ValueError(f"a digest has {DIGEST_BYTES} bytes")
    signature = PrivateKey(key).sign_msg_hash(to_sign)
    return signature.to_bytes()[:_RS_BYTES] + bytes([signature.v + _V_OFFSET])


def signer_of(to_sign: bytes, signature: bytes) -> str | None:
    """The address whose key signed the digest; None where `signature` is not a proper one at all."""
    if len(signature) != SIGNATURE_BYTES or signature[-1] not in (_V_OFFSET, _V_OFFSET + 1):
        return None
    if int.from_bytes(signature[32:_RS_BYTES], "big") > _S_MAX:
        return None
    try:
        recoverable = Signature(signature[:_RS_BYTES] + bytes([signature[-1] - _V_OFFSET]))
        return recoverable.recover_public_key_from_msg_hash(to_sign).to_checksum_address()
    except (BadSignature, ValidationError):
        return None
