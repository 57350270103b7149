"""Measures what ffmpeg has produced, from the headers of the produced file: duration and where the audio begins.

The files come from our own encoders, but an encoder that was fed hostile input is not trusted either: every read is
bounded and every inconsistency is a `ValueError`.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from streamcoop.adapters.audio_formats import mpeg_frame

MP3_HEADER_BYTES = 4 << 10
WEBM_HEADER_BYTES = 1 << 20
"""The index of three hours stands before the first cluster and takes some 40 kB."""
XING_HAS_FRAMES, XING_HAS_BYTES, XING_HAS_TOC, XING_HAS_QUALITY = 1, 2, 4, 8
LAME_DELAYS_OFFSET = 21
EBML_HEADER, SEGMENT, CLUSTER, SEGMENT_INFO, TRACKS, TRACK_ENTRY = (
    0x1A45DFA3,
    0x18538067,
    0x1F43B675,
    0x1549A966,
    0x1654AE6B,
    0xAE,
)
TIMESTAMP_SCALE, DURATION, CODEC_DELAY = 0x2AD7B1, 0x4489, 0x56AA
TIMESTAMP_SCALE_DEFAULT_NS = 1_000_000
ELEMENTS_MAX = 10_000


class Measure(NamedTuple):
    """Duration of the sound, without what the encoder padded, and the bytes before the first audio frame."""

    duration_ms: int
    header_bytes: int


def measure_mp3(path: Path) -> Measure:
    """Read the Info frame in front of an MP3 of constant bit rate. Raises `ValueError` if there is none."""
    with path.open("rb") as file:
        head = file.read(MP3_HEADER_BYTES)
    frame = mpeg_frame(head[:4])
    if frame is None:
        raise ValueError("no MPEG frame at the beginning")
    position = head.find(b"Info", 4, frame.size)
    if position < 0:
        raise ValueError("no Info header")
    (flags, frames) = struct.unpack_from(">II", head, position + 4)
    if not flags & XING_HAS_FRAMES:
        raise ValueError("the Info header does not count the frames")
    lame = position + 12
    for flag, length in ((XING_HAS_BYTES, 4), (XING_HAS_TOC, 100), (XING_HAS_QUALITY, 4)):
        lame += length if flags & flag else 0
    delays = int.from_bytes(head[lame + LAME_DELAYS_OFFSET : lame + LAME_DELAYS_OFFSET + 3], "big")
    samples = frames * frame.samples - (delays >> 12) - (delays & 0xFFF)
    return Measure(max(0, round(samples * 1000 / frame.sample_rate)), frame.size)


class Element(NamedTuple):
    """One EBML element inside a buffer; `end` may lie past the buffer."""

    name: int
    start: int
    end: int


def _element(data: bytes, position: int) -> Element:
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


def _children(data: bytes, parent: Element) -> dict[int, Element]:
    """The first child of each name in `parent`, which must lie within the buffer."""
    children: dict[int, Element] = {}
    position = parent.start
    while position < min(parent.end, len(data)) and len(children) < ELEMENTS_MAX:
        child = _element(data, position)
        children.setdefault(child.name, child)
        position = child.end
    return children


def _number(data: bytes, element: Element | None, otherwise: int) -> int:
    return int.from_bytes(data[element.start : element.end], "big") if element else otherwise


def measure_webm(path: Path) -> Measure:
    """Read the head of a WebM file of one track. Raises `ValueError` unless the duration and the track are described
    before the first cluster.
    """
    with path.open("rb") as file:
        data = file.read(WEBM_HEADER_BYTES)
    header = _element(data, 0)
    segment = _element(data, header.end)
    if header.name != EBML_HEADER or segment.name != SEGMENT:
        raise ValueError("not a WebM file")
    position, parts = segment.start, dict[int, Element]()
    for _ in range(ELEMENTS_MAX):
        part = _element(data, position)
        if part.name == CLUSTER:
            break
        parts[part.name] = part
        position = part.end
    if SEGMENT_INFO not in parts or TRACKS not in parts:
        raise ValueError("duration or track not described before the first cluster")
    info = _children(data, parts[SEGMENT_INFO])
    track = _children(data, _children(data, parts[TRACKS])[TRACK_ENTRY])
    scale = _number(data, info.get(TIMESTAMP_SCALE), TIMESTAMP_SCALE_DEFAULT_NS)
    stated = info.get(DURATION)
    if stated is None or stated.end - stated.start not in (4, 8):
        raise ValueError("no duration")
    (ticks,) = struct.unpack(">d" if stated.end - stated.start == 8 else ">f", data[stated.start : stated.end])
    duration_ns = ticks * scale - _number(data, track.get(CODEC_DELAY), 0)
    return Measure(max(0, round(duration_ns / 1_000_000)), position)
