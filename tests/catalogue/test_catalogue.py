"""Artists, releases and tracks over HTTP: who sees what, publishing, search and paging."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from streamcoop.adapters.audio_formats import Format
from streamcoop.catalogue import lookup, search, service
from streamcoop.catalogue.lookup import Playable
from streamcoop.database import transaction
from streamcoop.errors import NotFound
from streamcoop.settings import settings
from tests.adapters import audio_files
from tests.catalogue.studio import Studio

Sources = dict[Format, Path]
# Names of tests have to be the same each time.
NOBODY = "6f6d2d9e-0f4c-4a37-9f39-2f6a5d2f5a11"


def playable(track_id: str) -> Playable | None:
    async def ask() -> Playable | None:
        url = settings().database_url.get_secret_value()
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
            return (await lookup.playable(conn, [UUID(track_id)])).get(UUID(track_id))

    return asyncio.run(ask())


def seed_releases(studio: Studio, artist_id: str, number: int) -> None:
    """Published releases of one track each, without their files."""
    studio.execute(
        """
        insert into coop.release (id, artist_id, title, kind, state, created_at, published_at,
                                  words, genre)
        select gen_random_uuid(), :artist, 'Gong ' || n, 'album', 'published', now(),
               timestamptz '2026-01-01' + make_interval(mins => n / 3), 'gong ' || n, 'Gamelan'
          from generate_series(1, :number) as n
        """,
        artist=artist_id,
        number=number,
    )
    studio.execute(
        """
        insert into coop.track (id, release_id, artist_id, position, title, state, duration_ms, original, sha256,
                                format, content_type, lossless, bytes, filename, uploaded_at, tags, attempts,
                                words, release_words)
        select gen_random_uuid(), id, artist_id, 1, 'Track of ' || title, 'ready', 1000, 'x', sha256(id::text::bytea),
               'flac', 'audio/flac', true, 1, 'x.flac', now(), '{}', 0, 'track of', words
          from coop.release
        """
    )


def everything(studio: Studio, path: str, **params: Any) -> list[Any]:
    """All items of a list, page by page."""
    items, cursor = [], None
    while True:
        page = studio.get(path, **params, **({"cursor": cursor} if cursor else {}))
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items
        assert len(page["items"]) == params["limit"]


def test_drafts_are_their_owners_alone(studio: Studio, sources: Sources) -> None:
    artist_id = studio.artist()
    release_id = studio.release("Gong", artist_id)
    track_id = studio.uploaded(release_id, sources["flac"])
    stranger = studio.person("listener", "artist")
    for person in (stranger, None):
        for path in (f"/releases/{release_id}", f"/releases/{release_id}/artwork", f"/tracks/{track_id}"):
            assert studio.call("GET", path, person).status_code == 404
    for method, path, body in (
        ("PATCH", f"/artists/{artist_id}", {"name": "Mine"}),
        ("POST", f"/artists/{artist_id}/releases", {"title": "Mine", "kind": "ep"}),
        ("PATCH", f"/releases/{release_id}", {"title": "Mine"}),
        ("POST", f"/releases/{release_id}/publish", None),
        ("POST", f"/releases/{release_id}/withdraw", None),
        ("PATCH", f"/tracks/{track_id}", {"title": "Mine"}),
        ("DELETE", f"/tracks/{track_id}", None),
    ):
        answer = studio.call(method, path, stranger, json=body)
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found"), path
    assert studio.call("PUT", f"/releases/{release_id}/artwork", stranger, content=b"x").status_code == 404
    assert studio.get(f"/artists/{artist_id}/releases", stranger)["items"] == []
    assert [release["id"] for release in studio.get(f"/artists/{artist_id}/releases", studio.owner)["items"]] == [
        release_id
    ]
    assert studio.track(track_id)["title"] == "Ladrang Wilujeng"


def test_what_is_published_is_seen_and_what_is_withdrawn_is_not(studio: Studio, sources: Sources) -> None:
    release_id, track_id = studio.published("Gong", sources["mp3"])
    release = studio.get(f"/releases/{release_id}")
    assert release["state"] == "published"
    (track,) = release["tracks"]
    assert (track["id"], track["upload"]) == (track_id, None)
    assert studio.get(f"/releases/{release_id}", studio.owner)["tracks"][0]["upload"]["format"] == "mp3"
    published_at = release["published_at"]

    answer = studio.call("POST", f"/releases/{release_id}/withdraw", studio.owner)
    assert (answer.status_code, answer.json()["state"]) == (200, "withdrawn")
    assert studio.call("GET", f"/releases/{release_id}").status_code == 404
    assert studio.get("/releases")["items"] == studio.get("/tracks")["items"] == []
    # Its owners may still hear it: that is decided where it is played.
    assert (found := playable(track_id)) is not None
    assert found.release_state == "withdrawn"

    assert studio.call("POST", f"/releases/{release_id}/publish", studio.owner).status_code == 200
    assert studio.get(f"/releases/{release_id}")["published_at"] == published_at


def test_only_what_is_ready_is_published(studio: Studio, sources: Sources, tmp_path: Path) -> None:
    release_id = studio.release()
    publish = f"/releases/{release_id}/publish"

    def refused() -> Any:
        answer = studio.call("POST", publish, studio.owner)
        assert answer.status_code == 409
        return answer.json()

    assert refused()["type"] == "/problems/nothing-to-publish"
    assert studio.call("POST", f"/releases/{release_id}/withdraw", studio.owner).status_code == 409
    track_id = studio.uploaded(release_id, sources["mp3"])
    assert (refused()["type"], refused()["tracks"]) == ("/problems/tracks-not-ready", [track_id])
    damaged = studio.uploaded(release_id, audio_files.blanked(audio_files.whole(tmp_path, "flac"), 0.5, 2_000))
    studio.worker.render(track_id)
    studio.worker.render(damaged)
    assert refused()["tracks"] == [damaged]
    assert playable(damaged) is None
    assert studio.call("DELETE", f"/tracks/{damaged}", studio.owner).status_code == 204
    assert studio.call("POST", publish, studio.owner).status_code == 200
    kept = studio.call("DELETE", f"/tracks/{track_id}", studio.owner)
    assert (kept.status_code, kept.json()["type"]) == (409, "/problems/release-not-draft")


def test_what_was_deleted_can_be_uploaded_again_and_its_objects_go(studio: Studio, sources: Sources) -> None:
    release_id = studio.release()
    first = studio.uploaded(release_id, sources["mp3"])
    studio.worker.render(first)
    assert studio.call("DELETE", f"/tracks/{first}", studio.owner).status_code == 204
    assert studio.call("GET", f"/tracks/{first}", studio.owner).status_code == 404
    second = studio.uploaded(release_id, sources["mp3"])
    studio.clock.advance(hours=3)
    studio.worker.sweep()
    assert {key.split("/")[1] for key in studio.objects() if key.startswith("tracks/")} == {second}
    assert studio.rows("select * from coop.discarded_object") == []


def test_changes_are_found_by_search(studio: Studio, sources: Sources) -> None:
    artist_id = studio.artist("Björk & Høst")
    release_id, track_id = studio.published("AC/DC — Live", sources["mp3"], artist_id)

    def finds(q: str) -> bool:
        tracks = [track["id"] for track in studio.get("/tracks", q=q)["items"]]
        releases = [release["id"] for release in studio.get("/releases", q=q.replace("ladrang", ""))["items"]]
        assert tracks in ([], [track_id])
        assert bool(tracks) == bool(releases), q
        return bool(tracks)

    for q in ("bjork", "BJÖRK", "bjo liv", "ladrang ac", "dc høst", "' & | ! :* \\ live", "Live\u0301"):
        assert finds(q), q
    for q in ("jork", "bjork abba", "'''"):
        assert not finds(q), q
    assert studio.call("PATCH", f"/artists/{artist_id}", studio.owner, json={"name": "Abba"}).status_code == 200
    assert finds("abba live")
    assert not finds("bjork")
    assert studio.call("PATCH", f"/releases/{release_id}", studio.owner, json={"title": "Dead"}).status_code == 200
    assert finds("abba dead")
    assert not finds("live")
    change = {"title": "Puspawarna", "position": 7, "isrc": "gb-aye-06-01498", "genre": None}
    changed = studio.call("PATCH", f"/tracks/{track_id}", studio.owner, json=change).json()
    assert {name: changed[name] for name in change} == change | {"isrc": "GBAYE0601498"}
    assert len(studio.get("/tracks", q="puspa")["items"]) == 1


def test_names_of_signs_alone_are_found(studio: Studio) -> None:
    ids = {studio.artist("!!!"), studio.artist("\ufdfa" * 200)}
    assert studio.get("/artists", q="!!!")["items"][0]["name"] == "!!!"
    assert {artist["id"] for artist in studio.get("/artists", q="")["items"]} == ids


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/artists", {"name": "a\x00b"}),
        ("/artists", {"name": "   "}),
        ("/artists", {"name": "x" * 201}),
        ("/artists", {"name": "a", "bio": "\x00"}),
        ("/artists", {"name": "a", "owner_id": str(uuid4())}),
        ("/artists/{artist}/releases", {"title": "a", "kind": "mixtape"}),
        ("/artists/{artist}/releases", {"title": "a", "kind": "ep", "released_on": "yesterday"}),
    ],
)
def test_malformed_payloads_are_422(studio: Studio, path: str, body: Any) -> None:
    path = path.format(artist=studio.artist())
    assert studio.call("POST", path, studio.owner, json=body).status_code == 422


@pytest.mark.parametrize("change", [{"isrc": "XX"}, {"title": None}, {"position": 0}, {"position": 10**10}])
def test_malformed_changes_are_422(studio: Studio, change: Any) -> None:
    assert studio.call("PATCH", f"/tracks/{uuid4()}", studio.owner, json=change).status_code == 422


def test_lone_surrogates_are_refused(studio: Studio) -> None:
    headers = {"Content-Type": "application/json"}
    answer = studio.call("POST", "/artists", studio.owner, content=b'{"name": "a\\ud800"}', headers=headers)
    assert answer.status_code == 422
    assert studio.call("GET", "/artists?q=%ff%00a").status_code == 422
    assert studio.call("GET", "/releases?genre=%00").status_code == 422


def test_pages_hold_everything_once(studio: Studio) -> None:
    artist_id = studio.artist()
    seed_releases(studio, artist_id, 25)
    for path in ("/releases", f"/artists/{artist_id}/releases", "/tracks"):
        whole = studio.get(path)
        assert (len(whole["items"]), whole["next_cursor"]) == (25, None)
        for limit in (1, 7, 25):
            assert everything(studio, path, limit=limit) == whole["items"]
    newest = [release["published_at"] for release in studio.get("/releases")["items"]]
    assert newest == sorted(newest, reverse=True)
    assert len(everything(studio, "/releases", limit=4, q="gong 2", genre="gamelan", artist_id=artist_id)) == 7
    assert studio.get("/releases", genre="polka")["items"] == []
    assert studio.get("/releases", artist_id=str(uuid4()))["items"] == []
    for limit in (0, search.PAGE_SIZE_MAX + 1):
        assert studio.call("GET", "/tracks", params={"limit": limit}).status_code == 422


def test_artists_are_listed_by_name(studio: Studio) -> None:
    for name in ("Zoë", "abba", "Émile", "Abba"):
        studio.artist(name)
    names = [artist["name"] for artist in everything(studio, "/artists", limit=1)]
    assert [name.casefold() for name in names] == ["abba", "abba", "émile", "zoë"]
    mine = studio.get("/me/artists", studio.owner)
    assert [artist["name"] for artist in mine] == ["Zoë", "abba", "Émile", "Abba"]


def sealed(key: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "%",
        "é",
        "AAAA",
        sealed([]),
        sealed(["a", "b", "c"]),
        sealed([1, 2]),
        sealed({"a": 1}),
        sealed(["2026-01-01T00:00:00", "x"]),
        sealed(["\x00", NOBODY]),
        sealed(["\ud800", NOBODY]),
        base64.b64encode(b"[" * 1_400).decode(),
    ],
)
def test_cursors_that_no_list_gave_out_are_refused(studio: Studio, cursor: str) -> None:
    for path in ("/artists", "/releases", "/tracks"):
        answer = studio.call("GET", path, params={"cursor": cursor})
        assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-cursor"), path


def test_a_cursor_of_another_list_is_refused(studio: Studio) -> None:
    for key in (["abba", str(uuid4())], ["2026-01-01T00:00:00", str(uuid4())], ["99999-01-01", str(uuid4())]):
        assert studio.call("GET", "/releases", params={"cursor": sealed(key)}).status_code == 400
    early = sealed(["0001-01-01T00:00:00+14:00", str(uuid4())])
    assert studio.get("/releases", cursor=early) == {"items": [], "next_cursor": None}


def test_limits_of_artists_and_releases(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "ARTISTS_PER_OWNER_MAX", 1)
    monkeypatch.setattr(service, "RELEASES_PER_ARTIST_MAX", 1)
    artist_id = studio.artist()
    studio.release("One", artist_id)
    answer = studio.call("POST", "/artists", studio.owner, json={"name": "Two"})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/too-many-artists")
    answer = studio.call("POST", f"/artists/{artist_id}/releases", studio.owner, json={"title": "Two", "kind": "ep"})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/too-many-releases")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_artwork_is_made_afresh(studio: Studio, kind: str) -> None:
    release_id = studio.release()
    path = f"/releases/{release_id}/artwork"
    assert studio.call("GET", path, studio.owner).status_code == 404
    sent = audio_files.picture(2400, 1200, kind)
    assert studio.call("PUT", path, studio.owner, content=sent).status_code == 204
    first = studio.call("GET", path, studio.owner)
    with audio_files.Image.open(audio_files.io.BytesIO(first.content)) as image:
        assert (image.format, image.size) == ("JPEG", (1600, 800))
    assert studio.call("GET", path, studio.owner, headers={"If-None-Match": first.headers["etag"]}).status_code == 304
    assert studio.call("PUT", path, studio.owner, content=sent).status_code == 204
    assert studio.call("GET", path, studio.owner).headers["etag"] != first.headers["etag"]
    studio.clock.advance(hours=3)
    studio.worker.sweep()
    assert len(studio.objects()) == 1
    assert studio.call("GET", path, studio.owner).status_code == 200
    assert studio.scratch() == []


@pytest.mark.parametrize(
    ("sent", "status", "problem"),
    [
        (b"not a picture", 415, "unreadable-picture"),
        (audio_files.pixel_bomb(), 415, "unreadable-picture"),
        (b"", 400, "empty-upload"),
        (bytes((10 << 20) + 1), 413, "upload-too-large"),
    ],
)
def test_bad_artwork_is_refused(studio: Studio, sent: bytes, status: int, problem: str) -> None:
    answer = studio.call("PUT", f"/releases/{studio.release()}/artwork", studio.owner, content=sent)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{problem}")
    assert studio.kept() == (0, set(), [])


def test_lookups(studio: Studio, sources: Sources) -> None:
    artist_id = studio.artist("Kyai")
    _, track_id = studio.published("Gong", sources["flac"], artist_id)
    found = playable(track_id)
    assert found is not None
    assert (found.artist_owner_id, found.release_state, found.artist_name) == (
        studio.owner.user_id,
        "published",
        "Kyai",
    )
    assert (found.original_name, found.original_content_type) == (sources["flac"].name, "audio/flac")
    assert set(found.renditions) == {"mp3", "opus", "preview"}
    opus = found.renditions["opus"]
    assert (opus.codec, opus.content_type) == ("opus", "audio/webm")
    assert studio.store.size(opus.object_key) == opus.size > opus.header_bytes
    assert studio.store.size(found.original_key) == found.original_size
    assert playable(str(uuid4())) is None
    id_ = UUID(track_id)
    with transaction() as session:
        assert lookup.owners_of(session, {id_, uuid4()}) == {id_: studio.owner.user_id}
        assert lookup.owners_of(session, set()) == {}
        title = lookup.TrackTitle("Ladrang Wilujeng", "Kyai", "Gong", "GBAYE0601498")
        assert lookup.titles(session, {id_}) == {id_: title}
        assert lookup.tracks_of_owner(session, studio.owner.user_id) == {id_}
        assert lookup.require_own_track(session, studio.owner.user_id, id_).title == title.title
        for user_id, track in ((uuid4(), id_), (studio.owner.user_id, uuid4())):
            with pytest.raises(NotFound):
                lookup.require_own_track(session, user_id, track)
