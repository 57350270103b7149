"""The confined child of `artwork`: reads one picture and leaves a JPEG behind, or nothing if it is none."""

from __future__ import annotations

from pathlib import Path

from streamcoop.adapters import audio_tags

RESULT = "artwork.jpg"


def main(picture: str, folder: str) -> None:
    """Write the picture afresh to `folder`."""
    try:
        jpeg = audio_tags.reencode(Path(picture).read_bytes(), [])
    except MemoryError:
        return
    if jpeg:
        Path(folder, RESULT).write_bytes(jpeg)
