"""Keys the co-op keeps for members who have no wallet: made here, and stored only sealed.

A sealed key is a nonce followed by AES-256-GCM over the key, bound to its member, under a key
derived from the service's secret. Whoever reads the database alone learns nothing.
"""

from __future__ import annotations

import secrets
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from eth_keys.datatypes import PrivateKey

NONCE_BYTES = 12
KEY_BYTES = 32
_INFO = b"streamcoop member key"


def make_key() -> PrivateKey:
    """A fresh private key on secp256k1."""
    return PrivateKey(secrets.token_bytes(KEY_BYTES))


def address_of(key: PrivateKey) -> str:
    """The address that a key signs for, with the checksum of EIP-55."""
    return str(key.public_key.to_checksum_address())


def _cipher(secret_key: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt=None, info=_INFO).derive(secret_key))


def seal(key: PrivateKey, member_id: UUID, secret_key: bytes) -> bytes:
    """A member's key as it is stored."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + _cipher(secret_key).encrypt(nonce, key.to_bytes(), member_id.bytes)


def unseal(sealed: bytes, member_id: UUID, secret_key: bytes) -> PrivateKey:
    """The key again. Raises cryptography's InvalidTag for another member's, another secret's or a damaged one."""
    return PrivateKey(_cipher(secret_key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], member_id.bytes))
