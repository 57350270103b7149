"""Adversaries who read the log and say which plays are of one listener: `python -m tests.transparency.linkers`.

**The game.** Of a line-up of LINED_UP plays one is the next play of the listener of a given play, the others are drawn
from all plays of other listeners. An adversary sees of each play what the public log has of it: the entry it is in,
with the entry's place and bytes, and which leaf of the entry's tree it is, though not that leaf's price. She has learnt
from as many such pairs as she likes in logs of other listeners with the same habits, with the truth told beside them.
Her success is the share of line-ups in which she names the right play; whoever knows nothing has 1 in LINED_UP.

**The measure.** The best guess from track, batch, count and sum alone is compared with that of those who use order,
time and sizes besides. Where what they add is noise, either is right and the other wrong equally often; so an adversary
does better if, of the line-ups that one of the two gets right, hers exceed the other's by more than MARGIN times the
square root of their number.

So that failing means something, the same adversary is let loose on a log as it could have been: each play an entry of
its own, told within the second.

The worlds are drawn from fixed seeds; their entries and trees are made as the service makes them, which
`test_linkers.py` holds against each other.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from uuid import UUID

from ledger import entries
from ledger.ids import uuid7
from ledger.sumtree import commitment, root_of
from ledger.tariff import Tariff
from ledger.tiles import WIDTH

PAGE = Path(__file__).resolve().parents[2] / "docs" / "privacy.md"
TABLE = re.compile(r"(?<=<!-- linkers -->\n)(.*?)(?=<!-- end -->)", re.DOTALL)

LISTENERS = (10, 50, 500)
BATCHES = 6
LINED_UP = 20
LINE_UPS = 2_000
LESSONS = 20_000
RARE = 30
"""What was seen less often in the lessons is chance, and weighs nothing."""
MARGIN = 3.0
WORLDS = {10: 40, 50: 10, 500: 2}
"""Independent logs of so many listeners, so that few listeners give as many line-ups as many do."""

DAY_S = 86_400
EPOCH = 24_314
FIRST_DAY_S = 20_500 * DAY_S
TRACKS = 200
FAVOURITES = 12
FAVOURITE_SHARE = 0.7
PLAYS_A_DAY = (2, 12)
LENGTH_S = (120, 300)
PAUSE_S_MAX = 20
HOUR_S = 3_600


@dataclass(frozen=True, slots=True)
class Play:
    """A play as only its listener and the co-op know it."""

    play: UUID
    listener: UUID
    track: UUID
    ordinal: int
    price_micro: int
    salt: bytes
    at_s: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A play as everybody sees it: a leaf of an entry's tree."""

    track: str
    batch: int
    count: int
    sum_micro: int
    index: int
    """Of the entry in the log."""
    leaf: int
    opened_at: int
    closed_at: int
    size: int
    """Of the entry, in bytes."""


# --- A log of listeners with habits ---


def plays_of(listeners: int, seed: str) -> list[Play]:
    """Some days of listeners who come at about the same hour, to what they like and what everybody likes."""
    rng, tariff = random.Random(seed), Tariff()
    tracks = [UUID(int=rng.getrandbits(128), version=4) for _ in range(TRACKS)]
    popularity = [1 / (rank + 1) for rank in range(TRACKS)]
    plays = []
    for _ in range(listeners):
        listener = UUID(int=rng.getrandbits(128), version=4)
        favourites = rng.choices(tracks, popularity, k=FAVOURITES)
        hour_s, heard = rng.randrange(6, 22) * HOUR_S, Counter[UUID]()
        for day in range(BATCHES):
            at_s = FIRST_DAY_S + day * DAY_S + hour_s + rng.randrange(HOUR_S)
            for _ in range(rng.randint(*PLAYS_A_DAY)):
                is_favourite = rng.random() < FAVOURITE_SHARE
                track = rng.choice(favourites) if is_favourite else rng.choices(tracks, popularity)[0]
                at_s += rng.randint(*LENGTH_S) + rng.randrange(PAUSE_S_MAX)
                if heard[track] == tariff.plays:
                    continue  # it is hers, and free
                heard[track] += 1
                price_micro = tariff.first_price_micro << (heard[track] - 1)
                play_id = uuid7(at_s * 1_000, rng.getrandbits(80))
                plays.append(Play(play_id, listener, track, heard[track], price_micro, rng.randbytes(32), at_s))
    return plays


