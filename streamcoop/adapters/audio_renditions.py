"""Measures what ffmpeg has produced, from the headers of the produced file: duration and where the audio begins.

The files come from our own encoders, but an encoder that was fed hostile input is not trusted either: every read is
bounded and every inconsistency is a `ValueError`.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from streamcoop.adapters import ebml, flac
from streamcoop.adapters.audio_formats import mpeg_frame

MP3_HEADER_BYTES = 4 << 10
WEBM_HEADER_BYTES = 1 << 20
"""The index of three hours stands before the first cluster and takes some 40 kB."""
XING_HAS_FRAMES, XING_HAS_BYTES, XING_HAS_TOC, XING_HAS_QUALITY = 1, 2, 4, 8
LAME_DELAYS_OFFSET = 21
TIMESTAMP_SCALE_DEFAULT_NS = 1_000_000


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


def measure_webm(path: Path) -> Measure:
    """Read the head of a WebM file of one track. Raises `ValueError` unless the duration and the track are described
    before the first cluster.
    """
    with path.open("rb") as file:
        data = file.read(WEBM_HEADER_BYTES)
    header = ebml.element(data, 0)
    segment = ebml.element(data, header.end)
    if header.name != ebml.EBML_HEADER or segment.name != ebml.SEGMENT:
        raise ValueError("not a WebM file")
    position, parts = segment.start, dict[int, ebml.Element]()
    for _ in range(ebml.ELEMENTS_MAX):
        part = ebml.element(data, position)
        if part.name == ebml.CLUSTER:
            break
        parts[part.name] = part
        position = part.end
    if ebml.SEGMENT_INFO not in parts or ebml.TRACKS not in parts:
        raise ValueError("duration or track not described before the first cluster")
    info = ebml.children(data, parts[ebml.SEGMENT_INFO])
    track = ebml.children(data, ebml.children(data, parts[ebml.TRACKS])[ebml.TRACK_ENTRY])
    scale = ebml.number(data, info.get(ebml.TIMESTAMP_SCALE), TIMESTAMP_SCALE_DEFAULT_NS)
    stated = info.get(ebml.DURATION)
    if stated is None or stated.end - stated.start not in (4, 8):
        raise ValueError("no duration")
    (ticks,) = struct.unpack(">d" if stated.end - stated.start == 8 else ">f", data[stated.start : stated.end])
    duration_ns = ticks * scale - ebml.number(data, track.get(ebml.CODEC_DELAY), 0)
    return Measure(max(0, round(duration_ns / 1_000_000)), position)


def measure_flac(path: Path) -> Measure:
    """Read the head of a FLAC file. Raises `ValueError` if it is none."""
    with path.open("rb") as file:

        def read(start: int, end: int) -> bytes:
            file.seek(start)
            return file.read(end - start)

        found = flac.metadata(read)
    return Measure(found.duration_ms, found.frames_at)
