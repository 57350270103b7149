"""The constitution: what can be founded and decided, one way only to write it, and ceilings that leave something."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ledger import canonical
from ledger.constitution import (
    CLASSES,
    KINDS,
    PARAMETERS,
    Bound,
    CeilingTooHigh,
    Constitution,
    OutsideConstitution,
    UnsuitableConstitution,
    numbers_of,
    terms_of,
)
from ledger.errors import SharesDoNotAddUp
from ledger.money import BASIS_POINTS, CreditPrice
from ledger.rates import COMMUNITY, OPERATIONS, RESERVE, NetFactors, Rates
from ledger.royalties import Share, Terms, track_royalties
from ledger.rules import Rules
from ledger.tariff import Tariff

USUAL = Constitution()


def bounded(**bounds: Bound) -> Constitution:
    """The usual one with other bounds."""
    return replace(USUAL, parameters={**USUAL.parameters, **bounds})


def test_it_is_read_as_it_was_written_and_its_hash_is_of_its_canonical_json() -> None:
    told = json.loads(canonical.encode(USUAL.as_json()))
    assert Constitution.of_json(told) == USUAL
    assert Constitution.of_json(told).hash == USUAL.hash
    assert USUAL.hash == "f5ee1d237015e618c9f0c01df6d2ca82c598c701c7cc6285aba8ae956ae62cb9"
    assert replace(USUAL, quorum_bp=1).hash != USUAL.hash


@pytest.mark.parametrize("change", [lambda told: told.pop("quorum_bp"), lambda told: told.update(more=1)])
def test_what_is_no_constitution_is_refused(change: Any) -> None:
    told = USUAL.as_json()
    change(told)
    with pytest.raises(UnsuitableConstitution):
        Constitution.of_json(told)


def test_the_open_parameters_are_those_of_the_terms() -> None:
    assert tuple(name for names in KINDS.values() for name in names) == PARAMETERS
    assert terms_of(numbers_of(Tariff(), Rates(), Rules())) == (Tariff(), Rates(), Rules())
    USUAL.require(numbers_of(Tariff(), Rates(), Rules()))


@pytest.mark.parametrize(
    "bound",
    [(-1, 5, 1, 1), (5, 4, 1, 1), (0, 5, 0, 1), (0, 5, 1, 0), (0, 5, 5, 2), (1, 4, 2, 2), (0, 1 << 53, 1, 1)],
)
def test_bounds_that_make_no_sense_are_refused(bound: tuple[int, int, int, int]) -> None:
    with pytest.raises(UnsuitableConstitution):
        Bound(*bound)


@pytest.mark.parametrize(
    "change",
    [
        {"quorum_bp": 10_001},
        {"class_quorum_bp": {"listener": 0, "artist": 0}},
        {"class_quorum_bp": {"listener": -1, "artist": 0, "worker": 0}},
        {"parameters": {}},
        {"waiting_seconds": -1},
        {"delegation_cap": 0},
        {"supporters_min": 0},
        {"ballot_seconds_min": 0},
        {"ballot_seconds_min": 8_000_000},
        {"parameters": bounded().parameters | {"plays": Bound(1, 17, 1)}},
        {"parameters": bounded().parameters | {"plays": Bound(0, 12, 1)}},
        {"parameters": bounded().parameters | {"first_price_micro": Bound(1_000, 16_500, 500, 500)}},
        {"parameters": bounded().parameters | {"artist_share_bp": Bound(0, 10_001, 500)}},
        {"parameters": bounded().parameters | {"listen_ms_max": Bound(0, 60_000, 500)}},
        {"parameters": bounded().parameters | {"payout_minimum_minor": Bound(0, 60_000, 500)}},
        {"parameters": bounded().parameters | {"community_cut_bp": Bound(2_000, 5_000, 500)}},
        {"parameters": bounded().parameters | {"community_cut_bp": Bound(0, 9_500, 500)}},
        {"parameters": bounded().parameters | {"community_cut_bp": Bound(0, 5_000, 400)}},
    ],
)
def test_a_constitution_that_could_decide_the_impossible_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UnsuitableConstitution):
        replace(USUAL, **change)


@given(st.integers(0, 20_000), st.integers(0, 20_000), st.integers(1, 30), st.integers(1, 7))
def test_what_is_clipped_can_be_decided_and_is_the_nearest_that_can(
    value: int, status_quo: int, steps: int, quantum: int
) -> None:
    bound = Bound(10 * quantum, 900 * quantum, steps * quantum, quantum)
    status_quo, value = bound.nearest(status_quo), bound.nearest(value)
    clipped = bound.clip(value, status_quo)
    assert bound.permits(clipped)
    assert abs(clipped - status_quo) <= bound.step_max
    within = range(bound.lowest, bound.highest + 1, quantum)
    near = [number for number in within if abs(number - status_quo) <= bound.step_max]
    assert clipped == min(near, key=lambda number: abs(number - value))


def test_numbers_outside_the_bounds_are_refused() -> None:
    for numbers in ({"artist_share_bp": 9_001}, {"plays": 4}, {"first_price_micro": 2_500}):
        with pytest.raises(OutsideConstitution):
            USUAL.require(numbers)


def test_a_ceiling_that_leaves_the_co_op_nothing_is_refused() -> None:
    all_of_it = bounded(artist_share_bp=Bound(5_000, 10_000, 500))
    with pytest.raises(CeilingTooHigh):
        all_of_it.require_covered(NetFactors(1_900, 200))
    USUAL.require_covered(NetFactors(1_900, 200, {"GEMA": 500}))
    # With next to no net income, the same ceiling leaves less than a ten-thousandth.
    with pytest.raises(CeilingTooHigh):
        USUAL.require_covered(NetFactors(0, 9_995))


@given(
    st.integers(0, 10_000),
    st.builds(NetFactors, st.integers(0, 3_000), st.integers(0, 3_000), st.just({"GEMA": 700})),
    st.integers(1, 10**7).map(lambda quanta: quanta * 1_000),
    st.data(),
)
def test_under_ceilings_that_hold_no_rates_make_a_fund_negative_nor_the_artists_more_than_came_in(
    ceiling: int, factors: NetFactors, collected_micro: int, data: st.DataObject
) -> None:
    rule = bounded(artist_share_bp=Bound(0, ceiling, 500))
    try:
        rule.require_covered(factors)
    except CeilingTooHigh:
        assume(False)
    share = data.draw(st.integers(0, ceiling))
    cuts = sorted(data.draw(st.tuples(st.integers(0, 5_000), st.integers(1_000, 9_000))))
    terms = Terms(CreditPrice(1_000_000), factors, Rates(share, *cuts))
    paid = track_royalties(collected_micro, [Share("a", BASIS_POINTS)], terms, epoch=1, track="t")
    assert min(paid.funds.values()) >= 0
    assert {COMMUNITY, RESERVE, OPERATIONS} == paid.funds.keys()
    assert paid.artists_micro + sum(paid.funds.values()) + sum(paid.deductions.values()) == paid.gross_micro
    # What the funds get at the highest share is what was asked for, but for rounding.
    if share == ceiling:
        assert (sum(paid.funds.values()) + 1) * BASIS_POINTS >= paid.gross_micro


@given(st.integers(0, 20_000), st.integers(0, 20_000))
def test_rates_that_do_not_add_up_are_never_terms(community: int, reserve: int) -> None:
    numbers = numbers_of(Tariff(), Rates(), Rules()) | {"community_cut_bp": community, "reserve_cut_bp": reserve}
    if community <= reserve <= BASIS_POINTS:
        assert terms_of(numbers)[1] == Rates(7_000, community, reserve)
    else:
        with pytest.raises(SharesDoNotAddUp):
            terms_of(numbers)


def test_every_class_has_a_quorum() -> None:
    assert tuple(USUAL.class_quorum_bp) == CLASSES
