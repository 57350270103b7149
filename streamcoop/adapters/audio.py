"""Recordings from strangers: what they are, and what listeners are sent of them.

Every byte of an upload is parsed and decoded in confined children only (`confined`), never in this process.
"""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from streamcoop.adapters import audio_probe, audio_renditions, confined, ffmpeg
from streamcoop.adapters.audio_formats import (
    AudioRefused,
    AudioTooCostly,
    DamagedAudio,
    Format,
    NotAudio,
    RecordingTooLong,
    UnsupportedAudio,
)
from streamcoop.adapters.confined import ProgramNotStarted
from streamcoop.adapters.ffmpeg import Codec

__all__ = [
    "AudioLimits",
    "AudioRefused",
    "AudioTooCostly",
    "Codec",
    "DamagedAudio",
    "Format",
    "Inspection",
    "NotAudio",
    "ProgramNotStarted",
    "RecordingTooLong",
    "Rendition",
    "UnsupportedAudio",
    "clip",
    "inspect",
    "render",
    "waveform",
]

DURATION_S_MAX = 3 * 3600
SHORTFALL_MS_MAX = 200
"""How much less than the file states may be decoded: encoders pad, and tools cut that padding differently."""
OVERRUN_MS = 50
"""How much more than the limit counts as still within it, for the same reason."""
RESULT_BYTES_MAX = 256 << 10
PROBE_LIMITS: Final = confined.Limits(cpu_s=20, wall_s=60, memory_bytes=1 << 30, file_bytes=16 << 20)
RENDER_MEMORY_BYTES = 1 << 30
RENDER_CPU_S_BASE = 60
RENDER_SPEED_MIN = 10
"""Decoding and encoding must run this many times faster than the music; common hardware does over a hundred."""
WALL_PER_CPU = 3
"""The child is nice and shares its core."""
RENDER_BYTES_SLACK = 4 << 20
FADE_MS = 400
REFUSALS: Final = {
    kind.__name__: kind for kind in (NotAudio, UnsupportedAudio, DamagedAudio, RecordingTooLong, AudioTooCostly)
}
CONTENT_TYPES: Final[dict[Codec, str]] = {"mp3": "audio/mpeg", "opus": "audio/webm", "flac": "audio/flac"}
PEAKS = 200
"""Parts a waveform tells the loudest sample of: as many as are seen apart on a telephone."""
SILENCE = 128


@dataclass(frozen=True)
class AudioLimits:
    """How long a recording may last and what producing one rendition of it may cost."""

    duration_s_max: int = DURATION_S_MAX

    @property
    def cpu_s(self) -> int:
        return RENDER_CPU_S_BASE + self.duration_s_max // RENDER_SPEED_MIN

    def confinement(self, bitrate: int) -> confined.Limits:
        """The limits of a child that writes at most `duration_s_max` at `bitrate` (bit/s), plus its container."""
        audio_bytes = (self.duration_s_max + 1) * bitrate // 8
        return confined.Limits(
            cpu_s=self.cpu_s,
            wall_s=self.cpu_s * WALL_PER_CPU,
            memory_bytes=RENDER_MEMORY_BYTES,
            file_bytes=audio_bytes + audio_bytes // 10 + RENDER_BYTES_SLACK,
        )


@dataclass(frozen=True)
class Inspection:
    """What an uploaded file is and says about itself. All text is clean (`audio_tags.clean`).

    `duration_ms` is what the headers state, 0 if nothing; without `duration_stated` it is an estimate. The truth is
    what `render` measures. `bitrate` is in bit/s. `date` is YYYY, YYYY-MM or YYYY-MM-DD. `artwork` is a JPEG made
    afresh from the embedded picture. `notes` say in plain words what was left out and why.
    """

    format: Format
    codec: str
    lossless: bool
    duration_ms: int
    duration_stated: bool
    sample_rate: int
    channels: int
    bitrate: int
    title: str | None = None
    artist: str | None = None
    album: str | None = None
    genre: str | None = None
    track: int | None = None
    disc: int | None = None
    date: str | None = None
    isrc: str | None = None
    artwork: bytes | None = field(default=None, repr=False)
    artwork_mime: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def year(self) -> int | None:
        return int(self.date[:4]) if self.date else None


