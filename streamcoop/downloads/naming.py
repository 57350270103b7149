"""What files and folders are called on whichever system they end up. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection

# Most file systems take 255 bytes of a name; an archive's reader may add to it.
NAME_BYTES_MAX = 180
NAMELESS = "Untitled"
FORBIDDEN = frozenset('<>:"/\\|?*')
# Windows opens devices by these, whatever their extension.
DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"com{number}" for number in range(10)), *(f"lpt{number}" for number in range(10))}
)


def part(text: str, bytes_max: int = NAME_BYTES_MAX) -> str:
    """A text as one part of a path: no separator, nothing that a file system refuses or hides; never empty."""
    kept = unicodedata.normalize("NFC", text)
    kept = "".join("_" if sign in FORBIDDEN or not sign.isprintable() else sign for sign in kept)
    kept = " ".join(kept.split()).strip(". ")
    kept = kept.encode()[:bytes_max].decode(errors="ignore").rstrip(". ")
    if kept.partition(".")[0].rstrip().casefold() in DEVICES:
        kept = f"_{kept}"
    return kept or NAMELESS


def file_name(artist: str, title: str, extension: str) -> str:
    """`Artist - Title.ext`."""
    return f"{part(f'{artist} - {title}')}.{extension}"


def path_in_archive(
    artist: str, release: str, position: int, title: str, extension: str, taken: Collection[str]
) -> str:
    """`Artist/Release/NN Title.ext`; with a number where that is taken, as systems that fold case see it.

    `taken` are the paths so far, folded.
    """
    stem = f"{part(artist)}/{part(release)}/{position:02} {part(title)}"
    path, number = f"{stem}.{extension}", 1
    while path.casefold() in taken:
        number += 1
        path = f"{stem} ({number}).{extension}"
    return path
