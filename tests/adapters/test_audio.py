"""Uploads of every accepted format are understood and produced; everything else is refused in words, not by a crash."""

from __future__ import annotations

import io
import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mutagen.mp3 import MP3
from mutagen.oggvorbis import OggVorbis
from PIL import Image

from streamcoop.adapters import audio, audio_tags, ffmpeg
from streamcoop.adapters.audio_formats import Format, detect
from tests.adapters import audio_files

PIECE_MS = int(audio_files.PIECE_S * 1000)
TOLERANCE_MS = 60
WAIT_S_MAX = 30
SHORT = audio.AudioLimits(duration_s_max=20)
TAGS = {
    "title": "Lancaran Üdan",
    "artist": "The Test Orchestra",
    "album": "Pieces",
    "track": "3/12",
    "disc": "1/2",
    "date": "2024-05-17",
    "genre": "Gamelan",
    "isrc": "GB-AYE-68-00011",
}


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[Format, Path]:
    """One good file of each format with tags and a cover. Tests must not change them."""
    folder = tmp_path_factory.mktemp("whole")
    cover = audio_files.picture(2000, 1000)
    return {kind: audio_files.whole(folder, kind, TAGS, cover) for kind in audio_files.FORMATS}


@pytest.mark.parametrize("kind", audio_files.FORMATS)
def test_inspect__whole_file__tells_sound_and_tags(wholes: dict[Format, Path], kind: Format) -> None:
    found = audio.inspect(wholes[kind])

    assert found.format == kind
    assert found.codec == {"m4a": "aac", "wav": "pcm", "aiff": "pcm"}.get(kind, kind)
    assert found.lossless == (kind in ("flac", "wav", "aiff"))
    assert abs(found.duration_ms - PIECE_MS) <= TOLERANCE_MS
    assert (found.sample_rate, found.channels) == (48_000 if kind == "opus" else 44_100, 2)
    assert (found.title, found.artist, found.album) == (TAGS["title"], TAGS["artist"], TAGS["album"])
    assert (found.track, found.disc, found.date, found.year) == (3, 1, "2024-05-17", 2024)
    assert (found.genre, found.isrc, found.notes) == ("Gamelan", "GBAYE6800011", ())
    assert found.artwork is not None
    assert found.artwork_mime == "image/jpeg"
    with Image.open(io.BytesIO(found.artwork)) as cover:
        assert (cover.format, cover.size) == ("JPEG", (1600, 800))


@pytest.mark.parametrize("codec", ["mp3", "opus"])
@pytest.mark.parametrize("kind", audio_files.FORMATS)
def test_render__whole_file__is_measured_constant_and_bare(
    wholes: dict[Format, Path], tmp_path: Path, kind: Format, codec: audio.Codec
) -> None:
    target = tmp_path / "out"
    made = audio.render(wholes[kind], target, codec, SHORT)

    assert abs(made.duration_ms - PIECE_MS) <= TOLERANCE_MS
    assert made.size == target.stat().st_size
    assert abs(made.bitrate / {"mp3": 128_000, "opus": 96_000}[codec] - 1) < 0.05
    head = target.read_bytes()[: made.header_bytes + 4]
    if codec == "mp3":
        assert made.content_type == "audio/mpeg"
        assert head[:2] == b"\xff\xfb"
        assert b"Info" in head
        assert head[-4:-2] == b"\xff\xfb"
        assert MP3(target).tags is None
    else:
        assert made.content_type == "audio/webm"
        assert head[-4:] == b"\x1f\x43\xb6\x75"  # the first Cluster
        assert made.header_bytes < 4096
    everything = target.read_bytes()
    assert b"Lancaran" not in everything
    assert b"JFIF" not in everything
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_render__half_of_the_bytes__plays_half_of_the_time(wholes: dict[Format, Path], tmp_path: Path) -> None:
    for codec in ("mp3", "opus"):
        target = tmp_path / codec
        made = audio.render(wholes["wav"], target, codec, SHORT)
        middle = made.header_bytes + (made.size - made.header_bytes) // 2
        (tmp_path / "half").write_bytes(target.read_bytes()[:middle])
        assert abs(_decoded_ms(tmp_path / "half") - PIECE_MS / 2) < 120


