"""Payout rates and net factors: what stands between what listeners paid and what each fund and payee gets.

Both are versioned by the epoch they take effect in, and published.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ledger.errors import SharesDoNotAddUp
from ledger.money import BASIS_POINTS

ARTISTS = "artists"
COMMUNITY = "coop:community"
RESERVE = "coop:reserve"
OPERATIONS = "coop:operations"

VAT = "tax:vat"
FEES = "fees:payments"
LICENSING = "licensing:"
NET = "net"


@dataclass(frozen=True, slots=True)
class Rates:
    """How net income is shared: the artists' share of it, and the co-op's part over its funds.

    The funds are cumulative cut points of the co-op's part (0 ≤ community ≤ reserve ≤ 10,000;
    operations has the rest), so that medians voted for each always add up to the whole.
    """

    artist_share_bp: int = 7_000
    community_cut_bp: int = 1_000
    reserve_cut_bp: int = 3_000

    def __post_init__(self) -> None:
        cuts_in_order = 0 <= self.community_cut_bp <= self.reserve_cut_bp <= BASIS_POINTS
        if not (0 <= self.artist_share_bp <= BASIS_POINTS and cuts_in_order):
            raise SharesDoNotAddUp(rates=self)

    def weights(self) -> dict[str, int]:
        """Whole-number weights of the artists and each fund, adding up to 10,000²."""
        coop_bp = BASIS_POINTS - self.artist_share_bp
        return {
            ARTISTS: self.artist_share_bp * BASIS_POINTS,
            COMMUNITY: coop_bp * self.community_cut_bp,
            RESERVE: coop_bp * (self.reserve_cut_bp - self.community_cut_bp),
            OPERATIONS: coop_bp * (BASIS_POINTS - self.reserve_cut_bp),
        }


@dataclass(frozen=True, slots=True)
class NetFactors:
    """What is taken from the gross before it is shared.

    `vat_bp` is the tax rate on the price before tax, so its part of the gross is
    rate / (10,000 + rate). Payment fees and licensing are parts of the gross itself.
    """

    vat_bp: int = 0
    fees_bp: int = 0
    licensing_bp: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min([self.vat_bp, self.fees_bp, *self.licensing_bp.values()]) < 0 or self.weights()[NET] <= 0:
            raise SharesDoNotAddUp(net_factors=self)

    def weights(self) -> dict[str, int]:
        """Exact whole-number weights of tax, fees, each society and the net within the gross."""
        before_and_tax = BASIS_POINTS + self.vat_bp
        weights = {VAT: self.vat_bp * BASIS_POINTS, FEES: self.fees_bp * before_and_tax}
        for society, share_bp in sorted(self.licensing_bp.items()):
            weights[f"{LICENSING}{society}"] = share_bp * before_and_tax
        return weights | {NET: BASIS_POINTS * before_and_tax - sum(weights.values())}
