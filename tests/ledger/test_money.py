"""Integer money: allocation conserves, and credits turn into money and back without a remainder."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import SharesDoNotAddUp
from ledger.money import MICRO, PRICE_QUANTUM_MICRO, CreditPrice, UnsuitableCreditPrice, allocate

amounts = st.integers(0, 10**15)
weights = st.dictionaries(st.text(max_size=8), st.integers(0, 10**9), min_size=1, max_size=20).filter(
    lambda weights: sum(weights.values()) > 0
)
prices = st.integers(1, 100_000).map(lambda thousands: CreditPrice(thousands * 1_000))


@given(amounts, weights)
def test_the_parts_add_up_and_each_is_within_a_unit_of_its_exact_share(amount: int, weights: dict[str, int]) -> None:
    parts = allocate(amount, weights, tie_break="7")
    whole = sum(weights.values())
    assert sum(parts.values()) == amount
    assert parts.keys() == weights.keys()
    for key, part in parts.items():
        assert abs(part - Fraction(amount * weights[key], whole)) < 1


@given(amounts, weights, st.randoms(use_true_random=False))
def test_the_order_of_the_weights_does_not_matter(amount: int, weights: dict[str, int], random: Random) -> None:
    items = list(weights.items())
    random.shuffle(items)
    assert allocate(amount, dict(items), tie_break="7") == allocate(amount, weights, tie_break="7")


@given(amounts, weights)
def test_a_weight_of_zero_gets_nothing(amount: int, weights: dict[str, int]) -> None:
    assert allocate(amount, weights | {"nobody": 0}, tie_break="7")["nobody"] == 0


def test_units_left_go_to_the_largest_remainders() -> None:
    assert allocate(10, {"a": 3, "b": 3, "c": 1}, tie_break="1") == {"a": 4, "b": 4, "c": 2}
    assert allocate(100, {"a": 1, "b": 5}, tie_break="1") == {"a": 17, "b": 83}


def test_ties_do_not_favour_the_same_payee_in_every_epoch() -> None:
    got_the_unit = [allocate(1, {"a": 1, "b": 1}, tie_break=str(epoch))["a"] for epoch in range(100)]
    assert 30 < sum(got_the_unit) < 70


@pytest.mark.parametrize(
    ("amount", "weights"),
    [(-1, {"a": 1}), (1, {}), (1, {"a": 0}), (1, {"a": 2, "b": -1}), (0, {"a": 0, "b": 0})],
)
def test_what_cannot_be_divided_is_refused(amount: int, weights: dict[str, int]) -> None:
    with pytest.raises(SharesDoNotAddUp):
        allocate(amount, weights, tie_break="1")


@given(prices, st.integers(0, 10**12))
def test_what_a_payment_buys_is_worth_exactly_what_was_paid_for_it(price: CreditPrice, money_micro: int) -> None:
    credits_micro, left_micro = price.credits_for(money_micro)
    assert price.value_micro(credits_micro) + left_micro == money_micro
    assert 0 <= left_micro < price.money_micro
    assert price.credits_for(money_micro - left_micro) == (credits_micro, 0)


@given(prices, st.integers(0, 10**9))
def test_every_price_of_a_tariff_has_an_exact_value(price: CreditPrice, thousandths: int) -> None:
    credits_micro = thousandths * PRICE_QUANTUM_MICRO
    assert price.value_micro(credits_micro) * MICRO == credits_micro * price.money_micro


def test_a_value_that_is_no_whole_number_is_refused() -> None:
    with pytest.raises(ValueError, match="no exact value"):
        CreditPrice(1_000).value_micro(1)


@pytest.mark.parametrize("money_micro", [0, -1_000_000, 1_500])
def test_a_credit_price_that_would_not_convert_exactly_is_refused(money_micro: int) -> None:
    with pytest.raises(UnsuitableCreditPrice):
        CreditPrice(money_micro)