@dataclass(frozen=True)
class Rendition:
    """A produced file. `duration_ms` is measured from it; `bitrate` (bit/s) is that of its bytes after the first
    `header_bytes`, which come before the first audio frame.
    """

    codec: Codec
    content_type: str
    size: int
    duration_ms: int
    bitrate: int
    header_bytes: int


def inspect(path: Path, duration_s_max: int = DURATION_S_MAX) -> Inspection:
    """Read what `path` is and says, by its content and not its name.

    Raises `NotAudio`, `UnsupportedAudio`, `DamagedAudio`, `RecordingTooLong` (by what it states), `AudioTooCostly`,
    and `ProgramNotStarted` if the child cannot run.
    """
    source = path.resolve(strict=True)
    with tempfile.TemporaryDirectory(prefix="inspect-") as folder:
        scratch = Path(folder).resolve()
        arguments = [str(source), str(scratch)]
        outcome = confined.run_python(audio_probe.__name__, arguments, PROBE_LIMITS, folder=scratch, readable=[source])
        _check_ending(outcome)
        return _inspection(scratch, duration_s_max)


def _check_ending(outcome: confined.Outcome) -> None:
    if outcome.ending != "exited":
        raise AudioTooCostly


def _inspection(scratch: Path, duration_s_max: int) -> Inspection:
    """Turn what the child left in its folder into an `Inspection`, or into the refusal it names."""
    try:
        with (scratch / audio_probe.RESULT).open("rb") as file:
            result: dict[str, Any] = json.loads(file.read(RESULT_BYTES_MAX))
    except (OSError, ValueError) as error:
        raise AudioTooCostly("The inspection left no result.") from error
    if "refused" in result:
        raise REFUSALS[result["refused"]](result["detail"])
    if result["duration_ms"] > duration_s_max * 1000 + OVERRUN_MS:
        raise RecordingTooLong(f"It lasts {result['duration_ms'] // 1000} s; {duration_s_max} s are allowed.")
    artwork = scratch / audio_probe.ARTWORK
    picture = artwork.read_bytes() if artwork.is_file() else None
    result["duration_stated"] = result.pop("stated")
    result["notes"] = tuple(result["notes"])
    return Inspection(**result, artwork=picture, artwork_mime="image/jpeg" if picture else None)


def render(
    source: Path,
    target: Path,
    codec: Codec,
    limits: AudioLimits = AudioLimits(),
    *,
    inspection: Inspection | None = None,
    program: str | None = None,
) -> Rendition:
    """Produce what listeners are sent: MP3 at 128 kbit/s, Opus at 96 kbit/s in WebM, or FLAC, all without tags.

    `inspection` is that of `source`; without it the source is inspected first. `program` is the configured ffmpeg.
    `target` appears whole or not at all, and is replaced if it exists. Raises what `inspect` raises; here
    `DamagedAudio` also stands for anything that cannot be decoded to its end.
    """
    about = inspection or inspect(source, limits.duration_s_max)
    # One second more than allowed, to tell a recording of exactly the limit from a longer one.
    length = ["-t", str(limits.duration_s_max + 1)]
    with _produce(source, target, codec, limits, about, length, program) as rendition:
        if rendition.duration_ms > limits.duration_s_max * 1000 + OVERRUN_MS:
            raise RecordingTooLong(f"It lasts more than {limits.duration_s_max} s.")
        if about.duration_stated and rendition.duration_ms < about.duration_ms - SHORTFALL_MS_MAX:
            raise DamagedAudio(f"It states {about.duration_ms} ms, {rendition.duration_ms} ms could be decoded.")
    return rendition


