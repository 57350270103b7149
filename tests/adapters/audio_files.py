"""Makes audio files for tests, whole ones and every kind of broken one. Nothing is kept in the repository."""

from __future__ import annotations

import base64
import io
import random
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from mutagen import id3
from mutagen.flac import FLAC, Picture
from mutagen.mp3 import MP3
from mutagen.oggvorbis import OggVorbis
from PIL import Image

from streamcoop.adapters import ffmpeg
from streamcoop.adapters.audio_formats import Format
from streamcoop.demo import music

PIECE_S = 6.0
PIECE_SEED = 7
BOMB_S = 3600
TOOL_S_MAX = 120
FORMATS: Final[tuple[Format, ...]] = ("mp3", "flac", "vorbis", "opus", "m4a", "wav", "aiff")


@cache
def piece() -> bytes:
    """The WAV that every other file is made of."""
    return music.compose(PIECE_SEED, PIECE_S)


def whole(folder: Path, kind: Format, tags: Mapping[str, str] | None = None, artwork: bytes | None = None) -> Path:
    """A good file of the format."""
    return music.encode(piece(), kind, tags or {}, artwork, folder=folder, name=f"whole-{kind}")


def converted(folder: Path, name: str, *arguments: str) -> Path:
    """The piece as ffmpeg writes it with the given output arguments."""
    path = folder / name
    tool = str(ffmpeg.executable(None))
    command = [tool, "-hide_banner", "-loglevel", "error", "-f", "wav", "-i", "pipe:0", *arguments, "-y", str(path)]
    subprocess.run(command, input=piece(), check=True, timeout=TOOL_S_MAX)
    return path


def picture(width: int, height: int, kind: str = "JPEG") -> bytes:
    """A picture of one colour."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), (200, 90, 30)).save(out, kind)
    return out.getvalue()


def text_named_mp3(folder: Path) -> Path:
    path = folder / "song.mp3"
    path.write_text("These are the words of a song, not the song.\n" * 200)
    return path


def empty(folder: Path) -> Path:
    path = folder / "empty.mp3"
    path.touch()
    return path


def picture_named_mp3(folder: Path) -> Path:
    path = folder / "cover.mp3"
    path.write_bytes(picture(640, 480))
    return path


def zip_named_flac(folder: Path) -> Path:
    path = folder / "album.flac"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("piece.wav", piece())
    return path


def playlist_named_mp3(folder: Path, target: Path) -> Path:
    """An HLS playlist that names another file."""
    path = folder / "live.mp3"
    path.write_text(
        f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:6\n#EXTINF:6.0,\nfile://{target}\n#EXT-X-ENDLIST\n"
    )
    return path


def concat_list_named_mp3(folder: Path, target: Path) -> Path:
    """ffmpeg's own list format."""
    path = folder / "list.mp3"
    path.write_text(f"ffconcat version 1.0\nfile '{target}'\n" * 3)
    return path


def cut(source: Path, keep: float) -> Path:
    """The first part of a file."""
    data = source.read_bytes()
    return beside(source, "cut", data[: int(len(data) * keep)])


def cut_bytes(source: Path, missing: int) -> Path:
    """The file without its last bytes."""
    return beside(source, f"cut{missing}", source.read_bytes()[:-missing])


def blanked(source: Path, at: float, length: int) -> Path:
    """The file with a run of zeros inside."""
    data = bytearray(source.read_bytes())
    start = int(len(data) * at)
    data[start : start + length] = bytes(length)
    return beside(source, "blanked", bytes(data))


def mutated(source: Path, seed: int, changes: int) -> Path:
    """The file with bytes overwritten, inserted and removed at random places, most of them near its beginning."""
    rng = random.Random(seed)
    data = bytearray(source.read_bytes())
    for _ in range(changes):
        place = rng.randrange(min(len(data), 4096) if rng.random() < 0.7 else len(data))
        action = rng.randrange(3)
        if action == 0:
            data[place] = rng.randrange(256)
        elif action == 1:
            data[place:place] = rng.randbytes(rng.randrange(1, 9))
        else:
            del data[place : place + rng.randrange(1, 9)]
    return beside(source, f"mutated{seed}", bytes(data))


def beside(source: Path, word: str, data: bytes) -> Path:
    path = source.with_name(f"{source.stem}-{word}{source.suffix}")
    path.write_bytes(data)
    return path


@cache
def _silence() -> bytes:
    tool = str(ffmpeg.executable(None))
    source = ["-f", "lavfi", "-i", "anullsrc=r=48000:cl=stereo", "-t", str(BOMB_S)]
    coding = ["-c:a", "flac", "-compression_level", "8", "-frame_size", "65535", "-f", "flac", "pipe:1"]
    command = [tool, "-nostdin", "-hide_banner", "-loglevel", "error", *source, *coding]
    return subprocess.run(command, check=True, timeout=TOOL_S_MAX, stdout=subprocess.PIPE).stdout


