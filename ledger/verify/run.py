"""An audit from beginning to end: whom to believe, the whole log, what is remembered of it, a member's receipts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ledger import founding as foundings
from ledger.errors import DomainError, NoteRefused, TileRefused
from ledger.founding import FoundingNote, Predecessor
from ledger.merkle import consistency_proof
from ledger.note import (
    Checkpoint,
    KeyType,
    Note,
    VerifierKey,
    parse_checkpoint,
    parse_note,
)
from ledger.tiles import TiledTree
from ledger.verify import memory as memories
from ledger.verify.anchors import Anchored, compare
from ledger.verify.audit import Audit
from ledger.verify.ballots import Ballots
from ledger.verify.lineage import Lineage, look_at, signers
from ledger.verify.lineage import compare as compare_heads
from ledger.verify.memory import Memory
from ledger.verify.reading import CHECKPOINT, Log, Unreadable
from ledger.verify.receipts import Collection, Held, collect
from ledger.verify.registry import Decision, Electorate, compare_decisions, compare_electorate
from ledger.verify.report import Report
from ledger.verify.tree import Walk
from ledger.witness import COSIGNING, Evidence, verify_fork

Progress = Callable[[int, int], None]
"""(entries checked, entries in all)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the auditor brings: keys, a founding note and witnesses that she trusts, her receipts, an epoch and a ballot
    (its id, or its number in the log) to be shown.

    `all_receipts`: the receipts are of all her plays. `anchors` are all that a chain had before the log's head is read;
    `chain_is_independent` of the operator is her word. `decisions` are all that it had of ballots, and `electorate`
    asks it who the members were at a ballot's snapshot. `predecessor` is the log that this one goes on from;
    `founding_pin` what the founding note is known by, where she was not given the note.
    """

    keys: tuple[VerifierKey, ...] = ()
    founding: bytes | None = None
    witnesses: tuple[VerifierKey, ...] = ()
    witnesses_needed: int | None = None
    receipts: Path | None = None
    all_receipts: bool = False
    epoch: str | None = None
    ballot: str | None = None
    anchors: Sequence[Anchored] | None = None
    chain_is_independent: bool = False
    decisions: Sequence[Decision] | None = None
    electorate: Electorate | None = None
    predecessor: Log | None = None
    founding_pin: str | None = None


def _no_progress(_done: int, _whole: int) -> None:
    """Nobody watches."""


def verify(
    log: Log, asked: Asked, now_s: int, memory: Memory | None = None, progress: Progress = _no_progress
) -> Report:
    """Audit a log; whatever it holds, the report says what came of it.

    Raises OSError for a memory that fails, and ChainUnread.
    """
    begun = time.monotonic()
    report = Report(log.address)
    try:
        _Run(log, asked, memory, report).audit(now_s, progress)
    except FileNotFoundError as missing:
        report.unreadable = f"a file is missing: {missing}"
    except Unreadable as refused:
        report.unreadable = str(refused)
    report.seconds = time.monotonic() - begun
    return report


def founding_of(log: Log, asked: Asked, memory: Memory | None = None) -> tuple[str, FoundingNote | None]:
    """The log's origin, and the founding note that its audit will believe, if there is one: it tells of the chain.

    Raises Unreadable, FileNotFoundError, and OSError for a memory that fails.
    """
    return _Run(log, asked, memory, Report(log.address)).founding()


class _Run:
    def __init__(self, log: Log, asked: Asked, memory: Memory | None, report: Report) -> None:
        self._log, self._asked, self._memory, self._report = log, asked, memory, report
        self._findings = report.findings
        self._founding_note = b""

    def founding(self) -> tuple[str, FoundingNote | None]:
        _, _, head = self._read_head()
        return head.origin, self._whom_to_believe(head.origin)[0]

    def audit(self, now_s: int, progress: Progress) -> None:
        written, note, head = self._read_head()
        founding, keys = self._whom_to_believe(head.origin)
        collection = Collection() if self._asked.receipts is None else collect(self._asked.receipts)
        lineage = Lineage(founding, head.origin, keys)
        before = self._recall_head(head.origin)
        seen = [(each, kept) for each in lineage.before if (kept := self._recall_head(each.head.origin))]
        marks = {proof.head.size for proof in collection.proofs.values()} | set(lineage.ends.values())
        marks |= {anchor.size for anchor in self._asked.anchors or ()} | {kept[1].size for _, kept in seen}
        walk = Walk(self._log, head.size, self._findings, marks | ({before[1].size} if before else set()))
        ballots = Ballots(
            self._findings,
            self._asked.ballot,
            collection.votes,
            _membership(founding),
            keeps_seats=self._asked.electorate is not None,
        )
        officers = lineage.officers if founding else None
        audit = Audit(self._findings, lineage.first[1], officers, self._asked.epoch, ballots)
        is_whole = False
        try:
            is_whole = self._walk(walk, audit, head, lineage, progress)
        finally:
            self._tell(audit, head)
            own = [key for key in dict.fromkeys((*audit.all_keys, *keys)) if key.name == head.origin]
            is_signed = self._check_signatures(note, audit.keys if is_whole else own, founding, is_whole=is_whole)
            if before and is_signed:
                self._compare(before, (written, head), own, walk)
            self._compare_anchors(audit, head, walk, lineage, is_whole=is_whole)
            self._require_constitution(founding, audit)
        self._compare_with_registry(ballots)
        lineage.check(walk.roots, walk.read, self._findings)
        remembered = [told for each, kept in seen for told in self._compare_with_ended(each, kept, audit, walk)]
        self._report.lineage = [*lineage.told, *remembered, *self._look_at_ended(lineage, audit)]
        held = Held(
            collection,
            self._findings,
            origin=head.origin,
            before=lineage.ends,
            keys=audit.all_keys,
            size=head.size,
            sealed=[totals.epoch for totals in audit.epochs],
            are_all=self._asked.all_receipts,
            ballots=ballots,
        )
        held.check(walk.roots, max(now_s, audit.last_closed_at))
        self._report.receipts = held.outcomes
        for fork in held.forks:
            self._keep_evidence(str(fork.proof.checkpoint), (written, head), own, walk)
        if is_signed and is_whole and not self._report.evidence and self._memory is not None:
            self._remember(written, head, founding, keys)

    # --- Whom to believe ---

    def _read_head(self) -> tuple[str, Note, Checkpoint]:
        data = self._log.read(CHECKPOINT)
        try:
            note = parse_note(data)
            head = parse_checkpoint(note.text)
        except NoteRefused as refused:
            raise Unreadable(reason=f"its checkpoint is none: {refused}") from refused
        self._report.origin, self._report.size = head.origin, head.size
        if self._memory is not None:
            shown = self._memory.recall(self._log.address, memories.ORIGIN)
            if shown is not None and shown != head.origin.encode():
                self._findings.add(
                    "memory", None, "the address showed another log before", shown.decode(errors="replace"), head.origin
                )
        return data.decode(), note, head

    def _whom_to_believe(self, origin: str) -> tuple[FoundingNote | None, list[VerifierKey]]:
        """The founding note, if one is vouched for, and the log's keys to begin with."""
        asked, report = self._asked, self._report
        given = None if asked.founding is None else self._parsed(asked.founding)
        remembered = self._remembered_keys(origin)
        if asked.keys or given:
            report.keys, pinned = "pinned by what was given", asked.keys or (given.keys if given else ())
        elif remembered:
            report.keys, pinned = "pinned by an audit before", remembered
        else:
            report.keys, pinned = "TRUSTED ON FIRST USE: compare the founding note with another member's", ()
        note = given or self._found_note(origin)
        if asked.founding_pin is not None:
            note = self._require_pinned(note, asked.founding_pin)
            report.keys, pinned = "pinned by what was given", asked.keys or (note.keys if note else ())
        # A note that was not given has to be held to the keys that were.
        if note and pinned and note is not given and not set(note.keys) & set(pinned):
            note = None
        keys = list(pinned or (note.keys if note else ()))
        if not keys:
            raise Unreadable(reason="no key of the log is known: give its key or its founding note")
        if (note and note.origin != origin) or any(key.name != origin for key in keys):
            self._findings.add("keys", None, "the keys that are believed are of another log", keys[0].name, origin)
        return note, keys

    def _require_pinned(self, note: FoundingNote | None, pin: str) -> FoundingNote | None:
        """The founding note if it is the one that is known by this."""
        found = foundings.pin(parse_note(self._founding_note)) if note else "none"
        if found != pin:
            self._findings.add("keys", None, "the founding note is another one than was given", pin, found)
            return None
        return note

    def _found_note(self, origin: str) -> FoundingNote | None:
        """The founding note that is remembered, else the one that the log shows."""
        kept = None if self._memory is None else self._memory.recall(origin, memories.FOUNDING)
        try:
            return self._parsed(self._log.read(foundings.PATH) if kept is None else kept)
        except FileNotFoundError:
            return None

    def _parsed(self, note: bytes) -> FoundingNote | None:
        try:
            founding = foundings.parse(note)
        except NoteRefused as refused:
            self._findings.add("keys", None, f"the founding note does not hold: {refused}")
            return None
        self._founding_note = note
        return founding

    def _remembered_keys(self, origin: str) -> tuple[VerifierKey, ...]:
        try:
            return () if self._memory is None else self._memory.keys(origin)
        except (NoteRefused, UnicodeDecodeError) as refused:
            raise Unreadable(reason="the keys that were remembered cannot be read") from refused

    # --- The log ---

    def _walk(self, walk: Walk, audit: Audit, head: Checkpoint, lineage: Lineage, progress: Progress) -> bool:
        """Go through all of it; whether its tree is the one that was signed."""
        progress(0, head.size)
        try:
            for bundle in walk.bundles():
                for part in lineage.take(audit, bundle):
                    for entry in part:
                        audit.take(entry)
                progress(walk.read, head.size)
        except TileRefused as refused:
            self._findings.add("tiles", walk.read, f"a bundle of entries that cannot be taken apart: {refused}")
            return False
        audit.end()
        first, _ = lineage.first
        if audit.founding.get("origin") != first:
            self._findings.add("founding", 0, "the founding is of another log", first, audit.founding.get("origin"))
        if walk.root != head.root:
            self._findings.add(
                "tree", None, "the entries are not those of the signed head", head.root.hex(), walk.root.hex()
            )
            return False
        return True

    def _require_constitution(self, founding: FoundingNote | None, audit: Audit) -> None:
        """The log's constitution is the one that the founders signed."""
        if founding is None or not founding.constitution or not audit.founding:
            return
        found = audit.ballots.constitution.hash
        if found != founding.constitution:
            said = "another constitution than the founding note's"
            self._findings.add("founding", 0, said, founding.constitution, found)

    def _tell(self, audit: Audit, head: Checkpoint) -> None:
        report = self._report
        report.coop = audit.founding.get("coop", "")
        report.currency, report.minor_digits = (
            audit.founding.get("currency", ""),
            audit.founding.get("minor_digits", 2),
        )
        report.calendar, report.size = audit.calendar, head.size
        report.entries, report.kinds, report.batches = audit.at + 1, audit.kinds, audit.batches
        report.waiting, report.unvoted = audit.waiting(), audit.unvoted
        report.ballots, report.constitution = [*audit.ballots.totals()], audit.ballots.constitution.hash
        report.ballots_stopped = audit.ballots.stopped
        report.epochs, report.lines, report.lines_left_out = audit.epochs, audit.lines, audit.lines_left_out

    def _check_signatures(
        self, note: Note, keys: Sequence[VerifierKey], founding: FoundingNote | None, *, is_whole: bool
    ) -> bool:
        """Whether the log signed the head. Where it was not read to its end, later keys may be unknown."""
        signed, wrong = signers(note, keys)
        for said in wrong:
            self._findings.add("signatures", None, f"the head: {said}")
        if is_whole:
            for key in keys:
                if key not in signed and not wrong:
                    told = f"{key.name} ({key.type.name}, {key.key_id.hex()})"
                    self._findings.add("signatures", None, f"the head is not signed by a key of the log: {told}")
        self._count_witnesses(note, founding)
        return not wrong and any(key.type is KeyType.ED25519 for key in signed)

    def _count_witnesses(self, note: Note, founding: FoundingNote | None) -> None:
        asked, report = self._asked, self._report
        named = asked.witnesses or (founding.witnesses if founding else ())
        witnesses = [key for key in named if key.type in COSIGNING]
        needed = asked.witnesses_needed
        if needed is None:
            needed = founding.witnesses_needed if founding and not asked.witnesses else 0
        cosigned, wrong = signers(note, witnesses)
        for said in wrong:
            self._findings.add("witnesses", None, f"a cosignature: {said}")
        report.witnesses = sorted({key.name for key in cosigned})
        report.witnesses_known, report.witnesses_needed = len({key.name for key in witnesses}), needed
        if len(report.witnesses) < needed:
            self._findings.add("witnesses", None, "too few witnesses cosigned the head", needed, len(report.witnesses))

    def _compare_anchors(self, audit: Audit, head: Checkpoint, walk: Walk, lineage: Lineage, *, is_whole: bool) -> None:
        asked, report = self._asked, self._report
        if asked.anchors is None:
            return
        # A contract of anchors is one log's: of what was sealed before under another name it need not know.
        begun, there = max(lineage.ends.values(), default=0), {anchor.epoch for anchor in asked.anchors}
        sealed = {epoch: seal for epoch, seal in audit.sealed.items() if seal.at >= begun or epoch in there}
        report.chain_is_independent = asked.chain_is_independent
        report.anchored, report.unanchored = compare(
            asked.anchors, sealed, walk.roots, head.size, self._findings, is_whole=is_whole
        )

    def _compare_with_registry(self, ballots: Ballots) -> None:
        asked = self._asked
        if asked.decisions is not None:
            compare_decisions(asked.decisions, ballots.counted, self._findings)
        if asked.electorate is not None:
            for ballot in ballots.counted.values():
                compare_electorate(ballot, ballots.constitution, asked.electorate, self._findings)
        self._report.registry_checked = None not in (asked.decisions, asked.electorate)

    # --- The logs before ---

    def _compare_with_ended(
        self, ended: Predecessor, seen: tuple[str, Checkpoint], audit: Audit, walk: Walk
    ) -> Iterator[str]:
        """Hold what was remembered of a log that ended against what is told of it."""
        origin, (written, shown) = ended.head.origin, seen
        keys = [key for key in audit.all_keys if key.name == origin]
        kept = None if self._memory is None else self._memory.recall(origin, memories.FOUNDING)
        if kept not in (None, ended.note.encode()) or not set(self._remembered_keys(origin)) <= set(keys):
            self._findings.add("lineage", None, f"{origin} had another founding note or other keys when it was seen")
        is_one = shown.size > ended.head.size or walk.roots.get(shown.size, shown.root) == shown.root
        yield f"{origin} before: {compare_heads(parse_note(written.encode()), shown, ended, is_one, self._findings)}"
        if not is_one:
            self._keep_evidence(written, (str(ended.checkpoint), ended.head), keys, walk)

    def _look_at_ended(self, lineage: Lineage, audit: Audit) -> Iterator[str]:
        """What a log that ended still shows, if it was asked for."""
        ended = self._asked.predecessor
        if ended is None:
            for each in lineage.before[-1:]:
                yield f"that no later head of {each.head.origin} was cosigned: not looked at (--predecessor)"
            return
        if not lineage.before:
            said = "no founding note that is believed tells of a log before"
            self._findings.add("lineage", None, said, ended.address)
            return
        last = lineage.before[-1]
        keys = [key for key in audit.all_keys if key.name == last.head.origin]
        yield f"{ended.address}: {look_at(ended, last, self._log, keys, self._findings)}"

    # --- Memory ---

    def _recall_head(self, origin: str) -> tuple[str, Checkpoint] | None:
        kept = None if self._memory is None else self._memory.recall(origin, memories.HEAD)
        if kept is None:
            return None
        try:
            return kept.decode(), parse_checkpoint(parse_note(kept).text)
        except (NoteRefused, UnicodeDecodeError):
            self._report.remembered = "what was remembered cannot be read"
            return None

    def _compare(
        self, before: tuple[str, Checkpoint], now: tuple[str, Checkpoint], keys: Sequence[VerifierKey], walk: Walk
    ) -> None:
        """Hold the log against the head that was seen last."""
        report, old, head = self._report, before[1], now[1]
        if head.size < old.size:
            report.remembered = f"of {old.size} entries: the log is shorter now"
            self._findings.add("memory", None, "ROLLBACK: the log is shorter than it was", old.size, head.size)
        elif old.size not in walk.roots:
            return
        elif walk.roots[old.size] != old.root:
            report.remembered = f"of {old.size} entries: the log does not begin with them any more"
            found = walk.roots[old.size].hex()
            self._findings.add("memory", None, "FORK: the log does not begin as it did", old.root.hex(), found)
        else:
            report.remembered = f"of {old.size} entries: the log begins with them"
            return
        self._keep_evidence(before[0], now, keys, walk)

    def _keep_evidence(
        self, earlier: str, now: tuple[str, Checkpoint], keys: Sequence[VerifierKey], walk: Walk
    ) -> None:
        """Keep two heads of which no log has both, or was not to show one after the other; and what shows it."""
        seen, shown, head = parse_note(earlier.encode()), parse_note(now[0].encode()), now[1]
        old = parse_checkpoint(seen.text)
        evidence = Evidence(shown, seen) if head.size < old.size else Evidence(seen, shown)
        try:
            if old.size < head.size:
                tree = TiledTree(head.size, self._log.read)
                proof = tuple(consistency_proof(old.size, head.size, tree.subtree))
                evidence = replace(evidence, earlier=walk.roots[old.size], proof=proof)
            if head.size >= old.size:
                verify_fork(str(evidence), keys)
        except (DomainError, FileNotFoundError) as refused:
            self._report.evidence.append(f"none could be made: {refused}")
            return
        said = "shows the fork to anybody who knows the log's keys"
        if head.size < old.size:
            said = "shows both heads; that the longer was seen first, whoever saw it has to be believed"
        if self._memory is None:
            self._report.evidence.append(f"{said}; not kept, since nothing is remembered")
            return
        path = self._memory.keep_evidence(head.origin, str(evidence))
        self._report.evidence.append(f"{said}; kept in {path}")

    def _remember(
        self, written: str, head: Checkpoint, founding: FoundingNote | None, keys: Sequence[VerifierKey]
    ) -> None:
        memory = self._memory
        if memory is None:
            return
        if founding is not None:
            memory.keep(head.origin, memories.FOUNDING, self._founding_note)
        memory.keep(head.origin, memories.KEYS, "".join(f"{key}\n" for key in keys).encode())
        memory.keep(self._log.address, memories.ORIGIN, head.origin.encode())
        memory.keep(head.origin, memories.HEAD, written.encode())


def _membership(founding: FoundingNote | None) -> tuple[int, str] | None:
    """Chain id and address of the members' contract, if a founding note tells both."""
    facts = {} if founding is None else dict(founding.chain)
    chain_id, contract = facts.get("chain_id", ""), facts.get("membership")
    if contract is None or not (chain_id.isascii() and chain_id.isdecimal()):
        return None
    return int(chain_id), contract.lower()