def clip(
    source: Path,
    target: Path,
    duration_ms: int,
    limits: AudioLimits = AudioLimits(),
    *,
    inspection: Inspection | None = None,
    program: str | None = None,
) -> Rendition:
    """Produce a preview: an MP3 of the first `duration_ms`, fading out at the end. Otherwise as `render`."""
    about = inspection or inspect(source, limits.duration_s_max)
    ends_ms = min(duration_ms, about.duration_ms) if about.duration_ms else duration_ms
    fade_ms = min(FADE_MS, ends_ms // 2)
    fade = f"afade=t=out:st={(ends_ms - fade_ms) / 1000:.3f}:d={fade_ms / 1000:.3f}"
    length = ["-t", f"{ends_ms / 1000:.3f}", "-af", fade]
    with _produce(source, target, "mp3", limits, about, length, program) as rendition:
        pass
    return rendition


def waveform(
    source: Path,
    folder: Path,
    limits: AudioLimits = AudioLimits(),
    *,
    inspection: Inspection | None = None,
    program: str | None = None,
) -> bytes:
    """How loud `source` is from beginning to end: of PEAKS equal parts the loudest sample, 0 to 255.

    What is decoded for it is written to `folder` and removed. Raises what `render` raises.
    """
    about = inspection or inspect(source, limits.duration_s_max)
    tool = ffmpeg.executable(program)
    audio = source.resolve(strict=True)
    with tempfile.TemporaryDirectory(prefix=".peaks-", dir=folder.resolve()) as name:
        scratch = Path(name)
        decoded = scratch / "samples"
        command = [
            str(tool),
            *ffmpeg.input_arguments(audio, about.format),
            *("-t", str(limits.duration_s_max + 1)),
            *ffmpeg.peaks_arguments(decoded),
        ]
        outcome = confined.run(
            command, limits.confinement(ffmpeg.PEAKS_BITRATE), folder=scratch, readable=[audio, tool]
        )
        _check_ending(outcome)
        size = decoded.stat().st_size if decoded.is_file() else 0
        if outcome.returncode != 0 or not size:
            raise DamagedAudio(ffmpeg.reason(outcome.message) or "Nothing could be decoded.")
        with decoded.open("rb") as file:
            ends = [size * part // PEAKS for part in range(PEAKS + 1)]
            parts = (file.read(end - start) for start, end in itertools.pairwise(ends))
            return bytes(_loudest(part) for part in parts)


def _loudest(samples: bytes) -> int:
    """Of samples around SILENCE, on a scale of 0 to 255."""
    if not samples:
        return 0
    return min(255, 2 * max(max(samples) - SILENCE, SILENCE - min(samples)))


@contextmanager
def _produce(
    source: Path,
    target: Path,
    codec: Codec,
    limits: AudioLimits,
    about: Inspection,
    length: list[str],
    program: str | None,
) -> Iterator[Rendition]:
    """Encode into a scratch folder beside `target` and measure. The file moves to `target` if the body accepts it."""
    tool = ffmpeg.executable(program)
    audio = source.resolve(strict=True)
    with tempfile.TemporaryDirectory(prefix=".render-", dir=target.resolve().parent) as folder:
        scratch = Path(folder)
        produced = scratch / f"audio.{codec}"
        command = [
            str(tool),
            *ffmpeg.input_arguments(audio, about.format),
            *length,
            *ffmpeg.output_arguments(produced, codec, about.sample_rate),
        ]
        bitrate_max = ffmpeg.bitrate_max(codec, about.sample_rate, about.channels)
        outcome = confined.run(command, limits.confinement(bitrate_max), folder=scratch, readable=[audio, tool])
        _check_ending(outcome)
        if outcome.returncode != 0:
            raise DamagedAudio(ffmpeg.reason(outcome.message))
        yield _measure(produced, codec, outcome.message)
        # Children write with a mask of their own; the file is for whoever reads the target's folder.
        produced.chmod(0o644)
        os.replace(produced, target)


_MEASURES: Final = {
    "mp3": audio_renditions.measure_mp3,
    "opus": audio_renditions.measure_webm,
    "flac": audio_renditions.measure_flac,
}


def _measure(produced: Path, codec: Codec, message: str) -> Rendition:
    try:
        duration_ms, header_bytes = _MEASURES[codec](produced)
        size = produced.stat().st_size
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise DamagedAudio(ffmpeg.reason(message) or "Nothing could be decoded.") from error
    if duration_ms == 0 or size <= header_bytes:
        raise DamagedAudio(ffmpeg.reason(message) or "Nothing could be decoded.")
    bitrate = (size - header_bytes) * 8000 // duration_ms
    return Rendition(codec, CONTENT_TYPES[codec], size, duration_ms, bitrate, header_bytes)
