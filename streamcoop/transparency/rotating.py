"""Changing the log's keys: the old ones sign the new, in an entry of the open batch, whose head the new ones sign."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from ledger import rotation
from ledger.errors import DomainError, NoteRefused
from ledger.note import VerifierKey
from ledger.store import batches, rotations
from streamcoop.adapters.objects import ObjectMissing, ObjectStore
from streamcoop.settings import Settings
from streamcoop.transparency import files, naming, places
from streamcoop.transparency.keys import OtherKeysSign, keyring, keys_from, signing_keys
from streamcoop.transparency.receipts import LogNotSigned


class SameKeys(DomainError):
    """The file holds a secret that the log is or was signed with: a rotation needs another."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """The new keys, and the batch whose head is the first that they sign."""

    batch: int
    keys: tuple[VerifierKey, ...]
    is_published: bool


def rotate(session: Session, store: ObjectStore, settings: Settings, secret: str) -> Rotated:
    """Tell that the keys of `secret` follow on those of the settings. Told before, it stays as it is.

    Raises LogNotSigned, SameKeys, OtherKeysSign where the setting's key is not the log's, RotationUnderWay, BatchesWait
    and the store's errors.
    """
    conn, origin = session.connection(), naming.name_log(session, settings)
    ring = keyring(session, signing_keys(settings, origin))
    if not ring.own:
        raise LogNotSigned
    new = tuple(key.verifier for key in keys_from(secret, origin))
    texts = tuple(map(str, new))
    last = ring.rotations[-1] if ring.rotations else None
    if last is not None and last.keys == texts:
        return Rotated(last.batch, new, last.is_published)
    own = [key.verifier for key in ring.own]
    if set(new) & set(ring.all):
        raise SameKeys
    head = batches.published_head(conn)
    if head is not None:
        _require_signed(places.here(conn, store), head.batch, own)
    batch = rotations.rotate(conn, [*map(str, own)], texts, rotation.signatures(origin, texts, ring.own))
    return Rotated(batch, new, is_published=False)


def _require_signed(store: ObjectStore, batch: int, own: list[VerifierKey]) -> None:
    """Nobody would believe new keys that others than the log's hand over to."""
    try:
        files.read_note(store, files.head_path(batch), own)
    except (NoteRefused, ObjectMissing) as refused:
        raise OtherKeysSign(batch=batch) from refused
