"""The metadata that a FLAC file begins with (RFC 9639), read in bounded pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from streamcoop.adapters.audio_formats import ID3_HEADER_BYTES, ID3_TAGS_MAX

MARK = b"fLaC"
STREAMINFO, SEEKTABLE, COMMENTS, PICTURE = 0, 3, 4, 6
HEADER_BYTES = 4
LAST = 0x80
BLOCKS_MAX = 128
KEPT_BYTES_MAX = 1 << 20
"""Of a block that is read whole: what the sound is, and where to find a place in it."""
SAMPLE_RATE_AT, STREAMINFO_BYTES = 10, 34


class Metadata(NamedTuple):
    """The blocks that are about the sound, and where the frames begin."""

    about_sound: list[tuple[int, bytes]]
    frames_at: int

    @property
    def duration_ms(self) -> int:
        """As the first block states it; 0 if it does not."""
        content = self.about_sound[0][1] if self.about_sound else b""
        if len(content) < STREAMINFO_BYTES:
            return 0
        # 20 bits of sample rate, 8 of channels and depth, 36 of samples.
        numbers = int.from_bytes(content[SAMPLE_RATE_AT : SAMPLE_RATE_AT + 8], "big")
        sample_rate, samples = numbers >> 44, numbers & ((1 << 36) - 1)
        return round(samples * 1000 / sample_rate) if sample_rate else 0


def metadata(read: Callable[[int, int], bytes]) -> Metadata:
    """`read` gives the bytes of the file from one position to another. Raises `ValueError` where it is no FLAC file."""
    at = 0
    # Some tools put ID3 tags before a FLAC file.
    for _ in range(ID3_TAGS_MAX):
        start = read(at, at + ID3_HEADER_BYTES)
        if start[:3] != b"ID3":
            break
        length = sum((byte & 0x7F) << shift for byte, shift in zip(start[6:], (21, 14, 7, 0), strict=True))
        at += ID3_HEADER_BYTES + length + (ID3_HEADER_BYTES if start[5] & 0x10 else 0)
    if start[: len(MARK)] != MARK:
        raise ValueError("not a FLAC file")
    at += len(MARK)
    kept: list[tuple[int, bytes]] = []
    for _ in range(BLOCKS_MAX):
        header = read(at, at + HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            break
        at += HEADER_BYTES
        kind, length = header[0] & ~LAST, int.from_bytes(header[1:], "big")
        if kind in (STREAMINFO, SEEKTABLE) and length <= KEPT_BYTES_MAX:
            kept.append((kind, read(at, at + length)))
        at += length
        if header[0] & LAST:
            return Metadata(kept, at)
    raise ValueError("the metadata does not end")


def head(blocks: list[tuple[int, bytes]]) -> bytes:
    """What stands before the frames: these blocks, of a kind and a content each."""
    made = bytearray(MARK)
    for at, (kind, content) in enumerate(blocks, 1):
        made += bytes([kind | (LAST if at == len(blocks) else 0)]) + len(content).to_bytes(3, "big") + content
    return bytes(made)
