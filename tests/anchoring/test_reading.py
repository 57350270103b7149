"""Members and decisions as an auditor reads them from a real chain, with nothing of the service's settings."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from uuid import UUID

import pytest
from eth_keys import keys

from ledger import counting
from ledger.ballots import Form, Seat
from ledger.constitution import Constitution
from ledger.verify.ballots import Ballots
from ledger.verify.registry import BlockGone, ChainUnread, Snapshot, compare_decisions, compare_electorate
from ledger.verify.report import Findings
from streamcoop.adapters.members import MemberClass
from streamcoop.adapters.rate_registry import Rates
from streamcoop.anchoring.reading import read_decisions, read_roll
from tests.adapters.contracts import QUICK, Site, admit, carry, delegate, fresh
from tests.adapters.contracts import own_anvil as own_anvil
from tests.adapters.contracts import site as site
from tests.ledger.log_factory import Member

NOBODY = "http://127.0.0.1:9"
SHARE = {"artist_share_bp": 7_000}
RULE = Constitution(waiting_seconds=0, quorum_bp=0)
DEADLINE = 1_772_323_200


@pytest.fixture
def coop(site: Site) -> Site:
    """Contracts without members."""
    return fresh(site)


def _recounted(told: counting.Counted, findings: Findings) -> Ballots:
    """The ballot as an auditor has it once she has read its entries."""
    ballots = Ballots(findings, keeps_seats=True)
    ballots.constitution = RULE
    for at, (kind, entry) in enumerate(told.entries()):
        if kind == "ballot":
            ballots.begin(at, entry, told.ballot.closed_at)
        elif kind == "votes":
            ballots.take_votes(at, entry)
        else:
            ballots.take_delegations(at, entry)
    ballots.end()
    return ballots


def test_a_ballot_of_the_contracts_members_holds_and_any_other_does_not(coop: Site) -> None:
    membership, registry = coop.membership(), coop.registry()
    people = [admit(membership, kind) for kind in (MemberClass.LISTENER, MemberClass.ARTIST, MemberClass.WORKER)]
    delegate(membership, people[1], people[0].address)
    block = membership.snapshot_block(finality_depth=0)
    snapshot = Snapshot(block.number, block.hash, block.timestamp)
    chain_id, code_hash = membership.check()
    read = partial(read_roll, coop.rpc_url, coop.membership_contract, chain_id=chain_id, code_hash=code_hash)
    roll = read(snapshot)
    assert [seat.address for seat in roll] == [person.address for person in people]
    assert [(seat.member_class, seat.delegate) for seat in roll] == [
        ("listener", people[0].address),
        ("artist", people[0].address),
        ("worker", people[2].address),
    ]

    form = Form(UUID(int=7, version=4), tuple(SHARE), chain_id, coop.membership_contract)
    asked = counting.Ballot(
        form, "Shall it change?", DEADLINE - RULE.ballot_seconds_min, DEADLINE, *block_of(snapshot), status_quo=SHARE
    )
    voter = Member(keys.PrivateKey(bytes(people[0].key)), "listener", people[0].address)
    seats = [Seat(seat.address, seat.member_class, seat.delegate) for seat in roll]
    told = counting.counted(asked, seats, [voter.vote(form, [7_400], DEADLINE)], RULE)
    rates = Rates(**{**QUICK["rates"], "artist_share_bp": 7_400})
    carry(registry, registry.build_decision(form.ballot_id, told.result_hash, rates))
    decisions = read_decisions(coop.rpc_url, coop.rate_registry, chain_id=chain_id, code_hash=None)

    findings = Findings()
    ballots = _recounted(told, findings)
    compare_decisions(decisions, ballots.counted, findings)
    (ballot,) = ballots.counted.values()
    compare_electorate(ballot, RULE, read, findings)
    assert findings.first == []

    # One who was no member, and a delegation that nobody made: signed, counted and added up as it should be.
    stranger = Member(keys.PrivateKey(b"\x07" * 32), "artist", "")
    invented = [
        replace(seats[1], delegate=stranger.address),
        seats[0],
        seats[2],
        Seat(stranger.address, "artist", stranger.address),
    ]
    votes = [voter.vote(form, [7_400], DEADLINE), stranger.vote(form, [6_600], DEADLINE)]
    forged = _recounted(counting.counted(asked, invented, votes, RULE), findings)
    assert findings.first == []
    compare_decisions(decisions, forged.counted, findings)
    compare_electorate(next(iter(forged.counted.values())), RULE, read, findings)
    said = " | ".join(map(str, findings.first))
    for message in (
        "the registry has another count",
        "others could vote",
        "was no member who could vote",
        "is counted for somebody she had not delegated to",
    ):
        assert message in said


def block_of(snapshot: Snapshot) -> tuple[int, str, int]:
    return snapshot.number, snapshot.hash, snapshot.timestamp


@pytest.mark.parametrize("change", [{"hash": "0x" + "07" * 32}, {"timestamp": 1}, {"number": 10**9}])
def test_a_block_that_the_chain_has_not_is_told_apart_from_a_node_that_does_not_answer(
    coop: Site, change: dict[str, object]
) -> None:
    admit(coop.membership())
    block = coop.membership().snapshot_block(finality_depth=0)
    snapshot = replace(Snapshot(block.number, block.hash, block.timestamp), **change)  # type: ignore[arg-type]
    with pytest.raises(BlockGone):
        read_roll(coop.rpc_url, coop.membership_contract, snapshot, chain_id=None, code_hash=None)
    for read in (
        lambda: read_roll(NOBODY, coop.membership_contract, snapshot, chain_id=None, code_hash=None),
        lambda: read_decisions(NOBODY, coop.rate_registry, chain_id=None, code_hash=None),
        lambda: read_decisions(coop.rpc_url, coop.membership_contract, chain_id=None, code_hash="0x" + "00" * 32),
        lambda: read_decisions(coop.rpc_url, "nowhere", chain_id=None, code_hash=None),
    ):
        with pytest.raises(ChainUnread):
            read()