def told(batch: int, epoch: int, plays: Iterable[Play]) -> Iterator[tuple[bytes, list[Play]]]:
    """The `plays` entries of a batch, each with its plays in the order of its leaves."""

    def committed(play: Play) -> bytes:
        opening = entries.play_opening(
            play.play, play.listener, play.track, epoch, play.ordinal, "play", play.price_micro
        )
        return commitment(play.salt, opening)

    by_track = sorted(plays, key=lambda play: play.track.bytes)
    for track, of_track in groupby(by_track, key=lambda play: play.track):
        leaves = sorted(((committed(play), play) for play in of_track), key=lambda leaf: leaf[0])
        root = root_of(entries.PLAYS_TREE, ((name, (play.price_micro,)) for name, play in leaves))
        entry = {
            "batch": batch,
            "epoch": epoch,
            "track": str(track),
            "count": root.count,
            "sum_micro": root.sums[0],
            "root": root.hash.hex(),
        }
        yield entries.encode(entries.PLAYS, entry), [play for _, play in leaves]


def published(plays: Sequence[Play], batch_s: int) -> dict[UUID, Seen]:
    """What everybody sees of each play once batches of so many seconds are told, one after the other."""
    seen: dict[UUID, Seen] = {}
    index = 0
    in_time = sorted(plays, key=lambda play: play.at_s)
    for number, (began, in_batch) in enumerate(groupby(in_time, key=lambda play: play.at_s // batch_s * batch_s), 1):
        index += 1  # the batch's own entry
        for data, leaves in told(number, EPOCH, in_batch):
            sum_micro = sum(play.price_micro for play in leaves)
            for leaf, play in enumerate(leaves):
                seen[play.play] = Seen(
                    str(play.track), number, len(leaves), sum_micro, index, leaf, began, began + batch_s, len(data)
                )
            index += 1
    return seen


# --- Adversaries ---

Clue = Callable[[Seen, Seen], object]


def _magnitude(number: int) -> int:
    return number.bit_length()


def by_content(one: Seen, other: Seen) -> object:
    """Track, batch, count and sum: how they relate, and how much they tell by themselves."""
    mean, other_mean = (_magnitude(seen.sum_micro // seen.count) for seen in (one, other))
    return (
        one.track == other.track,
        min(max(other.batch - one.batch, -2), 2),
        min(_magnitude(one.count), 5),
        min(_magnitude(other.count), 5),
        min(max(other_mean - mean, -3), 3),
    )


def _near(distance: int) -> int:
    return int(math.copysign(_magnitude(abs(distance)), distance))


def by_order(one: Seen, other: Seen) -> object:
    """How far apart the entries stand in the log, and the leaves in their trees."""
    if one.index == other.index:
        return "leaves", _near(other.leaf - one.leaf)
    return "entries", _near(other.index - one.index)


def by_time(one: Seen, other: Seen) -> object:
    """How long one was told after the other, and when."""
    return _near(other.opened_at - one.closed_at), one.closed_at % DAY_S // HOUR_S == other.closed_at % DAY_S // HOUR_S


def by_sizes(one: Seen, other: Seen) -> object:
    """How long the entries are, and how the files of the log part them."""
    return min(max(other.size - one.size, -3), 3), other.index // WIDTH == one.index // WIDTH


ADVERSARIES: dict[str, tuple[Clue, ...]] = {
    "order": (by_order,),
    "time": (by_time,),
    "sizes": (by_sizes,),
    "all of it": (by_order, by_time, by_sizes),
}


Pairs = Sequence[tuple[Seen, Seen]]


class Weights:
    """How much likelier each value of a clue is for two plays of one listener, as learnt from examples.

    Within what is known already: else a clue would tell again what the content has told.
    """

    def __init__(self, clue: Clue, within: Clue, same: Pairs, others: Pairs) -> None:
        self._clue, self._within = clue, within
        ours, theirs = (Counter((within(*pair), clue(*pair)) for pair in pairs) for pairs in (same, others))
        ours_in, theirs_in = (Counter(within(*pair) for pair in pairs) for pairs in (same, others))
        self._weights = {
            cell: math.log((ours[cell] + 0.5) / (ours_in[cell[0]] + 1))
            - math.log((theirs[cell] + 0.5) / (theirs_in[cell[0]] + 1))
            for cell in ours | theirs
            if ours[cell] + theirs[cell] >= RARE
        }

    def of(self, one: Seen, other: Seen) -> float:
        """The logarithm of it; nothing for what is rare."""
        return self._weights.get((self._within(one, other), self._clue(one, other)), 0.0)


@dataclass(frozen=True, slots=True)
class LineUp:
    """A play, and those of which one, at `right`, is its listener's next."""

    of: Seen
    lined_up: list[Seen]
    right: int


def line_ups(
    plays: Sequence[Play], seen: dict[UUID, Seen], count: int, lined_up: int, rng: random.Random
) -> list[LineUp]:
    """So many line-ups of so many plays from one log."""
    by_listener = [list(of_one) for _, of_one in groupby(plays, key=lambda play: play.listener)]
    follows = [pair for of_one in by_listener for pair in pairwise(of_one)]
    made = []
    for one, following in rng.choices(follows, k=count):
        decoys: list[Play] = []
        while len(decoys) < lined_up - 1:
            decoy = rng.choice(plays)
            if decoy.listener != one.listener:
                decoys.append(decoy)
        right = rng.randrange(lined_up)
        shown = [seen[decoy.play] for decoy in decoys]
        shown.insert(right, seen[following.play])
        made.append(LineUp(seen[one.play], shown, right))
    return made


def _drawn(listeners: int, batch_s: int, purpose: str, count: int, lined_up: int = LINED_UP) -> list[LineUp]:
    worlds = WORLDS[listeners]
    made = []
    for world in range(worlds):
        seed = f"{purpose} {listeners} {world}"
        plays = plays_of(listeners, seed)
        rng = random.Random(f"line-ups {seed}")
        made += line_ups(plays, published(plays, batch_s), count // worlds, lined_up, rng)
    return made


def _named(weights: Sequence[Weights], line_up: LineUp, chances: Sequence[float]) -> bool:
    """Whether the adversary names the right play; between equals she tosses the same coins as all others."""
    scores = [
        (sum(weight.of(line_up.of, other) for weight in weights), chance)
        for other, chance in zip(line_up.lined_up, chances, strict=True)
    ]
    return max(range(LINED_UP), key=scores.__getitem__) == line_up.right


def _nothing(_one: Seen, _other: Seen) -> object:
    return None


# --- The figures ---


@dataclass(frozen=True, slots=True)
class Figures:
    """Success rates among so many listeners; `gained` and `lost`: line-ups that only one of two gets right."""

    listeners: int
    plays: int
    by_content: float
    with_clues: dict[str, float]
    gained: dict[str, int]
    lost: dict[str, int]
    each_an_entry: float

    def does_better(self, adversary: str) -> bool:
        """Whether an adversary finds more than the best guess, beyond what chance allows."""
        gained, lost = self.gained[adversary], self.lost[adversary]
        return gained - lost > MARGIN * math.sqrt(gained + lost)


def figures(listeners: int) -> Figures:
    """What adversaries find in the logs of so many listeners."""
    lessons, games = _lessons(listeners, DAY_S), _drawn(listeners, DAY_S, "game", LINE_UPS)
    tossed = random.Random(f"coins {listeners}")
    chances = [[tossed.random() for _ in range(LINED_UP)] for _ in games]
    content = Weights(by_content, _nothing, *lessons)
    right = [_named([content], game, chance) for game, chance in zip(games, chances, strict=True)]
    rates, gained, lost = {}, {}, {}
    for name, clues in ADVERSARIES.items():
        weights = [content, *(Weights(clue, by_content, *lessons) for clue in clues)]
        found = [_named(weights, game, chance) for game, chance in zip(games, chances, strict=True)]
        rates[name] = sum(found) / len(found)
        gained[name] = sum(mine and not plain for mine, plain in zip(found, right, strict=True))
        lost[name] = sum(plain and not mine for mine, plain in zip(found, right, strict=True))
    return Figures(
        listeners=listeners,
        plays=sum(len(plays_of(listeners, f"game {listeners} {world}")) for world in range(WORLDS[listeners])),
        by_content=sum(right) / len(right),
        with_clues=rates,
        gained=gained,
        lost=lost,
        each_an_entry=_each_an_entry(listeners, chances),
    )


def _lessons(listeners: int, batch_s: int) -> tuple[list[tuple[Seen, Seen]], list[tuple[Seen, Seen]]]:
    """Pairs of one listener, and of two."""
    learnt = _drawn(listeners, batch_s, "lesson", LESSONS, lined_up=2)
    same = [(lesson.of, lesson.lined_up[lesson.right]) for lesson in learnt]
    return same, [(lesson.of, lesson.lined_up[lesson.right - 1]) for lesson in learnt]


def _each_an_entry(listeners: int, chances: Sequence[Sequence[float]]) -> float:
    """The success of whoever uses everything, were each play told within the second."""
    lessons, games = _lessons(listeners, 1), _drawn(listeners, 1, "game", LINE_UPS)
    clues = ADVERSARIES["all of it"]
    weights = [Weights(by_content, _nothing, *lessons), *(Weights(clue, by_content, *lessons) for clue in clues)]
    return sum(_named(weights, game, chance) for game, chance in zip(games, chances, strict=True)) / len(games)


def table(found: Sequence[Figures]) -> str:
    """The figures as they stand in docs/privacy.md."""
    heads = ["listeners", "plays", "knowing nothing", "track, batch, count, sum", *(f"… and {n}" for n in ADVERSARIES)]
    heads.append("each play told within the second")
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for each in found:
        rates = [1 / LINED_UP, each.by_content, *each.with_clues.values(), each.each_an_entry]
        cells = [str(each.listeners), f"{each.plays:,}", *(f"{rate:.1%}" for rate in rates)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, and write it into the page."""
    made = table([figures(listeners) for listeners in LISTENERS])
    print(made)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(TABLE.sub(lambda _: f"{made}\n", page), encoding="utf-8")


if __name__ == "__main__":
    main()
