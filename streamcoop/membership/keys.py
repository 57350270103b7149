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
from eth_account import Account
from eth_account.signers.local import LocalAccount

NONCE_BYTES = 12
KEY_BYTES = 32
_INFO = b"streamcoop member key"


def make_key() -> LocalAccount:
    """A fresh private key and its address."""
    account: LocalAccount = Account.from_key(secrets.token_bytes(KEY_BYTES))
    return account


def _cipher(secret_key: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt=None, info=_INFO).derive(secret_key))


def seal(key: LocalAccount, member_id: UUID, secret_key: bytes) -> bytes:
    """A member's key as it is stored."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + _cipher(secret_key).encrypt(nonce, bytes(key.key), member_id.bytes)


def unseal(sealed: bytes, member_id: UUID, secret_key: bytes) -> LocalAccount:
    """The key again. Raises cryptography's InvalidTag for another member's, another secret's or a damaged one."""
    key = _cipher(secret_key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], member_id.bytes)
    account: LocalAccount = Account.from_key(key)
    return account
