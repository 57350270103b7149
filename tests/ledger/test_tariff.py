"""Stream to own: the golden curve, and what changes of the tariff may and may not do to progress."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.money import PRICE_QUANTUM_MICRO
from ledger.tariff import FIRST_PRICE_MICRO_MAX, PLAYS_MAX, Progress, Tariff, UnsuitableTariff

GOLDEN_MILLICREDITS = [2, 4, 8, 16, 32, 64, 128, 256, 512]
GOLDEN_TOTAL_MICRO = 1_022_000
NOTHING_PAID = Progress()

tariffs = st.builds(
    Tariff,
    st.integers(1, FIRST_PRICE_MICRO_MAX // PRICE_QUANTUM_MICRO).map(lambda k: k * PRICE_QUANTUM_MICRO),
    st.integers(1, PLAYS_MAX),
)
# A tariff in force for some plays, then another one.
eras = st.lists(st.tuples(tariffs, st.integers(0, 10)), min_size=1, max_size=6)


def played(tariff: Tariff, plays: int, progress: Progress = NOTHING_PAID) -> Progress:
    for _ in range(plays):
        if tariff.owns(progress):
            break
        progress = tariff.after_play(progress)
    return progress


def test_the_golden_curve_doubles_nine_times_to_the_unit() -> None:
    tariff, progress, paid = Tariff(), Progress(), []
    while not progress.owned:
        paid.append(tariff.next_price_micro(progress))
        progress = tariff.after_play(progress)
    assert paid == [milli * 1_000 for milli in GOLDEN_MILLICREDITS]
    assert progress == Progress(9, GOLDEN_TOTAL_MICRO, True)
    assert tariff.total_micro == sum(paid) == GOLDEN_TOTAL_MICRO


def test_there_is_no_price_outside_the_curve() -> None:
    assert [Tariff().price_micro(n) for n in (-1, 0, 1, 9, 10, 99)] == [0, 0, 2_000, 512_000, 0, 0]


@pytest.mark.parametrize("plays", range(9))
def test_buying_now_at_any_step_pays_exactly_what_is_left(plays: int) -> None:
    tariff = Tariff()
    before = played(tariff, plays)
    left_micro = 1_000 * sum(GOLDEN_MILLICREDITS[plays:])
    assert tariff.left_micro(before) == left_micro
    assert tariff.after_buyout(before) == Progress(plays, GOLDEN_TOTAL_MICRO, True)


def test_an_owner_pays_nothing_more() -> None:
    tariff = Tariff()
    owner = played(tariff, 9)
    assert (tariff.left_micro(owner), tariff.next_price_micro(owner)) == (0, 0)


@pytest.mark.parametrize(
    ("changed", "owns", "left_micro", "next_micro"),
    [
        # After three golden plays (14,000 paid):
        (Tariff(2_000, 3), True, 0, 0),  # fewer plays: the count reaches them
        (Tariff(2_000, 4), False, 16_000, 16_000),  # fewer plays: only the fourth is left
        (Tariff(2_000, 10), False, 2_032_000, 16_000),  # more plays
        (Tariff(4_000, 9), False, 2_016_000, 32_000),  # dearer: never more than the plays to come
        (Tariff(1_000, 9), False, 497_000, 8_000),  # cheaper: what was paid counts
        (Tariff(1_000, 4), False, 1_000, 1_000),  # cheaper: the next play costs no more than what is left
        (Tariff(1_000, 3), True, 0, 0),
        (Tariff(14_000, 1), True, 0, 0),  # the sum is paid
        (Tariff(7_000, 4), False, 56_000, 56_000),
    ],
)
def test_progress_carries_over_to_a_changed_tariff(
    changed: Tariff, owns: bool, left_micro: int, next_micro: int
) -> None:
    progress = played(Tariff(), 3)
    assert progress == Progress(3, 14_000)
    assert changed.owns(progress) is owns
    assert (changed.left_micro(progress), changed.next_price_micro(progress)) == (left_micro, next_micro)


@given(eras)
def test_what_is_left_and_the_next_price_follow_the_rule_under_any_changes(eras: list[tuple[Tariff, int]]) -> None:
    progress = Progress()
    for tariff, plays in eras:
        for _ in range(plays):
            left_micro, next_micro = tariff.left_micro(progress), tariff.next_price_micro(progress)
            if tariff.owns(progress):
                assert (left_micro, next_micro) == (0, 0)
                break
            to_come_micro = sum(tariff.price_micro(k) for k in range(progress.plays + 1, tariff.plays + 1))
            assert left_micro == min(tariff.total_micro - progress.paid_micro, to_come_micro)
            assert next_micro == min(tariff.price_micro(progress.plays + 1), left_micro)
            assert 0 < next_micro <= left_micro
            assert next_micro % PRICE_QUANTUM_MICRO == left_micro % PRICE_QUANTUM_MICRO == 0
            progress = tariff.after_play(progress)


@given(eras)
def test_an_owner_stays_an_owner_whatever_comes(eras: list[tuple[Tariff, int]]) -> None:
    progress = Progress()
    for tariff, plays in eras:
        was_owned = progress.owned
        progress = played(tariff, plays, progress)
        assert progress.owned or not was_owned
        assert tariff.owns(progress) or not progress.owned


@given(tariffs, eras)
def test_playing_on_always_comes_to_ownership_for_what_was_left(tariff: Tariff, eras: list[tuple[Tariff, int]]) -> None:
    progress = Progress()
    for earlier, plays in eras:
        progress = played(earlier, plays, progress)
    left_micro, paid_before_micro = tariff.left_micro(progress), progress.paid_micro
    owner = played(tariff, PLAYS_MAX, progress)
    assert tariff.owns(owner)
    assert owner.paid_micro - paid_before_micro == left_micro
    assert tariff.after_buyout(progress).paid_micro == owner.paid_micro


@pytest.mark.parametrize(
    ("first_price_micro", "plays"), [(0, 9), (-2_000, 9), (1_500, 9), (2_000, 0), (2_000, 17), (1_001_000, 9)]
)
def test_a_tariff_that_would_not_convert_exactly_is_refused(first_price_micro: int, plays: int) -> None:
    with pytest.raises(UnsuitableTariff):
        Tariff(first_price_micro, plays)
