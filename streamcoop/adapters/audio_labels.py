"""What a file to keep says about itself: tags and cover, as bytes that stand before its audio.

The audio follows as it is stored, so a labelled file is its head and a part of an object: nothing is copied, its
length is known, and any range of it can be sent. Only what this service has cleaned and encoded itself goes in.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import mutagen.flac
from mutagen.id3 import APIC, ID3, TALB, TCON, TDRC, TIT2, TPE1, TPE2, TRCK, TSRC, Encoding, PictureType

from streamcoop.adapters import flac

VENDOR = "StreamCoop"
JPEG = "image/jpeg"

# mutagen declares itself typed and leaves these untyped.
_Picture: Final[Any] = mutagen.flac.Picture
_Comments: Final[Any] = mutagen.flac.VCFLACDict
_Tags: Final[Any] = ID3
_Cover: Final[Any] = APIC
_TEXTS: Final[dict[str, Any]] = {frame.__name__: frame for frame in (TALB, TCON, TDRC, TIT2, TPE1, TPE2, TRCK, TSRC)}


@dataclass(frozen=True, slots=True)
class Label:
    """What a file says. `date` is an ISO date or a part of one; `cover` is a JPEG."""

    title: str
    artist: str
    album: str
    track: int
    date: str | None
    genre: str | None
    isrc: str | None
    cover: bytes | None = field(default=None, repr=False)


def id3(label: Label) -> bytes:
    """An ID3v2.4 tag, which stands before an MP3."""
    tags = _Tags()
    texts = {
        "TIT2": label.title,
        "TPE1": label.artist,
        "TPE2": label.artist,
        "TALB": label.album,
        "TRCK": str(label.track),
        "TDRC": label.date,
        "TCON": label.genre,
        "TSRC": label.isrc,
    }
    for frame, text in texts.items():
        if text:
            tags.add(_TEXTS[frame](encoding=Encoding.UTF8, text=[text]))
    if label.cover:
        front = PictureType.COVER_FRONT
        tags.add(_Cover(encoding=Encoding.UTF8, mime=JPEG, type=front, desc="", data=label.cover))
    file = io.BytesIO()
    tags.save(file, padding=lambda _: 0)
    return file.getvalue()


def comments(label: Label, *more: tuple[str, str]) -> bytes:
    """A Vorbis comment, without the bit that ends it in Vorbis itself."""
    written = _Comments()
    written.vendor = VENDOR
    texts = {
        "TITLE": label.title,
        "ARTIST": label.artist,
        "ALBUMARTIST": label.artist,
        "ALBUM": label.album,
        "TRACKNUMBER": str(label.track),
        "DATE": label.date,
        "GENRE": label.genre,
        "ISRC": label.isrc,
    }
    for name, text in (*texts.items(), *more):
        if text:
            written.append((name, text))
    return bytes(written.write(framing=False))


def picture(label: Label) -> bytes | None:
    """The cover as FLAC's picture block has it, and Ogg in base64."""
    if label.cover is None:
        return None
    block = _Picture()
    block.type, block.mime, block.depth, block.data = int(PictureType.COVER_FRONT), JPEG, 24, label.cover
    return bytes(block.write())


def flac_head(label: Label, read: Callable[[int, int], bytes]) -> tuple[bytes, int]:
    """What a FLAC file begins with instead of its own tags, and from which byte of it on its frames follow.

    `read` gives the bytes of the file from one position to another. Raises `ValueError`.
    """
    about_sound, frames_at = flac.metadata(read)
    blocks = [*about_sound, (flac.COMMENTS, comments(label))]
    if (cover := picture(label)) is not None:
        blocks.append((flac.PICTURE, cover))
    return flac.head(blocks), frames_at
