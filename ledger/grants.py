"""How many credits may be granted to a listener without anybody profiting from it."""

from __future__ import annotations

from ledger.money import BASIS_POINTS, PRICE_QUANTUM_MICRO


def grant_limit_micro(topped_up_micro: int, granted_micro: int, artist_share_bp_max: int) -> int:
    """The micro-credits that may still be granted to a listener who topped up and was granted so much.

    A listener may be hand in glove with an artist, and granted credits cost them nothing. So the
    artists' share of everything she could ever spend must not exceed what she paid in herself:
    (topped up + granted) × s ≤ topped up, at the highest share s that members can vote, which is
    granted × s ≤ topped up × (1 − s). Then no order of top-ups, grants, plays and closes profits the two.

    In whole price quanta, rounded down; never negative. Exact to the unit where a quantum's worth at
    the highest share is a whole number of micro-units, as it is for every credit price of whole cents.
    """
    limit_micro = topped_up_micro * (BASIS_POINTS - artist_share_bp_max) // artist_share_bp_max
    return max(0, limit_micro - granted_micro) // PRICE_QUANTUM_MICRO * PRICE_QUANTUM_MICRO
