"""Counting a ballot over numbers: of each the lower weighted median, with the status quo filling up to the quorums.

With fixed phantom votes the median cannot be gamed: no member gains by voting anything but the number she wants, nor by
staying away (H. Moulin, "On strategy-proofness and single peakedness", Public Choice 35, 1980). A mean is gamed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ledger.constitution import Bound, Constitution
from ledger.money import BASIS_POINTS


@dataclass(frozen=True, slots=True)
class Vote:
    """The numbers wanted, in the order of the ballot's parameters, and the seats that the vote counts for, by their own
    class.
    """

    values: Sequence[int]
    weight: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a ballot came to on a parameter: the `median` of all weight, and the `result` the constitution permits."""

    median: int
    result: int


@dataclass(frozen=True, slots=True)
class Tally:
    """A ballot's outcomes by parameter, the weight that was cast by class, and that of the status quo's phantoms."""

    outcomes: Mapping[str, Outcome]
    cast: Mapping[str, int]
    phantom_weight: int

    @property
    def cast_weight(self) -> int:
        """All weight that was cast."""
        return sum(self.cast.values())


def count(
    votes: Iterable[Vote], status_quo: Mapping[str, int], census: Mapping[str, int], constitution: Constitution
) -> Tally:
    """The lower weighted median of each parameter of `status_quo`, over the votes and the phantoms.

    `census` is the weight of all who may vote, by class. Votes beyond the bounds count as the nearest number that may
    be voted for. With no weight at all the status quo stays.
    """
    bounds = [constitution.bound(parameter) for parameter in status_quo]
    weights: list[dict[int, int]] = [{} for _ in bounds]
    cast = dict.fromkeys(census, 0)
    for vote in votes:
        weight = 0
        for member_class, seats in vote.weight.items():
            cast[member_class] += seats
            weight += seats
        for wanted, value in zip(weights, vote.values, strict=True):
            wanted[value] = wanted.get(value, 0) + weight
    phantom_weight = phantoms(cast, census, constitution)
    outcomes = {}
    for (parameter, before), bound, wanted in zip(status_quo.items(), bounds, weights, strict=True):
        median = _median(wanted, bound, before, phantom_weight)
        outcomes[parameter] = Outcome(median, bound.clip(median, before))
    return Tally(outcomes, cast, phantom_weight)


def phantoms(cast: Mapping[str, int], census: Mapping[str, int], constitution: Constitution) -> int:
    """The weight that the status quo has of itself: what is missing to the quorum or, if that is more, to the classes'
    quorums together.
    """
    missing = quorum(sum(census.values()), constitution.quorum_bp) - sum(cast.values())
    missing_by_class = sum(
        max(0, quorum(weight, constitution.class_quorum_bp[member_class]) - cast[member_class])
        for member_class, weight in census.items()
    )
    return max(missing, missing_by_class)


def quorum(weight: int, quorum_bp: int) -> int:
    """`quorum_bp` of a weight, rounded up."""
    return -(-weight * quorum_bp // BASIS_POINTS)


def _median(wanted: Mapping[int, int], bound: Bound, status_quo: int, phantom_weight: int) -> int:
    weights = {status_quo: phantom_weight}
    for value, weight in wanted.items():
        nearest = bound.nearest(value)
        weights[nearest] = weights.get(nearest, 0) + weight
    whole, below = sum(weights.values()), 0
    for value in sorted(weights):
        below += weights[value]
        if whole and 2 * below >= whole:
            return value
    return status_quo
