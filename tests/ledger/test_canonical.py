"""Canonical JSON: one way to write each value, and everything else refused."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import canonical
from ledger.canonical import INTEGER_MAX
from ledger.errors import NotCanonical

KEYS = st.text(st.characters(max_codepoint=0x7F), max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-INTEGER_MAX, INTEGER_MAX)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
)
VALUES = st.recursive(
    SCALARS, lambda held: st.lists(held, max_size=4) | st.dictionaries(KEYS, held, max_size=4), max_leaves=12
)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"b": 1, "a": [True, False, None]}, '{"a":[true,false,null],"b":1}'),
        ({"10": 1, "2": 2, "": 0}, '{"":0,"10":1,"2":2}'),
        # RFC 8785, 3.2.2.2: what is escaped and how.
        ('€$\x0f\nA\'B"\\\\"/', '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'),
        ("\x00\x08\t\n\x0c\r\x1f\x7f", '"\\u0000\\b\\t\\n\\f\\r\\u001f\x7f"'),
        ("\u2028\ufb33😂", '"\u2028\ufb33😂"'),
        ([INTEGER_MAX, -INTEGER_MAX, 0], "[9007199254740991,-9007199254740991,0]"),
    ],
)
def test_a_value_is_written_as_the_rfc_says(value: Any, written: str) -> None:
    assert canonical.encode(value) == written.encode()


@given(VALUES)
def test_what_is_written_is_read_back_and_written_alike(value: Any) -> None:
    written = canonical.encode(value)
    assert canonical.decode(written) == value
    assert json.loads(written) == value


@pytest.mark.parametrize(
    "value",
    [1.0, float("nan"), INTEGER_MAX + 1, -INTEGER_MAX - 1, b"bytes", {1: 2}, {"é": 1}, "\ud800", (1,), {"a": {1}}],
)
def test_a_value_that_has_no_place_is_refused(value: Any) -> None:
    with pytest.raises(NotCanonical):
        canonical.encode([value])


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b" {}",
        b"{} ",
        b"{}\n",
        b"{}{}",
        b"\xef\xbb\xbf{}",
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"\\u0061":1}',
        b"1.0",
        b"1e3",
        b"-0",
        b"01",
        b"+1",
        b"NaN",
        b"Infinity",
        b"9007199254740992",
        b"9" * 5_000,
        b'"\\/"',
        b'"\\u00e9"',
        b'"\\ud800"',
        b'"\\u001F"',
        b"\xff",
        b'"\xed\xa0\x80"',
        b"{'a':1}",
        b"[1,]",
        b'{"a":1',
        b"[" * 100_000,
        b"[" * 40 + b"]" * 40,
    ],
)
def test_any_other_way_to_write_is_refused(written: bytes) -> None:
    with pytest.raises(NotCanonical):
        canonical.decode(written)


def test_depth_is_refused_whatever_depth_python_is_told_to_bear() -> None:
    """Some libraries raise the limit of recursion at import to more than a thread's stack holds."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        for written in (b"[" * 60_000, b'{"a":' * 60_000, b'["[",' * 60_000, b'["\\"",' + b"[" * 60_000):
            with pytest.raises(NotCanonical):
                canonical.decode(written)
    finally:
        sys.setrecursionlimit(before)


def test_brackets_in_texts_are_no_depth() -> None:
    for value in (["[" * 100], {"{[": '"[' * 50}, [["]"] * 40, ["\\", "[{"] * 30]):
        assert canonical.decode(canonical.encode(value)) == value


@given(VALUES, st.integers(0, 10_000), st.integers(0, 7))
def test_a_changed_byte_is_another_value_or_refused(value: Any, place: int, bit: int) -> None:
    written = bytearray(canonical.encode(value))
    written[place % len(written)] ^= 1 << bit
    try:
        read = canonical.decode(bytes(written))
    except NotCanonical:
        return
    assert canonical.encode(read) == bytes(written)
    assert json.dumps(read) != json.dumps(value)
