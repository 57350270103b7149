"""Reads one audio file with mutagen: what it says about its sound and its content, cleaned and limited.

Meant for the confined child alone (`audio_probe`): mutagen and Pillow see whatever a stranger has made.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import mutagen
import mutagen.flac
import mutagen.ogg
from mutagen.aiff import AIFF
from mutagen.flac import FLAC
from mutagen.id3 import ID3, PictureType
from mutagen.mp3 import MP3, BitrateMode
from mutagen.mp4 import MP4, MP4NoTrackError
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis
from mutagen.wave import WAVE
from PIL import Image, ImageOps
from stdnum import isrc

from streamcoop.adapters.audio_formats import DamagedAudio, Format, UnsupportedAudio

TEXT_CHARS_MAX = 300
VALUES_MAX = 10
"""Of one field; further artists or genres are left out."""
NUMBER_MAX = 9_999
CHANNELS_MAX = 8
SAMPLE_RATE_MIN, SAMPLE_RATE_MAX = 8_000, 768_000
PICTURES_MAX = 16
"""How many embedded pictures are looked at for the front cover."""
ARTWORK_BYTES_MAX = 8 << 20
ARTWORK_PIXELS_MAX = 50_000_000
ARTWORK_EDGE_MAX = 1_600
ARTWORK_QUALITY = 88
ARTWORK_FORMATS = ("JPEG", "PNG", "WEBP", "GIF")

# Characters that turn the direction of what follows: a title must not rewrite the page around it.
DIRECTION_CONTROLS: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
# mutagen declares itself typed and leaves these untyped.
Picture: Final[Any] = mutagen.flac.Picture
OggPage: Final[Any] = mutagen.ogg.OggPage

DATE: Final = re.compile(r"[12]\d{3}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?")
NUMBER: Final = re.compile(r"\s*(\d{1,5})")

READERS: Final[dict[Format, type[mutagen.FileType]]] = {
    "mp3": MP3,
    "flac": FLAC,
    "vorbis": OggVorbis,
    "opus": OggOpus,
    "m4a": MP4,
    "wav": WAVE,
    "aiff": AIFF,
}
VORBIS_KEYS: Final = {
    "title": "title",
    "artist": "artist",
    "album": "album",
    "track": "tracknumber",
    "disc": "discnumber",
    "date": "date",
    "genre": "genre",
    "isrc": "isrc",
}
ID3_KEYS: Final = {
    "title": "TIT2",
    "artist": "TPE1",
    "album": "TALB",
    "track": "TRCK",
    "disc": "TPOS",
    "date": "TDRC",
    "genre": "TCON",
    "isrc": "TSRC",
}
MP4_KEYS: Final = {
    "title": "\xa9nam",
    "artist": "\xa9ART",
    "album": "\xa9alb",
    "track": "trkn",
    "disc": "disk",
    "date": "\xa9day",
    "genre": "\xa9gen",
    "isrc": "----:com.apple.iTunes:ISRC",
}


@dataclass
class Sound:
    """What the file's headers say about its sound. `stated` is false where the duration is only an estimate."""

    codec: str
    lossless: bool
    duration_ms: int
    stated: bool
    sample_rate: int
    channels: int
    bitrate: int


@dataclass
class Reading:
    """Everything taken from one file. `artwork` is the untouched embedded picture; `notes` say what was left out."""

    sound: Sound
    values: dict[str, list[str]]
    artwork: bytes | None
    notes: list[str] = field(default_factory=list)


def read(path: Path, kind: Format) -> Reading:
    """Read `path`, which is of format `kind`. Raises `DamagedAudio` or `UnsupportedAudio`."""
    try:
        file = READERS[kind](path)
    except MP4NoTrackError as error:
        raise UnsupportedAudio("It has no audio track.") from error
    except mutagen.MutagenError as error:
        raise DamagedAudio(clean(str(error)) or "It cannot be read.") from error
    if kind in ("vorbis", "opus"):
        _check_last_page(path, file)
    notes: list[str] = []
    return Reading(_sound(file, kind), _values(file), _artwork(file, notes), notes)


def _check_last_page(path: Path, file: Any) -> None:
    """An Ogg stream marks its last page; one that has been cut has no such page."""
    with path.open("rb") as stream:
        page = OggPage.find_last(stream, file.info.serial) if hasattr(file.info, "serial") else _last_page(stream)
    if page is None or not page.last:
        raise DamagedAudio("It is cut short: its stream does not end.")


def _last_page(stream: io.BufferedReader) -> Any:
    serial = OggPage(stream).serial
    stream.seek(0)
    return OggPage.find_last(stream, serial)


def _sound(file: Any, kind: Format) -> Sound:
    info = file.info
    codec, lossless, stated = str(kind), kind in ("flac", "wav", "aiff"), True
    if kind == "m4a":
        codec = "aac" if info.codec.startswith("mp4a.40") else info.codec
        lossless = codec == "alac"
        if codec not in ("aac", "alac"):
            raise UnsupportedAudio("It is an MP4 file with neither AAC nor ALAC.")
    elif kind in ("wav", "aiff"):
        codec = "pcm"
    elif kind == "mp3":
        stated = info.bitrate_mode != BitrateMode.UNKNOWN
    sample_rate = 48_000 if kind == "opus" else int(info.sample_rate)
    duration_ms = round(info.length * 1000)
    if not (1 <= info.channels <= CHANNELS_MAX and SAMPLE_RATE_MIN <= sample_rate <= SAMPLE_RATE_MAX):
        raise UnsupportedAudio(f"It has {info.channels} channels at {sample_rate} Hz.")
    bitrate = int(getattr(info, "bitrate", 0) or 0)
    return Sound(codec, lossless, duration_ms, stated and duration_ms > 0, sample_rate, info.channels, bitrate)


