"""Downloads of the whole service: for whom, in which forms, under which names."""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

import pytest
from PIL import Image

from streamcoop.adapters import audio
from streamcoop.demo import music
from streamcoop.demo.client import Json, Person, until
from streamcoop.embedded.temporary import Service
from tests.whole_service import READY_S_MAX, is_ready, operator_of, rows, service, setting, somebody

__all__ = ["service"]

ARTIST = "Ferry & the “Night” Boats"
TITLE = "Pulang / Ke Bandung"
NAME = "Ferry & the “Night” Boats - Pulang _ Ke Bandung"
FORMS = {"wav": "original", "mp3": "mp3", "flac": "flac", "opus": "opus"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("music")


@pytest.fixture(scope="module")
def tracks(service: Service, folder: Path) -> list[str]:
    """A published WAV and a published MP3 of one release, which has a picture."""
    artist = somebody(service, "An artist").join(artist=True)
    profile = artist.post("/api/v1/artists", {"name": ARTIST})
    new = {"title": "Harbour Songs", "kind": "album", "genre": "folk", "released_on": "2026-11-02"}
    release = artist.post(f"/api/v1/artists/{profile['id']}/releases", new)["id"]
    picture = io.BytesIO()
    Image.effect_noise((300, 300), 80).convert("RGB").save(picture, "PNG")
    artist.http.put(f"/api/v1/releases/{release}/artwork", content=picture.getvalue()).raise_for_status()
    ids = []
    for seed, kind in ((1, "wav"), (2, "mp3")):
        made = music.encode(music.compose(seed, 2.5), kind, {"title": "In the file"}, folder=folder, name=f"a-{kind}")  # type: ignore[arg-type]
        ids.append(str(artist.upload(release, made)["id"]))
    for position, track in enumerate(ids, 1):
        until(lambda track=track: is_ready(artist, track), "a rendition", READY_S_MAX)  # type: ignore[misc]
        change = {"title": TITLE if position == 1 else "Second", "position": position}
        artist.http.patch(f"/api/v1/tracks/{track}", json=change).raise_for_status()
    artist.post(f"/api/v1/releases/{release}/publish")
    return ids


@pytest.fixture(scope="module")
def owner(service: Service, tracks: list[str]) -> Person:
    """She owns both."""
    listener = somebody(service, "Putri").join()
    operator_of(service).top_up(listener, 2_000)
    for track in tracks:
        listener.buy(track)
    return listener


def path_of(track: str, form: str) -> str:
    return f"/api/v1/tracks/{track}/download?format={form}"


@pytest.mark.parametrize("extension", FORMS)
def test_an_owner_has_it_in_every_form_with_tags_and_cover(
    owner: Person, tracks: list[str], folder: Path, extension: str
) -> None:
    answer = owner.http.get(path_of(tracks[0], FORMS[extension]))
    assert answer.status_code == 200
    disposition = answer.headers["content-disposition"]
    assert f"filename*=UTF-8''{quote(f'{NAME}.{extension}', safe='')}" in disposition
    assert f'filename="Ferry & the Night Boats - Pulang _ Ke Bandung.{extension}"' in disposition
    kept = folder / f"kept.{extension}"
    kept.write_bytes(answer.content)
    about = audio.inspect(kept)
    assert about.format == extension
    assert abs(about.duration_ms - 2_500) < 60
    if extension != "wav":
        assert (about.title, about.artist, about.album) == (TITLE, ARTIST, "Harbour Songs")
        assert (about.track, about.genre, about.date) == (1, "folk", "2026-11-02")
        assert about.artwork is not None
    else:
        assert answer.content == (folder / "a-wav.wav").read_bytes()


def test_flac_is_there_only_where_nothing_was_lost(owner: Person, tracks: list[str]) -> None:
    refused = owner.http.get(path_of(tracks[1], "flac"))
    assert (refused.status_code, refused.json()["type"]) == (404, "/problems/no-rendition")


@pytest.mark.parametrize("form", ["mp3", "flac"])
def test_any_range_of_it_can_be_had(owner: Person, tracks: list[str], form: str) -> None:
    path = path_of(tracks[0], form)
    whole = owner.http.get(path)
    head = owner.http.head(path)
    assert int(head.headers["content-length"]) == len(whole.content)
    for start, end in (
        (0, 9),
        (5, 2_000),
        (len(whole.content) - 7, len(whole.content) - 1),
        (3, len(whole.content) - 1),
    ):
        ranged = {"Range": f"bytes={start}-{end}", "If-Range": whole.headers["etag"]}
        part = owner.http.get(path, headers=ranged)
        assert part.status_code == 206
        assert part.content == whole.content[start : end + 1]
    assert owner.http.get(path, headers={"Range": f"bytes={len(whole.content)}-"}).status_code == 416


def test_opus_is_the_same_file_each_time(owner: Person, tracks: list[str]) -> None:
    path = path_of(tracks[0], "opus")
    assert owner.http.get(path).content == owner.http.get(path).content
    assert owner.http.head(path).headers["content-type"] == "audio/ogg"


def test_whoever_does_not_own_it_is_told_that_there_is_nothing(service: Service, tracks: list[str]) -> None:
    other = somebody(service, "Budi").join()
    for form in FORMS.values():
        assert other.http.get(path_of(tracks[0], form)).status_code == 404


def test_all_that_one_owns_comes_in_one_archive(owner: Person, tracks: list[str]) -> None:
    for form, extensions in {"original": ("wav", "mp3"), "mp3": ("mp3", "mp3"), "opus": ("opus", "opus")}.items():
        answer = owner.http.get("/api/v1/library/owned.zip", params={"format": form})
        assert answer.headers["content-type"] == "application/zip"
        made = zipfile.ZipFile(io.BytesIO(answer.content))
        assert made.testzip() is None
        artist = "Ferry & the “Night” Boats/Harbour Songs"
        first, second = f"{artist}/01 Pulang _ Ke Bandung.{extensions[0]}", f"{artist}/02 Second.{extensions[1]}"
        assert made.namelist() == [first, second]
        assert made.read(first) == owner.http.get(path_of(tracks[0], form)).content


def test_whoever_owns_nothing_has_an_empty_archive(service: Service) -> None:
    answer = somebody(service, "Budi").join().http.get("/api/v1/library/owned.zip")
    assert zipfile.ZipFile(io.BytesIO(answer.content)).namelist() == []


def test_one_archive_at_a_time_and_that_of_a_dead_process_counts_no_longer(service: Service, owner: Person) -> None:
    url, account = setting(service, "DATABASE_URL"), UUID(owner.get("/api/v1/me")["id"])
    held = "insert into coop.transfer_place (id, account_id, kind, held_until) select gen_random_uuid()"
    rows(url, f"{held}, '{account}', 'upload', now() + interval '1 minute'")
    assert owner.http.get("/api/v1/library/owned.zip").status_code == 200
    rows(url, f"{held}, '{account}', 'archive', now() + interval '1 minute'")
    refused = owner.http.get("/api/v1/library/owned.zip")
    assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-archives")
    rows(url, f"update coop.transfer_place set held_until = now() where account_id = '{account}'")
    assert owner.http.get("/api/v1/library/owned.zip").status_code == 200
    assert rows(url, f"select 1 from coop.transfer_place where account_id = '{account}'") == []


def test_a_track_alone_tells_how_loud_it_is_and_lists_do_not(owner: Person, tracks: list[str]) -> None:
    told: Json = owner.get(f"/api/v1/tracks/{tracks[0]}")
    peaks = base64.b64decode(told["waveform"])
    assert len(peaks) == audio.PEAKS
    assert max(peaks) > 50
    assert {each["waveform"] for each in owner.get(f"/api/v1/releases/{told['release_id']}")["tracks"]} == {None}
