"""Whether a play counts: the decision taken under the listener's lock. Pure.

A claim names what its quote promised. It is weighed against what the listener holds and has
done, settled and not yet settled together, so nobody can spend what is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from ledger.tariff import Progress, Tariff

Kind = Literal["play", "buyout"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A play or buy-out asked to be recorded, with the ordinal and price its listener was quoted."""

    play_id: UUID
    listener_id: UUID
    track_id: UUID
    kind: Kind
    ordinal: int
    price_micro: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """The play counts: this is its row."""

    claim: Claim
    completes: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The play does not count, and why. `ordinal` and `price_micro` are what it would be now."""

    claim: Claim
    reason: Literal["insufficient-credit", "over-budget", "stopped-before", "price-moved", "already-owned", "id-reused"]
    ordinal: int = 0
    price_micro: int = 0
    missing_micro: int = 0


Decision = Recorded | Refused


@dataclass(slots=True)
class Standing:
    """What a listener can still spend: balance less what is recorded and unsettled, and this month's spending."""

    balance_micro: int
    spent_in_month_micro: int = 0
    monthly_budget_micro: int | None = None
    stop_before_ordinal: int | None = None
    progress: dict[UUID, Progress] = field(default_factory=dict)


def quote(kind: Kind, progress: Progress, tariff: Tariff) -> tuple[int, int]:
    """(ordinal, price in micro-credits) of the next play or of the buy-out."""
    price_micro = tariff.next_price_micro(progress) if kind == "play" else tariff.left_micro(progress)
    return progress.plays + 1, price_micro


def decide(claim: Claim, standing: Standing, tariff: Tariff) -> Decision:
    """Record or refuse one claim. Changes nothing; see `apply`."""
    progress = standing.progress.get(claim.track_id, Progress())
    if tariff.owns(progress):
        return Refused(claim, "already-owned")
    ordinal, price_micro = quote(claim.kind, progress, tariff)
    if (ordinal, price_micro) != (claim.ordinal, claim.price_micro):
        return Refused(claim, "price-moved", ordinal, price_micro)
    limit, budget_micro = standing.stop_before_ordinal, standing.monthly_budget_micro
    if claim.kind == "play" and limit is not None and ordinal >= limit:
        return Refused(claim, "stopped-before", ordinal, price_micro)
    if budget_micro is not None and (over := standing.spent_in_month_micro + price_micro - budget_micro) > 0:
        return Refused(claim, "over-budget", ordinal, price_micro, over)
    if price_micro > standing.balance_micro:
        return Refused(claim, "insufficient-credit", ordinal, price_micro, price_micro - standing.balance_micro)
    after = tariff.after_play(progress) if claim.kind == "play" else tariff.after_buyout(progress)
    return Recorded(claim, after.owned)


def apply(recorded: Recorded, standing: Standing, tariff: Tariff) -> None:
    """Take a recorded play into the standing, so that the next claim of the same batch sees it."""
    claim = recorded.claim
    progress = standing.progress.get(claim.track_id, Progress())
    after = tariff.after_play(progress) if claim.kind == "play" else tariff.after_buyout(progress)
    standing.progress[claim.track_id] = after
    standing.balance_micro -= claim.price_micro
    standing.spent_in_month_micro += claim.price_micro


def decide_batch(
    claims: Sequence[Claim], standings: dict[UUID, Standing], tariff_in: Callable[[int], Tariff]
) -> list[Decision]:
    """Decide claims in order, each seeing those before it. `tariff_in` gives an epoch's tariff."""
    decisions: list[Decision] = []
    for claim in claims:
        standing, tariff = standings[claim.listener_id], tariff_in(claim.epoch)
        decision = decide(claim, standing, tariff)
        if isinstance(decision, Recorded):
            apply(decision, standing, tariff)
        decisions.append(decision)
    return decisions
