"""The founding note: the root of trust of a co-op's log, which members pin at first use.

A signed note whose text is a first line that no log is named by, and a line of canonical JSON. The founders sign it,
and the log's first keys, which so are held to it; witnesses may. It is published as `founding` beside `checkpoint`.

A log whose key was stolen has ended. The log that goes on from it begins with the same entries, up to the last good
head of that one, and its founding note tells that head and the founding note that was.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from ledger import canonical
from ledger.errors import NotCanonical, NoteRefused
from ledger.note import (
    Checkpoint,
    KeyType,
    Note,
    SigningKey,
    VerifierKey,
    parse_checkpoint,
    parse_note,
    parse_verifier_key,
    signed,
    verified,
)
from ledger.rotation import keys_of

PATH = "founding"
HEAD = "streamcoop founding v1"
KEYS_MAX = 32
PREDECESSORS_MAX = 8
PIN = "sha256:"

_DIGEST = re.compile(r"[0-9a-f]{64}").fullmatch
_FIELDS = {
    "origin",
    "keys",
    "founders",
    "officers",
    "witnesses",
    "witnesses_needed",
    "constitution",
    "chain",
    "predecessor",
}


@dataclass(frozen=True, slots=True)
class FoundingNote:
    """Whom to believe: the log's first keys, founders, officers who attest, and witnesses of whom so many are needed.

    `constitution` is its SHA-256 in hexadecimal, or empty; `chain` what the contracts are known by (chain id,
    addresses, hashes of code), which nothing here looks into. `predecessor` is the log that this one goes on from.
    """

    origin: str
    keys: tuple[VerifierKey, ...]
    founders: tuple[VerifierKey, ...] = ()
    officers: tuple[VerifierKey, ...] = ()
    witnesses: tuple[VerifierKey, ...] = ()
    witnesses_needed: int = 0
    constitution: str = ""
    chain: tuple[tuple[str, str], ...] = ()
    predecessor: Predecessor | None = None

    @property
    def lineage(self) -> tuple[Predecessor, ...]:
        """The logs before, each the one that the next goes on from; the first of all comes first."""
        last = self.predecessor
        return () if last is None else (*last.founding.lineage, last)

    def __str__(self) -> str:
        told: dict[str, Any] = {
            "origin": self.origin,
            "keys": [*map(str, self.keys)],
            "founders": [*map(str, self.founders)],
            "officers": [*map(str, self.officers)],
            "witnesses": [*map(str, self.witnesses)],
            "witnesses_needed": self.witnesses_needed,
            "constitution": self.constitution,
            "chain": dict(self.chain),
            "predecessor": {} if self.predecessor is None else self.predecessor.told,
        }
        return f"{HEAD}\n{canonical.encode(told).decode()}\n"


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A log that ended, as the founders of the next one vouch for it: its last good `head`, and its founding note.

    `checkpoint` is that head with the signatures and cosignatures it had, `note` the founding note, whole. Whether the
    log's keys of then signed the head is for whoever has read its entries: they may have been handed over.
    """

    checkpoint: Note
    head: Checkpoint
    note: str
    founding: FoundingNote

    @property
    def told(self) -> dict[str, Any]:
        """As the founding note that follows holds it."""
        return {"checkpoint": str(self.checkpoint), "founding": self.note}


def predecessor_of(checkpoint: str, note: str) -> Predecessor:
    """The log that had this head and this founding note. Raises NoteRefused where they are not of one log."""
    signed_head, founding = parse_note(checkpoint.encode()), parse(note.encode())
    head = parse_checkpoint(signed_head.text)
    if head.origin != founding.origin or not head.size:
        raise NoteRefused(reason="a predecessor's head is of another log than its founding note, or of none")
    if any(before.head.size > head.size for before in founding.lineage):
        raise NoteRefused(reason="a predecessor is shorter than the log it went on from")
    return Predecessor(signed_head, head, note, founding)


