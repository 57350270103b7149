"""A ballot that is over, from its seats and votes to the entries that tell it in the log. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from ledger import ballots, entries, tally
from ledger.ballots import Form, Seat, SignedVote, Weighed
from ledger.constitution import Constitution
from ledger.entries import Entry
from ledger.tally import Tally


@dataclass(frozen=True, slots=True)
class Ballot:
    """A ballot that takes no more votes. `status_quo` has a number for each of the form's parameters, in their order.

    Its electorate was read at the block: `block_hash` as Ethereum writes it, `block_timestamp` in the chain's own
    seconds. `opened_at` and `closed_at` are POSIX seconds. `text` is what members were asked, word for word.
    """

    form: Form
    text: str
    opened_at: int
    closed_at: int
    block_number: int
    block_hash: str
    block_timestamp: int
    status_quo: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Counted:
    """A ballot and what it came to; `votes` are those that count, by address in ascending order."""

    ballot: Ballot
    census: Mapping[str, int]
    votes: Sequence[Weighed]
    tally: Tally

    @property
    def kept_key_weight(self) -> int:
        """The weight of the votes that were signed with keys the co-op keeps."""
        return sum(each.weight for each in self.votes if each.vote.is_kept)

    @property
    def entry(self) -> Entry:
        """The BALLOT entry."""
        ballot, form = self.ballot, self.ballot.form
        return {
            "ballot": str(form.ballot_id),
            "text_sha256": sha256(ballot.text.encode()).hexdigest(),
            "opened_at": ballot.opened_at,
            "closed_at": ballot.closed_at,
            "chain_id": form.chain_id,
            "contract": form.contract,
            "block_number": ballot.block_number,
            "block_hash": ballot.block_hash,
            "block_timestamp": ballot.block_timestamp,
            "parameters": [
                {
                    "parameter": parameter,
                    "status_quo": before,
                    "median": self.tally.outcomes[parameter].median,
                    "result": self.tally.outcomes[parameter].result,
                }
                for parameter, before in ballot.status_quo.items()
            ],
            "census": dict(self.census),
            "cast": dict(self.tally.cast),
            "phantom_weight": self.tally.phantom_weight,
            "kept_key_weight": self.kept_key_weight,
        }

    @property
    def result_hash(self) -> bytes:
        """What the rate registry is told of the result: SHA-256 of the BALLOT entry's bytes."""
        return sha256(entries.encode(entries.BALLOT, self.entry)).digest()

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """The entries that tell it, in their order: kind and fields."""
        ballot = str(self.ballot.form.ballot_id)
        yield entries.BALLOT, self.entry
        votes = [_vote(each) for each in self.votes]
        for first in range(0, len(votes), entries.VOTES_AN_ENTRY_MAX):
            told = votes[first : first + entries.VOTES_AN_ENTRY_MAX]
            yield entries.VOTES, {"ballot": ballot, "votes": told}
        seats = [seat for each in self.votes for seat in each.delegators]
        seats.sort(key=lambda seat: ballots.number_of(seat.address))
        for first in range(0, len(seats), entries.DELEGATIONS_AN_ENTRY_MAX):
            delegations = [_delegation(seat) for seat in seats[first : first + entries.DELEGATIONS_AN_ENTRY_MAX]]
            yield entries.DELEGATIONS, {"ballot": ballot, "delegations": delegations}


def _vote(each: Weighed) -> Entry:
    vote = each.vote
    return {
        "address": vote.address,
        "member_class": each.seat.member_class,
        "values": list(vote.values),
        "nonce": vote.nonce,
        "deadline": vote.deadline,
        "signature": "0x" + vote.signature.hex(),
        "kept_key": vote.is_kept,
    }


def _delegation(seat: Seat) -> Entry:
    return {"address": seat.address, "member_class": seat.member_class, "delegate": seat.delegate}


def counted(ballot: Ballot, seats: Sequence[Seat], votes: Iterable[SignedVote], constitution: Constitution) -> Counted:
    """The count of a ballot. `seats` are all that may vote; the signatures of the votes were checked when they were
    cast.
    """
    weighed = ballots.weighed(seats, votes)
    census = ballots.census(seats)
    result = tally.count((each.counted() for each in weighed), ballot.status_quo, census, constitution)
    return Counted(ballot, census, weighed, result)
