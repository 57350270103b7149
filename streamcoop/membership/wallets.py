"""Proving that an address is one's own: a text in EIP-4361's form that the wallet signs (EIP-191).

The service writes the text and keeps nothing of it: its nonce is a message authentication code over who asked, for
which address and when, so that the text can be written again and compared to the letter.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

from eth_utils.address import is_checksum_address

from streamcoop.membership.refusals import WalletProofRefused

CHALLENGE_LIFE = timedelta(minutes=10)
MESSAGE_LENGTH_MAX = 2_000
SIGNATURE_BYTES_MAX = 8_192
"""A contract's may be long: of several owners, or with proofs beside it."""
STATEMENT = (
    "This address is mine, and I want it to be my membership address. Everybody will see it and how it votes:"
    " I use it for nothing else."
)

_MAC_BYTES = 16
_TIME_BYTES = 8
_ADDRESS_LINE = 1
_NONCE = "Nonce: "


@dataclass(frozen=True, slots=True)
class Service:
    """Who asks for a proof, and for which chain."""

    address: str
    chain_id: int
    secret: bytes


def challenge(service: Service, user_id: UUID, address: str, now: datetime) -> str:
    """The text that proves an address (EIP-55) to be a user's, once its wallet signs it within CHALLENGE_LIFE."""
    return _text(service, user_id, address, int(now.timestamp()))


def proved(service: Service, user_id: UUID, message: str, now: datetime) -> tuple[str, bytes]:
    """Whose address a signed text proves, and the digest that the address must have signed.

    Raises WalletProofRefused for any other text than `challenge` gave this user, to the letter and in time.
    """
    lines = message.split("\n")
    address = lines[_ADDRESS_LINE] if len(lines) > _ADDRESS_LINE else ""
    nonce = next((line.removeprefix(_NONCE) for line in lines if line.startswith(_NONCE)), "")
    try:
        issued_at = int.from_bytes(bytes.fromhex(nonce)[:_TIME_BYTES], "big")
    except ValueError:
        raise WalletProofRefused(reason="not a text of this service") from None
    if not is_checksum_address(address) or not 0 <= now.timestamp() - issued_at <= CHALLENGE_LIFE.total_seconds():
        raise WalletProofRefused(reason="not a text of this service, or too old")
    if not hmac.compare_digest(_text(service, user_id, address, issued_at).encode(), message.encode()):
        raise WalletProofRefused(reason="not the text of this service to the letter")
    return address, personal_digest(message)


def personal_digest(message: str) -> bytes:
    """What a wallet signs of a text (EIP-191, version 0x45)."""
    from eth_utils.crypto import keccak

    told = message.encode()
    return keccak(b"\x19Ethereum Signed Message:\n" + str(len(told)).encode() + told)


def _text(service: Service, user_id: UUID, address: str, issued_at: int) -> str:
    at = datetime.fromtimestamp(issued_at, UTC)
    return "\n".join(
        (
            f"{urlsplit(service.address).netloc} wants you to sign in with your Ethereum account:",
            address,
            "",
            STATEMENT,
            "",
            f"URI: {service.address}",
            "Version: 1",
            f"Chain ID: {service.chain_id}",
            f"{_NONCE}{_nonce(service, user_id, address, issued_at)}",
            f"Issued At: {at:%Y-%m-%dT%H:%M:%SZ}",
            f"Expiration Time: {at + CHALLENGE_LIFE:%Y-%m-%dT%H:%M:%SZ}",
        )
    )


def _nonce(service: Service, user_id: UUID, address: str, issued_at: int) -> str:
    told = issued_at.to_bytes(_TIME_BYTES, "big")
    said = b"streamcoop wallet\0" + user_id.bytes + address.encode() + told
    return (told + hmac.digest(service.secret, said, hashlib.sha256)[:_MAC_BYTES]).hex()