def _values(file: Any) -> dict[str, list[str]]:
    """The raw values of each field we keep, at most `VALUES_MAX` of each, as mutagen gives them."""
    tags = file.tags
    if tags is None:
        return {}
    keys = ID3_KEYS if isinstance(tags, ID3) else MP4_KEYS if isinstance(file, MP4) else VORBIS_KEYS
    return {name: _texts(tags.get(key)) for name, key in keys.items()}


def _texts(value: Any) -> list[str]:
    """One field's values as text, whichever of mutagen's shapes they have."""
    if value is None:
        return []
    entries: Iterable[Any] = getattr(value, "genres", None) or getattr(value, "text", value)
    texts = []
    for entry in list(entries)[:VALUES_MAX]:
        first = entry[0] if isinstance(entry, tuple) else entry  # MP4: number and total
        texts.append(first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first))
    return texts


def _pictures(file: Any) -> list[tuple[int, bytes]]:
    """The first embedded pictures: kind (3 is the front cover) and content."""
    tags = file.tags
    if isinstance(file, FLAC):
        return [(picture.type, picture.data) for picture in file.pictures[:PICTURES_MAX]]
    if isinstance(tags, ID3):
        frames: list[Any] = file.tags.getall("APIC")
        return [(int(picture.type), picture.data) for picture in frames[:PICTURES_MAX]]
    if isinstance(file, MP4):
        covers = (tags or {}).get("covr", [])[:PICTURES_MAX]
        return [(int(PictureType.COVER_FRONT), bytes(cover)) for cover in covers]
    encoded = (tags or {}).get("metadata_block_picture", [])[:PICTURES_MAX]
    return [picture for text in encoded if (picture := _ogg_picture(text))]


def _ogg_picture(text: str) -> tuple[int, bytes] | None:
    if len(text) > ARTWORK_BYTES_MAX * 2:
        return int(PictureType.COVER_FRONT), text.encode("ascii", "replace")  # too large either way: noted as such
    try:
        picture = Picture(base64.b64decode(text))
    except (binascii.Error, ValueError, mutagen.MutagenError):
        return None
    return picture.type, picture.data


def _artwork(file: Any, notes: list[str]) -> bytes | None:
    pictures = _pictures(file)
    front = [data for kind, data in pictures if kind == PictureType.COVER_FRONT]
    chosen = front[0] if front else pictures[0][1] if pictures else None
    if chosen is not None and len(chosen) > ARTWORK_BYTES_MAX:
        notes.append(f"artwork left out: larger than {ARTWORK_BYTES_MAX >> 20} MB")
        return None
    return chosen


def clean(text: str) -> str:
    """One line of text fit to be stored and shown: no NUL or control character, no lone surrogate, no reversal of
    the writing direction, single spaces, at most `TEXT_CHARS_MAX` characters.
    """
    text = text[: TEXT_CHARS_MAX * 4].encode("utf-8", "replace").decode("utf-8")
    text = unicodedata.normalize("NFC", text)
    kept = (
        " " if character.isspace() else character
        for character in text
        if character.isspace() or (unicodedata.category(character) != "Cc" and character not in DIRECTION_CONTROLS)
    )
    return " ".join("".join(kept).split())[:TEXT_CHARS_MAX].rstrip()


def clean_all(values: list[str]) -> str | None:
    """Several values of a field as one line, each once, None if nothing is left."""
    cleaned = dict.fromkeys(text for value in values if (text := clean(value)))
    return ", ".join(cleaned)[:TEXT_CHARS_MAX].rstrip(", ") or None


def clean_number(values: list[str]) -> int | None:
    """The first number of "3", "3/12" or "03"; None unless between 1 and `NUMBER_MAX`."""
    found = NUMBER.match(values[0]) if values else None
    number = int(found[1]) if found else 0
    return number if 1 <= number <= NUMBER_MAX else None


def clean_date(values: list[str]) -> str | None:
    """YYYY, YYYY-MM or YYYY-MM-DD from the beginning of the first value, else None."""
    found = DATE.match(clean(values[0])) if values else None
    return found[0] if found else None


def clean_isrc(values: list[str], notes: list[str]) -> str | None:
    """The ISRC without its dashes if it is a valid one; a note otherwise."""
    text = clean(values[0]) if values else ""
    if not text:
        return None
    compact: str = isrc.compact(text)
    if not isrc.is_valid(compact):
        notes.append("ISRC left out: not valid")
        return None
    return compact


def reencode(artwork: bytes, notes: list[str]) -> bytes | None:
    """The picture as a plain JPEG of at most `ARTWORK_EDGE_MAX` pixels a side: nothing but its pixels survives.

    None, with a note, for what is no picture or has more than `ARTWORK_PIXELS_MAX` pixels.
    """
    try:
        with Image.open(io.BytesIO(artwork), formats=ARTWORK_FORMATS) as image:
            if image.width * image.height > ARTWORK_PIXELS_MAX:
                raise Image.DecompressionBombError
            image.draft("RGB", (ARTWORK_EDGE_MAX, ARTWORK_EDGE_MAX))
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except Image.DecompressionBombError:  # Pillow's own, of still larger pictures, too
        notes.append(f"artwork left out: more than {ARTWORK_PIXELS_MAX // 1_000_000} million pixels")
        return None
    # Pillow's decoders raise almost anything on a crafted file (struct.error, SyntaxError, ZeroDivisionError...).
    except Exception:
        notes.append("artwork left out: not a readable picture")
        return None
    upright.thumbnail((ARTWORK_EDGE_MAX, ARTWORK_EDGE_MAX))
    out = io.BytesIO()
    upright.save(out, "JPEG", quality=ARTWORK_QUALITY, optimize=True)
    return out.getvalue()
