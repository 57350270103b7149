"""Witnesses of logs, to the letter of C2SP tlog-witness; what can be held against a log; whom a reader trusts
(C2SP tlog-policy).

A witness remembers the last head it has seen of each log it knows, and cosigns no other but what continues it. So who
is shown a head with enough cosignatures is shown what everybody is.

Same size, other root is answered INCONSISTENT, as the specification has it since July 2026; its version 1.0.0 said
STALE, with which whoever asks would try again for ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from ledger.errors import DomainError, NoteRefused, ProofRefused
from ledger.merkle import EMPTY_ROOT, HASH_BYTES, node_hash, verify_consistency
from ledger.note import (
    NOTE_BYTES_MAX,
    SIGNATURES_MAX,
    Checkpoint,
    KeyType,
    Note,
    Signature,
    Verified,
    VerifierKey,
    b64,
    number,
    parse_head,
    parse_note,
    parse_signature,
    parse_verifier_key,
    unb64,
    verified,
)

PROOF_LINES_MAX = 63
_PROOF_LINE_BYTES = 45
_OLD_LINE_BYTES_MAX = 32
# The longest note after the longest proof.
REQUEST_BYTES_MAX = _OLD_LINE_BYTES_MAX + PROOF_LINES_MAX * _PROOF_LINE_BYTES + 1 + NOTE_BYTES_MAX
# What both signature lines of a witness take, many times over.
COSIGNATURES_BYTES_MAX = 1 << 16
COSIGNING = frozenset({KeyType.ED25519_COSIGNATURE, KeyType.ML_DSA_44})
"""What a witness signs with."""

_ADDRESS = re.compile(r"https?://[!-~]+")
_OLD_MARK = "old "
_EVIDENCE_MARK = "streamcoop/fork/v1"
_EARLIER_MARK = "earlier "


class EvidenceRefused(DomainError):
    """This does not show that a log has forked."""


class PolicyRefused(DomainError):
    """This is no policy that says whom to trust."""


# --- What is asked of a witness ---


@dataclass(frozen=True, slots=True)
class Submission:
    """A head to be cosigned, and the proof that it continues the tree of `old` leaves. Nothing of it is verified."""

    old: int
    proof: tuple[bytes, ...]
    note: Note
    head: Checkpoint

    def __str__(self) -> str:
        return f"{_OLD_MARK}{self.old}\n{_lines(self.proof)}\n{self.note}"


def _lines(hashes: Iterable[bytes]) -> str:
    return "".join(f"{b64(one)}\n" for one in hashes)


def parse_submission(body: bytes) -> Submission:
    """The body of an `add-checkpoint` request. Raises NoteRefused: it is malformed."""
    if len(body) > REQUEST_BYTES_MAX:
        raise NoteRefused(reason="the request is too long")
    asked, blank, written = body.partition(b"\n\n")
    if not blank:
        raise NoteRefused(reason="a request is an old size, a proof, an empty line and a checkpoint")
    try:
        first, *lines = asked.decode("ascii").split("\n")
    except UnicodeDecodeError as malformed:
        raise NoteRefused(reason="a proof is written in ASCII") from malformed
    if not first.startswith(_OLD_MARK):
        raise NoteRefused(reason="a request begins with the old size")
    old = number(first.removeprefix(_OLD_MARK))
    note = parse_note(written)
    return Submission(old, _hashes(lines), note, _head(note.text))


def _hashes(lines: Sequence[str]) -> tuple[bytes, ...]:
    if len(lines) > PROOF_LINES_MAX:
        raise NoteRefused(reason="too many lines of a proof")
    hashes = tuple(map(unb64, lines))
    if any(len(one) != HASH_BYTES for one in hashes):
        raise NoteRefused(reason="a proof is made of hashes")
    return hashes


def _head(text: str) -> Checkpoint:
    """A head, also one of the empty tree with another root: that is well-formed here, and refused as a proof."""
    lines = text.split("\n")
    if len(lines) > 3 and lines[1] == "0" and len(root := unb64(lines[2])) == HASH_BYTES:
        lines[2] = b64(EMPTY_ROOT)
        return Checkpoint(parse_head("\n".join(lines)).origin, 0, root)
    return parse_head(text)


# --- What it answers ---


class Verdict(IntEnum):
    """What a witness answers: the protocol's own numbers."""

    COSIGNED = 200
    MALFORMED = 400
    UNSIGNED = 403
    UNKNOWN_LOG = 404
    STALE = 409
    INCONSISTENT = 422


