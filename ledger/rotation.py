"""Key rotation: how a log's old keys hand over to new ones.

The entry `keys` holds all verifier keys from the next checkpoint on, which is the first to cover that entry, and the
old keys' Ed25519 signatures over them, each as a note's signature line without its newline.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger.errors import NoteRefused
from ledger.note import KeyType, Note, SigningKey, VerifierKey, parse_signature, parse_verifier_key, verified

HEAD = "streamcoop keys v1"


def text(origin: str, keys: Sequence[str]) -> str:
    """What the old keys sign. There is a space in its first line, so no log's checkpoint is one."""
    return "\n".join([HEAD, origin, *keys, ""])


def signatures(origin: str, keys: Sequence[str], old: Sequence[SigningKey]) -> list[str]:
    """The old keys' signatures, as the entry holds them."""
    told = text(origin, keys)
    return [str(key.sign(told, 0)).removesuffix("\n") for key in old if key.type is KeyType.ED25519]


def keys_of(origin: str, keys: Sequence[str]) -> list[VerifierKey]:
    """The log's keys behind their texts. Raises NoteRefused unless they are under its name, one at least Ed25519."""
    parsed = [parse_verifier_key(key) for key in keys]
    if any(key.name != origin or key.type is KeyType.ED25519_COSIGNATURE for key in parsed):
        raise NoteRefused(reason="a log's keys bear its name")
    if len(set(parsed)) != len(parsed) or all(key.type is not KeyType.ED25519 for key in parsed):
        raise NoteRefused(reason="a log has a key for Ed25519, and none twice")
    return parsed


def handed_over(origin: str, keys: Sequence[str], signed: Sequence[str], old: Sequence[VerifierKey]) -> None:
    """Raises NoteRefused unless every old Ed25519 key signed the new keys."""
    found = verified(Note(text(origin, keys), tuple(map(parse_signature, signed))), old)
    missing = {key for key in old if key.type is KeyType.ED25519} - {signature.key for signature in found}
    if missing:
        raise NoteRefused(reason="an old key did not sign the new ones")
