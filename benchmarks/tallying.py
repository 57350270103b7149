"""Counting ballots: how long a co-op of a million members waits for a result, and its auditors for theirs.

The service counts votes whose signatures it checked when they were cast. An auditor recovers every one of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from random import Random
from statistics import median_low
from uuid import UUID

from coincurve import PrivateKey, PublicKey

from benchmarks.figures import Bench, Figure, alternating, at_most
from ledger import ballots, counting, entries, tally
from ledger.ballots import Form, Seat, SignedVote, Weighed
from ledger.constitution import CLASSES, Constitution
from ledger.verify.ballots import Ballots
from ledger.verify.report import Findings

MEMBERS, MEMBERS_QUICK = 1_000_000, 20_000
SIGNED, SIGNED_QUICK = 100_000, 2_000
# Of a hundred members so many vote, and so many of the others have delegated to somebody.
VOTING_PERCENT, DELEGATING_PERCENT = 60, 50
SECONDS_MAX = 10
DAY_S = 86_400
STATUS_QUO = {"artist_share_bp": 7_000, "plays": 9}
CONSTITUTION = Constitution(class_quorum_bp=dict.fromkeys(CLASSES, 3_000))
FORM = Form(UUID(int=1844, version=4), tuple(STATUS_QUO), 31_337, "0x" + "ab" * 20)


def run(bench: Bench) -> Iterator[Figure]:
    """Seconds from votes to the medians, from seats and votes to the medians, and for an auditor's recount."""
    chance = Random(bench.seed)  # noqa: S311
    yield from _counted(bench, chance)
    yield from _recounted(bench, chance)


def _counted(bench: Bench, chance: Random) -> Iterator[Figure]:
    members = bench.size(MEMBERS, MEMBERS_QUICK)
    bench.say(f"seating {members:,} members")
    seats, votes = _ballot(members, chance)
    census, weighed = ballots.census(seats), ballots.weighed(seats, votes)
    # As many votes as there are members, each for its own seat: more than any ballot of so many has.
    cast = [tally.Vote(_wanted(chance), {seat.member_class: 1}) for seat in seats]
    tallied, sorted_ = alternating(
        bench.runs,
        lambda: _seconds(lambda: tally.count(cast, STATUS_QUO, census, CONSTITUTION)),
        lambda: _seconds(lambda: [median_low(vote.values[at] for vote in cast) for at in range(len(STATUS_QUO))]),
    )
    yield Figure(
        f"{members:,} votes tallied, on two numbers",
        tallied,
        "s",
        "the same numbers sorted",
        sorted_,
        at_most(SECONDS_MAX),
    )
    whole, alone = alternating(
        bench.runs,
        lambda: _seconds(lambda: _count(seats, votes, census)),
        lambda: _seconds(lambda: _tally(weighed, census)),
    )
    yield Figure(
        f"{len(votes):,} votes of {members:,} members, with delegations",
        whole,
        "s",
        "the same tallied, once it is known for whom each counts",
        alone,
        at_most(2 * SECONDS_MAX),
    )


def _recounted(bench: Bench, chance: Random) -> Iterator[Figure]:
    size = bench.size(SIGNED, SIGNED_QUICK)
    bench.say(f"signing {size:,} votes")
    told, digests = _log(size, chance)
    recount, bare = alternating(
        bench.runs,
        lambda: _seconds(lambda: _recount(told)),
        lambda: _seconds(lambda: [_recovered(*each) for each in digests]),
    )
    control = "libsecp256k1's recovery and nothing else"
    yield Figure("votes counted again by an auditor", size / recount, "votes/s", control, size / bare)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _count(seats: Sequence[Seat], votes: Sequence[SignedVote], census: dict[str, int]) -> None:
    _tally(ballots.weighed(seats, votes), census)


def _tally(weighed: Sequence[Weighed], census: dict[str, int]) -> None:
    tally.count((each.counted() for each in weighed), STATUS_QUO, census, CONSTITUTION)


def _recount(told: Sequence[tuple[str, entries.Entry]]) -> None:
    findings = Findings()
    counted = Ballots(findings)
    counted.constitution = CONSTITUTION
    for at, (kind, entry) in enumerate(told):
        if kind == entries.BALLOT:
            counted.begin(at, entry, entry["closed_at"])
        else:
            counted.take_votes(at, entry)
    counted.end()
    if findings.count:
        raise RuntimeError(f"the ballot does not hold: {[*map(str, findings.first[:3])]}")


def _recovered(digest: bytes, signature: bytes) -> bytes:
    return PublicKey.from_signature_and_message(signature, digest, hasher=None).format(compressed=False)


# --- Ballots ---


def _wanted(chance: Random) -> tuple[int, int]:
    return chance.randrange(5_000, 9_001), chance.randrange(5, 13)


def _ballot(members: int, chance: Random) -> tuple[list[Seat], list[SignedVote]]:
    addresses = [f"0x{number:040x}" for number in sorted(chance.getrandbits(160) for _ in range(members))]
    seats, votes = [], []
    for address in addresses:
        votes_herself = chance.randrange(100) < VOTING_PERCENT
        has_delegated = not votes_herself and chance.randrange(100) < DELEGATING_PERCENT
        seats.append(Seat(address, chance.choice(CLASSES), chance.choice(addresses) if has_delegated else address))
        if votes_herself:
            votes.append(SignedVote(address, _wanted(chance), 1, DAY_S, b""))
    chance.shuffle(votes)
    return seats, votes


def _log(size: int, chance: Random) -> tuple[list[tuple[str, entries.Entry]], list[tuple[bytes, bytes]]]:
    """A ballot of so many votes, each signed by a key of its own, as the log tells it; and digests with signatures."""
    seats, votes, digests = [], [], []
    closed_at = 4 * DAY_S
    for _ in range(size):
        key = PrivateKey(chance.randbytes(32))
        address = "0x" + ballots.keccak_256(key.public_key.format(compressed=False)[1:])[12:].hex()
        values = _wanted(chance)
        digest = ballots.digest(FORM, values, 1, closed_at)
        signature = key.sign_recoverable(digest, hasher=None)
        digests.append((digest, signature))
        seats.append(Seat(address, chance.choice(CLASSES), address))
        votes.append(SignedVote(address, values, 1, closed_at, signature[:64] + bytes([27 + signature[64]])))
    ballot = counting.Ballot(
        FORM,
        text="Shall it change?",
        opened_at=DAY_S,
        closed_at=closed_at,
        block_number=1,
        block_hash="0x" + "00" * 32,
        block_timestamp=1,
        status_quo=STATUS_QUO,
    )
    return list(counting.counted(ballot, seats, votes, CONSTITUTION).entries()), digests
