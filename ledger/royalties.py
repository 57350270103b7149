"""Royalties: what one track collected in one epoch, turned into amounts payable, exact to the unit.

Pure: collected credits × price of a credit × net factors × rates × split → lines. Anyone with
the published figures gets the same lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.errors import BooksOutOfBalance, SharesDoNotAddUp
from ledger.money import BASIS_POINTS, CreditPrice, allocate
from ledger.rates import ARTISTS, NET, NetFactors, Rates

PAYEES_MAX = 64


@dataclass(frozen=True, slots=True)
class Share:
    """A payee's part of a track, in basis points, and whether it may be paid yet.

    `held_because` names what keeps the money in the track's held account (no consent yet,
    disputed rights, missing tax form …); None when the payee can be paid.
    """

    payee: str
    share_bp: int
    held_because: str | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """All that decides an epoch's royalties besides the plays."""

    credit_price: CreditPrice
    net_factors: NetFactors
    rates: Rates


@dataclass(frozen=True, slots=True)
class RoyaltyLine:
    """Money for one payee of one track."""

    payee: str
    share_bp: int
    amount_micro: int
    held_because: str | None


@dataclass(frozen=True, slots=True)
class TrackRoyalties:
    """One track's epoch in money micro-units: gross = Σ deductions + Σ funds + Σ lines."""

    gross_micro: int
    deductions: dict[str, int]
    net_micro: int
    artists_micro: int
    funds: dict[str, int]
    lines: tuple[RoyaltyLine, ...]


def check_split(split: Sequence[Share]) -> None:
    """Raise SharesDoNotAddUp unless the shares are positive, to distinct payees, and make 10,000 basis points."""
    payees = {share.payee for share in split}
    whole = sum(share.share_bp for share in split)
    if whole != BASIS_POINTS or len(payees) != len(split) or not 0 < len(split) <= PAYEES_MAX:
        raise SharesDoNotAddUp(total_bp=whole, payees=len(payees))
    if min(share.share_bp for share in split) <= 0:
        raise SharesDoNotAddUp(total_bp=whole, payees=len(payees))


def track_royalties(
    collected_micro: int, split: Sequence[Share], terms: Terms, *, epoch: int, track: str
) -> TrackRoyalties:
    """The royalties on `collected_micro` micro-credits of one track in one epoch; lines in the split's order.

    Epoch and track only break ties between equal remainders: of payees by their places in the split, since an auditor
    knows no names. Raises SharesDoNotAddUp for a split that is not whole and BooksOutOfBalance should a part be lost,
    which no input can cause.
    """
    check_split(split)
    tie_break = str(epoch)
    gross_micro = terms.credit_price.value_micro(collected_micro)
    deductions = allocate(gross_micro, terms.net_factors.weights(), tie_break=tie_break)
    net_micro = deductions.pop(NET)
    funds = allocate(net_micro, terms.rates.weights(), tie_break=tie_break)
    artists_micro = funds.pop(ARTISTS)
    parts = {place: share.share_bp for place, share in enumerate(split)}
    paid = allocate(artists_micro, parts, tie_break=f"{epoch}\n{track}")
    lines = tuple(RoyaltyLine(s.payee, s.share_bp, paid[place], s.held_because) for place, s in enumerate(split))
    if gross_micro != sum(deductions.values()) + sum(funds.values()) + sum(line.amount_micro for line in lines):
        raise BooksOutOfBalance(epoch=epoch, gross_micro=gross_micro)
    return TrackRoyalties(gross_micro, deductions, net_micro, artists_micro, funds, lines)
