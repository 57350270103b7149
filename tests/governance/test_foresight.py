"""What other numbers would have meant: the parts add up to what there was, and stay within what may be voted for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.constitution import FUNDS, KINDS, RATES, TARIFF, Bound, Constitution
from ledger.money import allocate
from ledger.rates import ARTISTS, COMMUNITY, OPERATIONS, RESERVE, Rates
from ledger.tariff import Tariff
from streamcoop.governance import foresight

EPOCH = 24_323
PARAMETERS = Constitution().parameters


@given(net_micro=st.integers(0, 10**15), parameter=st.sampled_from(KINDS[RATES]))
def test_at_each_value_the_parts_add_up_to_the_net_income(net_micro: int, parameter: str) -> None:
    values = foresight.spread(PARAMETERS[parameter])
    for shared in foresight.shared(net_micro, Rates(), parameter, values, EPOCH):
        assert sum(shared.parts.values()) == net_micro
        assert min(shared.parts.values()) >= 0


def test_what_holds_shares_as_a_close_does() -> None:
    (shared,) = foresight.shared(123_456_789, Rates(), "artist_share_bp", [Rates().artist_share_bp], EPOCH)
    assert shared.parts == allocate(123_456_789, Rates().weights(), tie_break=str(EPOCH))


def test_a_share_moves_its_own_part_and_the_cut_points_only_the_co_ops() -> None:
    more, less = foresight.shared(10**9, Rates(), "artist_share_bp", [9_000, 5_000], EPOCH)
    assert (more.parts[ARTISTS], less.parts[ARTISTS]) == (900_000_000, 500_000_000)
    for parameter in FUNDS:
        for shared in foresight.shared(10**9, Rates(), parameter, foresight.spread(PARAMETERS[parameter]), EPOCH):
            assert shared.parts[ARTISTS] == 700_000_000


def test_a_cut_point_that_passes_the_other_takes_it_along() -> None:
    (community,) = foresight.shared(10**9, Rates(), FUNDS[0], [5_000], EPOCH)
    assert (community.parts[COMMUNITY], community.parts[RESERVE]) == (150_000_000, 0)
    (reserve,) = foresight.shared(10**9, Rates(community_cut_bp=2_000), FUNDS[1], [1_000], EPOCH)
    assert [reserve.parts[name] for name in (COMMUNITY, RESERVE, OPERATIONS)] == [30_000_000, 0, 270_000_000]


@pytest.mark.parametrize("parameter", KINDS[TARIFF])
def test_a_curve_tells_what_the_tariff_asks_play_by_play(parameter: str) -> None:
    for curve in foresight.curves(
        Tariff(), parameter, foresight.reachable(PARAMETERS[parameter], getattr(Tariff(), parameter))
    ):
        assert sum(curve.prices) == curve.total_micro
        assert len(curve.prices) == curve.plays
        assert curve.prices[0] > 0


@given(
    lowest=st.integers(0, 1_000),
    steps=st.integers(0, 10_000),
    quantum=st.integers(1, 1_000),
    holds=st.integers(0, 10**7),
)
def test_what_is_shown_may_be_voted_for_and_decided(lowest: int, steps: int, quantum: int, holds: int) -> None:
    bound = Bound(lowest * quantum, (lowest + steps) * quantum, 5 * quantum, quantum)
    values = foresight.spread(bound)
    assert all(bound.permits(value) for value in values)
    assert (values[0], values[-1]) == (bound.lowest, bound.highest)
    status_quo = bound.nearest(holds)
    assert all(abs(value - status_quo) <= bound.step_max for value in foresight.reachable(bound, status_quo))
