"""What the co-op signs its log with."""

from __future__ import annotations

import base64
import hmac
from urllib.parse import urlsplit

from ledger.note import KeyType, SigningKey, VerifierKey
from streamcoop.settings import Settings

SIGNING = (KeyType.ED25519, KeyType.ML_DSA_44)


def origin_of(settings: Settings) -> str:
    """What the log is called by the settings. Once its first batch is published it keeps the name it had then."""
    return settings.log_origin or f"{urlsplit(settings.public_address).netloc}/log"


def signing_keys(settings: Settings, origin: str) -> list[SigningKey]:
    """A key of each kind, from one secret; none without it, and then nothing is published or promised.

    Each has a seed of its own, so that of one that is broken nothing is learnt of the other.
    """
    if settings.log_key is None:
        return []
    secret = base64.b64decode(settings.log_key.get_secret_value())
    return [
        SigningKey(origin, kind, hmac.digest(secret, f"streamcoop log {kind.name}".encode(), "sha256"))
        for kind in SIGNING
    ]


def verifier_keys(settings: Settings, origin: str) -> list[VerifierKey]:
    """Their public halves."""
    return [key.verifier for key in signing_keys(settings, origin)]
