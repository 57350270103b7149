"""Ballots in a log: whatever is changed of votes, delegations, results and their effect is seen by anyone."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ledger import counting, entries
from ledger.ballots import SignedVote, number_of
from ledger.constitution import Bound, Constitution, numbers_of
from ledger.counting import Counted
from ledger.entries import Entry
from ledger.rates import NetFactors, Rates
from ledger.rules import Rules
from ledger.verify.command import verify_command
from tests.ledger import log_factory as factory
from tests.ledger.log_factory import CONSTITUTION, DAY_S, EPOCH, FOUNDED_AT, Maker, Member, Named, decided_by, publish
from tests.ledger.verify.auditing import audit_of, keep, place_of, said

BEFORE = numbers_of(factory.TARIFF, Rates(), Rules())
FACTORS = NetFactors(1_900, 200, {"GEMA": 500})
SHARE = {"artist_share_bp": 7_000}


@dataclass
class Told:
    """A log with one ballot on the artists' share, and the rates it led to."""

    maker: Maker
    members: list[Member]
    counted: Counted

    @property
    def entries(self) -> list[Named]:
        """The log."""
        return self.maker.entries

    def again(self, change: Callable[[list[SignedVote]], list[SignedVote]]) -> list[Named]:
        """The log with other votes, counted and told as if they were the right ones."""
        votes = change([each.vote for each in self.counted.votes])
        seats = [member.seat for member in self.members]
        return self.with_ballot(counting.counted(self.counted.ballot, seats, votes, CONSTITUTION))

    def with_ballot(self, counted: Counted) -> list[Named]:
        """The log with another count in place of its own."""
        first = place_of(self.entries, entries.BALLOT)
        kept = [named for named in self.entries if named[0] not in BALLOTS]
        return [*kept[:first], *counted.entries(), *kept[first:]]


BALLOTS = (entries.BALLOT, entries.VOTES, entries.DELEGATIONS)


def begun() -> Maker:
    """A co-op in its third day."""
    maker = Maker()
    maker.adopt(1, EPOCH, Rates(), FACTORS, "founding")
    for _ in range(3):
        maker.end_batch()
    return maker


def told(effective_epoch: int = EPOCH + 1, rates: Rates = Rates(7_400), **asked: Any) -> Told:  # noqa: B008
    """Five listeners, three artists and a worker; three vote, two artists' delegations count."""
    maker = begun()
    members = maker.members(*factory.MEMBERS, delegations=factory.DELEGATIONS)
    counted = maker.ballot(SHARE, members, {0: [8_000], 1: [7_400], 2: [7_300]}, kept=[2], **asked)
    maker.end_batch()
    maker.adopt(2, effective_epoch, rates, FACTORS, decided_by(counted))
    maker.end_batch()
    return Told(maker, members, counted)


@pytest.fixture
def log() -> Told:
    return told()


def changed(named: list[Named], kind: str, change: Callable[[Entry], object], number: int = 0) -> list[Named]:
    """The entries with one of them changed in place."""
    copied: list[Named] = copy.deepcopy(named)
    change(copied[place_of(named, kind, number)][1])
    return copied


def test_a_ballot_that_nobody_changed_holds_and_is_told_with_its_effect(log: Told, tmp_path: Path) -> None:
    report = audit_of(tmp_path, log.entries)
    assert said(report) == []
    (ballot,) = report.ballots
    assert ballot.result_hash == log.counted.result_hash.hex()
    assert [(each.parameter, each.status_quo, each.median, each.result) for each in ballot.outcomes] == [
        ("artist_share_bp", 7_000, 7_400, 7_400)
    ]
    assert (ballot.voters, ballot.cast, ballot.kept_key_weight) == (3, {"listener": 3, "artist": 2, "worker": 0}, 1)
    assert (ballot.effective, ballot.waiting) == ({"rates": EPOCH + 1}, ())
    assert "ballot 1: 1 of 5 seats voted by keys that the co-op keeps" in report.trust()


# --- Votes ---


