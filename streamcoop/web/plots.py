"""The geometry of plots that are drawn as SVG: points as its attributes have them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 600.0
HEIGHT = 240.0
# Of 255: noise is not drawn as if it were music.
QUIETEST = 32


@dataclass(frozen=True, slots=True)
class Band:
    """One layer of a stack, as the points of a polygon."""

    name: str
    points: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One piece of a bar, as a rectangle."""

    name: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line and the marks on it."""

    name: str
    points: str
    marks: tuple[tuple[float, float], ...]


def place(value: float, lowest: float, highest: float) -> float:
    """Where on the width a value is."""
    return round(WIDTH * (value - lowest) / (highest - lowest), 2) if highest > lowest else WIDTH / 2


def stack(names: Sequence[str], across: Sequence[float], layers: Sequence[Sequence[float]]) -> list[Band]:
    """Layers upon each other, the first at the bottom; `layers` has a row for each place in `across`."""
    highest = max((sum(row) for row in layers), default=0) or 1
    places = [place(value, across[0], across[-1]) for value in across]
    bands, below = [], [0.0] * len(across)
    for at, name in enumerate(names):
        above = [low + row[at] for low, row in zip(below, layers, strict=True)]
        there = [(x, _up(level, highest)) for x, level in zip(places, above, strict=True)]
        back = [(x, _up(level, highest)) for x, level in zip(places, below, strict=True)]
        bands.append(Band(name, _points([*there, *reversed(back)])))
        below = above
    return bands


def bars(names: Sequence[str], rows: Sequence[Sequence[float]], gap: float = 0.25) -> list[Bar]:
    """A stacked bar for each row, side by side; what is nothing or less is left out."""
    highest = max((sum(max(part, 0) for part in row) for row in rows), default=0) or 1
    step = WIDTH / max(len(rows), 1)
    made = []
    for at, row in enumerate(rows):
        level = 0.0
        for name, part in zip(names, row, strict=True):
            if part > 0:
                height = round(HEIGHT * part / highest, 2)
                level += height
                x, width = round((at + gap / 2) * step, 2), round(step * (1 - gap), 2)
                made.append(Bar(name, x, round(HEIGHT - level, 2), width, height))
    return made


def lines(named: Sequence[tuple[str, Sequence[float]]]) -> list[Line]:
    """Lines over the same steps from left to right, all on one scale from nothing up."""
    highest = max((value for _, values in named for value in values), default=0) or 1
    longest = max((len(values) for _, values in named), default=1)
    made = []
    for name, values in named:
        marks = tuple((place(at, 0, max(longest - 1, 1)), _up(value, highest)) for at, value in enumerate(values))
        made.append(Line(name, _points(marks), marks))
    return made


def wave(peaks: Sequence[int]) -> str:
    """How loud something is from left to right, as the path of a bar each, in a box as wide as there are and 100 high.

    The loudest reaches the edges, unless there is hardly a sound.
    """
    loudest = max((*peaks, QUIETEST))
    bars = []
    for at, peak in enumerate(peaks):
        height = max(2, round(100 * peak / loudest))
        bars.append(f"M{at}.15,{50 - height / 2:g}h.7v{height}h-.7z")
    return "".join(bars)


def _up(level: float, highest: float) -> float:
    return round(HEIGHT * (1 - level / highest), 2)


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in places)
