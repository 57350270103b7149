"""The tally: lower weighted medians with phantom votes, which no member can game."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import ballots
from ledger.ballots import Seat, SignedVote
from ledger.constitution import CLASSES, FUNDS, MOTION, Bound, Constitution
from ledger.tally import Outcome, Vote, count, quorum

LISTENERS = {"listener": 1}
SHARE = "artist_share_bp"


def constitution(bound: Bound | None = None, quorum_bp: int = 0, **class_quorum_bp: int) -> Constitution:
    """One whose artists' share is bound so, and by default by nothing, without quorums."""
    usual = Constitution()
    parameters = {**usual.parameters, SHARE: bound or Bound(0, 10_000, 10_000)}
    return Constitution(parameters, quorum_bp, {**usual.class_quorum_bp, **class_quorum_bp})


def result(
    votes: Sequence[tuple[int, int]], status_quo: int = 7_000, members: int = 10, under: Constitution | None = None
) -> Outcome:
    """What votes (value, weight) of listeners come to."""
    cast = [Vote([value], {"listener": weight}) for value, weight in votes]
    census = {"listener": members, "artist": 0, "worker": 0}
    return count(cast, {SHARE: status_quo}, census, under or constitution()).outcomes[SHARE]


def test_the_median_of_an_odd_number_is_the_middle_vote() -> None:
    assert result([(9_000, 1), (7_000, 1), (6_000, 1)]) == Outcome(7_000, 7_000)


def test_of_two_middle_votes_the_lower_counts() -> None:
    assert result([(8_000, 1), (6_000, 1)], 9_000).result == 6_000


def test_a_vote_counts_by_its_weight() -> None:
    assert result([(8_000, 3), (6_000, 2)], 0).result == 8_000


def test_the_status_quo_has_the_weight_that_is_missing_for_a_quorum() -> None:
    half = constitution(quorum_bp=5_000)
    assert result([(9_000, 2)], under=half).result == 7_000
    assert result([(9_000, 3)], under=half).result == 9_000


def test_the_status_quo_has_the_weight_that_is_missing_for_the_classes_quorums_if_that_is_more() -> None:
    rule = constitution(quorum_bp=2_000, artist=5_000, worker=5_000)
    census = {"listener": 20, "artist": 6, "worker": 4}

    def phantoms(**cast: int) -> int:
        return count([Vote([8_000], cast)], {SHARE: 7_000}, census, rule).phantom_weight

    assert [phantoms(listener=1), phantoms(listener=20), phantoms(listener=20, artist=2)] == [5, 5, 3]
    assert [phantoms(listener=20, artist=6), phantoms(listener=20, artist=3, worker=2), phantoms(artist=3)] == [2, 0, 3]


@pytest.mark.parametrize("quorum_bp", [0, 10_000])
def test_when_nobody_votes_the_status_quo_stays(quorum_bp: int) -> None:
    assert result([], under=constitution(quorum_bp=quorum_bp)) == Outcome(7_000, 7_000)
    assert result([], members=0, under=constitution(quorum_bp=quorum_bp)) == Outcome(7_000, 7_000)


def test_a_result_moves_by_no_more_than_the_largest_step() -> None:
    usual = Constitution()
    assert result([(9_000, 5)], under=usual) == Outcome(9_000, 7_500)
    assert result([(5_000, 5)], under=usual).result == 6_500
    assert result([(9_000, 5)], 8_900, under=usual).result == 9_000


def test_a_quorum_is_rounded_up() -> None:
    assert [quorum(total, 2_000) for total in (0, 1, 5, 6, 10)] == [0, 1, 1, 2, 2]


@pytest.mark.parametrize(("yes", "no", "passes"), [(3, 2, True), (2, 2, False), (1, 0, True), (0, 0, False)])
def test_a_motion_passes_by_more_than_half_of_all_that_was_cast(yes: int, no: int, passes: bool) -> None:
    votes = [Vote([1], {"listener": yes}), Vote([0], {"listener": no})]
    census = {"listener": 5, "artist": 0, "worker": 0}
    assert count(votes, {MOTION: 0}, census, constitution()).outcomes[MOTION].result == passes


