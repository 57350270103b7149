"""The Range header of RFC 9110, section 14: one range of bytes, or the whole."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

from ledger.errors import DomainError
from streamcoop.problems import register

_ONE_RANGE = re.compile(r"bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", re.ASCII | re.IGNORECASE)


class RangeNotSatisfiable(DomainError):
    """The range asked for lies outside the file."""


register({RangeNotSatisfiable: HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE})


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` up to, not including, `end`. `partial`: answer 206."""

    start: int
    end: int
    partial: bool

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.end - self.start

    def content_range(self, size: int) -> str:
        """The Content-Range header of a 206."""
        return f"bytes {self.start}-{self.end - 1}/{size}"


def parse(header: str | None, size: int, method: str = "GET") -> ByteRange:
    """What part of `size` bytes is asked for.

    A header that is malformed, reversed, names several ranges or numbers of more than 19 digits is ignored, as the RFC
    allows, and so is any with a method other than GET, as it demands: the whole file is the answer. Raises
    RangeNotSatisfiable for one past the end.
    """
    whole = ByteRange(0, size, False)
    asked = _ONE_RANGE.fullmatch(header) if header and method == "GET" else None
    if asked is None or asked.groups() == ("", ""):
        return whole
    first, last = asked.groups()
    if not first:
        if int(last) == 0 or size == 0:
            raise RangeNotSatisfiable(size=size)
        return ByteRange(max(size - int(last), 0), size, True)
    start, end = int(first), min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return whole
    if start >= size:
        raise RangeNotSatisfiable(size=size)
    return ByteRange(start, end, True)
