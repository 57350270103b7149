"""What an auditor remembers of a log: whom she believes and the last head she saw, and what proves a fork.

A folder for each log, told by its origin. Every file appears whole under its name.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from ledger.errors import NoteRefused, ProofRefused
from ledger.merkle import HASH_BYTES, verify_consistency
from ledger.note import NOTE_BYTES_MAX, Checkpoint, KeyType, parse_checkpoint, parse_note, parse_verifier_key, verified

HEAD = "checkpoint"
FOUNDING = "founding"
KEYS = "keys"
ORIGIN = "origin"
"""Kept by the log's address: what it is to be the log of."""
FORK = "fork"
ROLLBACK = "rollback"
EVIDENCE_BYTES_MAX = 4 * NOTE_BYTES_MAX
_NAME_DIGITS = 32


def default_folder() -> Path:
    """Where states are kept that programs remember of themselves (XDG base directories)."""
    home = os.environ.get("XDG_STATE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "state") / "streamcoop" / "verify"


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered below a folder."""

    folder: Path

    def recall(self, origin: str, name: str) -> bytes | None:
        """A file of a log's, if it was kept. Raises OSError."""
        try:
            with (self._of(origin) / name).open("rb") as kept:
                return kept.read(NOTE_BYTES_MAX + 1)
        except FileNotFoundError:
            return None

    def keep(self, origin: str, name: str, data: bytes) -> Path:
        """Keep a file of a log's in place of the one before. Raises OSError."""
        folder = self._of(origin)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as unfinished:
            unfinished.write(data)
            unfinished.flush()
            os.fsync(unfinished.fileno())
        path = folder / name
        Path(unfinished.name).replace(path)
        return path

    def _of(self, origin: str) -> Path:
        return self.folder / sha256(origin.encode()).hexdigest()[:_NAME_DIGITS]


# --- Evidence ---


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two signed heads of one log that cannot both be, and what shows it.

    A fork: `proof` is the consistency proof from the size of `earlier` to `later`, and leads from `root_then` (both in
    hexadecimal), which is not the root that was signed in `earlier`. Where both have one size, they speak for
    themselves. A rollback: `later`, which was seen later, is the shorter log.
    """

    kind: str
    earlier: str
    later: str
    keys: tuple[str, ...]
    root_then: str = ""
    proof: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file it is kept in: another for other evidence."""
        return f"evidence-{self.kind}-{sha256(self.written).hexdigest()[:16]}.json"

    @property
    def written(self) -> bytes:
        """The file."""
        return (json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n").encode()


def parse_evidence(data: bytes) -> Evidence:
    """Evidence from its file. Raises ProofRefused."""
    try:
        told = json.loads(data) if len(data) <= EVIDENCE_BYTES_MAX else None
    except (ValueError, RecursionError) as malformed:
        raise ProofRefused(reason="not JSON") from malformed
    texts, lists = {"kind", "earlier", "later", "root_then"}, {"keys", "proof"}
    if type(told) is not dict or told.keys() != texts | lists or any(type(told[name]) is not str for name in texts):
        raise ProofRefused(reason="not evidence")
    if any(type(told[name]) is not list or any(type(each) is not str for each in told[name]) for name in lists):
        raise ProofRefused(reason="not evidence")
    return Evidence(**told | {name: tuple(told[name]) for name in lists})


def verify_evidence(evidence: Evidence) -> str:
    """What the evidence shows to anybody who believes that its keys are the log's, in a sentence.

    Raises ProofRefused and NoteRefused for what shows nothing.
    """
    earlier, earlier_time = _signed(evidence.earlier, evidence.keys)
    later, later_time = _signed(evidence.later, evidence.keys)
    if earlier.origin != later.origin:
        raise ProofRefused(reason="heads of two logs")
    if earlier.size == later.size and earlier.root != later.root:
        return f"{later.origin} signed two logs of {later.size} entries"
    if evidence.kind == FORK and earlier.size < later.size:
        root_then = _hash(evidence.root_then)
        verify_consistency(earlier.size, root_then, later.size, later.root, [*map(_hash, evidence.proof)])
        if root_then == earlier.root:
            raise ProofRefused(reason="the heads are of one log")
        return f"{later.origin} signed a log of {later.size} entries that does not begin with its {earlier.size} before"
    if evidence.kind == ROLLBACK and later.size < earlier.size:
        if earlier_time is not None and later_time is not None and later_time > earlier_time:
            return f"{later.origin} signed {later.size} entries after it had signed {earlier.size}"
        return (
            f"{later.origin} signed {earlier.size} entries and was seen to show {later.size} later; "
            "who saw it has to be believed on the order"
        )
    raise ProofRefused(reason="the heads can be of one log")


def _signed(text: str, keys: Sequence[str]) -> tuple[Checkpoint, int | None]:
    """A head, and when its signer says it was signed, if any of its keys says so."""
    note = parse_note(text.encode())
    found = verified(note, map(parse_verifier_key, keys))
    if all(each.key.type is KeyType.ED25519_COSIGNATURE for each in found):
        raise NoteRefused(reason="a head is signed by its log")
    return parse_checkpoint(note.text), max((each.time for each in found if each.time is not None), default=None)


def _hash(text: str) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError as malformed:
        raise ProofRefused(reason="not a hash") from malformed
    if len(data) != HASH_BYTES:
        raise ProofRefused(reason="not a hash")
    return data


ProofOf = Callable[[int, int], list[bytes]]
"""(earlier size, size) -> the consistency proof between them, from the published tiles."""


def fork(earlier: str, later: str, keys: Sequence[str], root_then: bytes, proof_of: ProofOf) -> Evidence:
    """Evidence that the later head's log, whose first entries have the root `root_then`, is not the earlier's."""
    sizes = [parse_checkpoint(parse_note(note.encode()).text).size for note in (earlier, later)]
    if sizes[0] == sizes[1]:
        return Evidence(FORK, earlier, later, tuple(keys))
    proof = tuple(one.hex() for one in proof_of(*sizes))
    return Evidence(FORK, earlier, later, tuple(keys), root_then.hex(), proof)