def test_a_motion_that_too_few_vote_on_does_not_pass() -> None:
    census = {"listener": 20, "artist": 0, "worker": 0}
    voted = {weight: count([Vote([1], {"listener": weight})], {MOTION: 0}, census, Constitution()) for weight in (2, 3)}
    assert [tally.outcomes[MOTION].result for tally in voted.values()] == [0, 1]


def test_results_are_whole_multiples_of_the_quantum() -> None:
    votes = [Vote([value], LISTENERS) for value in (3_999, 3_999, 2_000)]
    census = {"listener": 3, "artist": 0, "worker": 0}
    assert count(votes, {"first_price_micro": 2_000}, census, Constitution()).outcomes["first_price_micro"] == Outcome(
        3_000, 3_000
    )


# --- Over many profiles ---
#
# Seats that vote, delegate or stay away, in three classes, under any quorums, bounds and steps: the count is asked what
# it would come to if one of them did otherwise.

VALUES = st.integers(0, 24)
LIES = range(25)


@dataclass(frozen=True)
class Profile:
    """A ballot on one number: each seat's class, whom it has delegated to (itself, if to nobody), and what it votes."""

    classes: tuple[str, ...]
    delegates: tuple[int, ...]
    votes: tuple[int | None, ...]
    status_quo: int
    rule: Constitution

    def outcome(self, tallied: Callable[..., int]) -> int:
        """What it comes to, counted so."""
        of = zip(self.classes, map(_address, self.delegates), strict=True)
        seats = [Seat(_address(n), *each) for n, each in enumerate(of)]
        cast = [SignedVote(_address(n), (vote,), 1, 1, b"") for n, vote in enumerate(self.votes) if vote is not None]
        weighed = [each.counted() for each in ballots.weighed(seats, cast)]
        return tallied(weighed, self.status_quo, ballots.census(seats), self.rule)

    def voting(self, seat: int, vote: int | None) -> Profile:
        """The same, but for one seat's vote."""
        return replace(self, votes=(*self.votes[:seat], vote, *self.votes[seat + 1 :]))


def _address(number: int) -> str:
    return f"0x{number + 1:040x}"


def by_median(votes: Sequence[Vote], status_quo: int, census: Mapping[str, int], rule: Constitution) -> int:
    return count(votes, {SHARE: status_quo}, census, rule).outcomes[SHARE].result


def by_mean(votes: Sequence[Vote], status_quo: int, census: Mapping[str, int], rule: Constitution) -> int:
    weight = sum(sum(vote.weight.values()) for vote in votes)
    mean = sum(vote.values[0] * sum(vote.weight.values()) for vote in votes) // weight if weight else status_quo
    return rule.bound(SHARE).clip(mean, status_quo)


@st.composite
def profiles(draw: st.DrawFn, **fixed: int) -> Profile:
    seats = draw(st.integers(1, 9))
    each = st.integers(0, seats - 1)
    lowest = draw(st.integers(0, 8))
    highest = draw(st.integers(lowest, 24))
    parts = st.integers(0, 10_000)
    rule = constitution(
        Bound(
            fixed.get("lowest", lowest), fixed.get("highest", highest), fixed.get("step_max", draw(st.integers(1, 12)))
        ),
        draw(parts),
        **{name: draw(st.sampled_from([0, 0, 3_000, 10_000])) for name in CLASSES},
    )
    bound = rule.bound(SHARE)
    return Profile(
        tuple(draw(st.sampled_from(CLASSES)) for _ in range(seats)),
        tuple(draw(st.one_of(st.just(n), each)) for n in range(seats)),
        tuple(draw(st.one_of(st.none(), VALUES)) for _ in range(seats)),
        draw(st.integers(bound.lowest, bound.highest)),
        rule,
    )


def gains(profile: Profile, wanted: int, tallied: Callable[..., int]) -> list[int | None]:
    """What the first seat would rather do than vote for what she wants: another number, or nothing (None)."""

    def distance(vote: int | None) -> int:
        return abs(profile.voting(0, vote).outcome(tallied) - wanted)

    honest = distance(wanted)
    return [vote for vote in (None, *LIES) if distance(vote) < honest]


