"""Uploads: every format to the end, and everything that is refused."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from streamcoop.adapters import audio
from streamcoop.adapters.audio_formats import Format
from streamcoop.catalogue import places, receiving, uploads
from streamcoop.settings import settings
from tests.adapters import audio_files
from tests.catalogue.studio import UPLOAD_BYTES_MAX, Studio

EVENTUALLY_S = 20


@pytest.mark.parametrize("kind", audio_files.FORMATS)
def test_every_format_becomes_ready(studio: Studio, sources: dict[Format, Path], kind: Format) -> None:
    release_id = studio.release()
    answer = studio.upload(release_id, sources[kind], f"03 {kind}.bin")
    assert answer.status_code == 202
    track = answer.json()
    assert (track["state"], track["upload"]["format"]) == ("processing", kind)
    assert [str(track_id) for track_id in studio.asked] == [track["id"]]

    studio.worker.render(track["id"])

    track = studio.track(track["id"])
    assert (track["state"], track["upload"]["problem"]) == ("ready", None)
    assert abs(track["duration_ms"] - audio_files.PIECE_S * 1000) < 150
    renditions = {
        row.codec: row for row in studio.rows("select * from coop.rendition where track_id = :id", id=track["id"])
    }
    # What loses nothing can be had as FLAC, which a FLAC file is already.
    also = {"flac"} if kind in ("wav", "aiff") else set()
    assert set(renditions) == {"mp3", "opus", "preview"} | also
    (drawn,) = studio.rows("select waveform from coop.track where id = :id", id=track["id"])
    assert len(drawn.waveform) == audio.PEAKS
    for row in renditions.values():
        assert studio.store.size(row.object_key) == row.size > row.header_bytes
    assert abs(renditions["preview"].duration_ms - track["duration_ms"] / 2) < 150
    assert studio.store.size(f"tracks/{track['id']}/original.{kind}") == sources[kind].stat().st_size
    assert studio.scratch() == []


def test_tags_become_the_tracks_fields(studio: Studio, sources: dict[Format, Path]) -> None:
    release_id = studio.release()
    answer = studio.upload(release_id, sources["flac"], "C:\\Music\\..\\03 song?.flac").json()
    assert (answer["title"], answer["position"], answer["isrc"]) == ("Ladrang Wilujeng", 3, "GBAYE0601498")
    assert answer["genre"] == "Gamelan"
    assert answer["upload"]["filename"] == "03 song.flac"
    assert answer["upload"]["tags"]["artist"] == "Kyai Guntur"
    assert "artwork of the release taken from the file" in answer["notes"]
    release = studio.get(f"/releases/{release_id}", studio.owner)
    picture = studio.client.get(release["artwork"], headers=studio.owner.headers)
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")


def test_a_file_without_tags_is_named_after_itself(studio: Studio, tmp_path: Path) -> None:
    release_id = studio.release()
    path = audio_files.whole(tmp_path, "wav")
    answer = studio.upload(release_id, path, "../folder/Puspawarna.wav").json()
    assert (answer["title"], answer["position"]) == ("Puspawarna", 1)
    assert answer["notes"] == ["no title in the file: named after the file"]
    nameless = studio.upload(release_id, audio_files.whole(tmp_path, "mp3"), "../..").json()
    assert (nameless["title"], nameless["position"]) == ("recording", 2)
    assert nameless["upload"]["filename"] == "recording.mp3"


def _too_long(folder: Path) -> Path:
    return audio_files.silence_bomb(folder, stated_samples=3600 * 48_000)


@pytest.mark.parametrize(
    ("make", "status", "problem"),
    [
        (audio_files.text_named_mp3, 415, "not-audio"),
        (audio_files.picture_named_mp3, 415, "not-audio"),
        (audio_files.zip_named_flac, 415, "not-audio"),
        (audio_files.empty, 400, "empty-upload"),
        (lambda folder: audio_files.converted(folder, "song.wma", "-c:a", "wmav2"), 415, "unsupported-audio"),
        (audio_files.huge_id3_size, 400, "damaged-audio"),
        (_too_long, 413, "recording-too-long"),
        (lambda folder: audio_files.cut(audio_files.whole(folder, "vorbis"), 0.5), 400, "damaged-audio"),
    ],
)
def test_bad_files_are_refused_and_leave_nothing(
    studio: Studio, tmp_path: Path, make: Callable[[Path], Path], status: int, problem: str
) -> None:
    answer = studio.upload(studio.release(), make(tmp_path), "song.mp3")
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{problem}")
    assert studio.kept() == (0, set(), [])


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda folder: audio_files.cut(audio_files.whole(folder, "flac"), 0.6), "damaged-audio"),
        (lambda folder: audio_files.blanked(audio_files.whole(folder, "flac"), 0.5, 2_000), "damaged-audio"),
        (audio_files.silence_bomb, "recording-too-long"),
    ],
)
def test_what_only_decoding_shows_fails_the_track(
    studio: Studio, tmp_path: Path, make: Callable[[Path], Path], problem: str
) -> None:
    track_id = studio.uploaded(studio.release(), make(tmp_path))
    studio.worker.render(track_id)
    told = studio.track(track_id)
    assert (told["state"], told["upload"]["problem"]["type"]) == ("failed", f"/problems/{problem}")
    assert told["upload"]["problem"]["title"]
    assert [key for key in studio.objects() if not key.endswith("original.flac")] == []
    assert studio.scratch() == []


@pytest.mark.parametrize("make", [audio_files.dirty_tags, audio_files.invalid_utf8_tags])
def test_dirty_tags_are_cleaned(studio: Studio, tmp_path: Path, make: Callable[[Path], Path]) -> None:
    answer = studio.upload(studio.release(), make(tmp_path), "a\x00b\u202e\nc.mp3")
    assert answer.status_code == 202, answer.text
    track = answer.json()
    for shown in (track["title"], track["upload"]["filename"], str(track["upload"]["tags"])):
        assert shown.isprintable()
    assert len(track["title"]) <= 300
    assert track["isrc"] is None


def test_large_art_is_left_out_and_noted(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings(), "upload_bytes_max", 32 << 20)
    release_id = studio.release()
    answer = studio.upload(release_id, audio_files.large_artwork(tmp_path, 10 << 20))
    assert answer.status_code == 202
    assert any("artwork left out" in note for note in answer.json()["notes"])
    assert studio.get(f"/releases/{release_id}", studio.owner)["artwork"] is None


def test_too_large_by_its_own_word(studio: Studio) -> None:
    release_id = studio.release()
    with socket.create_connection(("127.0.0.1", studio.port), timeout=EVENTUALLY_S) as connection:
        # Not one byte of the body is sent: the answer comes all the same.
        connection.sendall(_head(studio, release_id, f"Content-Length: {UPLOAD_BYTES_MAX + 1}"))
        assert b" 413 " in connection.recv(4096)
    assert studio.kept() == (0, set(), [])


def test_too_large_without_a_word(studio: Studio, sources: dict[Format, Path]) -> None:
    def endless() -> Iterator[bytes]:
        yield sources["flac"].read_bytes()
        while True:
            yield bytes(1 << 16)

    release_id = studio.release()
    with socket.create_connection(("127.0.0.1", studio.port), timeout=EVENTUALLY_S) as connection:
        connection.sendall(_head(studio, release_id, "Transfer-Encoding: chunked"))
        sent = 0
        for chunk in endless():
            connection.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            sent += len(chunk)
            if sent > UPLOAD_BYTES_MAX:
                break
        assert b" 413 " in connection.recv(4096)
    assert studio.kept() == (0, set(), [])


@pytest.mark.parametrize("length", ["Content-Length: 3000000", "Transfer-Encoding: chunked"])
def test_an_upload_cut_off_leaves_nothing(
    studio: Studio, sources: dict[Format, Path], monkeypatch: pytest.MonkeyPatch, length: str
) -> None:
    place = _first_place(monkeypatch)
    release_id = studio.release()
    data = sources["flac"].read_bytes()[:200_000]
    with socket.create_connection(("127.0.0.1", studio.port), timeout=EVENTUALLY_S) as connection:
        chunked = length.startswith("Transfer")
        connection.sendall(
            _head(studio, release_id, length) + (b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
        )
        assert place.taken.wait(EVENTUALLY_S)
    assert place.wait(EVENTUALLY_S)
    assert studio.kept() == (0, set(), [])


def test_an_upload_that_falls_silent_is_ended(
    studio: Studio, sources: dict[Format, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "SILENCE_S_MAX", 0.05)
    release_id = studio.release()
    with socket.create_connection(("127.0.0.1", studio.port), timeout=EVENTUALLY_S) as connection:
        connection.sendall(_head(studio, release_id, "Content-Length: 3000000") + b"fLaC")
        assert b" 408 " in connection.recv(4096)
    assert studio.kept() == (0, set(), [])


def test_nothing_is_read_before_the_right_to_upload_is_known(studio: Studio) -> None:
    release_id = studio.release()
    stranger = studio.person("listener", "artist")
    listener = studio.person("listener")
    for person, status in ((stranger, 404), (listener, 403), (None, 401)):
        with socket.create_connection(("127.0.0.1", studio.port), timeout=EVENTUALLY_S) as connection:
            headers = person.headers if person else {}
            connection.sendall(_head(studio, release_id, "Content-Length: 1000", headers))
            assert b" %d " % status in connection.recv(4096)


def test_the_same_bytes_twice_name_the_first_track(studio: Studio, sources: dict[Format, Path]) -> None:
    artist_id = studio.artist()
    first = studio.uploaded(studio.release("One", artist_id), sources["mp3"])
    again = studio.upload(studio.release("Two", artist_id), sources["mp3"])
    assert (again.status_code, again.json()["type"]) == (409, "/problems/duplicate-upload")
    assert again.json()["track_id"] == first
    # Another artist may have the same recording.
    assert studio.upload(studio.release("Three"), sources["mp3"]).status_code == 202


def test_the_same_bytes_at_once_are_taken_once(studio: Studio, sources: dict[Format, Path]) -> None:
    release_id = studio.release()
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: studio.upload(release_id, sources["flac"]), range(4)))
    # Whoever comes while it is being stored may be taken for one who asks again: the same track is answered.
    assert {answer.status_code for answer in answers} <= {202, 409}
    (taken,) = {answer.json()["id"] for answer in answers if answer.status_code == 202}
    assert {answer.json()["track_id"] for answer in answers if answer.status_code == 409} <= {taken}
    assert [track["id"] for track in studio.get(f"/releases/{release_id}", studio.owner)["tracks"]] == [taken]


def test_a_release_has_a_limit_of_tracks(
    studio: Studio, sources: dict[Format, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "TRACKS_PER_RELEASE_MAX", 2)
    release_id = studio.release()
    with ThreadPoolExecutor(4) as threads:
        kinds = ("mp3", "flac", "opus", "vorbis")
        answers = list(threads.map(lambda kind: studio.upload(release_id, sources[kind]), kinds))
    assert sorted(answer.status_code for answer in answers) == [202, 202, 409, 409]
    assert {answer.json()["type"] for answer in answers if answer.status_code == 409} == {"/problems/too-many-tracks"}
    assert studio.rows("select count(*) from coop.track")[0][0] == 2


def test_one_account_has_a_limit_of_uploads_at_once(
    studio: Studio, sources: dict[Format, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "UPLOADS_PER_ACCOUNT_MAX", 1)
    place = _first_place(monkeypatch)
    release_id = studio.release()
    with socket.create_connection(("127.0.0.1", studio.port), timeout=EVENTUALLY_S) as connection:
        connection.sendall(_head(studio, release_id, "Content-Length: 1000") + b"fLaC")
        assert place.taken.wait(EVENTUALLY_S)
        refused = studio.upload(release_id, sources["flac"])
        assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-uploads")
        assert refused.headers["retry-after"]
    assert place.wait(EVENTUALLY_S)
    assert studio.upload(release_id, sources["flac"]).status_code == 202


def test_uploads_on_other_processes_count_and_those_of_a_dead_one_no_longer(
    studio: Studio, sources: dict[Format, Path]
) -> None:
    release_id = studio.release()
    held = (
        "insert into coop.transfer_place select gen_random_uuid(), :account, now() + :left * interval '1 s', 'upload'"
    )
    held += f" from generate_series(1, {receiving.UPLOADS_PER_ACCOUNT_MAX})"
    studio.execute(held, account=studio.owner.user_id, left=60)
    refused = studio.upload(release_id, sources["flac"])
    assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-uploads")
    studio.execute("update coop.transfer_place set held_until = now() - interval '1 s'")
    assert studio.upload(release_id, sources["flac"]).status_code == 202
    assert studio.rows("select 1 from coop.transfer_place") == []


def test_an_upload_that_goes_on_keeps_its_place(
    studio: Studio, sources: dict[Format, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "PLACE_S", 1)
    place = _first_place(monkeypatch)
    release_id = studio.release()
    until = "select held_until from coop.transfer_place where held_until > now()"
    with socket.create_connection(("127.0.0.1", studio.port), timeout=EVENTUALLY_S) as connection:
        connection.sendall(_head(studio, release_id, "Content-Length: 1000") + b"fLaC")
        assert place.taken.wait(EVENTUALLY_S)
        begun, deadline = studio.rows(until), time.monotonic() + EVENTUALLY_S
        while studio.rows(until) in ([], begun):
            assert time.monotonic() < deadline, "the place was not renewed"
    assert place.wait(EVENTUALLY_S)
    assert studio.rows("select 1 from coop.transfer_place") == []


def test_a_store_that_is_away_leaves_nothing(studio: Studio, sources: dict[Format, Path]) -> None:
    release_id = studio.release()
    studio.store.is_away = True
    answer = studio.upload(release_id, sources["flac"])
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/storage-unavailable")
    assert studio.kept() == (0, set(), [])
    studio.store.is_away = False
    assert studio.upload(release_id, sources["flac"]).status_code == 202


def test_only_drafts_take_uploads(studio: Studio, sources: dict[Format, Path]) -> None:
    release_id, _ = studio.published("Gong", sources["mp3"])
    answer = studio.upload(release_id, sources["flac"])
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/release-not-draft")


def _head(studio: Studio, release_id: str, length: str, headers: dict[str, str] | None = None) -> bytes:
    sent = studio.owner.headers if headers is None else headers
    lines = [
        f"POST /api/v1/releases/{release_id}/tracks?filename=x.flac HTTP/1.1",
        "Host: localhost",
        length,
        *(f"{name}: {value}" for name, value in sent.items()),
        "",
        "",
    ]
    return "\r\n".join(lines).encode()


class _Place(threading.Event):
    """Set once the first upload has given its place back."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = threading.Event()


def _first_place(monkeypatch: pytest.MonkeyPatch) -> _Place:
    place, original = _Place(), receiving._place

    @asynccontextmanager
    async def watched(pool: places.Pool, account_id: UUID) -> AsyncIterator[None]:
        is_taken = False
        try:
            async with original(pool, account_id):
                is_taken = True
                place.taken.set()
                yield
        finally:
            if is_taken:
                place.set()

    monkeypatch.setattr(receiving, "_place", watched)
    return place
