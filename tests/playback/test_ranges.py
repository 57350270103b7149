"""The Range header, as clients and attackers send it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcoop.playback.ranges import ByteRange, RangeNotSatisfiable, parse

SIZE = 1_000
WHOLE = ByteRange(0, SIZE, False)


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-", 0, 1_000),
        ("bytes=0-0", 0, 1),
        ("bytes=200-299", 200, 300),
        ("bytes=990-5000", 990, 1_000),
        ("bytes=-1", 999, 1_000),
        ("bytes=-5000", 0, 1_000),
        ("BYTES = 5 - 9", 5, 10),
    ],
)
def test_one_range_is_answered_as_asked(header: str, start: int, end: int) -> None:
    assert parse(header, SIZE) == ByteRange(start, end, True)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "items=0-5",
        "bytes=9-5",
        "bytes=0-1,5-6",
        "bytes=0--5",
        "bytes=１-２",
    ],
)
def test_a_malformed_reversed_or_multiple_range_is_ignored(header: str | None) -> None:
    assert parse(header, SIZE) == WHOLE


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=1000-2000", "bytes=-0", f"bytes={10**18}-"])
def test_a_range_past_the_end_is_refused(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse(header, SIZE)


@pytest.mark.parametrize("header", ["bytes=0-9", "bytes=1000-"])
def test_a_range_is_heeded_for_get_alone(header: str) -> None:
    assert parse(header, SIZE, "HEAD") == WHOLE


@pytest.mark.parametrize("header", [f"bytes=0-{10**19}", f"bytes={10**19}-"])
def test_a_number_too_long_to_be_meant_is_ignored(header: str) -> None:
    assert parse(header, SIZE) == WHOLE


@given(st.text(max_size=60), st.integers(0, 10_000))
def test_no_header_whatever_leads_outside_the_file(header: str, size: int) -> None:
    try:
        asked = parse(f"bytes={header}", size)
    except RangeNotSatisfiable:
        return
    assert 0 <= asked.start <= asked.end <= size
