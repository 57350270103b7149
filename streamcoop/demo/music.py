"""Composes short original pieces, so that a demo and the tests have music that belongs to nobody else.

Gamelan-like: a gong closes each cycle, a metallophone plays the tune, a plucked string answers.
Everything follows from the seed. Pure Python for the sound, ffmpeg for the encoding, mutagen for the tags.
"""

from __future__ import annotations

import base64
import math
import random
import struct
import subprocess
import tempfile
from array import array
from collections.abc import Callable, Mapping
from operator import add, mul
from pathlib import Path
from typing import Any, Final

from mutagen import flac, id3, mp4
from mutagen.aiff import AIFF
from mutagen.flac import FLAC
from mutagen.mp3 import MP3
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis
from mutagen.wave import WAVE

from streamcoop.adapters import ffmpeg
from streamcoop.adapters.audio_formats import Format
from streamcoop.adapters.audio_tags import ID3_KEYS, MP4_KEYS, VORBIS_KEYS

SAMPLE_RATE = 44_100
CHANNELS = 2
SECONDS_MAX = 600
PEAK = 26_000
"""Of 32,767: room for what lossy encoders add."""
ENCODE_S_MAX = 120

# Steps of the octave in cents. No two gamelans are tuned alike; these are two of many.
SLENDRO: Final = (0, 231, 474, 717, 955)
PELOG: Final = (0, 120, 258, 675, 785)
TONIC_HZ: Final = (130.8, 146.8, 155.6, 174.6)
BEAT_S: Final = (0.30, 0.36, 0.42)
CYCLE_BEATS = 16
"""A gong closes each cycle, as it does in gamelan."""
NOTE_S = 1.6
GONG_S = 4.0
PARTIALS_METAL: Final = ((1.0, 1.0, 3.0), (2.76, 0.35, 6.0), (5.40, 0.12, 12.0))
"""Of a free bar: frequency and loudness relative to the fundamental, decay in 1/s."""
PARTIALS_GONG: Final = ((1.0, 1.0, 0.9), (1.48, 0.45, 1.2), (2.03, 0.3, 1.6))
FADE_S = 0.5

Wave = list[float]

# mutagen declares itself typed and leaves these untyped.
Picture: Final[Any] = flac.Picture
AttachedPicture: Final[Any] = id3.APIC
MP4: Final[Any] = mp4.MP4
MP4Cover: Final[Any] = mp4.MP4Cover
MP4FreeForm: Final[Any] = mp4.MP4FreeForm

CODECS: Final[dict[Format, tuple[str, ...]]] = {
    "mp3": (".mp3", "-c:a", "libmp3lame", "-b:a", "192k", "-f", "mp3"),
    "flac": (".flac", "-c:a", "flac", "-f", "flac"),
    "vorbis": (".ogg", "-c:a", "libvorbis", "-q:a", "5", "-f", "ogg"),
    "opus": (".opus", "-c:a", "libopus", "-b:a", "112k", "-f", "opus"),
    "m4a": (".m4a", "-c:a", "aac", "-b:a", "160k", "-f", "ipod"),
    "wav": (".wav", "-c:a", "pcm_s16le", "-f", "wav"),
    "aiff": (".aiff", "-c:a", "pcm_s16be", "-f", "aiff"),
}


def struck(frequency: float, seconds: float, partials: tuple[tuple[float, float, float], ...]) -> Wave:
    """A struck bar or gong: decaying sines. Each is computed as a rotation, which is faster than calling sin()."""
    count = int(seconds * SAMPLE_RATE)
    wave = [0.0] * count
    for ratio, loudness, decay in partials:
        step = 2 * math.pi * frequency * ratio / SAMPLE_RATE
        shrink = math.exp(-decay / SAMPLE_RATE)
        # x[n] = a x[n-1] - b x[n-2] generates a decaying sine exactly.
        a, b = 2 * shrink * math.cos(step), shrink * shrink
        before, now = -loudness * math.sin(step) / shrink, 0.0
        tone = []
        for _ in range(count):
            tone.append(now)
            before, now = now, a * now - b * before
        wave = list(map(add, wave, tone))
    return wave