@dataclass(frozen=True, slots=True)
class Known:
    """What a witness knows of a log: its keys, and the last head it has cosigned."""

    keys: tuple[VerifierKey, ...]
    size: int = 0
    root: bytes = EMPTY_ROOT
    note: Note | None = None
    """That head, signed by the log. None if none was cosigned yet."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What comes of a submission. `note`: the head with the log's signatures alone, which hold."""

    verdict: Verdict
    note: Note | None = None
    evidence: Evidence | None = None
    """What is to be kept of it, because it may show that the log has forked."""


def decide(submission: Submission, known: Known | None) -> Decision:
    """What a witness answers, in the specification's order. `known` is None for a log that it does not know.

    COSIGNED is a decision to cosign: `head` is to be stored as known, for good, before anybody sees the cosignature.
    """
    if known is None:
        return Decision(Verdict.UNKNOWN_LOG)
    try:
        note = _signed_by(submission, known.keys)
    except NoteRefused:
        return Decision(Verdict.UNSIGNED)
    verdict = _judged(submission, known)
    evidence = None if verdict is Verdict.COSIGNED else _evidence(submission, note, known)
    return Decision(verdict, note, evidence)


def _signed_by(submission: Submission, keys: Sequence[VerifierKey]) -> Note:
    note, head = submission.note, submission.head
    if head.size == 0 and head.root != EMPTY_ROOT:
        # What the other kinds sign is made from a checkpoint, and this is none.
        keys = [key for key in keys if key.type is KeyType.ED25519]
    held = {(found.key.name, found.key.key_id) for found in verified(note, keys)}
    return Note(note.text, tuple(line for line in note.signatures if (line.name, line.key_id) in held))


def _judged(submission: Submission, known: Known) -> Verdict:
    head = submission.head
    if submission.old > head.size:
        return Verdict.MALFORMED
    if submission.old != known.size:
        return Verdict.STALE
    try:
        verify_consistency(known.size, known.root, head.size, head.root, submission.proof)
    except ProofRefused:
        return Verdict.INCONSISTENT
    return Verdict.COSIGNED


def cosigned(answer: bytes, note: Note, keys: Sequence[VerifierKey]) -> tuple[Signature, ...]:
    """The lines by these keys in a witness's answer to the head in `note`. Lines by other keys are passed over.

    Raises NoteRefused where a line is malformed, does not hold or tells no time, and if there is none by these keys.
    """
    try:
        lines = answer.decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as malformed:
        raise NoteRefused(reason="the answer is not UTF-8") from malformed
    if len(lines) > SIGNATURES_MAX:
        raise NoteRefused(reason="too many signatures")
    signatures = tuple(map(parse_signature, lines))
    found = verified(Note(note.text, signatures), [key for key in keys if key.type in COSIGNING])
    if not all(one.time for one in found):
        raise NoteRefused(reason="a cosignature of no time")
    held = {(one.key.name, one.key.key_id) for one in found}
    return tuple(line for line in signatures if (line.name, line.key_id) in held)


@dataclass(frozen=True, slots=True)
class Witness:
    """Who can be asked for cosignatures: a name, the keys that cosign under it, and the address that is asked."""

    name: str
    keys: tuple[VerifierKey, ...]
    url: str


def parse_witnesses(lines: Iterable[str]) -> tuple[Witness, ...]:
    """Witnesses from lines of a verifier key and an address each; a name's keys are one witness's.

    Raises PolicyRefused.
    """
    found: dict[str, Witness] = {}
    for line in lines:
        vkey, _, url = line.partition(" ")
        key = _policy_key(vkey)
        if key.type not in COSIGNING:
            raise PolicyRefused(reason="a witness has a key for cosignatures")
        if not _ADDRESS.fullmatch(url):
            raise PolicyRefused(reason="a witness is asked at an address", name=key.name)
        one = found.get(key.name, Witness(key.name, (), url.rstrip("/")))
        if one.url != url.rstrip("/") or key in one.keys:
            raise PolicyRefused(reason="a witness has one address, and each of its keys once", name=key.name)
        found[key.name] = Witness(one.name, (*one.keys, key), one.url)
    return tuple(found.values())


