"""Opus out of WebM, as listeners are streamed it, into Ogg (RFC 7845), as people keep it: while it comes, in bounded
memory, and without touching the sound.
"""

from __future__ import annotations

import base64
from typing import Any, Final

import mutagen.ogg

from streamcoop.adapters import audio_labels, ebml
from streamcoop.adapters.audio_labels import Label

PACKETS_A_PAGE = 50
"""A second of sound, and far fewer bytes than a page holds."""
ELEMENT_BYTES_MAX = 1 << 20
"""Of those that are read whole: the index of three hours has some 40 kB, a block some 300 bytes."""
PACKET_BYTES_MAX = 1_275 * 3
SAMPLE_RATE = 48_000
NS = 1_000_000_000
LACED = 0x06

_Page: Final[Any] = mutagen.ogg.OggPage  # untyped in mutagen


class OggOpus:
    """Takes a WebM file of one Opus track in pieces and gives the Ogg file in pieces. Both raise `ValueError`."""

    def __init__(self, label: Label, serial: int) -> None:
        self._label, self._serial = label, serial
        self._waiting = bytearray()
        self._skip = 0
        self._packets: list[bytes] = []
        self._sequence = self._samples = self._discarded = 0
        self._out = bytearray()

    def feed(self, data: bytes) -> bytes:
        """The next piece of the Ogg file, perhaps empty, after the next piece of the WebM file."""
        self._waiting += data
        self._walk(ebml.HEADER_BYTES_MAX)
        return self._taken()

    def close(self) -> bytes:
        """The end of the Ogg file, after all of the WebM file."""
        self._walk(1)
        if not self._packets:
            raise ValueError("no audio")
        self._write_page(last=True)
        return self._taken()

    def _taken(self) -> bytes:
        taken = bytes(self._out)
        self._out.clear()
        return taken

    def _walk(self, needed: int) -> None:
        """Go through what elements have come whole; a header is looked at once `needed` bytes are there."""
        waiting, at = self._waiting, 0
        while len(waiting) - at >= needed:
            found = ebml.element(waiting, at)
            if found.name in (ebml.SEGMENT, ebml.CLUSTER):
                at = found.start
                continue
            if found.end - found.start > ELEMENT_BYTES_MAX:
                raise ValueError("an element is too large")
            if found.end > len(waiting):
                break
            self._read(found)
            at = found.end
        del waiting[:at]

    def _read(self, found: ebml.Element) -> None:
        data = self._waiting
        if found.name == ebml.SIMPLE_BLOCK:
            self._packet(found)
        elif found.name == ebml.BLOCK_GROUP:
            parts = ebml.children(data, found)
            self._discarded = ebml.number(data, parts.get(ebml.DISCARD_PADDING), 0) * SAMPLE_RATE // NS
            if ebml.BLOCK not in parts:
                raise ValueError("a group without a block")
            self._packet(parts[ebml.BLOCK])
        elif found.name == ebml.TRACKS:
            track = ebml.children(data, ebml.children(data, found)[ebml.TRACK_ENTRY])
            private = track.get(ebml.CODEC_PRIVATE)
            if private is None or self._sequence:
                raise ValueError("no track of Opus")
            self._write_head(bytes(data[private.start : private.end]))

    def _packet(self, block: ebml.Element) -> None:
        # The number of the track in one byte, the time in two, flags in one.
        packet = bytes(self._waiting[block.start + 4 : block.end])
        if not self._sequence or not 0 < len(packet) <= PACKET_BYTES_MAX or self._waiting[block.start + 3] & LACED:
            raise ValueError("not a block of Opus")
        # A page is written when more comes after it: the last one says that it is.
        if len(self._packets) == PACKETS_A_PAGE:
            self._write_page(last=False)
        self._packets.append(packet)
        self._samples += _samples(packet)

    def _write_head(self, head: bytes) -> None:
        if not head.startswith(b"OpusHead"):
            raise ValueError("not Opus")
        cover = audio_labels.picture(self._label)
        more = [("METADATA_BLOCK_PICTURE", base64.b64encode(cover).decode())] if cover else []
        tags = b"OpusTags" + audio_labels.comments(self._label, *more)
        first = _Page()
        first.packets, first.first = [head], True
        for page in (first, *_Page.from_packets([tags], 1)):
            self._write(page)

    def _write_page(self, *, last: bool) -> None:
        page = _Page()
        page.packets, page.last = self._packets, last
        page.position = self._samples - (self._discarded if last else 0)
        page.sequence = self._sequence
        self._packets = []
        self._write(page)

    def _write(self, page: Any) -> None:
        page.serial = self._serial
        self._out += page.write()
        self._sequence += 1


def _samples(packet: bytes) -> int:
    """How long a packet sounds, in samples at 48 kHz, by its first byte (RFC 6716, section 3.1)."""
    config, frames_code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        samples = (480, 960, 1_920, 2_880)[config & 3]
    elif config < 16:
        samples = (480, 960)[config & 1]
    else:
        samples = (120, 240, 480, 960)[config & 3]
    frames = (1, 2, 2, packet[1] & 0x3F if len(packet) > 1 else 0)[frames_code]
    return samples * frames
