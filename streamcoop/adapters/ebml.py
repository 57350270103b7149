"""Reading EBML (RFC 8794), of which WebM is made: elements in a buffer, every read bounded by it."""

from __future__ import annotations

from typing import NamedTuple

EBML_HEADER, SEGMENT, SEGMENT_INFO, TRACKS, TRACK_ENTRY = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0xAE
TIMESTAMP_SCALE, DURATION, CODEC_DELAY, CODEC_PRIVATE = 0x2AD7B1, 0x4489, 0x56AA, 0x63A2
CLUSTER, SIMPLE_BLOCK, BLOCK_GROUP, BLOCK, DISCARD_PADDING = 0x1F43B675, 0xA3, 0xA0, 0xA1, 0x75A2
HEADER_BYTES_MAX = 16
"""Of an element: two numbers of up to eight bytes."""
ELEMENTS_MAX = 10_000


class Element(NamedTuple):
    """One EBML element inside a buffer; `end` may lie past the buffer."""

    name: int
    start: int
    end: int


def element(data: bytes | bytearray, position: int) -> Element:
    """The element at `position`. Raises `ValueError` at the end of the buffer or on a malformed number."""
    values = []
    for marker_kept in (True, False):
        if position >= len(data) or data[position] == 0:
            raise ValueError("malformed EBML")
        length = 9 - data[position].bit_length()
        raw = int.from_bytes(data[position : position + length], "big")
        values.append(raw if marker_kept else raw - (1 << 7 * length))
        position += length
    return Element(values[0], position, position + values[1])


def children(data: bytes | bytearray, parent: Element) -> dict[int, Element]:
    """The first child of each name in `parent`, which must lie within the buffer."""
    found: dict[int, Element] = {}
    position = parent.start
    while position < min(parent.end, len(data)) and len(found) < ELEMENTS_MAX:
        child = element(data, position)
        found.setdefault(child.name, child)
        position = child.end
    return found


def number(data: bytes | bytearray, found: Element | None, otherwise: int) -> int:
    """What an element of unsigned integers says; `otherwise` where there is none."""
    return int.from_bytes(data[found.start : found.end], "big") if found else otherwise