# --- What can be held against a log ---


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two signed heads of one log, the smaller first.

    With `proof` it shows by itself that the larger tree begins with `earlier`, another root than the smaller's.
    """

    first: Note
    second: Note
    earlier: bytes | None = None
    proof: tuple[bytes, ...] = ()

    def __str__(self) -> str:
        path = "" if self.earlier is None else f"{_EARLIER_MARK}{b64(self.earlier)}\n{_lines(self.proof)}"
        return f"{_EVIDENCE_MARK}\n{path}\n{self.first}\n{self.second}"

    @property
    def shows_a_fork(self) -> bool:
        """Whether no tree has both heads. Otherwise they are two heads of which that was not to be seen."""
        try:
            _require_fork(self)
        except (EvidenceRefused, ProofRefused, NoteRefused):
            return False
        return True


def _evidence(submission: Submission, note: Note, known: Known) -> Evidence | None:
    """What the log's two heads are worth against it: those of a size with two roots, or a larger one that comes with
    the path to another beginning, show a fork; a smaller one, or one without a path, may be somebody's mistake.
    """
    head = submission.head
    if known.note is None or (head.size, head.root) == (known.size, known.root) or head.size == 0:
        return None
    if head.size <= known.size:
        return Evidence(note, known.note)
    if submission.old != known.size:
        return None
    earlier = _earlier_root(known.size, head.size, submission.proof)
    shown = Evidence(known.note, note, earlier, submission.proof if earlier else ())
    return shown if shown.shows_a_fork else Evidence(known.note, note)


def _earlier_root(old: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root of the first `old` leaves to which a path of the tree of `size` leads. None if it holds none of them:
    of a power of two the path begins beyond them.
    """
    if old & (old - 1) == 0 or not path:
        return None
    node, last = old - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    earlier, *siblings = path
    for sibling in siblings:
        if node & 1 or node == last:
            earlier = node_hash(sibling, earlier)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        node, last = node >> 1, last >> 1
    return earlier


def _require_fork(evidence: Evidence) -> None:
    first, second = parse_head(evidence.first.text), parse_head(evidence.second.text)
    if first.origin != second.origin:
        raise EvidenceRefused(reason="heads of two logs")
    if first.size == second.size:
        if first.root == second.root:
            raise EvidenceRefused(reason="one head, twice")
        return
    if evidence.earlier is None:
        raise EvidenceRefused(reason="one tree may have both heads")
    if evidence.earlier == first.root:
        raise EvidenceRefused(reason="the larger tree begins with the smaller")
    verify_consistency(first.size, evidence.earlier, second.size, second.root, evidence.proof)


def parse_evidence(text: str) -> Evidence:
    """Two heads from their text. Raises EvidenceRefused if it is malformed; that it shows something is not said."""
    try:
        path, first, its_signatures, second, other_signatures = text.split("\n\n")
        notes = [
            parse_note(f"{first}\n\n{its_signatures}\n".encode()),
            parse_note(f"{second}\n\n{other_signatures}".encode()),
        ]
        mark, *lines = path.split("\n")
        if mark != _EVIDENCE_MARK:
            raise EvidenceRefused(reason="no evidence of this version")
        if not lines:
            return Evidence(notes[0], notes[1])
        if not lines[0].startswith(_EARLIER_MARK):
            raise EvidenceRefused(reason="a path begins with the root it leads to")
        (earlier,) = _hashes([lines[0].removeprefix(_EARLIER_MARK)])
        return Evidence(notes[0], notes[1], earlier, _hashes(lines[1:]))
    except (ValueError, NoteRefused) as malformed:
        raise EvidenceRefused(reason="not two heads of a log") from malformed


def verify_fork(text: str, keys: Iterable[VerifierKey]) -> Evidence:
    """The evidence in a text, which shows that whoever holds the log's `keys` has signed heads that no tree has both.

    Raises EvidenceRefused if it does not. Nobody else needs to be believed for it.
    """
    evidence, known = parse_evidence(text), tuple(keys)
    try:
        verified(evidence.first, known)
        verified(evidence.second, known)
        _require_fork(evidence)
    except (NoteRefused, ProofRefused) as wrong:
        raise EvidenceRefused(reason=str(wrong)) from wrong
    return evidence


# --- Whom a reader trusts ---

