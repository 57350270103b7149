"""The logs that a log goes on from, held against it: it has to begin with all of them, up to their last good heads.

The key of each was stolen, so what it signed beyond that head is believed by nobody. What is asked is whether as many
witnesses cosigned that head as its own founding note needs, and no later one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from ledger import founding as foundings
from ledger.errors import NoteRefused, ProofRefused, TileRefused
from ledger.founding import FoundingNote, Predecessor
from ledger.merkle import consistency_proof, verify_consistency
from ledger.note import Checkpoint, KeyType, Note, VerifierKey, parse_checkpoint, parse_note, verified
from ledger.tiles import TiledTree
from ledger.verify.audit import Audit
from ledger.verify.reading import CHECKPOINT, Log
from ledger.verify.report import Findings
from ledger.witness import COSIGNING

CHECK = "lineage"


def signers(note: Note, keys: Iterable[VerifierKey]) -> tuple[set[VerifierKey], list[str]]:
    """Of these keys those whose signatures hold, and what is wrong with others'."""
    signed: set[VerifierKey] = set()
    wrong: list[str] = []
    present = {(line.name, line.key_id) for line in note.signatures}
    for key in keys:
        if (key.name, key.key_id) not in present:
            continue
        try:
            verified(note, [key])
            signed.add(key)
        except NoteRefused as refused:
            wrong.append(str(refused))
    return signed, wrong


class Lineage:
    """The logs before the one that `founding` is of, whose keys are `keys`; none where no note tells of any."""

    def __init__(self, founding: FoundingNote | None, origin: str, keys: Collection[VerifierKey]) -> None:
        self.before: tuple[Predecessor, ...] = founding.lineage if founding else ()
        self._turns = [*self.before]
        names = [(each.head.origin, each.founding.keys) for each in self.before]
        self._names = [*names, (origin, tuple(keys))]
        self._notes = [*(each.founding for each in self.before), *([founding] if founding else [])]
        self._keys: dict[str, list[VerifierKey]] = {}
        self.told: list[str] = []

    @property
    def first(self) -> tuple[str, tuple[VerifierKey, ...]]:
        """What the log was called at its first entry, and the keys it had then."""
        return self._names[0]

    @property
    def officers(self) -> set[VerifierKey]:
        """Whoever was an officer by one of the founding notes."""
        return {officer for note in self._notes for officer in note.officers}

    @property
    def ends(self) -> dict[str, int]:
        """By the names of before, how many entries each has."""
        return {each.head.origin: each.head.size for each in self.before}

    def take(self, audit: Audit, entries: list[bytes]) -> Iterator[list[bytes]]:
        """The entries in parts, between which the audit goes on under the log's next name."""
        at = audit.at + 1
        while self._turns and self._turns[0].head.size <= at + len(entries):
            turn = self._turns.pop(0)
            here = turn.head.size - at
            yield entries[:here]
            entries, at = entries[here:], at + here
            self._keys[turn.head.origin] = [*audit.keys]
            audit.go_on_as(*self._names[len(self._names) - 1 - len(self._turns)])
        yield entries

    def check(self, roots: Mapping[int, bytes], size: int, findings: Findings) -> None:
        """That the log of `size` entries begins with those before, whose heads are as good as they are told."""
        for each, following in zip(self.before, self._notes[1:], strict=True):
            head, origin = each.head, each.head.origin
            if head.size > size:
                findings.add(CHECK, None, f"it is shorter than {origin}, which it goes on from", head.size, size)
            elif head.size in roots and roots[head.size] != head.root:
                found = roots[head.size].hex()
                findings.add(CHECK, head.size, f"it does not begin as {origin} ended", head.root.hex(), found)
            for key in self._keys.get(origin, ()):
                signed, wrong = signers(each.checkpoint, [key])
                if wrong or not signed:
                    findings.add(CHECK, head.size, f"the last head of {origin} is not signed by its key", key)
            cosigned, known = cosigners(each.checkpoint, each.founding)
            needed = each.founding.witnesses_needed
            if cosigned < needed:
                findings.add(CHECK, None, f"too few witnesses cosigned the last head of {origin}", needed, cosigned)
            founders = set(each.founding.founders)
            stayed = len(founders & set(following.founders))
            if founders and not stayed:
                findings.add(CHECK, None, f"none of those who founded {origin} signed for the log that goes on from it")
            self.told.append(
                f"goes on from {origin}, which ended at {head.size:,} entries: {cosigned} of {known} witnesses cosigned"
                f" that head, {needed} needed; {stayed} of its {len(founders)} founders signed for this log"
            )


def cosigners(note: Note, founding: FoundingNote) -> tuple[int, int]:
    """How many of the founding note's witnesses cosigned a head, and how many there are."""
    known = [key for key in founding.witnesses if key.type in COSIGNING]
    signed, _ = signers(note, known)
    return len({key.name for key in signed}), len({key.name for key in known})


def is_enough(note: Note, founding: FoundingNote) -> bool:
    """Whether a head is one that its witnesses vouch for. Where none is needed, none is."""
    return 0 < founding.witnesses_needed <= cosigners(note, founding)[0]


def look_at(ended: Log, last: Predecessor, here: Log, keys: Collection[VerifierKey], findings: Findings) -> str:
    """Hold what a log that ended still shows against what is told of it; returns what people are told.

    `here` is the log that goes on from it; `keys` are those known of the ended one. Raises Unreadable and
    FileNotFoundError.
    """
    if ended.read(foundings.PATH) != last.note.encode():
        findings.add(
            CHECK, None, f"{ended.address} shows another founding note of {last.head.origin} than is told here"
        )
    try:
        note = parse_note(ended.read(CHECKPOINT))
        shown = parse_checkpoint(note.text)
        verified(note, [key for key in keys if key.type is KeyType.ED25519])
    except NoteRefused as refused:
        findings.add(CHECK, None, f"{ended.address} shows no head of {last.head.origin}: {refused}")
        return "its own files could not be compared"
    if shown.origin != last.head.origin:
        findings.add(CHECK, None, f"{ended.address} is another log", last.head.origin, shown.origin)
        return "its own files could not be compared"
    return compare(note, shown, last, _is_one_tree(ended, here, last.head, shown), findings)


def compare(note: Note, shown: Checkpoint, last: Predecessor, is_one: bool, findings: Findings) -> str:
    """What another head of a log that ended means. `is_one`: whether one tree has it and the last good head."""
    origin, size = shown.origin, last.head.size
    if is_one and shown.size <= size:
        return f"{shown.size:,} entries of it were seen, all of which this log begins with"
    seen = f"{'a longer' if is_one else 'another'} history of it was seen, of {shown.size:,} entries"
    if not is_enough(note, last.founding):
        return f"{seen}, which too few witnesses cosigned"
    if is_one:
        said = f"the witnesses of {origin} cosigned it further: this log leaves out what came then"
    else:
        said = f"FORK: the witnesses of {origin} cosigned another history"
    findings.add(CHECK, None, said, size, shown.size)
    return f"{seen}, which its witnesses cosigned"


def _is_one_tree(ended: Log, here: Log, told: Checkpoint, shown: Checkpoint) -> bool:
    """Whether the two heads are of one tree. Raises Unreadable and FileNotFoundError."""
    if told.size == shown.size:
        return told.root == shown.root
    small, large, log = (told, shown, ended) if told.size < shown.size else (shown, told, here)
    try:
        proof = consistency_proof(small.size, large.size, TiledTree(large.size, log.read).subtree)
        verify_consistency(small.size, small.root, large.size, large.root, proof)
    except (ProofRefused, TileRefused):
        return False
    return True
