"""Stream to own: the price of the n-th paid play, and what is left until the track is owned.

The curve is Resonate's: each play costs twice the one before, and after the last the listener
owns the track. The count never restarts. Under any tariff a listener's progress is (plays, paid).
"""

from __future__ import annotations

from dataclasses import dataclass

from ledger.money import PRICE_QUANTUM_MICRO

PLAYS_MAX = 16
FIRST_PRICE_MICRO_MAX = 1_000_000


class UnsuitableTariff(ValueError):
    """A tariff has 1 to 16 plays and a first price of whole thousandths of a credit."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a listener has paid for a track so far: number of paid plays, and micro-credits paid in all."""

    plays: int = 0
    paid_micro: int = 0
    owned: bool = False


@dataclass(frozen=True, slots=True)
class Tariff:
    """p(n) = first_price × 2^(n−1) micro-credits for n = 1…plays."""

    first_price_micro: int = 2_000
    plays: int = 9

    def __post_init__(self) -> None:
        whole = self.first_price_micro % PRICE_QUANTUM_MICRO == 0
        if not (1 <= self.plays <= PLAYS_MAX and 0 < self.first_price_micro <= FIRST_PRICE_MICRO_MAX and whole):
            raise UnsuitableTariff(self.first_price_micro, self.plays)

    @property
    def total_micro(self) -> int:
        """What all plays of the curve cost together."""
        return self.first_price_micro * ((1 << self.plays) - 1)

    def price_micro(self, ordinal: int) -> int:
        """p(ordinal), zero beyond the curve. Ordinals count from 1."""
        return self.first_price_micro << (ordinal - 1) if 1 <= ordinal <= self.plays else 0

    def owns(self, progress: Progress) -> bool:
        """Whether this much progress is ownership. An owner stays an owner under any later tariff."""
        return progress.owned or progress.plays >= self.plays or progress.paid_micro >= self.total_micro

    def left_micro(self, progress: Progress) -> int:
        """What is left to own the track: never more than the plays still to come would cost."""
        if self.owns(progress):
            return 0
        to_come_micro = self.first_price_micro * ((1 << self.plays) - (1 << progress.plays))
        return min(self.total_micro - progress.paid_micro, to_come_micro)

    def next_price_micro(self, progress: Progress) -> int:
        """The price of the next play; zero for an owner. Never more than what is left."""
        return min(self.price_micro(progress.plays + 1), self.left_micro(progress))

    def after_play(self, progress: Progress) -> Progress:
        """Progress once the next play is paid."""
        paid = Progress(progress.plays + 1, progress.paid_micro + self.next_price_micro(progress))
        return Progress(paid.plays, paid.paid_micro, self.owns(paid))

    def after_buyout(self, progress: Progress) -> Progress:
        """Progress once what is left is paid at one go. A buy-out is no play: the count stays."""
        return Progress(progress.plays, progress.paid_micro + self.left_micro(progress), True)
