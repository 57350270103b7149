"""The founding note: written by the service, signed by the founders, published once and for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from ledger import entries, founding
from ledger.errors import DomainError, NoteRefused
from ledger.founding import FoundingNote, Predecessor
from ledger.note import NOTE_BYTES_MAX, KeyType, Note, SigningKey, VerifierKey, verified
from ledger.store import terms
from streamcoop.adapters.objects import ObjectConflict, ObjectMissing, ObjectStore, read_whole
from streamcoop.settings import Settings
from streamcoop.transparency import files, naming, places
from streamcoop.transparency.keys import keyring, signing_keys
from streamcoop.transparency.receipts import LogNotSigned


class NotNamed(DomainError):
    """The founding note names no such founder: nobody asks for this signature."""


class AnotherLog(DomainError):
    """The founding note is not of this log, or not signed by its keys."""


class AnotherFoundingNote(DomainError):
    """Another founding note is published already, and it stays."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """Whom a founding note names besides the log itself."""

    founders: tuple[VerifierKey, ...]
    officers: tuple[VerifierKey, ...]
    witnesses: tuple[VerifierKey, ...]
    witnesses_needed: int


def write(session: Session, settings: Settings, trusted: Trusted, chain: Sequence[tuple[str, str]]) -> str:
    """A founding note with the signatures of the log's keys; the founders' are still to come.

    Raises LogNotSigned and NoteRefused.
    """
    origin = naming.origin(session, settings)
    own = signing_keys(settings, origin)
    if not own:
        raise LogNotSigned
    return written(own, trusted, terms.founding(session.connection()).constitution.hash, chain)


def written(
    own: Sequence[SigningKey],
    trusted: Trusted,
    constitution: str,
    chain: Sequence[tuple[str, str]],
    predecessor: Predecessor | None = None,
) -> str:
    """The same of the log that these keys are of, and of the log that it goes on from. Raises NoteRefused."""
    too_long = [key.name for key in trusted.officers if len(str(key)) > entries.TEXT_MAX]
    if too_long:
        raise NoteRefused(reason="the name of an officer's key is too long", key=too_long[0])
    told = FoundingNote(
        origin=own[0].name,
        keys=tuple(key.verifier for key in own),
        founders=trusted.founders,
        officers=trusted.officers,
        witnesses=trusted.witnesses,
        witnesses_needed=trusted.witnesses_needed,
        constitution=constitution,
        chain=tuple(chain),
        predecessor=predecessor,
    )
    note = founding.written(told, own)
    founding.draft(note.encode())
    return note


def sign(data: bytes, founder: SigningKey) -> str:
    """The note with a founder's signature, once, after those that are there. Raises NoteRefused and NotNamed."""
    note, told = founding.draft(data)
    verified(note, [key for key in (*told.keys, *told.founders) if key.type is KeyType.ED25519])
    if founder.verifier not in told.founders:
        raise NotNamed(key=founder.name)
    own = founder.sign(note.text, 0)
    return str(note if own in note.signatures else Note(note.text, (*note.signatures, own)))


def missing(data: bytes) -> list[str]:
    """The founders who have not signed yet. Raises NoteRefused."""
    note, told = founding.draft(data)
    there = {(line.name, line.key_id) for line in note.signatures}
    return [key.name for key in told.founders if (key.name, key.key_id) not in there]


def publish(session: Session, store: ObjectStore, settings: Settings, data: bytes) -> FoundingNote:
    """Put the note beside the log's head, for good. The same again changes nothing.

    Raises NoteRefused for one that is not signed as it should be, AnotherLog, AnotherFoundingNote and the store's
    errors.
    """
    told = founding.parse(data)
    origin = naming.name_log(session, settings)
    ring = keyring(session, signing_keys(settings, origin))
    if told.origin != origin or not set(told.keys) <= set(ring.all):
        raise AnotherLog(origin=told.origin)
    try:
        places.here(session.connection(), store).put_bytes(files.key_of(founding.PATH), data, files.TEXT)
    except ObjectConflict as conflict:
        raise AnotherFoundingNote from conflict
    return told


def published_pin(store: ObjectStore) -> str | None:
    """What the founding note that is published is known by. Raises as `published` does."""
    try:
        note, _ = founding.draft(read_whole(store, files.key_of(founding.PATH), NOTE_BYTES_MAX))
    except ObjectMissing:
        return None
    return founding.pin(note)


def published(store: ObjectStore) -> FoundingNote | None:
    """The founding note that is published, if one is, of the log that the store is seen by.

    Raises NoteRefused and the store's errors.
    """
    try:
        return founding.parse(read_whole(store, files.key_of(founding.PATH), NOTE_BYTES_MAX))
    except ObjectMissing:
        return None
