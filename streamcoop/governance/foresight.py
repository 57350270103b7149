"""What other numbers would have meant for an epoch that is closed: by the same functions that closed it. Pure.

Nothing here knows what people would have done otherwise: the plays are those that were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ledger.constitution import FUNDS, Bound
from ledger.money import allocate
from ledger.rates import ARTISTS, COMMUNITY, OPERATIONS, RESERVE, Rates
from ledger.tariff import Tariff

PARTS = (ARTISTS, COMMUNITY, RESERVE, OPERATIONS)
POINTS = 9


@dataclass(frozen=True, slots=True)
class Shared:
    """Net income as a number would have shared it: money micro-units by part, in the order of PARTS."""

    value: int
    parts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Curve:
    """What plays one to the last would cost, and all of them together, in micro-credits."""

    value: int
    prices: tuple[int, ...]
    total_micro: int

    @property
    def plays(self) -> int:
        """How many plays make it owned."""
        return len(self.prices)


def shared(net_micro: int, rates: Rates, parameter: str, values: Sequence[int], epoch: int) -> list[Shared]:
    """Net income as each of these values of one rate would have shared it, all else as it was.

    A close shares track by track and rounds each; of the whole the difference is a millionth per track at the most.
    Where one of the funds' cut points would pass the other, the other goes along.
    """
    return [Shared(value, _allocated(net_micro, _with(rates, parameter, value), epoch)) for value in values]


def _allocated(net_micro: int, rates: Rates, epoch: int) -> dict[str, int]:
    parts = allocate(net_micro, rates.weights(), tie_break=str(epoch))
    return {part: parts[part] for part in PARTS}


def _with(rates: Rates, parameter: str, value: int) -> Rates:
    community, reserve = FUNDS
    if parameter == community:
        return replace(rates, community_cut_bp=value, reserve_cut_bp=max(value, rates.reserve_cut_bp))
    if parameter == reserve:
        return replace(rates, reserve_cut_bp=value, community_cut_bp=min(value, rates.community_cut_bp))
    return replace(rates, **{parameter: value})


def curves(tariff: Tariff, parameter: str, values: Sequence[int]) -> list[Curve]:
    """What a track would cost, play by play, at each of these values of one of the tariff's numbers."""
    made = [replace(tariff, **{parameter: value}) for value in values]
    return [
        Curve(value, tuple(each.price_micro(play) for play in range(1, each.plays + 1)), each.total_micro)
        for value, each in zip(values, made, strict=True)
    ]


def spread(bound: Bound, points: int = POINTS) -> list[int]:
    """So many values from the lowest to the highest that may be voted for, about equally far apart."""
    steps = (bound.highest - bound.lowest) // bound.quantum
    return sorted({bound.lowest + steps * point // (points - 1) * bound.quantum for point in range(points)})


def reachable(bound: Bound, status_quo: int) -> list[int]:
    """The furthest that one ballot can go down, what holds, and the furthest it can go up."""
    ends = (bound.clip(bound.lowest, status_quo), status_quo, bound.clip(bound.highest, status_quo))
    return sorted(set(ends))