def _vote(place: int, **fields: Any) -> Callable[[Told], list[Named]]:
    def change(log: Told) -> list[Named]:
        return changed(log.entries, entries.VOTES, lambda entry: entry["votes"][place].update(fields))

    return change


def _altered_and_counted(log: Told) -> list[Named]:
    return log.again(lambda votes: [replace(vote, values=(5_000,)) for vote in votes])


def _signed_by_another(log: Told) -> list[Named]:
    """Everyone's vote signed by one key, and counted as if each had signed."""
    form, key = log.counted.ballot.form, log.members[4]
    deadline = log.counted.votes[0].vote.deadline
    signed = key.vote(form, [9_000], deadline)
    return log.again(lambda votes: [replace(signed, address=vote.address) for vote in votes])


def _dropped(log: Told) -> list[Named]:
    return changed(log.entries, entries.VOTES, lambda entry: entry["votes"].pop())


def _doubled(log: Told) -> list[Named]:
    return changed(log.entries, entries.VOTES, lambda entry: entry["votes"].append(entry["votes"][-1]))


def _other_case(log: Told) -> list[Named]:
    def twice(entry: Entry) -> None:
        last = entry["votes"][-1]
        entry["votes"].append({**last, "address": last["address"].lower()})

    return changed(log.entries, entries.VOTES, twice)


def _for_another_chain(log: Told) -> list[Named]:
    ballot = log.counted.ballot
    members = {member.address: member for member in log.members}
    form = replace(ballot.form, chain_id=1)
    votes = [
        members[each.vote.address].vote(form, each.vote.values, each.vote.deadline, is_kept=each.vote.is_kept)
        for each in log.counted.votes
    ]
    seats = [member.seat for member in log.members]
    return log.with_ballot(counting.counted(replace(ballot, form=form), seats, votes, CONSTITUTION))


def _for_another_contract(log: Told) -> list[Named]:
    return changed(log.entries, entries.BALLOT, lambda entry: entry.update(contract="0x" + "cd" * 20))


def _delegation(place: int, **fields: Any) -> Callable[[Told], list[Named]]:
    def change(log: Told) -> list[Named]:
        return changed(log.entries, entries.DELEGATIONS, lambda entry: entry["delegations"][place].update(fields))

    return change


def _invented(log: Told) -> list[Named]:
    """A delegation to a voter by somebody who is told nowhere."""
    told = {"address": "0x" + "ff" * 20, "member_class": "listener", "delegate": log.members[0].address}
    return changed(log.entries, entries.DELEGATIONS, lambda entry: entry["delegations"].append(told))


def _to_nobody(log: Told) -> list[Named]:
    told = log.members[4].address
    return changed(log.entries, entries.DELEGATIONS, lambda entry: entry["delegations"][0].update(delegate=told))


def _delegator_voted(log: Told) -> list[Named]:
    """Her own vote and her delegate's count."""

    def change(entry: Entry) -> None:
        voter, other = log.members[0].address, log.members[1].address
        entry["delegations"].append({"address": voter, "member_class": "listener", "delegate": other})
        entry["delegations"].sort(key=lambda each: number_of(each["address"]))

    return changed(log.entries, entries.DELEGATIONS, change)


def _delegated_twice(log: Told) -> list[Named]:
    return changed(
        log.entries, entries.DELEGATIONS, lambda entry: entry["delegations"].append(entry["delegations"][-1])
    )


def _ballot(**fields: Any) -> Callable[[Told], list[Named]]:
    return lambda log: changed(log.entries, entries.BALLOT, lambda entry: entry.update(fields))


def _outcome(**fields: Any) -> Callable[[Told], list[Named]]:
    return lambda log: changed(log.entries, entries.BALLOT, lambda entry: entry["parameters"][0].update(fields))


def _rates(**fields: Any) -> Callable[[Told], list[Named]]:
    return lambda log: changed(log.entries, entries.RATES, lambda entry: entry.update(fields), 1)


def _left_out(log: Told) -> list[Named]:
    return [named for named in log.entries if named[0] not in BALLOTS]


def _told_again(log: Told) -> list[Named]:
    batch = place_of(log.entries, entries.BATCH, 4)
    return [*log.entries[: batch + 2], *log.counted.entries(), *log.entries[batch + 2 :]]


