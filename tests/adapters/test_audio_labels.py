"""Files to keep: our tags and cover are in them, and the sound is the one that is stored, to the last sample."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from streamcoop.adapters import audio, audio_labels, ffmpeg, ogg_opus
from streamcoop.adapters.audio_labels import Label
from streamcoop.adapters.ogg_opus import OggOpus
from streamcoop.demo import music

TEXTS = {"title": "Hujan: ‘π’", "artist": "Sari Wulan", "album": "Hujan & Angin", "genre": "folk"}


def a_cover() -> bytes:
    """Of more bytes than a page of Ogg holds."""
    file = io.BytesIO()
    Image.effect_noise((600, 600), 90).convert("RGB").save(file, "JPEG", quality=95)
    assert len(file.getvalue()) > 100_000
    return file.getvalue()


LABEL = Label(**TEXTS, track=3, date="2026-11-02", isrc="GBAYE0601498", cover=a_cover())


def sound(path: Path) -> str:
    """A digest of all samples."""
    command = [str(ffmpeg.executable(None)), "-v", "error", "-xerror", "-i", str(path), "-map", "0:a", "-f", "md5", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return done.stdout


def moved(data: bytes, piece: int) -> bytes:
    """From WebM into Ogg, in pieces of this length."""
    moving = OggOpus(LABEL, 7)
    return b"".join(moving.feed(data[at : at + piece]) for at in range(0, len(data), piece)) + moving.close()


def require_label(path: Path, kind: str) -> None:
    about = audio.inspect(path)
    assert about.format == kind
    assert {name: getattr(about, name) for name in TEXTS} == TEXTS
    assert (about.track, about.date, about.isrc) == (3, "2026-11-02", "GBAYE0601498")
    assert about.artwork is not None
    assert about.notes == ()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("music")


@pytest.fixture(scope="module")
def source(folder: Path) -> Path:
    """Of no whole number of anything."""
    return music.encode(music.compose(5, 3.217), "wav", {"title": "Another"}, folder=folder, name="source")


def test_an_mp3_with_a_label_sounds_as_without(folder: Path, source: Path) -> None:
    stored, kept = folder / "stored.mp3", folder / "kept.mp3"
    audio.render(source, stored, "mp3")
    kept.write_bytes(audio_labels.id3(LABEL) + stored.read_bytes())
    require_label(kept, "mp3")
    assert sound(kept) == sound(stored)


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.5, 3.217, 61.0])
@pytest.mark.parametrize("piece", [1, 997, 1 << 20])
def test_opus_moves_into_ogg_in_pieces_of_any_length_and_sounds_the_same(
    folder: Path, seconds: float, piece: int
) -> None:
    if piece == 1 and seconds > 10:
        pytest.skip("one byte at a time is for short ones")
    made = music.encode(music.compose(5, seconds), "wav", {}, folder=folder, name=f"length-{seconds}")
    stored, kept = folder / "stored.webm", folder / "kept.opus"
    audio.render(made, stored, "opus")
    kept.write_bytes(moved(stored.read_bytes(), piece))
    require_label(kept, "opus")
    assert sound(kept) == sound(stored)


def test_what_is_no_opus_in_webm_is_refused_and_nothing_is_kept_of_it(folder: Path, source: Path) -> None:
    stored = folder / "cut.webm"
    audio.render(source, stored, "opus")
    data = stored.read_bytes()
    for wrong in (b"", b"no webm at all, really", data[:300], data[:40] + b"\xff" * 8 + data[48:]):
        with pytest.raises(ValueError, match=r"."):
            moved(wrong, 1 << 20)
    moving = OggOpus(LABEL, 7)
    huge = b"\xec\x01" + (ogg_opus.ELEMENT_BYTES_MAX + 1).to_bytes(7, "big")
    with pytest.raises(ValueError, match="too large"):
        moving.feed(huge + bytes(100))


def test_a_flac_gets_another_head_and_keeps_its_sound(folder: Path) -> None:
    tags = {"title": "As its artist wrote it", "artist": "X"}
    stored = music.encode(music.compose(5, 3.217), "flac", tags, folder=folder, name="stored")
    data, kept = stored.read_bytes(), folder / "kept.flac"
    for before in (b"", b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10)):
        whole = before + data
        head, frames_at = audio_labels.flac_head(LABEL, lambda start, end, whole=whole: whole[start:end])  # type: ignore[misc]
        kept.write_bytes(head + whole[frames_at:])
        require_label(kept, "flac")
        assert sound(kept) == sound(stored)
    with pytest.raises(ValueError, match="not a FLAC file"):
        audio_labels.flac_head(LABEL, lambda start, end: b"RIFF0000WAVE"[start:end])


def test_flac_is_made_of_what_loses_nothing(folder: Path, source: Path) -> None:
    made = audio.render(source, folder / "made.flac", "flac")
    assert (made.content_type, made.duration_ms) == ("audio/flac", 3217)
    assert sound(folder / "made.flac") == sound(source)


def test_a_waveform_is_as_loud_as_the_sound(folder: Path) -> None:
    loud = folder / "loud.wav"
    command = [str(ffmpeg.executable(None)), "-v", "error", "-y", "-f", "lavfi", "-i", "sine=frequency=440:duration=4"]
    fading = ["-af", "volume=8,afade=t=in:d=2,atrim=0:4,apad=pad_dur=2", str(loud)]
    subprocess.run([*command, *fading], check=True, timeout=60)
    peaks = audio.waveform(loud, folder)
    assert len(peaks) == audio.PEAKS
    rising, falling_silent = peaks[:60], peaks[-60:]
    assert sorted(rising) == list(rising)
    assert max(peaks) > 200
    assert max(falling_silent) <= 2
    assert [path.name for path in folder.iterdir() if path.name.startswith(".peaks")] == []
    short = music.encode(music.compose(5, 0.013), "wav", {}, folder=folder, name="short")
    assert len(audio.waveform(short, folder)) == audio.PEAKS