def plucked(frequency: float, seconds: float, rng: random.Random) -> Wave:
    """A plucked string after Karplus and Strong, a whole period at a time."""
    period = max(2, round(SAMPLE_RATE / frequency))
    ring = [rng.uniform(-1.0, 1.0) for _ in range(period)]
    wave: Wave = []
    while len(wave) < seconds * SAMPLE_RATE:
        wave += ring
        ring = [0.498 * (one + other) for one, other in zip(ring, [ring[-1], *ring[:-1]], strict=True)]
    return wave


def mix(track: Wave, wave: Wave, at_s: float, loudness: float) -> None:
    """Add `wave` to `track` from `at_s` on; what would go past the end is left out."""
    start = int(at_s * SAMPLE_RATE)
    end = min(start + len(wave), len(track))
    if start < end:
        scaled = map(mul, wave, [loudness] * (end - start))
        track[start:end] = map(add, track[start:end], scaled)


class Piece:
    """The score of one piece: its tuning, its tempo and two tracks that become the two channels."""

    def __init__(self, seed: int, seconds: float) -> None:
        self.rng = random.Random(seed)  # noqa: S311  # music, not secrets
        self.seconds = seconds
        self.scale = self.rng.choice((SLENDRO, PELOG))
        self.tonic_hz = self.rng.choice(TONIC_HZ)
        self.beat_s = self.rng.choice(BEAT_S)
        self.left: Wave = [0.0] * int(seconds * SAMPLE_RATE)
        self.right: Wave = [0.0] * len(self.left)
        self.notes: dict[tuple[str, int], Wave] = {}

    def frequency(self, degree: int) -> float:
        octave, step = divmod(degree, len(self.scale))
        return float(self.tonic_hz * 2 ** (octave + self.scale[step] / 1200))

    def note(self, kind: str, degree: int) -> Wave:
        """The sound of one note, made once: a piece repeats few notes often."""
        if (kind, degree) not in self.notes:
            frequency = self.frequency(degree)
            self.notes[kind, degree] = (
                struck(frequency, NOTE_S, PARTIALS_METAL) if kind == "metal" else plucked(frequency, NOTE_S, self.rng)
            )
        return self.notes[kind, degree]

    def play(self) -> None:
        """Write all parts into the tracks."""
        width = len(self.scale)
        tune = [self.rng.choice((0, 1, 2, 3, 4, 5, 6, None)) for _ in range(CYCLE_BEATS)]
        answer = [self.rng.choice((0, 2, 4, None)) for _ in range(CYCLE_BEATS)]
        gong = struck(self.tonic_hz / 2, GONG_S, PARTIALS_GONG)
        for beat in range(int(self.seconds / self.beat_s)):
            place, at_s = beat % CYCLE_BEATS, beat * self.beat_s
            if place == 0:
                mix(self.left, gong, at_s, 0.8)
                mix(self.right, gong, at_s, 0.8)
                # A variation each cycle: the tune stays recognisable and never quite the same.
                tune[self.rng.randrange(CYCLE_BEATS)] = self.rng.randrange(width + 2)
            degree, reply = tune[place], answer[place]
            if degree is not None:
                mix(self.left, self.note("metal", degree + width), at_s, 0.5)
            if reply is not None and beat % 2:
                mix(self.right, self.note("string", reply), at_s, 0.45)


def compose(seed: int, seconds: float) -> bytes:
    """A piece of music as a WAV file, 16-bit stereo at 44.1 kHz. The same arguments give the same bytes.

    Raises `ValueError` unless 0 < seconds <= `SECONDS_MAX`.
    """
    if not 0 < seconds <= SECONDS_MAX:
        raise ValueError(f"a piece lasts up to {SECONDS_MAX} s, not {seconds}")
    piece = Piece(seed, seconds)
    piece.play()
    # Each channel hears a little of the other: an ensemble in one room.
    left = [near + 0.4 * far for near, far in zip(piece.left, piece.right, strict=True)]
    right = [near + 0.4 * far for near, far in zip(piece.right, piece.left, strict=True)]
    fade = min(int(FADE_S * SAMPLE_RATE), len(left))
    for channel in (left, right):
        channel[len(channel) - fade :] = [x * (fade - i) / fade for i, x in enumerate(channel[len(channel) - fade :])]
    loudest = max(max(map(abs, left), default=0.0), max(map(abs, right), default=0.0), 1e-9)
    samples = array("h", bytes(4 * len(left)))
    samples[0::2] = array("h", [int(x * PEAK / loudest) for x in left])
    samples[1::2] = array("h", [int(x * PEAK / loudest) for x in right])
    return wav(samples)