def silence_bomb(folder: Path, stated_samples: int = 0) -> Path:
    """An hour of silence in some 50 kB of FLAC; its header states `stated_samples`, 0 for unknown."""
    data = bytearray(_silence())
    # STREAMINFO begins at byte 8; its 36-bit sample count ends at byte 26.
    head = int.from_bytes(data[18:26], "big") >> 36 << 36
    data[18:26] = (head | stated_samples).to_bytes(8, "big")
    path = folder / "silence.flac"
    path.write_bytes(data)
    return path


def dirty_tags(folder: Path) -> Path:
    """An MP3 whose tags hold NULs, control characters, reversed text, too much text and too many values."""
    path = whole(folder, "mp3")
    file: Any = MP3(path)
    if file.tags is None:
        file.add_tags()
    file.tags.add(id3.TIT2(encoding=3, text=["A\x07 ti\x1btle\u202e with\ttraps\r\n" + "x" * 5_000]))
    file.tags.add(id3.TPE1(encoding=3, text=[f"Artist {i}" for i in range(500)]))
    file.tags.add(id3.TALB(encoding=1, text=["  One\x00Two  "]))
    file.tags.add(id3.TRCK(encoding=3, text=["999999999999999999/1"]))
    file.tags.add(id3.TSRC(encoding=3, text=["not an isrc"]))
    file.tags.add(id3.TDRC(encoding=3, text=["2019-13-45"]))
    file.save()
    return path


def invalid_utf8_tags(folder: Path) -> Path:
    """An Ogg whose title is not UTF-8 although the format demands it."""
    path = whole(folder, "vorbis", {"title": "MARKER"})
    file = OggVorbis(path)
    file["title"] = ["caf\u00e9 MARKER"]
    file.save()
    data = path.read_bytes()
    broken = data.replace("caf\u00e9 MARKER".encode(), b"caf\xff\xfe MARKER")
    path.write_bytes(_with_ogg_checksums(broken))
    return path


def large_artwork(folder: Path, size: int) -> Path:
    """A FLAC with a picture of `size` bytes."""
    path = whole(folder, "flac")
    file = FLAC(path)
    file.add_picture(front_cover(picture(64, 64) + bytes(size)))
    file.save()
    return path


def front_cover(data: bytes) -> Picture:
    cover = Picture()
    cover.type, cover.mime, cover.data = 3, "image/jpeg", data
    return cover


def pixel_bomb() -> bytes:
    """A PNG of 30,000 by 30,000 pixels in a few kB. Only its header is honest."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    edge = 30_000
    header = struct.pack(">IIBBBBB", edge, edge, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((edge // 8 + 1) * 200))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def ogg_picture_text(data: bytes) -> str:
    return base64.b64encode(front_cover(data).write()).decode("ascii")


def huge_id3_size(folder: Path) -> Path:
    """An MP3 whose ID3 tag says that it is 256 MB long."""
    path = folder / "huge-id3.mp3"
    path.write_bytes(b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + whole(folder, "mp3").read_bytes())
    return path


def compressed_id3_frame(folder: Path) -> Path:
    """An MP3 with an ID3 frame of 3 MB that unpacks to 3 GB."""
    block_bytes, blocks = 16 << 20, 192
    packer = zlib.compressobj(9)
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush a block depends on nothing before it, so that one block can stand many times.
    block = packer.compress(bytes(block_bytes)) + packer.flush(zlib.Z_FULL_FLUSH)
    body = start + block * blocks + packer.flush()
    frame = b"TIT2" + _syncsafe(len(body) + 4) + b"\x00\x09" + _syncsafe((1 << 28) - 1) + body
    path = folder / "packed-id3.mp3"
    path.write_bytes(b"ID3\x04\x00\x00" + _syncsafe(len(frame)) + frame + whole(folder, "mp3").read_bytes())
    return path


def _syncsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def wav_that_lies(folder: Path, data_size: int) -> Path:
    """A WAV whose data chunk states another size than it has."""
    data = bytearray(piece())
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", data_size)
    path = folder / "lies.wav"
    path.write_bytes(data)
    return path


def _ogg_checksum_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7) if value & 0x80000000 else value << 1
        table.append(value & 0xFFFFFFFF)
    return table


def _with_ogg_checksums(data: bytes) -> bytes:
    """Recompute each page's checksum after a change of the same length."""
    table, out, place = _ogg_checksum_table(), bytearray(data), 0
    while place < len(out):
        segments = out[place + 26]
        end = place + 27 + segments + sum(out[place + 27 : place + 27 + segments])
        out[place + 22 : place + 26] = bytes(4)
        value = 0
        for byte in out[place:end]:
            value = (value << 8 & 0xFFFFFFFF) ^ table[value >> 24 ^ byte]
        out[place + 22 : place + 26] = struct.pack("<I", value)
        place = end
    return bytes(out)


NOT_AUDIO: Final[dict[str, Callable[[Path], Path]]] = {
    "text": text_named_mp3,
    "empty": empty,
    "picture": picture_named_mp3,
    "zip": zip_named_flac,
}
