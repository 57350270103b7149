"""Payout rates and net factors: exact whole-number weights that always make the whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import SharesDoNotAddUp
from ledger.money import BASIS_POINTS, allocate
from ledger.rates import (
    ARTISTS,
    COMMUNITY,
    FEES,
    NET,
    OPERATIONS,
    RESERVE,
    VAT,
    NetFactors,
    Rates,
)
from tests.ledger.factories import ARTIST_SHARE_BP_MAX


@st.composite
def rates(draw: st.DrawFn) -> Rates:
    community_cut, reserve_cut = sorted(draw(st.tuples(st.integers(0, BASIS_POINTS), st.integers(0, BASIS_POINTS))))
    return Rates(draw(st.integers(0, ARTIST_SHARE_BP_MAX)), community_cut, reserve_cut)


@given(rates())
def test_the_funds_and_the_artists_make_the_whole(rates: Rates) -> None:
    weights = rates.weights()
    assert sum(weights.values()) == BASIS_POINTS**2
    assert min(weights.values()) >= 0
    assert weights[ARTISTS] == rates.artist_share_bp * BASIS_POINTS


def test_the_funds_are_the_pieces_between_the_cuts() -> None:
    weights = Rates(7_000, 1_000, 3_000).weights()
    assert weights == {
        ARTISTS: 70_000_000,
        COMMUNITY: 3_000_000,
        RESERVE: 6_000_000,
        OPERATIONS: 21_000_000,
    }


@pytest.mark.parametrize(
    ("artist_share_bp", "community_cut_bp", "reserve_cut_bp"),
    [(-1, 0, 0), (10_001, 0, 0), (7_000, -1, 0), (7_000, 2_000, 1_000), (7_000, 0, 10_001)],
)
def test_rates_that_do_not_add_up_are_refused(artist_share_bp: int, community_cut_bp: int, reserve_cut_bp: int) -> None:
    with pytest.raises(SharesDoNotAddUp):
        Rates(artist_share_bp, community_cut_bp, reserve_cut_bp)


@given(st.integers(0, 3_000), st.integers(0, 2_000), st.dictionaries(st.sampled_from("ABC"), st.integers(0, 1_000)))
def test_deductions_and_net_make_the_whole(vat_bp: int, fees_bp: int, licensing_bp: dict[str, int]) -> None:
    weights = NetFactors(vat_bp, fees_bp, licensing_bp).weights()
    assert sum(weights.values()) == BASIS_POINTS * (BASIS_POINTS + vat_bp)
    assert weights[NET] > 0


def test_tax_on_the_price_before_tax_is_exact() -> None:
    parts = allocate(111, NetFactors(vat_bp=1_100).weights(), tie_break="1")
    assert parts == {VAT: 11, FEES: 0, NET: 100}


def test_fees_and_licensing_are_parts_of_the_gross() -> None:
    weights = NetFactors(vat_bp=1_900, fees_bp=200, licensing_bp={"GEMA": 500}).weights()
    parts = allocate(119_000, weights, tie_break="1")
    assert parts == {VAT: 19_000, FEES: 2_380, "licensing:GEMA": 5_950, NET: 91_670}


@pytest.mark.parametrize(
    ("vat_bp", "fees_bp", "licensing_bp"),
    [(-1, 0, {}), (0, -1, {}), (0, 0, {"GEMA": -1}), (0, 10_000, {}), (10_000, 5_000, {}), (0, 5_000, {"GEMA": 5_000})],
)
def test_factors_that_leave_nothing_are_refused(vat_bp: int, fees_bp: int, licensing_bp: dict[str, int]) -> None:
    with pytest.raises(SharesDoNotAddUp):
        NetFactors(vat_bp, fees_bp, licensing_bp)