def wav(samples: array[int]) -> bytes:
    """Interleaved 16-bit stereo samples as a WAV file."""
    if struct.pack("=H", 1) != struct.pack("<H", 1):
        samples = array("h", samples)
        samples.byteswap()
    data = samples.tobytes()
    block = 2 * CHANNELS
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, CHANNELS, SAMPLE_RATE, SAMPLE_RATE * block, block, 16)
    body = b"WAVE" + fmt + struct.pack("<4sI", b"data", len(data)) + data
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def encode(
    wav: bytes,
    format: Format,
    tags: Mapping[str, str],
    artwork: bytes | None = None,
    *,
    folder: Path | None = None,
    name: str = "piece",
) -> Path:
    """Encode a WAV file to `format` and tag it. Returns `folder / name` with the usual suffix.

    Keys of `tags` are those of `audio_tags` (title, artist, album, track, disc, date, genre, isrc); `artwork` is a
    JPEG. Without `folder` the file goes to a new one, which the caller owns. Raises `ProgramNotStarted` without
    ffmpeg and `subprocess.SubprocessError` if it fails.
    """
    suffix, *arguments = CODECS[format]
    path = (folder or Path(tempfile.mkdtemp(prefix="music-"))) / f"{name}{suffix}"
    tool = str(ffmpeg.executable(None))
    command = [tool, "-hide_banner", "-loglevel", "error", "-f", "wav", "-i", "pipe:0", "-map_metadata", "-1"]
    subprocess.run([*command, *arguments, "-y", str(path)], input=wav, check=True, timeout=ENCODE_S_MAX)
    if tags or artwork:
        TAGGERS[format](path, tags, artwork)
    return path


def _tag_id3(kind: Callable[[Path], Any]) -> Callable[[Path, Mapping[str, str], bytes | None], None]:
    def tag(path: Path, tags: Mapping[str, str], artwork: bytes | None) -> None:
        file = kind(path)
        if file.tags is None:
            file.add_tags()
        for name, value in tags.items():
            frame = ID3_KEYS[name]
            file.tags.setall(frame, [getattr(id3, frame)(encoding=3, text=[value])])
        if artwork:
            file.tags.add(AttachedPicture(encoding=3, mime="image/jpeg", type=3, desc="", data=artwork))
        file.save()

    return tag


def _front_cover(artwork: bytes) -> Any:
    picture = Picture()
    picture.type, picture.mime, picture.data = 3, "image/jpeg", artwork
    return picture


def _tag_vorbis(kind: Callable[[Path], Any]) -> Callable[[Path, Mapping[str, str], bytes | None], None]:
    def tag(path: Path, tags: Mapping[str, str], artwork: bytes | None) -> None:
        file = kind(path)
        for name, value in tags.items():
            file[VORBIS_KEYS[name]] = [value]
        if artwork and kind is FLAC:
            file.add_picture(_front_cover(artwork))
        elif artwork:
            file["metadata_block_picture"] = [base64.b64encode(_front_cover(artwork).write()).decode("ascii")]
        file.save()

    return tag


def _tag_mp4(path: Path, tags: Mapping[str, str], artwork: bytes | None) -> None:
    file = MP4(path)
    for name, value in tags.items():
        key = MP4_KEYS[name]
        if name in ("track", "disc"):
            number, _, total = value.partition("/")
            file[key] = [(int(number), int(total or 0))]
        elif key.startswith("----"):
            file[key] = [MP4FreeForm(value.encode("utf-8"))]
        else:
            file[key] = [value]
    if artwork:
        file["covr"] = [MP4Cover(artwork, imageformat=MP4Cover.FORMAT_JPEG)]
    file.save()


TAGGERS: Final[dict[Format, Callable[[Path, Mapping[str, str], bytes | None], None]]] = {
    "mp3": _tag_id3(MP3),
    "flac": _tag_vorbis(FLAC),
    "vorbis": _tag_vorbis(OggVorbis),
    "opus": _tag_vorbis(OggOpus),
    "m4a": _tag_mp4,
    "wav": _tag_id3(WAVE),
    "aiff": _tag_id3(AIFF),
}
