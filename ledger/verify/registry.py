"""Who were members, and what they decided, as a chain has it: held against the log's ballots.

Whoever asks the chain stands outside: here it is values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ledger.ballots import number_of
from ledger.constitution import MOTION, Constitution
from ledger.errors import DomainError
from ledger.verify.ballots import Ballot
from ledger.verify.report import Findings


class ChainUnread(DomainError):
    """The chain cannot be read."""


class BlockGone(DomainError):
    """The chain has no such block."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rate registry has of a ballot: SHA-256 of its entry, and all open parameters from then on."""

    ballot: str
    result_hash: str
    numbers: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The block that a ballot's electorate was read at; `timestamp` in the chain's own seconds."""

    number: int
    hash: str
    timestamp: int


@dataclass(frozen=True, slots=True)
class RollSeat:
    """A membership as the contract has it at a snapshot; `since` in the chain's own seconds."""

    address: str
    member_class: str
    delegate: str
    since: int


class ReadDecisions(Protocol):
    """Whoever can ask a chain for decisions, as `ledger.verify.command` needs it."""

    def __call__(
        self, rpc_url: str, contract: str, *, chain_id: int | None, code_hash: str | None
    ) -> Sequence[Decision]:
        """Every decision of the registry, in its order. Raises ChainUnread."""


class ReadRoll(Protocol):
    """Whoever can ask a chain for the members at a snapshot."""

    def __call__(
        self, rpc_url: str, contract: str, snapshot: Snapshot, *, chain_id: int | None, code_hash: str | None
    ) -> Sequence[RollSeat]:
        """Every seat there was, of which the contract says that they are all. Raises ChainUnread and BlockGone."""


Electorate = Callable[[Snapshot], Sequence[RollSeat]]
"""`ReadRoll` of one contract."""


def compare_decisions(decisions: Sequence[Decision], ballots: Mapping[str, Ballot], findings: Findings) -> None:
    """What contradicts becomes a finding. The newest decisions may be of ballots that are not published yet."""
    known = [place for place, decision in enumerate(decisions) if decision.ballot in ballots]
    for place, decision in enumerate(decisions):
        ballot = ballots.get(decision.ballot)
        if ballot is not None:
            _compare_decision(decision, ballot, findings)
        elif known and place < known[-1]:
            said = f"the registry has a decision of ballot {decision.ballot}, and the log has no count of it"
            findings.add("registry", None, said)
    decided = {decision.ballot for decision in decisions}
    for ballot in ballots.values():
        if ballot.adopted and ballot.id not in decided:
            said = f"ballot {ballot.id} is in force, and the registry has no decision of it"
            findings.add("registry", ballot.at, said)


def _compare_decision(decision: Decision, ballot: Ballot, findings: Findings) -> None:
    if decision.result_hash != ballot.result_hash:
        said = f"the registry has another count of ballot {ballot.id}"
        findings.add("registry", ballot.at, said, decision.result_hash, ballot.result_hash)
    for name, result in ballot.results.items():
        if name != MOTION and decision.numbers.get(name) != result:
            said = f"the registry has another {name} by ballot {ballot.id}"
            findings.add("registry", ballot.at, said, decision.numbers.get(name), result)


def compare_electorate(ballot: Ballot, constitution: Constitution, read: Electorate, findings: Findings) -> None:
    """Whether those who were counted were members, of their class and with their delegate. Raises ChainUnread."""

    def wrong(what: str, expected: object = "", found: object = "") -> None:
        findings.add("registry", ballot.at, what, expected, found)

    told = ballot.entry
    snapshot = Snapshot(told["block_number"], told["block_hash"], told["block_timestamp"])
    try:
        seats = read(snapshot)
    except BlockGone as gone:
        wrong(f"the electorate of ballot {ballot.id} was read at a block that the chain has not: {gone}")
        return
    waited_by = snapshot.timestamp - constitution.waiting_seconds
    may_vote = {number_of(seat.address): seat for seat in seats if seat.since <= waited_by}
    census = Counter(seat.member_class for seat in may_vote.values())
    if {name: census[name] for name in told["census"]} != told["census"]:
        wrong(f"others could vote in ballot {ballot.id} than the log says", dict(census), told["census"])
    for address, (member_class, delegate) in ballot.seats.items():
        seat, shown = may_vote.get(address), f"0x{address:040x}"
        if seat is None:
            wrong(f"{shown} is counted in ballot {ballot.id} and was no member who could vote")
            continue
        if seat.member_class != member_class:
            wrong(f"{shown} is counted in another class", seat.member_class, member_class)
        if delegate != address and number_of(seat.delegate) != delegate:
            wrong(f"{shown} is counted for somebody she had not delegated to", seat.delegate, f"0x{delegate:040x}")
