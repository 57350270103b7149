"""Royalties: vectors computed by hand, and gross = deductions + funds + lines to the unit for any of them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import SharesDoNotAddUp
from ledger.money import BASIS_POINTS, CreditPrice
from ledger.rates import COMMUNITY, FEES, OPERATIONS, RESERVE, VAT, NetFactors, Rates
from ledger.royalties import PAYEES_MAX, Share, Terms, check_split, track_royalties
from tests.ledger.test_rates import rates

EURO = CreditPrice(1_000_000)


def test_a_bought_track_without_deductions() -> None:
    # 1.022 credits at 1 EUR: 70 % to artists, of the rest 10 % community, 20 % reserve, 70 % operations.
    paid = track_royalties(
        1_022_000, [Share("a", 6_000), Share("b", 4_000)], Terms(EURO, NetFactors(), Rates()), epoch=1, track="t"
    )
    assert paid.gross_micro == paid.net_micro == 1_022_000
    assert paid.deductions == {VAT: 0, FEES: 0}
    assert paid.artists_micro == 715_400
    assert paid.funds == {COMMUNITY: 30_660, RESERVE: 61_320, OPERATIONS: 214_620}
    assert [line.amount_micro for line in paid.lines] == [429_240, 286_160]


def test_tax_fees_and_licensing_come_first() -> None:
    # 119 credits at 1 EUR; tax 19, fees 2 % and licensing 5 % of the gross leave 91.67 EUR.
    terms = Terms(EURO, NetFactors(1_900, 200, {"GEMA": 500}), Rates(8_000, 5_000, 10_000))
    paid = track_royalties(119_000_000, [Share("a", BASIS_POINTS, "no consent")], terms, epoch=1, track="t")
    assert paid.deductions == {VAT: 19_000_000, FEES: 2_380_000, "licensing:GEMA": 5_950_000}
    assert paid.net_micro == 91_670_000
    assert paid.artists_micro == 73_336_000
    assert paid.funds == {COMMUNITY: 9_167_000, RESERVE: 9_167_000, OPERATIONS: 0}
    assert [(line.payee, line.amount_micro, line.held_because) for line in paid.lines] == [
        ("a", 73_336_000, "no consent")
    ]


def test_what_does_not_divide_goes_to_the_largest_remainders() -> None:
    # One play of 0.002 credits at 0.01 EUR: 20 micro-units. Tax 7 % is 20 × 7 / 107 = 1.308; the net is 19.
    # Of 19: artists 13.3, community 0.57, reserve 1.14, operations 3.99; two units are left, for .99 and .57.
    terms = Terms(CreditPrice(10_000), NetFactors(vat_bp=700), Rates())
    paid = track_royalties(2_000, [Share("a", 5_100), Share("b", 4_900)], terms, epoch=1, track="t")
    assert (paid.gross_micro, paid.deductions[VAT], paid.net_micro) == (20, 1, 19)
    assert paid.funds == {COMMUNITY: 1, RESERVE: 1, OPERATIONS: 4}
    # Of 13: 6.63 and 6.37.
    assert [line.amount_micro for line in paid.lines] == [7, 6]


@st.composite
def splits(draw: st.DrawFn) -> list[Share]:
    cuts = sorted(draw(st.sets(st.integers(1, BASIS_POINTS - 1), max_size=PAYEES_MAX - 1)))
    edges = [0, *cuts, BASIS_POINTS]
    held = draw(st.booleans())
    return [
        Share(str(number), high - low, "no consent" if held and number == 0 else None)
        for number, (low, high) in enumerate(pairwise(edges))
    ]


factors = st.builds(
    NetFactors,
    st.integers(0, 2_700),
    st.integers(0, 1_000),
    st.dictionaries(st.sampled_from(["GEMA", "SUISA"]), st.integers(0, 1_500)),
)
terms = st.builds(Terms, st.integers(1, 5_000).map(lambda k: CreditPrice(k * 1_000)), factors, rates())
collected = st.integers(1, 10**9).map(lambda thousandths: thousandths * 1_000)


@given(collected, splits(), terms, st.integers(0, 30_000))
def test_gross_is_deductions_and_funds_and_lines_to_the_unit(
    collected_micro: int, split: list[Share], terms: Terms, epoch: int
) -> None:
    paid = track_royalties(collected_micro, split, terms, epoch=epoch, track="t")
    assert paid.gross_micro == terms.credit_price.value_micro(collected_micro)
    assert paid.gross_micro == sum(paid.deductions.values()) + paid.net_micro
    assert paid.net_micro == sum(paid.funds.values()) + paid.artists_micro
    assert paid.artists_micro == sum(line.amount_micro for line in paid.lines)
    assert [(line.payee, line.share_bp, line.held_because) for line in paid.lines] == [
        (share.payee, share.share_bp, share.held_because) for share in split
    ]
    assert min(line.amount_micro for line in paid.lines) >= 0


def test_equal_remainders_fall_by_epoch_and_track_so_that_no_place_in_the_split_gets_the_dust_for_ever() -> None:
    # Ten micro-units over three equal parts of a third each, as near as basis points come: one unit is left over.
    thirds, terms = [Share("a", 3_334), Share("b", 3_333), Share("c", 3_333)], Terms(EURO, NetFactors(), Rates(9_000))
    favoured = {
        max(paid.lines[1:], key=lambda line: line.amount_micro).payee
        for epoch in range(20)
        for paid in [track_royalties(13_000, thirds, terms, epoch=epoch, track="t")]
        if paid.lines[1].amount_micro != paid.lines[2].amount_micro
    }
    assert favoured == {"b", "c"}


@pytest.mark.parametrize(
    "split",
    [
        [],
        [Share("a", 9_999)],
        [Share("a", 5_000), Share("a", 5_000)],
        [Share("a", 10_001), Share("b", -1)],
        [Share("a", 10_000), Share("b", 0)],
        [Share(str(n), 100) for n in range(100)],
    ],
    ids=["nobody", "not whole", "one payee twice", "negative", "zero", "too many payees"],
)
def test_a_split_that_is_not_whole_is_refused(split: list[Share]) -> None:
    with pytest.raises(SharesDoNotAddUp):
        check_split(split)
