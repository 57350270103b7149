"""Counting a ballot over a number: the lower weighted median, with the status quo filling up to the quorum.

With fixed phantom votes the median cannot be gamed: no member gains by voting anything but the
number she wants (H. Moulin, "On strategy-proofness and single peakedness", Public Choice 35, 1980).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vote:
    """A number wanted, and the weight its member had at the snapshot."""

    value: int
    weight: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the constitution lets a ballot decide: an interval, and the largest step from the value in force."""

    lowest: int
    highest: int
    step_max: int

    def clip(self, value: int, status_quo: int) -> int:
        """The nearest permitted value."""
        stepped = max(status_quo - self.step_max, min(status_quo + self.step_max, value))
        return max(self.lowest, min(self.highest, stepped))


@dataclass(frozen=True, slots=True)
class Tally:
    """A ballot's outcome: `median` before the bounds, `result` after them."""

    result: int
    median: int
    cast_weight: int
    phantom_weight: int


def quorum_weight(total_weight: int, quorum_bp: int) -> int:
    """The weight a quorum needs: `quorum_bp` of the total, rounded up."""
    return -(-total_weight * quorum_bp // 10_000)


def count(votes: Iterable[Vote], *, status_quo: int, quorum: int, bounds: Bounds) -> Tally:
    """The lower weighted median of the votes cast and of phantom weight at `status_quo` up to `quorum`.

    Votes outside the bounds count as the nearest bound would. With no vote and no quorum the
    status quo stays.
    """
    weights: dict[int, int] = {}
    for vote in votes:
        value = max(bounds.lowest, min(bounds.highest, vote.value))
        weights[value] = weights.get(value, 0) + vote.weight
    cast_weight = sum(weights.values())
    phantom_weight = max(0, quorum - cast_weight)
    weights[status_quo] = weights.get(status_quo, 0) + phantom_weight
    whole = cast_weight + phantom_weight
    median, below = status_quo, 0
    for value in sorted(weights):
        below += weights[value]
        if whole and 2 * below >= whole:
            median = value
            break
    return Tally(bounds.clip(median, status_quo), median, cast_weight, phantom_weight)