CHANGES: dict[str, tuple[Callable[[Told], list[Named]], str]] = {
    "a vote altered": (_vote(0, values=[5_000]), "a vote that its member did not sign"),
    "votes altered and counted": (_altered_and_counted, "a vote that its member did not sign"),
    "votes signed by somebody else": (_signed_by_another, "a vote that its member did not sign"),
    "an older number": (_vote(0, nonce=2), "a vote that its member did not sign"),
    "another deadline": (_vote(0, deadline=FOUNDED_AT + 40 * DAY_S), "a vote that its member did not sign"),
    "a signature that is none": (_vote(0, signature="0x" + "00" * 65), "a vote that is not signed as votes are"),
    "a vote beyond the bounds": (_vote(0, values=[9_500]), "a vote that could not be cast"),
    "a vote on more than was asked": (_vote(0, values=[7_000, 9]), "a vote that could not be cast"),
    "a vote dropped": (_dropped, "another weight was cast"),
    "a vote doubled": (_doubled, "not in the order of their addresses, or twice"),
    "a vote doubled in other letters": (_other_case, "not in the order of their addresses, or twice"),
    "a voter's class": (_vote(0, member_class="worker"), "another weight was cast"),
    "a kept key hidden": (_ballot(kept_key_weight=0), "another weight of votes with keys that the co-op keeps"),
    "a ballot of another chain": (_ballot(chain_id=1), "a vote that its member did not sign"),
    "a ballot signed for another chain": (_for_another_chain, "another membership contract than the founding note's"),
    "a ballot of another contract": (_for_another_contract, "another membership contract than the founding note's"),
    "a delegation invented": (_invented, "another weight was cast"),
    "a delegation to somebody who did not vote": (_to_nobody, "a delegation to somebody whose vote does not count"),
    "a delegator who voted herself": (_delegator_voted, "a member is counted twice"),
    "a delegator counted twice": (_delegated_twice, "delegations that are not in the order of their addresses"),
    "a delegator's class": (_delegation(0, member_class="worker"), "another weight was cast"),
    "another phantom weight": (_ballot(phantom_weight=1), "another weight of the status quo"),
    "another weight cast": (_ballot(cast={"listener": 4, "artist": 2, "worker": 0}), "another weight was cast"),
    "fewer members than voted": (_ballot(census={"listener": 2, "artist": 3, "worker": 1}), "listeners voted than"),
    "a smaller electorate": (_ballot(census={"listener": 60, "artist": 3, "worker": 1}), "of the status quo"),
    "another result": (_outcome(result=7_300), "the votes come to another artist_share_bp"),
    "another median": (_outcome(median=7_500), "the votes come to another artist_share_bp"),
    "another status quo": (_outcome(status_quo=7_300), "another status quo of artist_share_bp"),
    "another parameter": (_outcome(parameter="epoch_seconds"), "a ballot on what no ballot can be on"),
    "one cut point alone": (_outcome(parameter="community_cut_bp"), "a ballot on what no ballot can be on"),
    "too short": (_ballot(opened_at=FOUNDED_AT + 2 * DAY_S), "a ballot took another time"),
    "too long": (_ballot(opened_at=FOUNDED_AT - 200 * DAY_S), "a ballot took another time"),
    "counted before its close": (_ballot(closed_at=FOUNDED_AT + 9 * DAY_S), "a ballot is counted before its close"),
    "rates that nobody voted for": (_rates(artist_share_bp=7_500), "the rates are not the ballot's result"),
    "more than was voted on": (_rates(reserve_cut_bp=4_000), "the rates are not the ballot's result"),
    "rates of another ballot": (_rates(decided_by=f"ballot:{'0' * 8}-{'0' * 4}"), "which is not there"),
    "rates beyond the bounds": (_rates(artist_share_bp=9_500), "rates outside the constitution's bounds"),
    "a ballot left out": (_left_out, "which is not there"),
    "a ballot told twice": (_told_again, "a ballot is counted twice"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_anyone_sees(log: Told, tmp_path: Path, case: str) -> None:
    change, message = CHANGES[case]
    report = audit_of(tmp_path, change(log))
    assert report.verdict == 1
    assert any(message in finding for finding in said(report)), said(report)


def test_terms_take_effect_after_their_ballot_only(tmp_path: Path) -> None:
    early = told(effective_epoch=EPOCH)
    assert any(
        "change an epoch which has begun" in f or "had begun before" in f
        for f in said(audit_of(tmp_path, early.entries))
    )
    # The epoch is to come, and yet it begins before the votes were counted.
    late = told(opened_at=FOUNDED_AT + 29 * DAY_S, closed_at=FOUNDED_AT + 32 * DAY_S)
    assert any("take effect before their ballot was over" in f for f in said(audit_of(tmp_path / "late", late.entries)))


def test_a_delegate_does_not_vote_for_more_than_the_constitution_lets_her(tmp_path: Path) -> None:
    maker = begun()
    members = maker.members("listener", *["artist"] * 3, delegations={1: 0, 2: 0, 3: 0})
    maker.ballot(SHARE, members, {0: [7_400]})
    maker.end_batch()
    assert any(
        "for more than the constitution lets her" in finding for finding in said(audit_of(tmp_path, maker.entries))
    )


def _next(maker: Maker, status_quo: dict[str, int], members: list[Member], value: int, days: int) -> list[Named]:
    """The log with another ballot, so many days later."""
    for _ in range(days - 1):
        maker.end_batch()
    maker.ballot(status_quo, members, {n: [value] for n in (0, 1, 5, 6)})
    maker.end_batch()
    return maker.entries


def test_what_is_decided_is_told_until_it_is_in_force_and_keeps_its_parameters_as_long(tmp_path: Path) -> None:
    maker = begun()
    members = maker.members(*factory.MEMBERS)
    decided = audit_of(tmp_path / "decided", _next(maker, SHARE, members, 7_400, days=1))
    assert said(decided) == []
    assert "decided by ballot 1 and not in force: rates" in decided.trust()
    # What changes nothing keeps nothing, and another parameter is another matter.
    assert said(audit_of(tmp_path / "plays", _next(maker, {"plays": 9}, members, 9, days=1))) == []
    assert said(audit_of(tmp_path / "plays again", _next(maker, {"plays": 9}, members, 10, days=3))) == []
    (finding,) = said(audit_of(tmp_path / "share again", _next(maker, SHARE, members, 7_400, days=1)))
    assert "has decided, and that is not in force yet (expected , found ['artist_share_bp'])" in finding


def test_two_ballots_at_once_on_one_parameter_are_found_and_two_motions_are_none(tmp_path: Path) -> None:
    maker = begun()
    members = maker.members(*factory.MEMBERS)
    for status_quo, value in (({"motion": 0}, 1), ({"motion": 0}, 0), ({"plays": 9}, 9)):
        assert said(audit_of(tmp_path / str(maker.number), _next(maker, status_quo, members, value, days=1))) == []
    (finding,) = said(audit_of(tmp_path / "twice", _next(maker, {"plays": 9}, members, 9, days=1)))
    assert "was on at the time" in finding


def test_terms_that_no_ballot_decided_are_told(tmp_path: Path) -> None:
    maker = begun()
    maker.tell(
        entries.RULES,
        {
            "version": 2,
            "effective_epoch": EPOCH + 1,
            "decided_by": "board",
            "payout_minimum_minor": 900,
            "listen_ms_max": 45_000,
        },
    )
    maker.end_batch()
    report = audit_of(tmp_path, maker.entries)
    assert (said(report), report.unvoted) == ([], ["rules of version 2, decided by board"])
    assert "not voted on: rules of version 2, decided by board" in report.trust()


def test_terms_and_their_ballot_may_stand_in_one_batch(tmp_path: Path) -> None:
    maker = begun()
    members = maker.members(*factory.MEMBERS)
    both = maker.ballot({"plays": 9, "listen_ms_max": 45_000}, members, {n: [10, 30_000] for n in (0, 1, 5, 6)})
    maker.decide(2, entries.TARIFF, EPOCH + 1, both, BEFORE)
    maker.decide(2, entries.RULES, EPOCH + 1, both, BEFORE)
    maker.end_batch()
    report = audit_of(tmp_path, maker.entries)
    assert (said(report), report.ballots[0].waiting) == ([], ())
    assert report.ballots[0].effective == {"tariff": EPOCH + 1, "rules": EPOCH + 1}


def test_another_constitution_than_the_founders_signed_is_found(tmp_path: Path) -> None:
    other = Constitution({**CONSTITUTION.parameters, "plays": Bound(1, 12, 1)}).as_json()
    log = changed(told().entries, entries.FOUNDING, lambda entry: entry.update(constitution=other))
    assert any("another constitution than the founding note's" in finding for finding in said(audit_of(tmp_path, log)))


def test_a_constitution_that_leaves_the_co_op_nothing_is_found(tmp_path: Path) -> None:
    greedy = CONSTITUTION.as_json()
    greedy["parameters"]["artist_share_bp"]["highest"] = 10_000
    log = changed(told().entries, entries.FOUNDING, lambda entry: entry.update(constitution=greedy))
    assert any("nothing would be left to the co-op" in finding for finding in said(audit_of(tmp_path, log)))


# --- What a member has promises of ---


def _promised(log: Told, place: int, **changes: Any) -> str:
    vote = replace(log.counted.votes[place].vote, **changes)
    return factory.vote_promise(log.counted, vote)


@pytest.mark.parametrize(
    ("promised", "holds", "message"),
    [
        ({}, True, "is counted in ballot"),
        ({"nonce": 2}, False, "vote 2 of {address} was taken, and 1 is counted"),
        ({"values": (5_000,)}, False, "is counted with another content"),
    ],
)
def test_a_vote_is_held_to_what_was_promised_for_it(
    log: Told, tmp_path: Path, promised: dict[str, Any], holds: bool, message: str
) -> None:
    kept = keep(tmp_path / "kept", mine=_promised(log, 0, **promised))
    report = audit_of(tmp_path / "log", log.entries, receipts=kept)
    (outcome,) = report.receipts
    assert (outcome.holds, report.verdict) == (holds, 0 if holds else 1)
    assert message.format(address=log.counted.votes[0].vote.address.lower()) in outcome.said


def test_a_vote_that_was_dropped_is_seen_by_whoever_cast_it(log: Told, tmp_path: Path) -> None:
    kept = keep(tmp_path / "kept", mine=_promised(log, 0))
    fewer = log.again(lambda votes: votes[1:])
    without = audit_of(tmp_path / "log", fewer)
    assert all("was dropped" not in finding for finding in said(without))
    report = audit_of(tmp_path / "log", fewer, receipts=kept)
    assert any("was dropped from ballot" in finding for finding in said(report))


def test_a_vote_that_was_replaced_by_a_later_one_is_no_fault(tmp_path: Path) -> None:
    maker = begun()
    (member,) = maker.members("listener")
    counted = maker.ballot(SHARE, [member], {0: [7_400]})
    later = replace(counted.votes[0].vote, nonce=1)
    form = counted.ballot.form
    again = member.vote(form, [7_300], later.deadline, nonce=7)
    maker._ballots[:] = [counting.counted(counted.ballot, [member.seat], [later, again], CONSTITUTION)]
    maker.end_batch()
    kept = keep(
        tmp_path / "kept", first=factory.vote_promise(counted, later), last=factory.vote_promise(counted, again)
    )
    report = audit_of(tmp_path / "log", maker.entries, receipts=kept)
    assert said(report) == []
    assert [outcome.said.partition(" of ")[0] for outcome in report.receipts] == ["vote 1", "vote 7"]


@pytest.mark.parametrize(("publish_by", "holds"), [(FOUNDED_AT + 10**9, True), (FOUNDED_AT, False)])
def test_a_ballot_that_is_never_told_breaks_its_promises_from_their_date_on(
    log: Told, tmp_path: Path, publish_by: int, holds: bool
) -> None:
    kept = keep(tmp_path / "kept", mine=factory.vote_promise(log.counted, log.counted.votes[0].vote, publish_by))
    without = [
        named for named in log.entries if named[0] not in (*BALLOTS, entries.RATES) or named[1].get("version") == 1
    ]
    report = audit_of(tmp_path / "log", without, receipts=kept)
    assert [outcome.holds for outcome in report.receipts] == [holds]


def test_a_ballot_that_was_stopped_and_told_breaks_no_promise(log: Told, tmp_path: Path) -> None:
    ballot_id = log.maker.stop_ballot("seats do not add up")
    log.maker.end_batch()
    vote = log.counted.votes[0].vote
    form = replace(log.counted.ballot.form, ballot_id=ballot_id)
    stopped = replace(log.counted, ballot=replace(log.counted.ballot, form=form))
    kept = keep(tmp_path / "kept", mine=factory.vote_promise(stopped, vote, FOUNDED_AT))
    report = audit_of(tmp_path / "log", log.entries, receipts=kept)
    assert said(report) == []
    assert [(outcome.holds, "was stopped" in outcome.said) for outcome in report.receipts] == [(True, True)]
    assert f"ballot {ballot_id} was stopped: seats do not add up" in report.trust()


def _stopped_and_counted(log: Told) -> list[Named]:
    log.maker.stop_ballot("so that nobody asks")
    ballot_id = str(log.counted.ballot.form.ballot_id)
    log.maker.end_batch()
    return changed(log.entries, entries.BALLOT_STOPPED, lambda entry: entry.update(ballot=ballot_id))


def _stopped_twice(log: Told) -> list[Named]:
    log.maker.stop_ballot("one")
    log.maker.end_batch()
    (stopped,) = [named for named in log.entries if named[0] == entries.BALLOT_STOPPED]
    log.maker.end_batch()
    return [*log.entries, stopped]


def _stopped_later(log: Told) -> list[Named]:
    log.maker.stop_ballot("later")
    log.maker.end_batch()
    return changed(log.entries, entries.BALLOT_STOPPED, lambda entry: entry.update(stopped_at=FOUNDED_AT + 99 * DAY_S))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_stopped_and_counted, "a ballot is stopped that was counted"),
        (_stopped_twice, "a ballot is stopped twice"),
        (_stopped_later, "a ballot is stopped at another time"),
    ],
)
def test_a_ballot_is_counted_or_stopped_and_once(
    log: Told, tmp_path: Path, change: Callable[[Told], list[Named]], message: str
) -> None:
    assert any(message in finding for finding in said(audit_of(tmp_path, change(log))))


