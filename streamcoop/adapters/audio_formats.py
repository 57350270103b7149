"""Which audio format a file is, told by its content alone, and whether its outermost structure is whole.

Reads a bounded number of bytes and trusts none of them. Standard library only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

Format = Literal["mp3", "flac", "vorbis", "opus", "m4a", "wav", "aiff"]

HEAD_BYTES = 64
ID3_HEADER_BYTES = 10
ID3_TAGS_MAX = 8
"""Some tools put a new ID3 tag in front of the old one."""
MPEG_SEARCH_BYTES = 64 << 10
"""How far into an MP3 its first frame may stand: padding and rubbish of editors come before."""
MPEG_FRAMES_IN_A_ROW = 3
"""One frame header is four bytes that chance writes often; three that follow one another it does not."""
CHUNKS_MAX = 4096
"""Of a RIFF or AIFF file, and outermost boxes of an MP4."""
OGG_CODEC_OFFSET = 28
"""Where the first packet begins in an Ogg page of one segment, as the first page of both codecs is."""

MPEG_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
MPEG1_KBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MPEG2_KBITS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)

WAV_PCM, WAV_FLOAT, WAV_EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
WAV_SUBFORMAT_OFFSET = 24
AIFC_UNCOMPRESSED = frozenset({b"NONE", b"sowt", b"twos", b"fl32", b"FL32", b"fl64", b"FL64", b"in24", b"in32"})
AIFC_COMPRESSION_OFFSET = 18

UNSUPPORTED_SIGNATURES = {
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "Windows Media",
    b"MAC ": "Monkey's Audio",
    b"wvpk": "WavPack",
    b"TTA1": "True Audio",
    b"DSD ": "DSD",
    b"FRM8": "DSD",
    b"caff": "Core Audio Format",
    b"RF64": "RF64",
    b"riff\x2e\x91\xcf\x11": "Wave64",
    b"MThd": "MIDI",
    b"#!AMR": "AMR",
    b"ADIF": "raw AAC",
    b"MPCK": "Musepack",
    b"MP+": "Musepack",
    b"\x1a\x45\xdf\xa3": "Matroska or WebM",
}


class AudioRefused(Exception):
    """The file cannot be taken as a recording."""

    def __init__(self, detail: str = "") -> None:
        self.detail = detail
        super().__init__(f"{self.__doc__} {detail}".strip())


class NotAudio(AudioRefused):
    """The file is not audio, whatever its name says."""


class UnsupportedAudio(AudioRefused):
    """The file is audio of a kind that is not accepted here."""


class DamagedAudio(AudioRefused):
    """The file is cut short or damaged."""


class RecordingTooLong(AudioRefused):
    """The recording lasts longer than is accepted here."""


class AudioTooCostly(AudioRefused):
    """The file could not be handled within the limits of time and memory."""


class MpegFrame(NamedTuple):
    """What the header of one MPEG layer III frame says."""

    size: int
    samples: int
    sample_rate: int
    channels: int


def mpeg_frame(header: bytes) -> MpegFrame | None:
    """Read the four header bytes of an MPEG layer III frame. None if they are no such header (or free format)."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, kbit_index, rate_index = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or kbit_index in (0, 15) or rate_index == 3:
        return None
    rate = MPEG_RATES[version][rate_index]
    kbits = (MPEG1_KBITS if version == 3 else MPEG2_KBITS)[kbit_index]
    samples = 1152 if version == 3 else 576
    size = samples * kbits * 125 // rate + (header[2] >> 1 & 1)
    return MpegFrame(size, samples, rate, 1 if header[3] >> 6 == 3 else 2)


def id3_end(file: BinaryIO, size: int) -> int:
    """Where the ID3v2 tags at the beginning of the file end; 0 if there is none.

    Raises `DamagedAudio` if a tag says that it reaches to or past the end of the file.
    """
    end = 0
    for _ in range(ID3_TAGS_MAX):
        file.seek(end)
        header = file.read(ID3_HEADER_BYTES)
        if len(header) < ID3_HEADER_BYTES or header[:3] != b"ID3":
            break
        length = sum((byte & 0x7F) << shift for byte, shift in zip(header[6:], (21, 14, 7, 0), strict=True))
        end += ID3_HEADER_BYTES + length + (ID3_HEADER_BYTES if header[5] & 0x10 else 0)
        if end >= size:
            raise DamagedAudio("Its ID3 tag reaches past the end of the file.")
    return end


def has_mpeg_frames(data: bytes, *, whole: bool) -> bool:
    """Whether layer III frames follow one another somewhere in `data`.

    `whole` says that `data` reaches to the end of the file: then fewer frames will do if they reach there too.
    """
    start = data.find(b"\xff")
    while start >= 0:
        position, frames = start, 0
        while frames < MPEG_FRAMES_IN_A_ROW and (frame := mpeg_frame(data[position : position + 4])):
            position, frames = position + frame.size, frames + 1
        if frames == MPEG_FRAMES_IN_A_ROW or (whole and frames > 1 and position >= len(data)):
            return True
        start = data.find(b"\xff", start + 1)
    return False


