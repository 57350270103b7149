"""How this service calls ffmpeg: which program, which arguments, and what its complaints mean.

Input is forced to one container and its decoders, read from one file, without metadata, pictures or network: a file
that is really a playlist, or names other files, is not followed.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final, Literal

import imageio_ffmpeg

from streamcoop.adapters.audio_formats import Format
from streamcoop.adapters.confined import ProgramNotStarted

Codec = Literal["mp3", "opus", "flac"]

MP3_BITRATE = 128_000
OPUS_BITRATE = 96_000
OPUS_SAMPLE_RATE = 48_000
REASON_CHARS_MAX = 200
CD_RATE_FAMILY = 11_025
FLAC_SAMPLE_BITS = 32
"""No sample takes more, however noisy: 24 bits are kept, and what is about them."""
PEAKS_SAMPLE_RATE = 8_000
PEAKS_BITRATE = PEAKS_SAMPLE_RATE * 8

DEMUXERS: Final[dict[Format, str]] = {
    "mp3": "mp3",
    "flac": "flac",
    "vorbis": "ogg",
    "opus": "ogg",
    "m4a": "mov",
    "wav": "wav",
    "aiff": "aiff",
}
PCM_LITTLE: Final = "pcm_u8,pcm_s16le,pcm_s24le,pcm_s32le,pcm_f32le,pcm_f64le"
PCM_BIG: Final = "pcm_s8,pcm_s16be,pcm_s24be,pcm_s32be,pcm_f32be,pcm_f64be"
DECODERS: Final[dict[Format, str]] = {
    "mp3": "mp3float,mp3",
    "flac": "flac",
    "vorbis": "vorbis",
    "opus": "opus",
    "m4a": "aac,alac",
    "wav": PCM_LITTLE,
    "aiff": f"{PCM_BIG},pcm_s16le",
}
LOG_PREFIX: Final = re.compile(r"\[[^\]]*\]\s*")
# Lines that say only that something failed, not why.
EMPTY_COMPLAINTS: Final = (
    "Error opening input",
    "Task finished",
    "Terminating thread",
    "Last message",
    "Conversion failed",
)


def executable(configured: str | None) -> Path:
    """The ffmpeg to use: the configured one, else the one in the imageio-ffmpeg wheel. Raises `ProgramNotStarted`."""
    if configured:
        return Path(configured).absolute()
    return _bundled()


@cache
def _bundled() -> Path:
    try:
        return Path(imageio_ffmpeg.get_ffmpeg_exe()).absolute()
    except RuntimeError as error:
        raise ProgramNotStarted(str(error)) from error


def input_arguments(source: Path, kind: Format) -> list[str]:
    """Open `source` as `kind` and as nothing else; the first error ends it, damaged checksums are errors."""
    return [
        *("-nostdin", "-hide_banner", "-loglevel", "error", "-xerror"),
        *("-protocol_whitelist", "file,pipe", "-format_whitelist", DEMUXERS[kind], "-codec_whitelist", DECODERS[kind]),
        *("-err_detect", "crccheck+explode", "-threads", "1"),
        *("-f", DEMUXERS[kind], "-i", f"file:{source}"),
        *("-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "-1", "-map_chapters", "-1"),
    ]


def mp3_sample_rate(sample_rate: int) -> int:
    """44.1 kHz for recordings of the CD's family, 48 kHz for all others: no needless resampling."""
    return 44_100 if sample_rate % CD_RATE_FAMILY == 0 else 48_000


def bitrate_max(codec: Codec, sample_rate: int, channels: int) -> int:
    """What an encoded second may take, in bits."""
    constant = {"mp3": MP3_BITRATE, "opus": OPUS_BITRATE}
    return constant.get(codec) or sample_rate * channels * FLAC_SAMPLE_BITS


def output_arguments(target: Path, codec: Codec, sample_rate: int) -> list[str]:
    """What listeners are streamed is stereo at a constant bit rate, so that a position in the file is one in time.

    FLAC is for keeping: the sound as it is, up to 24 bits.
    """
    common = ["-threads", "1", "-fflags", "+bitexact", "-flags:a", "+bitexact"]
    if codec == "mp3":
        encoder = ["-c:a", "libmp3lame", "-b:a", str(MP3_BITRATE), "-ar", str(mp3_sample_rate(sample_rate)), "-ac", "2"]
        container = ["-id3v2_version", "0", "-write_xing", "1", "-f", "mp3"]
    elif codec == "opus":
        encoder = [
            "-c:a",
            "libopus",
            "-b:a",
            str(OPUS_BITRATE),
            "-vbr",
            "off",
            "-ar",
            str(OPUS_SAMPLE_RATE),
            "-ac",
            "2",
        ]
        container = ["-cues_to_front", "1", "-f", "webm"]
    else:
        encoder = ["-c:a", "flac", "-compression_level", "5"]
        container = ["-f", "flac"]
    return [*encoder, *common, *container, "-y", f"file:{target}"]


def peaks_arguments(target: Path) -> list[str]:
    """The sound in one channel, eight bits a sample around 128, and coarse in time: enough to draw it."""
    rate = str(PEAKS_SAMPLE_RATE)
    return ["-ac", "1", "-ar", rate, "-c:a", "pcm_u8", "-threads", "1", "-f", "u8", "-y", f"file:{target}"]


def reason(message: str) -> str:
    """ffmpeg's first complaint that says why, as one short line without addresses of memory or files."""
    for line in message.splitlines():
        text = LOG_PREFIX.sub("", line).strip()
        if text and not text.startswith(EMPTY_COMPLAINTS) and "file:" not in text:
            return "".join(character for character in text if character.isprintable())[:REASON_CHARS_MAX]
    return ""