def _decoded_ms(path: Path) -> int:
    """How long the file plays, by decoding it to raw samples."""
    tool = str(ffmpeg.executable(None))
    command = [tool, "-nostdin", "-loglevel", "quiet", "-i", str(path), "-ac", "1", "-ar", "8000", "-f", "s8", "-"]
    return len(subprocess.run(command, capture_output=True, timeout=60, check=False).stdout) // 8


def test_render__alac_and_odd_layouts__are_accepted(tmp_path: Path) -> None:
    odd = {
        "alac.m4a": ("-c:a", "alac", "-f", "ipod"),
        "mono8k.wav": ("-ac", "1", "-ar", "8000"),
        "surround.flac": ("-ac", "6"),
        "float.wav": ("-c:a", "pcm_f32le"),
        "deep.aiff": ("-c:a", "pcm_s24be", "-ar", "96000"),
        "vbr.mp3": ("-q:a", "4"),
        "bare.mp3": ("-b:a", "96k", "-write_xing", "0", "-id3v2_version", "0"),
    }
    for name, arguments in odd.items():
        source = audio_files.converted(tmp_path, name, *arguments)
        found = audio.inspect(source)
        assert found.lossless == (not name.endswith(".mp3")), name
        made = audio.render(source, tmp_path / "out", "opus", SHORT, inspection=found)
        assert abs(made.duration_ms - PIECE_MS) <= 100, name


def test_render__name_of_another_format__is_told_by_content(wholes: dict[Format, Path], tmp_path: Path) -> None:
    misnamed = tmp_path / "really.mp3"
    misnamed.write_bytes(wholes["flac"].read_bytes())
    assert audio.inspect(misnamed).format == "flac"
    assert audio.render(misnamed, tmp_path / "out", "mp3", SHORT).codec == "mp3"


def test_clip__longer_and_shorter_than_the_piece__ends_in_silence(wholes: dict[Format, Path], tmp_path: Path) -> None:
    short = audio.clip(wholes["flac"], tmp_path / "short.mp3", 2_000, SHORT)
    assert abs(short.duration_ms - 2_000) <= TOLERANCE_MS
    whole = audio.clip(wholes["flac"], tmp_path / "whole.mp3", 60_000, SHORT)
    assert abs(whole.duration_ms - PIECE_MS) <= TOLERANCE_MS


@pytest.mark.parametrize("name", audio_files.NOT_AUDIO)
def test_inspect__no_audio__is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(audio.NotAudio):
        audio.inspect(audio_files.NOT_AUDIO[name](tmp_path))


@pytest.mark.parametrize("make", [audio_files.playlist_named_mp3, audio_files.concat_list_named_mp3])
def test_playlist__that_names_another_file__is_never_followed(
    wholes: dict[Format, Path], tmp_path: Path, make: Callable[[Path, Path], Path]
) -> None:
    playlist = make(tmp_path, wholes["mp3"])
    with pytest.raises(audio.NotAudio):
        audio.inspect(playlist)
    # Even if inspection were fooled, ffmpeg reads it as nothing but the format it was said to be.
    for kind in audio_files.FORMATS:
        fooled = replace(audio.inspect(wholes[kind]), duration_stated=False)
        with pytest.raises(audio.DamagedAudio):
            audio.render(playlist, tmp_path / "out", "mp3", SHORT, inspection=fooled)
    assert not (tmp_path / "out").exists()


def test_inspect__audio_of_other_kinds__is_unsupported(tmp_path: Path) -> None:
    others = {
        "song.wma": ("-c:a", "wmav2"),
        "song.wv": ("-c:a", "wavpack"),
        "song.aac": ("-c:a", "aac", "-f", "adts"),
        "song.webm": ("-c:a", "libopus"),
        "adpcm.wav": ("-c:a", "adpcm_ima_wav"),
        "flac.ogg": ("-c:a", "flac", "-f", "ogg"),
        "ac3.mp4": ("-c:a", "ac3"),
    }
    for name, arguments in others.items():
        source = audio_files.converted(tmp_path, name, *arguments)
        with pytest.raises(audio.AudioRefused) as caught:
            audio.inspect(source)
        assert caught.type is audio.UnsupportedAudio, name


