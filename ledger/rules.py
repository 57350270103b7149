"""The rules of the service that members vote on: when a listen counts, and from what amount artists are paid."""

from __future__ import annotations

from dataclasses import dataclass

LISTEN_MS_MIN = 100


class UnsuitableRules(ValueError):
    """Payouts begin at one minor unit or more, and a listen counts after a tenth of a second or more."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Payees are paid from `payout_minimum_minor` up, in minor units of the founding currency; a play counts after
    `listen_ms_max` at the most (sooner, in a short track).
    """

    payout_minimum_minor: int = 1_000
    listen_ms_max: int = 45_000

    def __post_init__(self) -> None:
        if self.payout_minimum_minor < 1 or self.listen_ms_max < LISTEN_MS_MIN:
            raise UnsuitableRules(self.payout_minimum_minor, self.listen_ms_max)
