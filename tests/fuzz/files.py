"""Mutated recordings: real files of every accepted format, made wrong as accidents and attackers make them wrong."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from mutagen import id3
from mutagen.mp3 import MP3

from streamcoop.demo import music
from tests.adapters import audio_files

PIECE_S = 1.0
PIECE_SEED = 11
MUTATIONS_MAX = 4
RUBBISH_BYTES_MAX = 64 << 10
ZEROS_BYTES_MAX = 4 << 10
NESTED_DEPTH_MAX = 2_000
HEAD_BYTES = 512
"""Where most of what a parser believes stands."""

NASTY_TEXTS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "'; drop table coop.track; --",
    "{{7*7}}${7*7}%s%n%x",
    "\x00\x01\x07\x1b[31mred\x1b[0m\x7f",
    "\u202egnp.exe\u202c",
    "e" + "\u0301" * 500,
    "\ufeff\u200b\u2028\u2029",
    "../../../etc/passwd",
    "=HYPERLINK(1)",
    "\U0001f3b5" * 300,
    "A" * 20_000,
    " " * 3_000,
    "\r\nSet-Cookie: a=b",
    "",
)
TAGS = ("title", "artist", "album", "genre", "track", "disc", "date", "isrc")
NASTY_VALUES = (*NASTY_TEXTS, "-1", "0", "65536", "1/0", "9" * 400, "٣", "1e9", "2024-99-99", "0000", "GBAYE0601498")


@dataclass(frozen=True)
class Mutant:
    """A file, and what was done to it."""

    data: bytes
    suffix: str
    story: tuple[str, ...]


Mutation = Callable[[Random, bytes, dict[str, bytes]], bytes]


@cache
def sources() -> dict[str, bytes]:
    """A small good file of every accepted format, tagged and with a picture."""
    wav = music.compose(PIECE_SEED, PIECE_S)
    tags = {"title": "Ladrang", "artist": "Kyai", "album": "Gong", "genre": "Gamelan", "track": "3", "date": "2024"}
    cover = audio_files.picture(120, 80)
    with tempfile.TemporaryDirectory(prefix="fuzz-sources-") as name:
        folder = Path(name)
        return {
            kind: music.encode(wav, kind, tags, cover, folder=folder, name=kind).read_bytes()
            for kind in audio_files.FORMATS
        }


def mutant(rng: Random) -> Mutant:
    """One mutated file. Nearly all are still of their format at first sight: that is what gets far."""
    kind = rng.choice(list(sources()))
    if rng.random() < 0.15:
        data, story = _nasty_tags(rng, kind)
    else:
        data, story = sources()[kind], f"{kind}"
    told = [story]
    for _ in range(rng.choice((0, 1, 1, 1, 2, MUTATIONS_MAX)) if story != kind else rng.randint(1, MUTATIONS_MAX)):
        mutation = rng.choice(MUTATIONS)
        told.append(mutation.__name__.lstrip("_"))
        data = mutation(rng, data, sources())
    return Mutant(data or b"\0", f".{kind}", tuple(told))


def _place(rng: Random, data: bytes) -> int:
    """Somewhere in the file, often near its beginning or end."""
    if len(data) < 2:
        return 0
    span = min(len(data), HEAD_BYTES)
    where = rng.random()
    if where < 0.5:
        return rng.randrange(span)
    if where < 0.65:
        return len(data) - 1 - rng.randrange(span)
    return rng.randrange(len(data))


def _bits_flipped(rng: Random, data: bytes, _: dict[str, bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 8, 64))):
        if changed:
            changed[_place(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _truncated(rng: Random, data: bytes, _: dict[str, bytes]) -> bytes:
    return data[: max(_place(rng, data), 1)]


def _beginning_lost(rng: Random, data: bytes, _: dict[str, bytes]) -> bytes:
    return data[_place(rng, data) :]


def _spliced(rng: Random, data: bytes, others: dict[str, bytes]) -> bytes:
    other = others[rng.choice(list(others))]
    return data[: _place(rng, data)] + other[_place(rng, other) :]


def _another_inside(rng: Random, data: bytes, others: dict[str, bytes]) -> bytes:
    place, other = _place(rng, data), others[rng.choice(list(others))]
    return data[:place] + other + data[place:]


def _zeroed(rng: Random, data: bytes, _: dict[str, bytes]) -> bytes:
    place, length = _place(rng, data), rng.randint(1, ZEROS_BYTES_MAX)
    return data[:place] + bytes(min(length, len(data) - place)) + data[place + length :]


def _rubbish_appended(rng: Random, data: bytes, _: dict[str, bytes]) -> bytes:
    return data + rng.randbytes(rng.randint(1, RUBBISH_BYTES_MAX))


def _rubbish_in_front(rng: Random, data: bytes, _: dict[str, bytes]) -> bytes:
    return rng.randbytes(rng.choice((1, 3, 10, 128, 4_000))) + data


def _header_doubled(rng: Random, data: bytes, _: dict[str, bytes]) -> bytes:
    length = rng.choice((4, 12, 44, 128, HEAD_BYTES))
    return data[:length] * rng.choice((2, 3, 50)) + data[length:]


def _size_changed(rng: Random, data: bytes, _: dict[str, bytes]) -> bytes:
    """A number of some width, wherever one may stand, is made one less, one more, nothing, or as large as can be."""
    order, (code, width) = rng.choice("<>"), rng.choice((("B", 1), ("H", 2), ("I", 4), ("Q", 8)))
    known = [at for name in (b"data", b"fmt ", b"LIST", b"SSND", b"COMM", b"moov", b"mdat", b"stts", b"ilst", b"OggS",
                             b"fLaC", b"APIC", b"TIT2", b"ID3", b"RIFF", b"FORM", b"meta", b"covr", b"stsz", b"stco")
             if (at := data.find(name)) >= 0]  # fmt: skip
    place = rng.choice(known) + rng.choice((-4, 4, 8)) if known and rng.random() < 0.7 else _place(rng, data)
    if not 0 <= place <= len(data) - width:
        return data
    top = (1 << 8 * width) - 1
    (value,) = struct.unpack_from(order + code, data, place)
    value = rng.choice((0, 1, top, top >> 1, (top >> 1) + 1, (value + 1) & top, (value - 1) & top, len(data) & top))
    return data[:place] + struct.pack(order + code, value) + data[place + width :]


def _huge_id3(rng: Random, data: bytes, _: dict[str, bytes]) -> bytes:
    """A tag that says it is up to 256 MB long, or holds frames that say so."""
    size = rng.choice((b"\x7f\x7f\x7f\x7f", b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x00\x10\x00\x00"))
    version = rng.choice((2, 3, 4, 255))
    frame = rng.choice((b"APIC", b"TIT2", b"TXXX", b"GEOB")) + rng.choice((b"\x7f\x7f\x7f\x7f", b"\xff" * 4, bytes(4)))
    return b"ID3" + bytes((version, 0, rng.randrange(256))) + size + (frame + b"\0\0") * rng.randint(0, 40) + data


def _nested(rng: Random, data: bytes, _: dict[str, bytes]) -> bytes:
    """Boxes in boxes, or lists in lists, each the first thing inside the other."""
    depth = rng.choice((10, 200, NESTED_DEPTH_MAX))
    if rng.random() < 0.5:
        boxes, name = b"", rng.choice((b"moov", b"udta", b"meta", b"trak"))
        for _ in range(depth):
            boxes = struct.pack(">I", len(boxes) + 8) + name + boxes
        return data[:32] + boxes + data[32:]
    lists = b""
    for _ in range(depth):
        lists = b"LIST" + struct.pack("<I", len(lists) + 4) + b"INFO" + lists
    return data[:12] + lists + data[12:]


def _looped(rng: Random, data: bytes, _: dict[str, bytes]) -> bytes:
    """A chunk that is nothing long or leads back to itself."""
    chunk = rng.choice((b"LIST", b"JUNK", b"free", b"ID3 ", b"data", b"SSND", b"moov")) + bytes(4)
    place = rng.choice((4, 8, 12, 36, len(data)))
    return data[:place] + chunk * rng.choice((1, 100, 5_000)) + data[place:]


def _picture_mutated(rng: Random, data: bytes, others: dict[str, bytes]) -> bytes:
    place = data.find(b"\xff\xd8\xff")
    if place < 0:
        return data
    head = rng.choice(
        (audio_files.pixel_bomb()[:200], b"GIF89a\xff\xff\xff\xff", b"<svg xmlns='x'/>", rng.randbytes(64))
    )
    at = place + rng.choice((0, 2, 20, 160))
    return data[:at] + head + data[at + len(head) :]


MUTATIONS: tuple[Mutation, ...] = (
    _bits_flipped,
    _truncated,
    _beginning_lost,
    _spliced,
    _another_inside,
    _zeroed,
    _rubbish_appended,
    _rubbish_in_front,
    _header_doubled,
    _size_changed,
    _size_changed,
    _huge_id3,
    _nested,
    _looped,
    _picture_mutated,
)


def _nasty_tags(rng: Random, kind: str) -> tuple[bytes, str]:
    """A whole file whose tags hold what nobody should trust."""
    with tempfile.TemporaryDirectory(prefix="fuzz-tags-") as name:
        path = Path(name, f"tagged.{kind}")
        path.write_bytes(sources()[kind])
        tags = {tag: rng.choice(NASTY_VALUES) for tag in rng.sample(TAGS, rng.randint(1, len(TAGS)))}
        cover = rng.choice((None, audio_files.pixel_bomb(), rng.randbytes(3_000), audio_files.picture(8, 8, "PNG")))
        if kind == "mp3" and rng.random() < 0.5:
            _nasty_id3(rng, path)
        else:
            # A tagger of ours may refuse what it is asked to write: then the file stays as good as it was.
            try:
                music.TAGGERS[kind](path, tags, cover)  # type: ignore[index]
            except (ValueError, TypeError, OverflowError):
                return path.read_bytes(), f"{kind} with tags its tagger refuses"
        return path.read_bytes(), f"{kind} with nasty tags"


def _nasty_id3(rng: Random, path: Path) -> None:
    file = MP3(path)
    if file.tags is None:
        file.add_tags()
    assert file.tags is not None
    for frame in ("TIT2", "TPE1", "TALB", "TRCK", "TPOS", "TDRC", "TSRC", "TCON"):
        values = [rng.choice(NASTY_TEXTS) for _ in range(rng.choice((1, 3, 200)))]
        file.tags.setall(frame, [getattr(id3, frame)(encoding=rng.choice((1, 3)), text=values)])
    file.save()
