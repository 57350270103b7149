"""The listening rule: when a play counts, what is free, and how fast it is sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcoop.playback.rule import Meter, Rule

RULE = Rule(listen_ms_max=45_000, free_extra_ms=15_000, token_ms_min=1_800_000)

durations_ms = st.integers(min_value=1_000, max_value=3 * 3_600_000)
rules = st.builds(
    Rule,
    listen_ms_max=st.integers(100, 120_000),
    free_extra_ms=st.integers(100, 60_000),
    token_ms_min=st.just(1_000),
)


def meter_of(duration_ms: int, rule: Rule = RULE, header_bytes: int = 500) -> Meter:
    size = header_bytes + duration_ms * 16
    return Meter(size, header_bytes, duration_ms, rule.listen_ms(duration_ms), rule.free_ms(duration_ms))


@pytest.mark.parametrize(
    ("duration_ms", "listen_ms", "free_ms"),
    [(240_000, 45_000, 60_000), (90_000, 45_000, 60_000), (60_000, 30_000, 40_000), (10_000, 5_000, 6_666)],
)
def test_t_is_45_s_or_half_the_track_and_f_is_15_s_more_or_two_thirds(
    duration_ms: int, listen_ms: int, free_ms: int
) -> None:
    assert (RULE.listen_ms(duration_ms), RULE.free_ms(duration_ms)) == (listen_ms, free_ms)


def test_a_token_lives_three_times_the_track_and_half_an_hour_at_least() -> None:
    assert RULE.token_ms(60_000) == 1_800_000
    assert RULE.token_ms(3_600_000) == 3 * 3_600_000


@given(durations_ms, rules)
def test_a_play_counts_before_its_free_part_ends(duration_ms: int, rule: Rule) -> None:
    assert rule.listen_ms(duration_ms) <= rule.free_ms(duration_ms) <= duration_ms


@given(durations_ms, rules)
def test_a_client_that_only_buffers_has_not_reached_the_end_of_the_free_part_at_t(duration_ms: int, rule: Rule) -> None:
    meter = meter_of(duration_ms, rule)
    at_t = meter.sendable(meter.listen_ms)
    assert at_t <= meter.position(meter.listen_ms + (meter.free_ms - meter.listen_ms) // 2 + 1)


@given(durations_ms, rules, st.integers(0, 4 * 3_600_000))
def test_before_recording_nothing_beyond_the_free_part_is_sendable(duration_ms: int, rule: Rule, at_ms: int) -> None:
    meter = meter_of(duration_ms, rule)
    assert meter.sendable(at_ms) <= meter.free_bytes


@given(durations_ms, st.integers(0, 3_600_000))
def test_a_listener_who_listens_is_never_ahead_of_what_may_be_sent(duration_ms: int, at_ms: int) -> None:
    meter = meter_of(duration_ms)
    heard_ms = min(at_ms, meter.free_ms)
    assert meter.sendable(at_ms) >= meter.position(heard_ms)


@given(durations_ms)
def test_positions_grow_with_time_and_end_at_the_end(duration_ms: int) -> None:
    meter = meter_of(duration_ms)
    assert meter.position(0) == meter.header_bytes
    assert meter.position(duration_ms) == meter.position(duration_ms * 2) == meter.size
    assert meter.step_bytes > 0


@given(durations_ms, st.integers(0, 10_000_000), st.integers(0, 3_600_000))
def test_after_recording_delivery_stays_ahead_of_the_listener_and_within_the_file(
    duration_ms: int, from_byte: int, elapsed_ms: int
) -> None:
    meter = meter_of(duration_ms)
    start = min(from_byte, meter.size)
    heard = min(meter.size, start + meter.position(min(elapsed_ms, duration_ms)) - meter.header_bytes)
    assert heard <= meter.sendable_recorded(start, elapsed_ms) <= meter.size


@given(durations_ms, st.floats(0, 1))
def test_after_recording_delivery_reaches_the_end_from_wherever_it_began(duration_ms: int, place: float) -> None:
    meter = meter_of(duration_ms)
    assert meter.sendable_recorded(int(meter.size * place), duration_ms) == meter.size
