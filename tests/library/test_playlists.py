"""Playlists: in the order they were put in, also from two tabs at once; private or everybody's; and their ends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from streamcoop.library import playlists
from tests.library.shelf import a_playlist, kind_of, put_in, set_state, titles
from tests.royalties.label import Label, Person

TABS = 2
TRACKS_A_TAB = 12


def test_tracks_stand_where_they_were_put(label: Label) -> None:
    owner, lestari = label.person("Kyai", "artist"), label.listener()
    a, b, c = (label.track(owner, title) for title in "ABC")
    playlist = a_playlist(label, lestari)
    put_in(label, lestari, playlist, a)
    second = put_in(label, lestari, playlist, b)
    assert (second["position"], second["track"]["title"]) == (2, "B")
    put_in(label, lestari, playlist, c, position=1)
    again = put_in(label, lestari, playlist, a, position=900)
    assert again["position"] == 4
    assert titles(label, lestari, playlist) == ["C", "A", "B", "A"]
    path = f"/library/playlists/{playlist}/items"
    for item, position, order in (
        (again["id"], 1, "ACAB"),
        (again["id"], 3, "CAAB"),
        (second["id"], 1, "BCAA"),
        (second["id"], 50, "CAAB"),
    ):
        assert label.call("PATCH", f"{path}/{item}", lestari, {"position": position}).status_code == 200
        assert titles(label, lestari, playlist) == list(order)
    assert label.call("DELETE", f"{path}/{again['id']}", lestari).status_code == 204
    assert kind_of(label.call("DELETE", f"{path}/{again['id']}", lestari)) == (404, "not-found")
    assert titles(label, lestari, playlist) == ["C", "A", "B"]
    put_in(label, lestari, playlist, a, position=2)
    assert titles(label, lestari, playlist) == ["C", "A", "A", "B"]


def test_two_tabs_at_once_lose_nothing_of_each_others(label: Label) -> None:
    owner, lestari = label.person("Kyai", "artist"), label.listener()
    playlist, track = a_playlist(label, lestari), label.track(owner)
    first = put_in(label, lestari, playlist, track)["id"]

    def tab(number: int) -> list[str]:
        made = []
        for turn in range(TRACKS_A_TAB):
            made.append(put_in(label, lestari, playlist, track, position=1 if number else None)["id"])
            path = f"/library/playlists/{playlist}/items/{made[turn // 2] if number else first}"
            assert label.call("PATCH", path, lestari, {"position": 1 + turn}).status_code == 200
        return made

    with ThreadPoolExecutor(TABS) as pool:
        made = [item for items in pool.map(tab, range(TABS)) for item in items]
    told = label.get(f"/library/playlists/{playlist}", lestari)
    assert {item["id"] for item in told["items"]} == {first, *made}
    assert [item["position"] for item in told["items"]] == list(range(1, TABS * TRACKS_A_TAB + 2))


def test_a_private_list_is_its_owners_alone_and_a_public_one_everybodys_to_read(label: Label) -> None:
    owner, lestari, sekar = label.person("Kyai", "artist"), label.listener(), label.listener("Sekar")
    track = label.track(owner, "Pagi")
    playlist = a_playlist(label, lestari)
    item = put_in(label, lestari, playlist, track)["id"]
    path = f"/library/playlists/{playlist}"
    visitor = label.client.get(f"/api/v1{path}")
    assert kind_of(visitor) == kind_of(label.call("GET", path, sekar)) == (404, "not-found")
    changed = label.call("PATCH", path, lestari, {"visibility": "public", "name": " Morning "}).json()
    assert (changed["name"], changed["visibility"], changed["tracks"]) == ("Morning", "public", 1)
    for told in (label.client.get(f"/api/v1{path}").json(), label.get(path, sekar)):
        assert (told["owner"], told["own"], told["items"][0]["track"]["title"]) == ("Lestari", False, "Pagi")
    for method, asked, body in (
        ("PATCH", path, {"name": "Mine"}),
        ("DELETE", path, None),
        ("POST", f"{path}/items", {"track_id": str(track)}),
        ("PATCH", f"{path}/items/{item}", {"position": 1}),
        ("DELETE", f"{path}/items/{item}", None),
    ):
        assert kind_of(label.call(method, asked, sekar, body)) == (404, "not-found")
    assert label.get("/library/playlists", sekar) == []
    assert [mine["name"] for mine in label.get("/library/playlists", lestari)] == ["Morning"]
    assert label.call("DELETE", path, lestari).status_code == 204
    assert label.get("/library/playlists", lestari) == []


def test_what_cannot_be_played_stays_in_a_list_and_is_told_to_be_unavailable(label: Label) -> None:
    kyai, lestari, sekar = label.person("Kyai", "artist"), label.listener(), label.listener("Sekar")
    gone, draft = label.track(kyai, "Gone"), label.track(kyai, "Draft")
    set_state(label, draft, "draft")
    hers, his = a_playlist(label, lestari, visibility="public"), a_playlist(label, kyai, visibility="public")
    put_in(label, lestari, hers, gone)
    put_in(label, kyai, his, draft)
    label.play(lestari, gone, times=9)
    set_state(label, gone, "withdrawn")

    def seen(reader: Person, playlist: str) -> tuple[str | None, bool]:
        [item] = label.get(f"/library/playlists/{playlist}", reader)["items"]
        return item["track"]["title"], item["track"]["available"]

    assert seen(lestari, hers) == ("Gone", True)
    assert seen(sekar, hers) == ("Gone", False)
    assert seen(kyai, his) == ("Draft", True)
    # Nobody learns from a list what was never published.
    assert seen(sekar, his) == (None, False)
    answer = label.call("POST", f"/library/playlists/{hers}/items", lestari, {"track_id": str(draft)})
    assert kind_of(answer) == (404, "not-found")


def test_there_is_an_end_to_playlists_and_to_what_is_in_them(label: Label, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playlists, "PLAYLISTS_PER_USER_MAX", 1)
    monkeypatch.setattr(playlists, "TRACKS_PER_PLAYLIST_MAX", 1)
    owner, lestari = label.person("Kyai", "artist"), label.listener()
    track, playlist = label.track(owner), a_playlist(label, lestari)
    put_in(label, lestari, playlist, track)
    more = label.call("POST", f"/library/playlists/{playlist}/items", lestari, {"track_id": str(track)})
    assert kind_of(more) == (409, "playlist-full")
    assert kind_of(label.call("POST", "/library/playlists", lestari, {"name": "B"})) == (409, "too-many-playlists")
    for body in ({"name": " "}, {"name": "x" * 201}, {"name": "x", "visibility": "secret"}):
        assert label.call("POST", "/library/playlists", lestari, body).status_code == 422
    nowhere = f"/library/playlists/{uuid4()}"
    assert kind_of(label.call("GET", nowhere, lestari)) == (404, "not-found")