@pytest.mark.parametrize("kind", ["flac", "m4a", "wav", "aiff", "vorbis", "opus", "mp3"])
def test_render__file_cut_in_half__is_damaged(tmp_path: Path, kind: Format) -> None:
    half = audio_files.cut(audio_files.whole(tmp_path, kind), 0.5)
    with pytest.raises(audio.DamagedAudio):
        audio.render(half, tmp_path / "out", "mp3", SHORT)
    assert not (tmp_path / "out").exists()


def test_render__m4a_with_its_table_in_front_cut_in_half__is_damaged(tmp_path: Path) -> None:
    source = audio_files.converted(tmp_path, "front.m4a", "-c:a", "aac", "-movflags", "+faststart", "-f", "ipod")
    with pytest.raises(audio.DamagedAudio):
        audio.render(audio_files.cut(source, 0.5), tmp_path / "out", "mp3", SHORT)


@pytest.mark.parametrize("missing", [1, 3, 50, 99, 128, 200, 333])
def test_render__mp3_cut_inside_its_last_frame__is_tolerated(tmp_path: Path, missing: int) -> None:
    source = audio_files.cut_bytes(audio_files.whole(tmp_path, "mp3"), missing)
    made = audio.render(source, tmp_path / "out", "mp3", SHORT)
    assert abs(made.duration_ms - PIECE_MS) <= TOLERANCE_MS


def test_render__flac_with_damage_inside__is_refused_with_ffmpegs_reason(tmp_path: Path) -> None:
    source = audio_files.blanked(audio_files.whole(tmp_path, "flac"), 0.5, 2_000)
    with pytest.raises(audio.DamagedAudio) as caught:
        audio.render(source, tmp_path / "out", "mp3", SHORT)
    assert caught.value.detail
    assert "0x" not in caught.value.detail
    assert str(tmp_path) not in caught.value.detail


def test_inspect__hours_of_silence_in_few_bytes__is_too_long(tmp_path: Path) -> None:
    bomb = audio_files.silence_bomb(tmp_path, 4 * 3600 * 48_000)
    assert bomb.stat().st_size < 100_000
    with pytest.raises(audio.RecordingTooLong):
        audio.inspect(bomb)


@pytest.mark.parametrize("stated_s", [0, 1])
def test_render__silence_that_hides_its_length__is_stopped_early(tmp_path: Path, stated_s: int) -> None:
    bomb = audio_files.silence_bomb(tmp_path, stated_s * 48_000)
    started = time.monotonic()
    with pytest.raises(audio.RecordingTooLong):
        audio.render(bomb, tmp_path / "out", "opus", SHORT)
    assert time.monotonic() - started < SHORT.cpu_s
    assert not (tmp_path / "out").exists()


def test_render__exactly_the_limit__is_accepted(wholes: dict[Format, Path], tmp_path: Path) -> None:
    limits = audio.AudioLimits(duration_s_max=int(audio_files.PIECE_S))
    assert audio.render(wholes["wav"], tmp_path / "out", "mp3", limits).duration_ms == PIECE_MS


def test_inspect__dirty_tags__come_out_clean(tmp_path: Path) -> None:
    found = audio.inspect(audio_files.dirty_tags(tmp_path))
    assert found.title is not None
    assert found.title.startswith("A title with traps xxx")
    assert len(found.title) == audio_tags.TEXT_CHARS_MAX
    assert found.artist == ", ".join(f"Artist {i}" for i in range(audio_tags.VALUES_MAX))
    assert found.album in ("One, Two", "One Two", "OneTwo")
    assert (found.track, found.isrc, found.date) == (None, None, "2019")
    assert found.notes == ("ISRC left out: not valid",)


def test_inspect__invalid_utf8__is_replaced(tmp_path: Path) -> None:
    found = audio.inspect(audio_files.invalid_utf8_tags(tmp_path))
    assert found.title == "caf\ufffd\ufffd MARKER"


