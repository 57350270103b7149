"""Integer money: micro-units, the value of credits, and allocation that conserves.

There are two assets. Credits are counted in micro-credits (1 credit = 1,000,000) and money in
micro-units of the founding currency (1 EUR = 1,000,000). Nothing here divides into a fraction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from math import gcd
from typing import TypeVar

from ledger.errors import SharesDoNotAddUp

MICRO = 1_000_000
BASIS_POINTS = 10_000

# Prices are whole multiples of this many micro-credits, and a credit's price is checked at
# founding to make such a multiple worth a whole number of micro-units of money.
PRICE_QUANTUM_MICRO = 1_000

Key = TypeVar("Key", bound=Hashable)


class UnsuitableCreditPrice(ValueError):
    """The price of a credit must make a thousandth of a credit a whole number of micro-units of money."""


@dataclass(frozen=True, slots=True)
class CreditPrice:
    """The fixed gross price of one credit, in micro-units of money.

    Chosen so that every price of the tariff has an exact value in money: credits are
    converted to money and back without a remainder, for ever.
    """

    money_micro: int

    def __post_init__(self) -> None:
        if self.money_micro <= 0 or self.money_micro * PRICE_QUANTUM_MICRO % MICRO:
            raise UnsuitableCreditPrice(self.money_micro)

    def value_micro(self, credits_micro: int) -> int:
        """The money that so many micro-credits are worth. Raises ValueError where that is no whole number."""
        value, rest = divmod(credits_micro * self.money_micro, MICRO)
        if rest:
            raise ValueError(f"{credits_micro} micro-credits have no exact value at {self.money_micro}")
        return value

    def credits_for(self, money_micro: int) -> tuple[int, int]:
        """(micro-credits bought, money left over) for a payment: the left-over buys no exact number of credits."""
        common = gcd(self.money_micro, MICRO)
        money_step, credit_step = self.money_micro // common, MICRO // common
        steps, left_micro = divmod(money_micro, money_step)
        return steps * credit_step, left_micro


def allocate(amount: int, weights: Mapping[Key, int], *, tie_break: str) -> dict[Key, int]:
    """Divide `amount` over `weights` so that the parts add up to it exactly.

    Largest remainder (Hamilton's method): each part is the exact share rounded down, and the
    units left go to the largest remainders, one each. Ties fall by SHA-256(tie_break ‖ key), so
    that no payee gets the dust for ever; `tie_break` is the epoch. A weight of zero gets nothing.

    Raises SharesDoNotAddUp for a negative amount or weight, or when all weights are zero.
    """
    whole = sum(weights.values())
    if amount < 0 or whole <= 0 or min(weights.values()) < 0:
        raise SharesDoNotAddUp(amount=amount, weights=dict(weights))
    parts: dict[Key, int] = {}
    remainders: list[tuple[int, Key]] = []
    left = amount
    for key, weight in weights.items():
        part, remainder = divmod(amount * weight, whole)
        parts[key] = part
        left -= part
        if remainder:
            remainders.append((remainder, key))
    if left:
        remainders.sort(key=lambda entry: (-entry[0], _tie(tie_break, entry[1])))
        for _, key in remainders[:left]:
            parts[key] += 1
    return parts


def _tie(tie_break: str, key: Hashable) -> bytes:
    return hashlib.sha256(f"{tie_break}\n{key}".encode()).digest()
