"""Bank attestations: what two officers sign about the money at the bank when an epoch's last batch was closed."""

from __future__ import annotations

from collections.abc import Collection

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ledger.errors import NoteRefused
from ledger.note import KeyType, SigningKey, VerifierKey, b64, parse_verifier_key, unb64

HEAD = "streamcoop attestation v1"
OFFICERS = 2


def text(origin: str, epoch: int, batch: int, bank_micro: int, currency: str) -> str:
    """What is signed. It holds spaces in its first line and more than three lines: no log's checkpoint is one."""
    return f"{HEAD}\n{origin}\n{epoch}\n{batch}\n{bank_micro}\n{currency}\n"


def signature(officer: SigningKey, told: str) -> str:
    """An officer's signature over the text, as the entry holds it."""
    if officer.type is not KeyType.ED25519:
        raise ValueError("officers sign with Ed25519")
    return b64(officer.sign(told, 0).signature)


def verified(told: str, officers: list[str], signatures: list[str]) -> list[VerifierKey]:
    """The two officers who signed. Raises NoteRefused unless they are two and both signatures hold."""
    keys = [parse_verifier_key(officer) for officer in officers]
    if len({key.public for key in keys}) != OFFICERS or len({key.name for key in keys}) != OFFICERS:
        raise NoteRefused(reason="an attestation has two officers")
    for key, signed in zip(keys, signatures, strict=True):
        if key.type is not KeyType.ED25519:
            raise NoteRefused(reason="officers sign with Ed25519", key=key.name)
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(unb64(signed), told.encode())
        except (InvalidSignature, ValueError) as wrong:
            raise NoteRefused(reason="a signature that does not hold", key=key.name) from wrong
    return keys


def strangers(signers: list[VerifierKey], trusted: Collection[VerifierKey]) -> list[str]:
    """The names of those who are no officers of the founding note."""
    return [key.name for key in signers if key not in trusted]