def test_clean__any_text__is_one_short_line() -> None:
    assert audio_tags.clean("a\x00b\r\n c\u2028d \ud800") == "ab c d ?"
    assert audio_tags.clean(" \x00\x1f ") == ""
    assert audio_tags.clean("e\u0301") == "\u00e9"
    assert audio_tags.clean_isrc(["gb-aye-68-00011"], []) == "GBAYE6800011"


def test_inspect__artwork_of_10_mb__is_left_out_with_a_note(tmp_path: Path) -> None:
    found = audio.inspect(audio_files.large_artwork(tmp_path, 10 << 20))
    assert found.artwork is None
    assert found.artwork_mime is None
    assert found.notes == ("artwork left out: larger than 8 MB",)


def test_inspect__picture_of_too_many_pixels_or_none__is_left_out(tmp_path: Path) -> None:
    for data, note in (
        (audio_files.pixel_bomb(), "artwork left out: more than 50 million pixels"),
        (b"<svg onload=alert(1)>", "artwork left out: not a readable picture"),
    ):
        source = audio_files.whole(tmp_path, "vorbis")
        file = OggVorbis(source)
        file["metadata_block_picture"] = [audio_files.ogg_picture_text(data)]
        file.save()
        found = audio.inspect(source)
        assert (found.artwork, found.notes) == (None, (note,))


def test_inspect__what_is_appended_to_a_picture__does_not_survive(tmp_path: Path) -> None:
    source = audio_files.whole(tmp_path, "flac", {}, audio_files.picture(100, 100) + b"PK\x03\x04 payload")
    artwork = audio.inspect(source).artwork
    assert artwork is not None
    assert b"payload" not in artwork


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFF0])
def test_inspect__wav_with_lying_sizes__is_damaged(tmp_path: Path, size: int) -> None:
    with pytest.raises(audio.DamagedAudio):
        audio.inspect(audio_files.wav_that_lies(tmp_path, size))


def test_inspect__id3_tag_larger_than_the_file__is_damaged(tmp_path: Path) -> None:
    with pytest.raises(audio.DamagedAudio):
        audio.inspect(audio_files.huge_id3_size(tmp_path))


def test_inspect__tag_that_unpacks_to_gigabytes__costs_the_child_not_the_service(tmp_path: Path) -> None:
    source = audio_files.compressed_id3_frame(tmp_path)
    assert source.stat().st_size < 8 << 20
    try:
        found = audio.inspect(source)
    except audio.AudioRefused:
        return
    assert found.title is None


@pytest.mark.parametrize("kind", audio_files.FORMATS)
def test_inspect_and_render__mutated_files__are_taken_or_refused(tmp_path: Path, kind: Format) -> None:
    source = audio_files.whole(tmp_path, kind, TAGS)
    for seed in range(6):
        damaged = audio_files.mutated(source, seed, changes=1 + seed * 3)
        try:
            found = audio.inspect(damaged, SHORT.duration_s_max)
            made = audio.render(damaged, tmp_path / "out", "mp3", SHORT, inspection=found)
        except audio.AudioRefused as refusal:
            told = str(refusal)
        else:
            told = ""
            assert 0 < made.duration_ms <= SHORT.duration_s_max * 1000 + audio.OVERRUN_MS
        assert told == audio_tags.clean(told)


def test_detect__random_bytes__never_count_as_audio(tmp_path: Path) -> None:
    path = tmp_path / "noise"
    for seed in range(30):
        path.write_bytes(random.Random(seed).randbytes(100_000))
        with pytest.raises(audio.AudioRefused):
            detect(path)


def test_render__configured_ffmpeg_that_is_missing__is_not_the_files_fault(
    wholes: dict[Format, Path], tmp_path: Path
) -> None:
    with pytest.raises(audio.ProgramNotStarted):
        audio.render(wholes["wav"], tmp_path / "out", "mp3", SHORT, program=str(tmp_path / "none"))


def test_reason__noise_of_ffmpeg__is_left_out() -> None:
    message = "[in#0 @ 0x55] Error opening input: Invalid data\n[flac @ 0x55b6] invalid residual\nConversion failed!\n"
    assert ffmpeg.reason(message) == "invalid residual"
    assert ffmpeg.reason("") == ""
