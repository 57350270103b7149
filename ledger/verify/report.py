"""What an audit found: findings, the totals of each epoch, what was taken on trust, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from ledger.epochs import Calendar

FINDINGS_MAX = 100
LINES_MAX = 10_000
"""Royalty lines of the epoch that is asked for, kept to be shown."""
TOLD_MAX = 300

HOLDS, DOES_NOT_HOLD, UNREADABLE = 0, 1, 2

CHECKS: Mapping[str, str] = {
    "signatures": "the head is signed by the log's keys",
    "tree": "the entries are those of the signed head",
    "tiles": "every tile is the one that the entries give",
    "forms": "every entry is of a known form, to the letter",
    "order": "batches, kinds and entries stand in their order, and nothing twice",
    "founding": "the log is the founded one",
    "keys": "keys are believed for a reason, and handed over by those before",
    "memory": "the log begins as it did when it was seen last",
    "lineage": "the log begins with all of the log that it goes on from",
    "witnesses": "as many witnesses cosigned as are needed",
    "terms": "tariff, rates, rules and net factors change only epochs to come, within the constitution",
    "ballots": "every vote is signed by its member and counts once, and terms are what the votes come to",
    "splits": "every track's splits are whole, and change no closed epoch",
    "plays": "plays are of told tracks, at prices of the tariff, and stand once",
    "credits": "credits were sold at their price",
    "royalties": "every track's plays are shared out once, by the terms of their epoch, to the unit",
    "releases": "what was held is released once, to whom it was held for",
    "wallets": "wallets got what came in, spent what was played, and open as they closed",
    "seals": "every close adds up",
    "attestations": "the bank held what came in less what went out, as two officers sign",
    "registry": "classes, delegates and decisions are those on the chain",
    "anchors": "the log holds what was anchored on the chain, to the root and to the unit",
    "receipts": "your own receipts and promises",
}
"""What is checked, in the order in which people are told."""

NOT_REMEMBERED = "none was remembered"
FICTION = (
    "Arithmetic cannot show fictitious members spending fictitious money: that is what the bank attestation is for."
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not hold, at an entry of the log or at none."""

    check: str
    at: int | None
    what: str
    expected: str = ""
    found: str = ""

    def __str__(self) -> str:
        place = "" if self.at is None else f"entry {self.at}: "
        told = f" (expected {self.expected}, found {self.found})" if self.expected or self.found else ""
        return f"{place}{self.what}{told}"


@dataclass(slots=True)
class Findings:
    """The first of all that does not hold, and how many more there are."""

    first: list[Finding] = field(default_factory=list)
    count: int = 0
    failed: set[str] = field(default_factory=set)

    def add(self, check: str, at: int | None, what: str, expected: object = "", found: object = "") -> None:
        """Note a finding of one of the checks."""
        self.count += 1
        self.failed.add(check)
        if len(self.first) < FINDINGS_MAX:
            self.first.append(Finding(check, at, what, str(expected)[:TOLD_MAX], str(found)[:TOLD_MAX]))


@dataclass(slots=True)
class EpochTotals:
    """What an epoch's close comes to, in money but for what was collected and spent."""

    epoch: int
    batch: int = 0
    tracks: int = 0
    collected_micro: int = 0
    gross_micro: int = 0
    royalties_micro: int = 0
    held_micro: int = 0
    deductions: dict[str, int] = field(default_factory=dict)
    funds: dict[str, int] = field(default_factory=dict)
    wallets: int = 0
    closing_micro: int = 0
    attested_by: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ShownLine:
    """A royalty line of the epoch that was asked for."""

    track: str
    closed_in: int
    collected_micro: int
    payee: str
    share_bp: int
    amount_micro: int
    held_because: str | None


@dataclass(frozen=True, slots=True)
class BallotOutcome:
    """What a ballot came to on a parameter."""

    parameter: str
    status_quo: int
    median: int
    result: int