@given(profiles(), VALUES)
def test_no_member_gains_by_another_number_than_she_wants_nor_by_staying_away_nor_by_leaving_it_to_her_delegate(
    profile: Profile, wanted: int
) -> None:
    assert gains(profile, wanted, by_median) == []


def test_over_thousands_of_profiles_nobody_gains_by_a_median_and_by_a_mean_nearly_always_somebody_does() -> None:
    chance = Random(1980)
    rule = constitution(Bound(0, 24, 24), 2_000, artist=3_000)
    gamed = {by_median: 0, by_mean: 0}
    for _ in range(1_500):
        seats = chance.randrange(3, 9)
        profile = Profile(
            tuple(chance.choice(CLASSES) for _ in range(seats)),
            tuple(chance.choice([n, n, chance.randrange(seats)]) for n in range(seats)),
            (None, *(chance.choice([None, *LIES, *LIES]) for _ in range(seats - 1))),
            chance.randrange(25),
            rule,
        )
        for tallied in gamed:
            gamed[tallied] += bool(gains(profile, chance.randrange(25), tallied))
    assert gamed[by_median] == 0
    assert gamed[by_mean] > 1_000


@given(profiles(), st.randoms(use_true_random=False))
def test_the_result_is_one_that_can_be_decided_whatever_the_order_of_votes(profile: Profile, random: Random) -> None:
    bound, found = profile.rule.bound(SHARE), profile.outcome(by_median)
    assert bound.permits(found)
    assert abs(found - profile.status_quo) <= bound.step_max
    mixed = [*range(len(profile.votes))]
    random.shuffle(mixed)
    renamed = Profile(
        tuple(profile.classes[n] for n in mixed),
        tuple(mixed.index(profile.delegates[n]) for n in mixed),
        tuple(profile.votes[n] for n in mixed),
        profile.status_quo,
        profile.rule,
    )
    assert renamed.outcome(by_median) == found


@given(profiles(), st.integers(0, 8), VALUES)
def test_who_votes_for_more_never_lowers_the_result(profile: Profile, seat: int, more: int) -> None:
    seat %= len(profile.votes)
    before = profile.votes[seat]
    if before is not None:
        raised = profile.voting(seat, before + more)
        assert raised.outcome(by_median) >= profile.outcome(by_median)


cuts = st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)).map(sorted)


@given(st.lists(st.tuples(cuts, st.integers(1, 4)), max_size=7), cuts, st.integers(0, 10_000))
def test_the_funds_cut_points_stay_in_order(
    votes: list[tuple[list[int], int]], before: list[int], quorum_bp: int
) -> None:
    rule = constitution(quorum_bp=quorum_bp)
    community, reserve = (rule.bound(name) for name in FUNDS)
    status_quo = community.nearest(before[0]), reserve.nearest(before[1])
    cast = [Vote(values, {"artist": weight}) for values, weight in votes]
    census = {"listener": 9, "artist": 28, "worker": 0}
    outcomes = count(cast, dict(zip(FUNDS, status_quo, strict=True)), census, rule).outcomes
    assert outcomes[FUNDS[0]].result <= outcomes[FUNDS[1]].result
    assert outcomes[FUNDS[0]].median <= outcomes[FUNDS[1]].median


@given(st.lists(st.tuples(st.integers(5_000, 9_000), st.integers(5, 12), st.integers(1, 3)), max_size=6))
def test_what_is_voted_on_together_comes_out_as_if_each_were_voted_on_alone(votes: list[tuple[int, int, int]]) -> None:
    census = {"listener": 20, "artist": 0, "worker": 0}

    def outcomes(*places: int) -> Mapping[str, Outcome]:
        status_quo = {name: before for at, (name, before) in enumerate([(SHARE, 7_000), ("plays", 9)]) if at in places}
        cast = [Vote([vote[at] for at in places], {"listener": vote[2]}) for vote in votes]
        return count(cast, status_quo, census, Constitution()).outcomes

    assert outcomes(0, 1) == {**outcomes(0), **outcomes(1)}
