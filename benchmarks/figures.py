"""A figure, what it is measured against, and the bar it has to reach."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

# Medians of so many runs; a quick run is for seeing that all of it works, not for quoting.
RUNS = 5
RUNS_QUICK = 1


@dataclass(frozen=True, slots=True)
class Bar:
    """What a figure must reach: at least or at most `limit`, as itself or as a ratio to its control."""

    sense: Literal["≥", "≤"]
    limit: float
    of: Literal["value", "ratio"]

    def holds(self, figure: Figure) -> bool:
        """Whether the figure reaches it."""
        reached = figure.value if self.of == "value" else figure.ratio
        if reached is None:
            return False
        return reached >= self.limit if self.sense == "≥" else reached <= self.limit

    def told(self, unit: str) -> str:
        """The bar as people read it."""
        return f"{self.sense} {self.limit:,g} {unit if self.of == 'value' else '× control'}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure: the median of a run's repetitions, beside its control's. `bar` None: told, not judged."""

    work: str
    value: float
    unit: str
    control: str | None = None
    control_value: float | None = None
    bar: Bar | None = None

    @property
    def ratio(self) -> float | None:
        """Value ÷ control."""
        return self.value / self.control_value if self.control_value else None

    @property
    def holds(self) -> bool | None:
        """Whether the bar is reached; None without one."""
        return None if self.bar is None else self.bar.holds(self)

    def as_json(self) -> dict[str, Any]:
        """As it stands in `build/bench.json`."""
        return {
            "work": self.work,
            "value": self.value,
            "unit": self.unit,
            "control": self.control,
            "control_value": self.control_value,
            "ratio": self.ratio,
            "bar": self.bar.told(self.unit) if self.bar else None,
            "holds": self.holds,
        }


@dataclass(frozen=True, slots=True)
class Bench:
    """What a benchmark is given: how long it may take, the seed of its synthetic data, and a way to tell progress."""

    quick: bool
    seed: int
    say: Callable[[str], None]

    @property
    def runs(self) -> int:
        """How often to repeat what a median is taken of."""
        return RUNS_QUICK if self.quick else RUNS

    def size(self, full: int, quick: int) -> int:
        """An amount of work, by the kind of run."""
        return quick if self.quick else full


def alternating(runs: int, *measures: Callable[[], float]) -> list[float]:
    """The median of each measure, taken in turn so that a machine which slows down slows them all."""
    taken: list[list[float]] = [[] for _ in measures]
    for _ in range(runs):
        for values, measure in zip(taken, measures, strict=True):
            values.append(measure())
    return [statistics.median(values) for values in taken]


def at_least(limit: float, of: Literal["value", "ratio"] = "value") -> Bar:
    """A bar that is reached from above."""
    return Bar("≥", limit, of)


def at_most(limit: float, of: Literal["value", "ratio"] = "value") -> Bar:
    """A bar that is reached from below."""
    return Bar("≤", limit, of)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many per cent do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]
