"""Canonical JSON: of every value one way only to write it (RFC 8785), with integers and without fractions.

Integers are those that every reader of JSON takes for what they are, up to 2^53 − 1 (RFC 7493, 2.2). Keys are ASCII, so
their order is the same in any encoding. What is read is written again and compared: whatever differs by a byte (spaces,
a key that stands twice, another escape, -0) is refused.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from ledger.errors import NotCanonical

INTEGER_MAX = (1 << 53) - 1
DEPTH_MAX = 32

Value = dict[str, Any] | list[Any] | str | int | bool | None


def encode(value: Value) -> bytes:
    """The bytes of a value. Raises NotCanonical for one that has none."""
    _check(value, 0)
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    except UnicodeEncodeError as surrogate:
        raise NotCanonical(reason="text that is not Unicode") from surrogate


def decode(data: bytes) -> Value:
    """The value behind the bytes. Raises NotCanonical unless they are the one way to write it."""
    try:
        value: Value = json.loads(data.decode(), parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError) as malformed:
        raise NotCanonical(reason="not JSON as it is taken here") from malformed
    if encode(value) != data:
        raise NotCanonical(reason="not the one way to write it")
    return value


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
