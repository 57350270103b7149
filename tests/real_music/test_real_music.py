"""Music that people made, from Debian's packages, through the whole service."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from mutagen import File as read_tags

from streamcoop.demo.client import Json, Person, until
from streamcoop.embedded.temporary import Service
from tests import debian_music
from tests.whole_service import draft_of, is_ready, operator_of, somebody

OF_A_KIND = 2
WAIT_S = 240.0
SUFFIXES = (".mp3", ".ogg")


@pytest.fixture(scope="module")
def pieces() -> list[Path]:
    """The smallest files of each kind: two MP3 and two Ogg Vorbis."""
    found = sorted(debian_music.files(), key=lambda path: path.stat().st_size)
    chosen = [path for suffix in SUFFIXES for path in [p for p in found if p.suffix == suffix][:OF_A_KIND]]
    if len(chosen) < OF_A_KIND * len(SUFFIXES):
        reason = "Debian's music packages are not here: `make test` fetches them and sets TEST_MUSIC"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return chosen


def tag(path: Path, name: str) -> str:
    """What the file says about itself; empty where it does not."""
    tags = read_tags(path, easy=True)
    return str((tags.tags or {}).get(name, [""])[0]) if tags is not None else ""


def counts(listener: Person, opened: Json) -> bool | None:
    """Whether a play counts by now: half a second after its opening, however long the music goes on."""
    answer = listener.http.post("/api/v1/plays/record", json={"play_token": opened["play_token"]})
    assert answer.status_code in {200, 425}, answer.text
    return answer.is_success or None


@pytest.mark.timeout(600)
def test_real_music_is_uploaded_streamed_paid_owned_and_downloaded(service: Service, pieces: list[Path]) -> None:
    operator, artist = operator_of(service), somebody(service, "Debian's musicians").join(artist=True)
    listener = somebody(service, "Wayan").join()
    release = draft_of(artist, "From Debian")
    uploaded = {str(artist.upload(release, path)["id"]): path for path in pieces}
    durations = {}
    for track_id, path in uploaded.items():
        track = until(lambda t=track_id: is_ready(artist, t), f"the rendition of {path.name}", WAIT_S)  # type: ignore[misc]
        durations[track_id] = track["duration_ms"]
        about = read_tags(path)
        assert about is not None
        assert abs(track["duration_ms"] - about.info.length * 1000) < 200, path.name
        if title := tag(path, "title").strip():
            assert track["title"] == title
    artist.post(f"/api/v1/releases/{release}/publish")
    operator.top_up(listener, 2_000)

    spent_micro = 0
    for number, track_id in enumerate(uploaded):
        opened = listener.post("/api/v1/plays", {"track_id": track_id, "codec": ("mp3", "opus")[number % 2]})
        assert opened["duration_ms"] == durations[track_id]
        until(lambda o=opened: counts(listener, o), "the play to count", WAIT_S)  # type: ignore[misc]
        beginning = listener.http.get(opened["stream_url"], headers={"Range": "bytes=0-65535"})
        assert (beginning.status_code, len(beginning.content)) == (206, 65_536)
        spent_micro += opened["price_micro"]
    assert spent_micro == 2_000 * len(uploaded)
    for track_id in uploaded:
        bought = listener.buy(track_id)
        assert bought["owned"]
        spent_micro += bought["price_micro"]
    assert spent_micro == 1_022_000 * len(uploaded)
    until(lambda: listener.get("/api/v1/wallet")["unsettled_micro"] == 0 or None, "settling", WAIT_S)

    for track_id, path in uploaded.items():
        assert listener.http.get(f"/api/v1/tracks/{track_id}/original").content == path.read_bytes(), path.name
    assert {t["track_id"] for t in listener.get("/api/v1/wallet/tracks")["items"] if t["owned"]} == set(uploaded)
    month = datetime.now(UTC).strftime("%Y-%m")
    lines = listener.get("/api/v1/wallet/statement", month=month)["lines"]
    assert -sum(line["credits_micro"] for line in lines if line["track_id"]) == spent_micro
    assert operator.get("/api/v1/books/check")["balanced"]
