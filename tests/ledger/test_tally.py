"""The tally: a lower weighted median with phantom votes, which no member can game."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.tally import Bounds, Tally, Vote, count, quorum_weight

WIDE = Bounds(lowest=0, highest=10_000, step_max=10_000)

values = st.integers(-50, 150)
votes = st.lists(st.builds(Vote, values, st.integers(1, 5)), max_size=8)
bounds = st.builds(
    lambda lowest, width, step: Bounds(lowest, lowest + width, step),
    st.integers(0, 50), st.integers(0, 50), st.integers(0, 60),
)  # fmt: skip
quorums = st.integers(0, 30)


def test_the_median_of_an_odd_number_is_the_middle_vote() -> None:
    outcome = count([Vote(9_000, 1), Vote(7_000, 1), Vote(6_000, 1)], status_quo=5_000, quorum=0, bounds=WIDE)
    assert outcome == Tally(result=7_000, median=7_000, cast_weight=3, phantom_weight=0)


def test_of_two_middle_votes_the_lower_counts() -> None:
    outcome = count([Vote(8_000, 1), Vote(6_000, 1)], status_quo=9_000, quorum=0, bounds=WIDE)
    assert outcome.result == 6_000


def test_a_vote_counts_by_its_weight() -> None:
    assert count([Vote(8_000, 3), Vote(6_000, 2)], status_quo=0, quorum=0, bounds=WIDE).result == 8_000


def test_the_status_quo_has_the_weight_that_is_missing_for_a_quorum() -> None:
    outcome = count([Vote(9_000, 2)], status_quo=7_000, quorum=5, bounds=WIDE)
    assert (outcome.result, outcome.cast_weight, outcome.phantom_weight) == (7_000, 2, 3)
    assert count([Vote(9_000, 3)], status_quo=7_000, quorum=5, bounds=WIDE).result == 9_000


@pytest.mark.parametrize("quorum", [0, 10])
def test_when_nobody_votes_the_status_quo_stays(quorum: int) -> None:
    outcome = count([], status_quo=7_000, quorum=quorum, bounds=Bounds(5_000, 9_000, 500))
    assert (outcome.result, outcome.median) == (7_000, 7_000)


def test_a_result_moves_by_no_more_than_the_largest_step() -> None:
    bounds = Bounds(5_000, 9_000, 500)
    assert count([Vote(9_000, 1)], status_quo=7_000, quorum=0, bounds=bounds).result == 7_500
    assert count([Vote(5_000, 1)], status_quo=7_000, quorum=0, bounds=bounds).result == 6_500
    assert count([Vote(9_999, 1)], status_quo=8_900, quorum=0, bounds=bounds).result == 9_000


def test_a_quorum_is_rounded_up() -> None:
    assert [quorum_weight(total, 2_000) for total in (0, 1, 5, 6, 10)] == [0, 1, 1, 2, 2]


@given(votes, st.integers(0, 100), quorums, bounds)
def test_the_result_is_within_the_bounds_and_the_step(
    votes: list[Vote], status_quo: int, quorum: int, bounds: Bounds
) -> None:
    status_quo = max(bounds.lowest, min(bounds.highest, status_quo))
    outcome = count(votes, status_quo=status_quo, quorum=quorum, bounds=bounds)
    assert bounds.lowest <= outcome.result <= bounds.highest
    assert abs(outcome.result - status_quo) <= bounds.step_max
    assert outcome.cast_weight + outcome.phantom_weight == max(quorum, sum(vote.weight for vote in votes))


@given(votes, st.integers(0, 100), quorums, st.randoms(use_true_random=False))
def test_the_order_of_votes_does_not_matter(votes: list[Vote], status_quo: int, quorum: int, random: Random) -> None:
    shuffled = list(votes)
    random.shuffle(shuffled)
    one, other = (count(order, status_quo=status_quo, quorum=quorum, bounds=WIDE) for order in (votes, shuffled))
    assert one == other


@given(votes, st.integers(0, 100), st.integers(1, 5), values, st.integers(0, 100), quorums, bounds)
def test_no_member_gains_by_voting_another_number_than_she_wants(
    others: list[Vote], wanted: int, weight: int, lie: int, status_quo: int, quorum: int, bounds: Bounds
) -> None:
    def distance(voted: int) -> int:
        ballot = [*others, Vote(voted, weight)]
        return abs(count(ballot, status_quo=status_quo, quorum=quorum, bounds=bounds).result - wanted)

    assert distance(wanted) <= distance(lie)


@given(votes, st.integers(0, 100), st.integers(1, 5), st.integers(0, 100), quorums, bounds)
def test_no_member_gains_by_staying_away(
    others: list[Vote], wanted: int, weight: int, status_quo: int, quorum: int, bounds: Bounds
) -> None:
    def distance(ballot: list[Vote]) -> int:
        return abs(count(ballot, status_quo=status_quo, quorum=quorum, bounds=bounds).result - wanted)

    assert distance([*others, Vote(wanted, weight)]) <= distance(others)