def written(founding: FoundingNote, signers: Sequence[SigningKey]) -> str:
    """The note with a signature by each; ML-DSA-44 keys sign heads only, and are passed over."""
    return str(signed(str(founding), [key for key in signers if key.type is KeyType.ED25519], 0))


def parse(data: bytes) -> FoundingNote:
    """The founding note, signed by every Ed25519 key it names of the log and of founders. Raises NoteRefused."""
    note, founding = draft(data)
    _require_signed(note, (*founding.keys, *founding.founders))
    return founding


def pin(note: Note) -> str:
    """What a founding note is known by, whoever has signed it: PIN and the SHA-256 of its text."""
    return PIN + sha256(note.text.encode()).hexdigest()


def draft(data: bytes) -> tuple[Note, FoundingNote]:
    """What a founding note says that not all have signed; nothing of it is to be believed yet. Raises NoteRefused."""
    note = parse_note(data)
    lines = note.text.split("\n")
    if len(lines) != 3 or lines[0] != HEAD:
        raise NoteRefused(reason="not a founding note")
    try:
        told = canonical.decode(lines[1].encode())
    except NotCanonical as refused:
        raise NoteRefused(reason="a founding note holds canonical JSON") from refused
    if type(told) is not dict or told.keys() != _FIELDS:
        raise NoteRefused(reason="a founding note has other fields")
    return note, _of(told)


def _of(told: dict[str, Any]) -> FoundingNote:
    origin, needed, constitution, chain = (
        told[name] for name in ("origin", "witnesses_needed", "constitution", "chain")
    )
    keys = {name: _keys(told[name]) for name in ("founders", "officers", "witnesses")}
    if type(origin) is not str or type(needed) is not int or not 0 <= needed <= len(keys["witnesses"]):
        raise NoteRefused(reason="a founding note names the log and how many witnesses are needed")
    if type(constitution) is not str or (constitution and not _DIGEST(constitution)):
        raise NoteRefused(reason="a constitution is told by its SHA-256")
    if type(chain) is not dict or not all(type(value) is str for value in chain.values()):
        raise NoteRefused(reason="a chain is told by texts")
    if any(key.type is not KeyType.ED25519 for name in ("founders", "officers") for key in keys[name]):
        raise NoteRefused(reason="founders and officers sign with Ed25519")
    predecessor = _predecessor(told["predecessor"], origin)
    log_keys = keys_of(origin, [str(key) for key in _keys(told["keys"])])
    return FoundingNote(
        origin=origin,
        keys=tuple(log_keys),
        **keys,
        witnesses_needed=needed,
        constitution=constitution,
        chain=tuple(sorted(chain.items())),
        predecessor=predecessor,
    )


def _predecessor(told: object, origin: str) -> Predecessor | None:
    if told == {}:
        return None
    if type(told) is not dict or told.keys() != {"checkpoint", "founding"}:
        raise NoteRefused(reason="a predecessor is told by its last head and its founding note")
    checkpoint, note = told["checkpoint"], told["founding"]
    if type(checkpoint) is not str or type(note) is not str:
        raise NoteRefused(reason="a predecessor is told by texts")
    found = predecessor_of(checkpoint, note)
    names = [found.head.origin, *(before.head.origin for before in found.founding.lineage)]
    if origin in names or len(names) > PREDECESSORS_MAX:
        raise NoteRefused(reason="a log goes on under a name that none before it had, and not without end")
    return found


def _keys(told: object) -> tuple[VerifierKey, ...]:
    if type(told) is not list or len(told) > KEYS_MAX or not all(type(text) is str for text in told):
        raise NoteRefused(reason="keys are a list of their texts")
    return tuple(map(parse_verifier_key, told))


def _require_signed(note: Note, keys: Sequence[VerifierKey]) -> None:
    asked = {key for key in keys if key.type is KeyType.ED25519}
    if asked - {found.key for found in verified(note, asked)}:
        raise NoteRefused(reason="a founder or a key of the log did not sign the founding note")