# --- The command ---


@pytest.mark.parametrize("by_number", [True, False])
def test_one_ballots_count_is_shown_to_people_and_programs(log: Told, tmp_path: Path, by_number: bool) -> None:
    publish(tmp_path / "log", log.entries)
    asked = "1" if by_number else str(log.counted.ballot.form.ballot_id)
    args = [str(tmp_path / "log"), "--state", str(tmp_path / "state"), "--ballot", asked]
    shown = CliRunner().invoke(verify_command, args, env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    for line in (
        f"Ballot {log.counted.ballot.form.ballot_id}, closed",
        "artists: 2 of 3 seats voted",
        "artist_share_bp: 7,000 before, median 7,400, result 7,400",
        f"hash of the result: {log.counted.result_hash.hex()}",
        log.members[0].address.lower(),
    ):
        assert line in shown.output
    report = json.loads(CliRunner().invoke(verify_command, [*args, "--json"]).stdout)
    (ballot,) = report["ballots"]
    assert [vote["values"] for vote in ballot["votes"]] == [list(each.vote.values) for each in log.counted.votes]
    assert sum(vote["weight"] for vote in ballot["votes"]) == 5
    assert report["constitution"] == CONSTITUTION.hash


def test_a_ballot_that_is_not_there_is_said_to_be(log: Told, tmp_path: Path) -> None:
    publish(tmp_path / "log", log.entries)
    args = [str(tmp_path / "log"), "--state", str(tmp_path / "state"), "--ballot", "7"]
    assert "no ballot 7 is counted in this log" in CliRunner().invoke(verify_command, args).output
