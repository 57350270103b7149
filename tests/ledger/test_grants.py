"""Grants: what may be granted never lets a listener's artist be credited more than she paid in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.grants import grant_limit_micro
from ledger.money import BASIS_POINTS, PRICE_QUANTUM_MICRO, CreditPrice
from ledger.rates import NetFactors, Rates
from ledger.royalties import Share, Terms, track_royalties
from tests.ledger.factories import ARTIST_SHARE_BP_MAX
from tests.ledger.test_rates import rates

credits_micro = st.integers(0, 10**12)


@pytest.mark.parametrize(
    ("topped_up_micro", "granted_micro", "limit_micro"),
    [
        (0, 0, 0),
        (9_000_000, 0, 1_000_000),
        (9_000_000, 400_000, 600_000),
        (9_000_000, 1_000_000, 0),
        (9_000_000, 2_000_000, 0),
        (10_000_000, 0, 1_111_000),  # 1,111,111 in whole thousandths
        (8_999_999, 0, 999_000),
    ],
)
def test_a_ninth_of_what_was_paid_in_may_be_granted(topped_up_micro: int, granted_micro: int, limit_micro: int) -> None:
    assert grant_limit_micro(topped_up_micro, granted_micro, ARTIST_SHARE_BP_MAX) == limit_micro


@given(credits_micro, credits_micro)
def test_the_artists_share_of_all_she_could_spend_is_never_more_than_she_paid_in(
    topped_up_micro: int, granted_micro: int
) -> None:
    limit_micro = grant_limit_micro(topped_up_micro, granted_micro, ARTIST_SHARE_BP_MAX)
    assert limit_micro >= 0
    assert limit_micro % PRICE_QUANTUM_MICRO == 0
    if limit_micro:
        spendable_micro = topped_up_micro + granted_micro + limit_micro
        assert spendable_micro * ARTIST_SHARE_BP_MAX <= topped_up_micro * BASIS_POINTS
        # … and a quantum more would be too much.
        more_micro = spendable_micro + PRICE_QUANTUM_MICRO
        assert more_micro * ARTIST_SHARE_BP_MAX > topped_up_micro * BASIS_POINTS


@given(st.lists(credits_micro, min_size=1, max_size=8))
def test_asking_in_small_steps_gains_nothing(top_ups: list[int]) -> None:
    topped_up_micro = granted_micro = 0
    for top_up_micro in top_ups:
        topped_up_micro += top_up_micro
        granted_micro += grant_limit_micro(topped_up_micro, granted_micro, ARTIST_SHARE_BP_MAX)
    assert granted_micro <= grant_limit_micro(topped_up_micro, 0, ARTIST_SHARE_BP_MAX)


@given(
    st.lists(st.integers(1, 10_000).map(lambda k: k * PRICE_QUANTUM_MICRO), min_size=1, max_size=20),
    st.integers(1, 500).map(lambda cents: CreditPrice(cents * 10_000)),
    st.integers(0, 2_500),
    rates(),
)
def test_rounding_never_lifts_the_artists_share_above_the_highest(
    collected: list[int], price: CreditPrice, vat_bp: int, rates: Rates
) -> None:
    terms = Terms(price, NetFactors(vat_bp), rates)
    artists_micro = sum(
        track_royalties(micro, [Share("a", BASIS_POINTS)], terms, epoch=epoch, track="t").artists_micro
        for epoch, micro in enumerate(collected)
    )
    assert artists_micro * BASIS_POINTS <= price.value_micro(sum(collected)) * ARTIST_SHARE_BP_MAX
