"""Time-ordered ids (UUIDv7, RFC 9562 section 5.7): plays are partitioned by them."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

_VERSION_AND_VARIANT = (0x7 << 76) | (0x2 << 62)
_RANDOM_MASK = (0xFFF << 64) | ((1 << 62) - 1)
_COUNTED_FROM = datetime(1970, 1, 1, tzinfo=UTC)


def uuid7(at_ms: int, randomness: int) -> UUID:
    """The UUIDv7 of an instant (milliseconds since 1970) and 80 bits of randomness, of which 74 are used."""
    return UUID(int=(at_ms << 80) | _VERSION_AND_VARIANT | (randomness & _RANDOM_MASK))


def new_id() -> UUID:
    """A fresh UUIDv7 of now."""
    return uuid7(time.time_ns() // 1_000_000, secrets.randbits(80))


def minted_ms(id_: UUID) -> int:
    """When a UUIDv7 was minted, in milliseconds since 1970."""
    return id_.int >> 80


def lowest_id(at: datetime) -> UUID:
    """The lower bound of all ids minted from `at` on: where a partition begins."""
    return UUID(int=(at - _COUNTED_FROM) // timedelta(milliseconds=1) << 80)