@dataclass(frozen=True, slots=True)
class ShownVote:
    """A vote of the ballot that was asked for, and the seats that count with it."""

    address: str
    member_class: str
    values: tuple[int, ...]
    weight: int
    kept_key: bool
    delegators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BallotTotals:
    """A ballot as it was counted again. `effective` are the epochs from which its terms hold, by their kind; `waiting`
    the kinds it changes that are not in force. `votes` are kept of the one that was asked for.
    """

    number: int
    ballot: str
    at: int
    closed_at: int
    outcomes: tuple[BallotOutcome, ...]
    census: Mapping[str, int]
    cast: Mapping[str, int]
    phantom_weight: int
    kept_key_weight: int
    voters: int
    result_hash: str
    effective: Mapping[str, int]
    waiting: tuple[str, ...]
    votes: tuple[ShownVote, ...]


@dataclass(frozen=True, slots=True)
class ReceiptOutcome:
    """What became of a file of a member's receipts."""

    file: str
    kind: str
    holds: bool
    said: str


@dataclass(slots=True)
class Report:
    """All that an audit has to say."""

    address: str
    origin: str = ""
    coop: str = ""
    currency: str = ""
    minor_digits: int = 2
    calendar: Calendar = field(default_factory=Calendar)
    size: int = 0
    entries: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)
    batches: int = 0
    epochs: list[EpochTotals] = field(default_factory=list)
    lines: list[ShownLine] = field(default_factory=list)
    lines_left_out: int = 0
    waiting: dict[int, int] = field(default_factory=dict)
    """Micro-credits that were played and are not shared out yet, by epoch."""
    unvoted: list[str] = field(default_factory=list)
    """Terms that no ballot decided."""
    ballots: list[BallotTotals] = field(default_factory=list)
    ballots_stopped: dict[str, str] = field(default_factory=dict)
    """Why, of each ballot that took votes and has no result."""
    constitution: str = ""
    """Its SHA-256."""
    receipts: list[ReceiptOutcome] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    unreadable: str = ""
    evidence: list[str] = field(default_factory=list)
    keys: str = "none known"
    remembered: str = NOT_REMEMBERED
    lineage: list[str] = field(default_factory=list)
    """Of each log that this one goes on from, the first one first; and of what it still shows, if that was asked."""
    witnesses: list[str] = field(default_factory=list)
    witnesses_known: int = 0
    witnesses_needed: int = 0
    anchored: list[int] | None = None
    """Sealed epochs that a chain has; None where no chain was asked."""
    unanchored: list[int] = field(default_factory=list)
    """Sealed after those, and not anchored yet."""
    chain_is_independent: bool = False
    registry_checked: bool = False
    """Whether ballots were held against the chain's members and decisions."""
    seconds: float = 0.0

    @property
    def verdict(self) -> int:
        """0 only if all holds, 1 if something does not, 2 if the log could not be read."""
        if self.findings.count:
            return DOES_NOT_HOLD
        return UNREADABLE if self.unreadable else HOLDS

    def checks(self) -> Iterator[tuple[str, bool]]:
        """The checks that were made, and whether each holds as far as the log was read."""
        if not self.entries:
            return
        there_was = {
            "receipts": self.receipts,
            "witnesses": self.witnesses_needed,
            "memory": self.remembered != NOT_REMEMBERED,
            "lineage": self.lineage,
            "anchors": self.anchored is not None,
            "registry": self.registry_checked,
        }
        for check in CHECKS:
            if there_was.get(check, True) or check in self.findings.failed:
                yield check, check not in self.findings.failed

    def trust(self) -> Iterator[str]:
        """What had to be taken on trust."""
        yield f"outside witnesses: {len(self.witnesses)} of {self.witnesses_known}" + (
            f", {self.witnesses_needed} needed" if self.witnesses_needed else ""
        )
        yield f"keys: {self.keys}"
        yield f"earlier head: {self.remembered}"
        yield from self.lineage
        for totals in self.epochs:
            by = f"attested by {' and '.join(totals.attested_by)}" if totals.attested_by else "NOT attested"
            yield f"bank at the close of {label(self.calendar, totals.epoch)}: {by}"
        for epoch, sum_micro in sorted(self.waiting.items()):
            yield f"not shared out yet: {amount(sum_micro, 0)} credits of {label(self.calendar, epoch)}"
        for said in self.unvoted:
            yield f"not voted on: {said}"
        yield from self._trust_in_ballots()
        yield from self._trust_in_anchors()
        yield FICTION

    def _trust_in_ballots(self) -> Iterator[str]:
        for ballot, because in self.ballots_stopped.items():
            yield f"ballot {ballot} was stopped: {because}"
        for each in self.ballots:
            if each.waiting:
                yield f"decided by ballot {each.number} and not in force: {', '.join(each.waiting)}"
            if each.kept_key_weight:
                cast = sum(each.cast.values())
                yield f"ballot {each.number}: {each.kept_key_weight} of {cast} seats voted by keys that the co-op keeps"
        if self.ballots and not self.registry_checked:
            yield "who are members, of which class, and whom they delegated to: not checked on the chain"

    def _trust_in_anchors(self) -> Iterator[str]:
        if self.anchored is None:
            yield "anchors: not checked"
            return
        whose = "independent of the operator" if self.chain_is_independent else "of the operator's own"
        yield f"anchors: {len(self.anchored)} of {len(self.epochs)} sealed epochs, on a chain {whose}"
        if self.unanchored:
            yield f"not anchored yet: {', '.join(label(self.calendar, epoch) for epoch in self.unanchored)}"

    def as_json(self) -> dict[str, Any]:
        """The report for programs."""
        return {
            "verdict": ("holds", "does not hold", "could not be read")[self.verdict],
            "address": self.address,
            "origin": self.origin,
            "coop": self.coop,
            "size": self.size,
            "entries": self.entries,
            "kinds": dict(self.kinds),
            "batches": self.batches,
            "epochs": [{"label": label(self.calendar, each.epoch), **asdict(each)} for each in self.epochs],
            "lines": [asdict(line) for line in self.lines],
            "lines_left_out": self.lines_left_out,
            "waiting": {label(self.calendar, epoch): sum_micro for epoch, sum_micro in sorted(self.waiting.items())},
            "constitution": self.constitution,
            "ballots": [asdict(each) for each in self.ballots],
            "ballots_stopped": self.ballots_stopped,
            "receipts": [asdict(outcome) for outcome in self.receipts],
            "checks": dict(self.checks()),
            "findings": [asdict(finding) for finding in self.findings.first],
            "findings_count": self.findings.count,
            "unreadable": self.unreadable or None,
            "evidence": self.evidence,
            "lineage": self.lineage,
            "witnesses": self.witnesses,
            "witnesses_known": self.witnesses_known,
            "anchors": self._anchors_as_json(),
            "trust": list(self.trust()),
            "seconds": round(self.seconds, 3),
        }

    def _anchors_as_json(self) -> dict[str, Any] | None:
        if self.anchored is None:
            return None
        return {
            "anchored": [label(self.calendar, epoch) for epoch in self.anchored],
            "not_yet": [label(self.calendar, epoch) for epoch in self.unanchored],
            "chain_is_independent": self.chain_is_independent,
        }


def amount(amount_micro: int, minor_digits: int) -> str:
    """An amount as people read it, to the micro-unit where it is no whole number of minor units."""
    sign, whole, rest = "-" if amount_micro < 0 else "", *divmod(abs(amount_micro), 1_000_000)
    digits = f"{rest:06}".rstrip("0").ljust(min(minor_digits, 6), "0")
    return f"{sign}{whole:,}{'.' if digits else ''}{digits}"


def printable(text: str) -> str:
    """A text of the log's as a terminal may be shown it: what is no sign of a script could be an order to it."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)


def label(calendar: Calendar, epoch: int) -> str:
    """How people are shown an epoch; its number where no calendar holds it."""
    try:
        return calendar.label(epoch)
    except (OverflowError, ValueError, OSError):
        return str(epoch)


def instant(at_s: int) -> str:
    """POSIX seconds as people read them; the number itself where no calendar holds it."""
    try:
        return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return str(at_s)
