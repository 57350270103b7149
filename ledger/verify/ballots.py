"""Ballots counted again: who signed each vote, whom it counts for, what it comes to, and what was made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from uuid import UUID

from ledger import ballots, entries, tally
from ledger.ballots import Form, VoteRefused
from ledger.constitution import CLASSES, FUNDS, KINDS, MOTION, PARAMETERS, Constitution
from ledger.entries import Entry
from ledger.verify.report import BallotOutcome, BallotTotals, Findings, ShownVote

VOTES_SHOWN_MAX = 10_000
"""Of the ballot that is asked for, kept to be shown."""

_ALONE: Mapping[str, Mapping[str, int]] = {name: MappingProxyType({name: 1}) for name in CLASSES}


@dataclass(frozen=True, slots=True)
class Cast:
    """An address's vote as the log has it."""

    nonce: int
    digest: bytes


@dataclass(slots=True)
class Ballot:
    """A ballot that was counted again. `results` and the rest are what the votes come to, whatever the entry tells."""

    at: int
    id: str
    entry: Entry
    result_hash: str
    outcomes: dict[str, tally.Outcome] = field(default_factory=dict)
    votes: int = 0
    adopted: dict[str, int] = field(default_factory=dict)
    """From which epoch on its terms hold, by kind."""
    shown: list[ShownVote] = field(default_factory=list)
    seats: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Where a chain is asked: of every address counted its class, and its delegate (its own address if it voted)."""

    @property
    def status_quo(self) -> dict[str, int]:
        """What held before, by parameter."""
        return {told["parameter"]: told["status_quo"] for told in self.entry["parameters"]}

    @property
    def results(self) -> dict[str, int]:
        """What the votes come to within the constitution, by parameter."""
        return {name: outcome.result for name, outcome in self.outcomes.items()}

    @property
    def waiting(self) -> list[str]:
        """The kinds of terms that it changes and that are not adopted."""
        before = self.status_quo
        changed = {name for name, result in self.results.items() if name != MOTION and result != before[name]}
        return [kind for kind, names in KINDS.items() if changed & set(names) and kind not in self.adopted]


@dataclass(slots=True)
class _Counting:
    """A ballot whose votes are still being read, by address as a number."""

    ballot: Ballot
    form: Form
    values: dict[int, tuple[int, ...]] = field(default_factory=dict)
    classes: dict[int, str] = field(default_factory=dict)
    kept: set[int] = field(default_factory=set)
    delegators: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    last_voter: int = -1
    last_delegator: int = -1


class Ballots:
    """Takes the entries of ballots as the log has them. `constitution` may be set once the founding is read.

    `shown` is the id or the number of the ballot whose votes are kept to be shown; `watched` are the votes, by ballot
    and address in lower case, that a member has promises of; `contract` where members are, as chain id and address, if
    it is known.
    """

    def __init__(
        self,
        findings: Findings,
        shown: str | None = None,
        watched: frozenset[tuple[str, str]] = frozenset(),
        contract: tuple[int, str] | None = None,
        *,
        keeps_seats: bool = False,
    ) -> None:
        self.constitution = Constitution()
        self.counted: dict[str, Ballot] = {}
        self.stopped: dict[str, str] = {}
        """Why, of each ballot that took votes and has no result."""
        self.cast: dict[tuple[str, str], Cast] = {}
        self._findings, self._shown, self._watched, self._contract = findings, shown, watched, contract
        self._keeps_seats = keeps_seats
        self._counting: _Counting | None = None
        self._new: list[Ballot] = []
        self._at = -1

    def _wrong(self, what: str, expected: object = "", found: object = "", at: int | None = None) -> None:
        self._findings.add("ballots", self._at if at is None else at, what, expected, found)

    @property
    def is_counting(self) -> bool:
        """Whether votes may follow."""
        return self._counting is not None

    # --- Entries ---

    def begin(self, at: int, entry: Entry, batch_closed_at: int) -> None:
        """A BALLOT entry."""
        self.end()
        self._at = at
        id_ = entry["ballot"]
        told = Ballot(at, id_, entry, sha256(entries.encode(entries.BALLOT, _fields(entry))).hexdigest())
        parameters = tuple(each["parameter"] for each in entry["parameters"])
        self._require_parameters(parameters)
        self._require_time(entry, batch_closed_at)
        if id_ in self.counted:
            self._wrong("a ballot is counted twice", "", id_)
        if id_ in self.stopped:
            self._wrong("a ballot is counted that was stopped", "", id_)
        where = entry["chain_id"], entry["contract"].lower()
        if self._contract is not None and where != self._contract:
            self._wrong("a ballot of another membership contract than the founding note's", self._contract, where)
        self._counting = _Counting(told, Form(UUID(id_), parameters, *_contract_of(entry)))

    def _require_parameters(self, parameters: tuple[str, ...]) -> None:
        asked = set(parameters)
        is_known = asked <= {MOTION, *PARAMETERS} and len(asked) == len(parameters)
        if not is_known or (MOTION in asked and len(asked) > 1) or len(asked & set(FUNDS)) == 1:
            self._wrong("a ballot on what no ballot can be on", "", ", ".join(parameters))

    def _require_time(self, entry: Entry, batch_closed_at: int) -> None:
        constitution, lasted = self.constitution, entry["closed_at"] - entry["opened_at"]
        longest = constitution.ballot_seconds_max + constitution.extension_seconds_max
        if not constitution.ballot_seconds_min <= lasted <= longest:
            self._wrong("a ballot took another time", f"{constitution.ballot_seconds_min} to {longest}", lasted)
        if entry["closed_at"] > batch_closed_at:
            self._wrong("a ballot is counted before its close", f"up to {batch_closed_at}", entry["closed_at"])

    def take_votes(self, at: int, entry: Entry) -> None:
        """A VOTES entry."""
        self._at = at
        counting = self._of(entry)
        if counting is None:
            return
        if counting.last_delegator >= 0:
            self._wrong("votes after the delegations")
        for vote in entry["votes"]:
            self._take_vote(counting, vote)

    def _of(self, entry: Entry) -> _Counting | None:
        if self._counting is None or self._counting.ballot.id != entry["ballot"]:
            self._wrong("votes of another ballot than the one before them", "", entry["ballot"])
            return None
        return self._counting

    def _take_vote(self, counting: _Counting, vote: Entry) -> None:
        address, values = ballots.number_of(vote["address"]), tuple(vote["values"])
        if address <= counting.last_voter:
            self._wrong("votes that are not in the order of their addresses, or twice", "", vote["address"])
        counting.last_voter = address
        if not self._is_permitted(counting.form.parameters, values):
            self._wrong("a vote that could not be cast", "", f"{vote['address']}: {list(values)}")
            return
        if vote["deadline"] <= counting.ballot.entry["opened_at"]:
            self._wrong("a vote that was over before the ballot began", "", vote["address"])
        try:
            digest = ballots.digest(counting.form, values, vote["nonce"], vote["deadline"])
            signer = ballots.signer(digest, bytes.fromhex(vote["signature"][2:]))
        except VoteRefused as refused:
            self._wrong(f"a vote that is not signed as votes are: {refused}", "", vote["address"])
            return
        own = vote["address"].lower()
        if signer != own:
            self._wrong("a vote that its member did not sign", own, signer)
        if (counting.ballot.id, own) in self._watched:
            self.cast[counting.ballot.id, own] = Cast(vote["nonce"], digest)
        counting.values[address] = values
        counting.classes[address] = vote["member_class"]
        if vote["kept_key"]:
            counting.kept.add(address)

    def _is_permitted(self, parameters: tuple[str, ...], values: tuple[int, ...]) -> bool:
        if len(values) != len(parameters):
            return False
        wanted = dict(zip(parameters, values, strict=True))
        known = {MOTION, *PARAMETERS}
        return all(
            name in known and self.constitution.bound(name).permits(value) for name, value in wanted.items()
        ) and (not wanted.keys() >= set(FUNDS) or wanted[FUNDS[0]] <= wanted[FUNDS[1]])

    def take_delegations(self, at: int, entry: Entry) -> None:
        """A DELEGATIONS entry."""
        self._at = at
        counting = self._of(entry)
        if counting is None:
            return
        for told in entry["delegations"]:
            address, delegate = ballots.number_of(told["address"]), ballots.number_of(told["delegate"])
            if address <= counting.last_delegator:
                self._wrong("delegations that are not in the order of their addresses, or twice", "", told["address"])
            counting.last_delegator = address
            if address in counting.values:
                self._wrong("a member is counted twice: by her own vote and by her delegate's", "", told["address"])
            elif delegate not in counting.values:
                self._wrong("a delegation to somebody whose vote does not count", "", told["delegate"])
            else:
                counting.delegators.setdefault(delegate, []).append((address, told["member_class"]))

    def take_stopped(self, at: int, entry: Entry, batch_closed_at: int) -> None:
        """A BALLOT_STOPPED entry."""
        self._at = at
        id_, stopped_at = entry["ballot"], entry["stopped_at"]
        if id_ in self.counted:
            self._wrong("a ballot is stopped that was counted", "", id_)
        if id_ in self.stopped:
            self._wrong("a ballot is stopped twice", "", id_)
        if not entry["opened_at"] <= stopped_at <= batch_closed_at:
            self._wrong("a ballot is stopped at another time", f"up to {batch_closed_at}", stopped_at)
        self.stopped.setdefault(id_, entry["because"])

    def end(self) -> None:
        """No votes follow: count the ballot whose votes were read, if there is one."""
        counting, self._counting = self._counting, None
        if counting is None:
            return
        ballot = counting.ballot
        self._at = ballot.at
        cap = self.constitution.delegation_cap
        for delegate, delegators in counting.delegators.items():
            if 1 + len(delegators) > cap:
                self._wrong("a member votes for more than the constitution lets her", cap, f"{_address(delegate)}")
        told = ballot.entry
        known = {name: before for name, before in ballot.status_quo.items() if name in {MOTION, *PARAMETERS}}
        if len(known) == len(counting.form.parameters):
            counted = tally.count(_votes(counting), known, told["census"], self.constitution)
            self._require_count(ballot, counted)
            ballot.outcomes = dict(counted.outcomes)
        kept = sum(1 + len(counting.delegators.get(address, ())) for address in counting.kept)
        if kept != told["kept_key_weight"]:
            self._wrong("another weight of votes with keys that the co-op keeps", kept, told["kept_key_weight"])
        ballot.votes = len(counting.values)
        number = str(len(self.counted) + 1)
        self.counted.setdefault(ballot.id, ballot)
        self._new.append(ballot)
        if self._shown in (ballot.id, number):
            ballot.shown = list(_shown(counting))
        if self._keeps_seats:
            ballot.seats = dict(_seats(counting))

    def _require_count(self, ballot: Ballot, counted: tally.Tally) -> None:
        told = ballot.entry
        for each in told["parameters"]:
            outcome = counted.outcomes[each["parameter"]]
            found = tally.Outcome(each["median"], each["result"])
            if outcome != found:
                self._wrong(f"the votes come to another {each['parameter']}", outcome, found)
        if counted.cast != told["cast"]:
            self._wrong("another weight was cast", counted.cast, told["cast"])
        if counted.phantom_weight != told["phantom_weight"]:
            self._wrong("another weight of the status quo", counted.phantom_weight, told["phantom_weight"])
        for member_class, weight in told["census"].items():
            if counted.cast[member_class] > weight:
                self._wrong(f"more {member_class}s voted than there were", weight, counted.cast[member_class])

    def totals(self) -> Iterator[BallotTotals]:
        """Every ballot as it was counted again, in the order of the log."""
        for number, ballot in enumerate(self.counted.values(), 1):
            told, before = ballot.entry, ballot.status_quo
            yield BallotTotals(
                number=number,
                ballot=ballot.id,
                at=ballot.at,
                closed_at=told["closed_at"],
                outcomes=tuple(
                    BallotOutcome(name, before[name], outcome.median, outcome.result)
                    for name, outcome in ballot.outcomes.items()
                ),
                census=told["census"],
                cast=told["cast"],
                phantom_weight=told["phantom_weight"],
                kept_key_weight=told["kept_key_weight"],
                voters=ballot.votes,
                result_hash=ballot.result_hash,
                effective=ballot.adopted,
                waiting=tuple(ballot.waiting),
                votes=tuple(ballot.shown),
            )

    # --- What was made of it ---

    def adopt(
        self,
        at: int,
        kind: str,
        ballot_id: str,
        adopted: Mapping[str, int],
        before: Mapping[str, int],
        effective: tuple[int, int],
    ) -> None:
        """Terms that a ballot is said to have decided, once its batch was read; `effective` are epoch and its start."""
        ballot = self.counted.get(ballot_id)
        if ballot is None:
            self._wrong(f"{kind} are said to be decided by ballot {ballot_id}, which is not there", at=at)
            return
        epoch, starts_at = effective
        decided = {name: ballot.results[name] for name in KINDS[kind] if name in ballot.results}
        if not decided or kind in ballot.adopted:
            self._wrong(f"{kind} that ballot {ballot_id} has not decided, or twice", "", adopted, at)
        elif adopted != {**before, **decided}:
            self._wrong(f"the {kind} are not the ballot's result", {**before, **decided}, adopted, at)
        if starts_at <= ballot.entry["closed_at"]:
            self._wrong(
                f"{kind} that take effect before their ballot was over", ballot.entry["closed_at"], starts_at, at
            )
        ballot.adopted.setdefault(kind, epoch)

    def end_batch(self, in_force: Callable[[Ballot], Mapping[str, int]]) -> None:
        """The batch is read, with the terms it tells: ballots began from what held, and one after the other.

        `in_force` is what would hold if a ballot decided nothing.
        """
        for ballot in self._new:
            before = in_force(ballot)
            for name, told in ballot.status_quo.items():
                expected = 0 if name == MOTION else before.get(name, told)
                if told != expected:
                    self._wrong(f"another status quo of {name} than what was in force", expected, told, ballot.at)
            self._require_in_turn(ballot)
        self._new.clear()

    def _require_in_turn(self, ballot: Ballot) -> None:
        """What is voted on is not voted on elsewhere, and what was decided before is in force."""
        asked = ballot.status_quo.keys() - {MOTION}
        for other in self.counted.values():
            shared = asked & other.status_quo.keys()
            if other.at >= ballot.at or not shared:
                continue
            undone = {name for kind in other.waiting for name in KINDS[kind]} & other.results.keys()
            if other.entry["closed_at"] > ballot.entry["opened_at"]:
                self._wrong(f"a ballot on what ballot {other.id} was on at the time", "", sorted(shared), ballot.at)
            elif shared & undone:
                said = f"a ballot on what ballot {other.id} has decided, and that is not in force yet"
                self._wrong(said, "", sorted(shared & undone), ballot.at)


def _fields(entry: Entry) -> Entry:
    return {name: value for name, value in entry.items() if name not in ("type", "v")}


def _contract_of(entry: Entry) -> tuple[int, str]:
    return entry["chain_id"], entry["contract"]


def _votes(counting: _Counting) -> Iterator[tally.Vote]:
    for address, values in counting.values.items():
        weight = _ALONE[counting.classes[address]]
        delegators = counting.delegators.get(address)
        if delegators:
            summed = dict(weight)
            for _, member_class in delegators:
                summed[member_class] = summed.get(member_class, 0) + 1
            weight = summed
        yield tally.Vote(values, weight)


def _shown(counting: _Counting) -> Iterator[ShownVote]:
    for address, values in list(counting.values.items())[:VOTES_SHOWN_MAX]:
        delegators = tuple(_address(each) for each, _ in counting.delegators.get(address, ()))
        member_class, is_kept = counting.classes[address], address in counting.kept
        yield ShownVote(_address(address), member_class, values, 1 + len(delegators), is_kept, delegators)


def _seats(counting: _Counting) -> Iterator[tuple[int, tuple[str, int]]]:
    for address, member_class in counting.classes.items():
        yield address, (member_class, address)
    for delegate, delegators in counting.delegators.items():
        for address, member_class in delegators:
            yield address, (member_class, delegate)


def _address(number: int) -> str:
    return f"0x{number:040x}"
