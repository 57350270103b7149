"""Canonical JSON: of every value one way only to write it (RFC 8785), with integers and without fractions.

Integers are those that every reader of JSON takes for what they are, up to 2^53 − 1 (RFC 7493, 2.2). Keys are ASCII, so
their order is the same in any encoding. What is read is written again and compared: whatever differs by a byte (spaces,
a key that stands twice, another escape, -0) is refused.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from ledger.errors import NotCanonical

INTEGER_MAX = (1 << 53) - 1
DEPTH_MAX = 32

_LONG_NUMBER = re.compile(rb"[0-9]{16}")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_OPENING, _CLOSING = b"[{", b"]}"
_NO_BRACKET = bytes(set(range(256)) - {*_OPENING, *_CLOSING})

Value = dict[str, Any] | list[Any] | str | int | bool | None


def encode(value: Value) -> bytes:
    """The bytes of a value. Raises NotCanonical for one that has none."""
    _check(value, 0)
    return _written(value)


def decode(data: bytes) -> Value:
    """The value behind the bytes. Raises NotCanonical unless they are the one way to write it."""
    _require_shallow(data)
    try:
        value: Value = _DECODER.decode(data.decode())
    except ValueError as malformed:
        raise NotCanonical(reason="not JSON as it is taken here") from malformed
    if not _is_plain(data):
        _check(value, 0)
    if _written(value) != data:
        raise NotCanonical(reason="not the one way to write it")
    return value


def _written(value: Value) -> bytes:
    try:
        return _ENCODER.encode(value).encode()
    except UnicodeEncodeError as surrogate:
        raise NotCanonical(reason="text that is not Unicode") from surrogate


def _require_shallow(data: bytes) -> None:
    """Nothing is taken apart that is nested deeper than what could be written.

    The decoder counts on Python's limit of recursion, which a library may have raised beyond what the stack holds.
    """
    if data.count(b"{") + data.count(b"[") <= DEPTH_MAX:
        return
    depth = 0
    for sign in _STRING.sub(b"", data).translate(None, _NO_BRACKET):
        depth += 1 if sign in _OPENING else -1
        if depth > DEPTH_MAX + 1:
            raise NotCanonical(reason="nested too deeply")


def _is_plain(data: bytes) -> bool:
    """Whether no value written so can be one to refuse: spares going through nearly all of a log's entries."""
    nested = data.count(b"{") + data.count(b"[")
    return nested <= DEPTH_MAX and data.isascii() and not _LONG_NUMBER.search(data)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"not an integer: {text[:20]}")


def _check(value: object, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise NotCanonical(reason="nested too deeply")
    if isinstance(value, dict):
        for key, held in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise NotCanonical(reason="a key that is not ASCII")
            _check(held, depth + 1)
    elif isinstance(value, list):
        for held in value:
            _check(held, depth + 1)
    elif isinstance(value, int):
        if not -INTEGER_MAX <= value <= INTEGER_MAX:
            raise NotCanonical(reason="an integer that not every reader can hold")
    elif value is not None and not isinstance(value, str):
        raise NotCanonical(reason=f"no place for a {type(value).__name__}")


_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False)
_DECODER = json.JSONDecoder(parse_float=_refuse, parse_constant=_refuse)