NO_QUORUM = "none"
# The specification wants 32 of each kind to be possible.
POLICY_LINES_MAX = 1_000
POLICY_BYTES_MAX = 1 << 20
# No name has a space in it.
_ALL = "all witnesses"
_BLANKS = re.compile(r"[ \t]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Group:
    """As many of its members as are `needed` witness for it."""

    needed: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """Which logs, and whose cosignatures are enough. A witness is one whichever of its keys it cosigns with.

    A group's members stand before it. `quorum` names a witness or a group, or is NO_QUORUM.
    """

    logs: tuple[VerifierKey, ...]
    witnesses: Mapping[str, tuple[VerifierKey, ...]]
    groups: Mapping[str, Group]
    quorum: str


@dataclass(frozen=True, slots=True)
class Assurance:
    """How many of a policy's witnesses have cosigned, and whether that is enough."""

    is_enough: bool
    cosigned: int
    witnesses: int


def assurance(policy: Policy, cosignatures: Iterable[Verified]) -> Assurance:
    """What verified cosignatures of one head are worth. Those of keys that are no witness's count for nothing."""
    keys = {found.key for found in cosignatures}
    witnessed = {name: not keys.isdisjoint(own) for name, own in policy.witnesses.items()}
    cosigned = sum(witnessed.values())
    for name, group in policy.groups.items():
        witnessed[name] = sum(witnessed[member] for member in group.members) >= group.needed
    return Assurance(policy.quorum == NO_QUORUM or witnessed[policy.quorum], cosigned, len(policy.witnesses))


def k_of_n(needed: int, witnesses: Mapping[str, Iterable[VerifierKey]]) -> Policy:
    """The policy that so many of these witnesses are enough. Raises PolicyRefused if there are not so many."""
    if not 0 <= needed <= len(witnesses):
        raise PolicyRefused(reason="more witnesses are needed than there are")
    own = {name: tuple(keys) for name, keys in witnesses.items()}
    if not needed:
        return Policy((), own, {}, NO_QUORUM)
    return Policy((), own, {_ALL: Group(needed, tuple(own))}, _ALL)


def parse_policy(text: bytes) -> Policy:
    """A policy from its file (C2SP tlog-policy). Raises PolicyRefused."""
    if len(text) > POLICY_BYTES_MAX or text.count(b"\n") > POLICY_LINES_MAX:
        raise PolicyRefused(reason="the policy is too long")
    if _CONTROL.search(text) or (text and not text.endswith(b"\n")):
        raise PolicyRefused(reason="a policy is lines without control characters")
    reading = _Reading([], {}, {}, set(), [])
    # Names are octets: those that are no UTF-8 are kept apart from all others.
    for line in text.decode("utf-8", "surrogateescape").split("\n"):
        words = _BLANKS.split(line.strip(" \t"))
        if words[0] and not words[0].startswith("#"):
            reading.read(words)
    if len(reading.quorums) != 1:
        raise PolicyRefused(reason="a policy has one quorum")
    witnesses = {name: (key,) for name, key in reading.witnesses.items()}
    return Policy(tuple(reading.logs), witnesses, reading.groups, reading.quorums[0])


@dataclass(frozen=True, slots=True)
class _Reading:
    logs: list[VerifierKey]
    witnesses: dict[str, VerifierKey]
    groups: dict[str, Group]
    grouped: set[str]
    quorums: list[str]

    def read(self, words: Sequence[str]) -> None:
        match words:
            case ["log", vkey] | ["log", vkey, _]:
                key = _policy_key(vkey)
                if any(key.public == other.public for other in self.logs):
                    raise PolicyRefused(reason="a log that stands there twice")
                self.logs.append(key)
            case ["witness", name, vkey] | ["witness", name, vkey, _]:
                key = _policy_key(vkey)
                if key.type not in COSIGNING:
                    raise PolicyRefused(reason="a witness has a key for cosignatures")
                if any(key.public == other.public for other in self.witnesses.values()):
                    raise PolicyRefused(reason="a witness that stands there twice")
                self.witnesses[self._new(name)] = key
            case ["group", name, needed, *members] if members:
                self.groups[self._new(name)] = self._group(needed, members)
            case ["quorum", name]:
                if name != NO_QUORUM:
                    self._require(name)
                self.quorums.append(name)
            case _:
                raise PolicyRefused(reason="a line that says nothing")

    def _new(self, name: str) -> str:
        if name == NO_QUORUM or name in self.witnesses or name in self.groups:
            raise PolicyRefused(reason="a name that is taken")
        return name

    def _require(self, name: str) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise PolicyRefused(reason="a name that no line before has")

    def _group(self, needed: str, members: Sequence[str]) -> Group:
        for member in members:
            self._require(member)
            if member in self.grouped:
                raise PolicyRefused(reason="a member of two groups, or twice of one")
            self.grouped.add(member)
        try:
            count = {"any": 1, "all": len(members)}.get(needed) or number(needed)
        except NoteRefused as malformed:
            raise PolicyRefused(reason="a group says how many of it are enough") from malformed
        if not 1 <= count <= len(members):
            raise PolicyRefused(reason="a group needs one of its members or more, and no more than there are")
        return Group(count, tuple(members))


def _policy_key(text: str) -> VerifierKey:
    try:
        return parse_verifier_key(text)
    except (NoteRefused, UnicodeEncodeError) as malformed:
        raise PolicyRefused(reason="not a verifier key") from malformed
