"""What the co-op signs its log with, and which of its keys, of before and of now, sign which head."""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from ledger.errors import DomainError
from ledger.note import KeyType, SigningKey, VerifierKey, parse_verifier_key
from ledger.store.rotations import Rotation, rotations
from streamcoop.settings import Settings

SIGNING = (KeyType.ED25519, KeyType.ML_DSA_44)


class OtherKeysSign(DomainError):
    """STREAMCOOP_LOG_KEY is not the key that signs this batch: see `docs/log-keys.md`."""


def origin_of(settings: Settings) -> str:
    """What the log is called by the settings. Once its first batch is published it keeps the name it had then."""
    return settings.log_origin or f"{urlsplit(settings.public_address).netloc}/log"


def signing_keys(settings: Settings, origin: str) -> list[SigningKey]:
    """A key of each kind, from one secret; none without it, and then nothing is published or promised."""
    return [] if settings.log_key is None else keys_from(settings.log_key.get_secret_value(), origin)


def keys_from(secret: str, origin: str) -> list[SigningKey]:
    """The keys that follow from a secret of 32 bytes in base64.

    Each has a seed of its own, so that of one that is broken nothing is learnt of the other.
    """
    key = base64.b64decode(secret)
    return [
        SigningKey(origin, kind, hmac.digest(key, f"streamcoop log {kind.name}".encode(), "sha256")) for kind in SIGNING
    ]


def verifier_keys(settings: Settings, origin: str) -> list[VerifierKey]:
    """Their public halves."""
    return [key.verifier for key in signing_keys(settings, origin)]


@dataclass(frozen=True, slots=True)
class Keyring:
    """The log's keys of all times. `own` are the setting's, which sign if it is their turn."""

    own: tuple[SigningKey, ...]
    rotations: tuple[Rotation, ...]

    def of(self, batch: int) -> list[VerifierKey]:
        """The keys that sign the head as of a batch."""
        told = self._told_for(batch)
        return [key.verifier for key in self.own] if told is None else [*map(parse_verifier_key, told)]

    def signing(self, batch: int) -> tuple[SigningKey, ...]:
        """The same, to sign with. Raises OtherKeysSign where they are not at hand."""
        if self.of(batch) != [key.verifier for key in self.own]:
            raise OtherKeysSign(batch=batch)
        return self.own

    @property
    def all(self) -> list[VerifierKey]:
        """Every key that ever was one of the log's, or will be."""
        told = [text for rotation in self.rotations for text in (*rotation.before, *rotation.keys)]
        return list(dict.fromkeys([*map(parse_verifier_key, told), *(key.verifier for key in self.own)]))

    @property
    def current(self) -> list[VerifierKey]:
        """The keys that sign the newest head: what members and witnesses are told."""
        published = [rotation.batch for rotation in self.rotations if rotation.is_published]
        return self.of(published[-1] if published else 0)

    @property
    def is_known(self) -> bool:
        """Whether who has read the published log knows our own keys as the log's."""
        own = tuple(str(key.verifier) for key in self.own)
        known = [rotation.keys for rotation in self.rotations if rotation.is_published]
        return not self.rotations or own in (self.rotations[0].before, *known)

    def _told_for(self, batch: int) -> tuple[str, ...] | None:
        if not self.rotations:
            return None
        begun = [rotation.keys for rotation in self.rotations if rotation.batch <= batch]
        return begun[-1] if begun else self.rotations[0].before


def keyring(session: Session, own: list[SigningKey] | tuple[SigningKey, ...]) -> Keyring:
    """The log's keys, with our own."""
    return Keyring(tuple(own), rotations(session.connection()))
