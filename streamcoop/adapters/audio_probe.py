"""The confined child of `audio.inspect`: reads one file, leaves `result.json` and perhaps `artwork.jpg` behind."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from streamcoop.adapters import audio_formats, audio_tags
from streamcoop.adapters.audio_formats import AudioRefused, AudioTooCostly, DamagedAudio

RESULT = "result.json"
ARTWORK = "artwork.jpg"


def describe(source: Path, folder: Path) -> dict[str, Any]:
    """What `source` is and says, as plain JSON values; its artwork goes to `folder`. Raises `AudioRefused`."""
    kind = audio_formats.detect(source)
    audio_formats.check_structure(source, kind)
    reading = audio_tags.read(source, kind)
    notes, values = reading.notes, reading.values
    artwork = audio_tags.reencode(reading.artwork, notes) if reading.artwork else None
    if artwork:
        (folder / ARTWORK).write_bytes(artwork)
    return {
        "format": kind,
        **asdict(reading.sound),
        **{name: audio_tags.clean_all(values.get(name, [])) for name in ("title", "artist", "album", "genre")},
        **{name: audio_tags.clean_number(values.get(name, [])) for name in ("track", "disc")},
        "date": audio_tags.clean_date(values.get("date", [])),
        "isrc": audio_tags.clean_isrc(values.get("isrc", []), notes),
        "notes": notes,
    }


def main(source: str, folder: str) -> None:
    """Write the description, or which refusal and why."""
    try:
        result = describe(Path(source), Path(folder))
    except AudioRefused as refusal:
        result = {"refused": type(refusal).__name__, "detail": refusal.detail}
    except MemoryError:
        result = {"refused": AudioTooCostly.__name__, "detail": ""}
    # A parser that trips over crafted bytes may raise anything; the file is then damaged, not the service.
    except Exception as error:
        result = {"refused": DamagedAudio.__name__, "detail": f"It cannot be read ({type(error).__name__})."}
    Path(folder, RESULT).write_text(json.dumps(result), encoding="utf-8")