def detect(path: Path) -> Format:
    """The format of the file by its content.

    Raises `NotAudio`, `UnsupportedAudio`, or `DamagedAudio` where already the beginning contradicts itself.
    """
    size = path.stat().st_size
    if size == 0:
        raise NotAudio("It is empty.")
    with path.open("rb") as file:
        start = id3_end(file, size)
        file.seek(start)
        data = file.read(MPEG_SEARCH_BYTES)
    head = data[:HEAD_BYTES]
    if found := _by_signature(head):
        return found
    for signature, name in UNSUPPORTED_SIGNATURES.items():
        if head.startswith(signature):
            raise UnsupportedAudio(f"It is {name}.")
    if head[:2] in (b"\xff\xf1", b"\xff\xf9"):
        raise UnsupportedAudio("It is raw AAC.")
    if has_mpeg_frames(data, whole=start + len(data) == size):
        return "mp3"
    if start:
        raise DamagedAudio("It has an ID3 tag and no audio after it.")
    raise NotAudio


def _by_signature(head: bytes) -> Format | None:
    if head[:4] == b"fLaC":
        return "flac"
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[4:8] == b"ftyp":
        return "m4a"
    if head[:4] != b"OggS":
        return None
    if head[OGG_CODEC_OFFSET:].startswith(b"OpusHead"):
        return "opus"
    if head[OGG_CODEC_OFFSET:].startswith(b"\x01vorbis"):
        return "vorbis"
    raise UnsupportedAudio("It is Ogg with neither Vorbis nor Opus first.")


def check_structure(path: Path, kind: Format) -> None:
    """Raise `DamagedAudio` or `UnsupportedAudio` for what the outermost structure shows: a part that the file says
    it has and has not, or audio stored in a way we do not decode. Formats without such a structure pass.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if kind == "wav":
            _check_wav(file, size)
        elif kind == "aiff":
            _check_aiff(file, size)
        elif kind == "m4a":
            _check_mp4(file, size)


class Chunk(NamedTuple):
    """A part of a RIFF or AIFF file: where its content begins, and how long it says it is."""

    name: bytes
    start: int
    length: int


def _chunks(file: BinaryIO, size: int, number: str) -> Iterator[Chunk]:
    """The parts of a RIFF or AIFF file in order; `number` is struct's format of a length."""
    position = 12
    for _ in range(CHUNKS_MAX):
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return
        (length,) = struct.unpack(number, header[4:])
        yield Chunk(header[:4], position + 8, length)
        position += 8 + length + length % 2
        if position >= size:
            return


def _check_samples(chunk: Chunk, size: int, overhead: int) -> None:
    if chunk.start + chunk.length > size:
        raise DamagedAudio(f"It announces {chunk.length} bytes of audio and holds {size - chunk.start}.")
    if chunk.length <= overhead:
        raise DamagedAudio("It holds no audio.")


def _check_wav(file: BinaryIO, size: int) -> None:
    described = False
    for chunk in _chunks(file, size, "<I"):
        if chunk.name == b"fmt ":
            file.seek(chunk.start)
            content = file.read(WAV_SUBFORMAT_OFFSET + 2)
            tag = int.from_bytes(content[:2], "little")
            if tag == WAV_EXTENSIBLE:
                tag = int.from_bytes(content[WAV_SUBFORMAT_OFFSET:], "little")
            if tag not in (WAV_PCM, WAV_FLOAT):
                raise UnsupportedAudio("It is compressed WAV.")
            described = True
        elif chunk.name == b"data":
            _check_samples(chunk, size, 0)
            if described:
                return
    raise DamagedAudio("It lacks the parts that a WAV file must have.")


def _check_aiff(file: BinaryIO, size: int) -> None:
    file.seek(8)
    compressed_kind = file.read(4) == b"AIFC"
    seen = set()
    for chunk in _chunks(file, size, ">I"):
        seen.add(chunk.name)
        if chunk.name == b"COMM" and compressed_kind:
            file.seek(chunk.start + AIFC_COMPRESSION_OFFSET)
            if file.read(4) not in AIFC_UNCOMPRESSED:
                raise UnsupportedAudio("It is compressed AIFF.")
        elif chunk.name == b"SSND":
            _check_samples(chunk, size, 8)
    if not seen >= {b"COMM", b"SSND"}:
        raise DamagedAudio("It lacks the parts that an AIFF file must have.")


def _check_mp4(file: BinaryIO, size: int) -> None:
    position, seen = 0, set()
    for _ in range(CHUNKS_MAX):
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            break
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:
            length = size - position
        if length < 8 or position + length > size:
            raise DamagedAudio("It is cut short.")
        seen.add(header[4:8])
        position += length
    if b"moov" not in seen:
        raise DamagedAudio("It lacks its table of contents.")
