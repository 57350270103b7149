"""Favourites: liked once however often, newest first, and only what can be played."""

from __future__ import annotations

from uuid import uuid4

import pytest

from streamcoop.library import favourites
from tests.library.shelf import everything, kind_of, set_state
from tests.royalties.label import Label


def test_a_track_is_liked_once_however_often_and_the_last_liked_comes_first(label: Label) -> None:
    owner, lestari = label.person("Kyai", "artist"), label.listener()
    tracks = [label.track(owner, title) for title in ("Pagi", "Siang", "Sore")]
    for track in (*tracks, tracks[0]):
        assert label.call("PUT", f"/library/favourites/{track}", lestari).status_code == 204
    told = everything(label, "/library/favourites", lestari, 2)
    assert [liked["track"]["title"] for liked in told] == ["Sore", "Siang", "Pagi"]
    assert all(liked["track"]["favourite"] and liked["track"]["available"] for liked in told)
    for _ in range(2):
        assert label.call("DELETE", f"/library/favourites/{tracks[1]}", lestari).status_code == 204
    assert len(label.get("/library/favourites", lestari)["items"]) == 2
    assert label.get("/library/favourites", label.listener("Sekar"))["items"] == []


def test_only_what_she_can_play_can_be_liked(label: Label) -> None:
    kyai, lestari = label.person("Kyai", "artist"), label.listener()
    draft, withdrawn = label.track(kyai, "Draft"), label.track(kyai, "Gone")
    set_state(label, draft, "draft")
    label.play(lestari, withdrawn, times=9)
    set_state(label, withdrawn, "withdrawn")
    path = "/library/favourites"
    for track in (draft, uuid4()):
        assert kind_of(label.call("PUT", f"{path}/{track}", lestari)) == (404, "not-found")
    assert kind_of(label.call("PUT", f"{path}/{withdrawn}", label.listener("Sekar"))) == (404, "not-found")
    # It is hers by her plays; and the draft is the artist's own.
    assert label.call("PUT", f"{path}/{withdrawn}", lestari).status_code == 204
    assert label.call("PUT", f"{path}/{draft}", kyai).status_code == 204
    [liked] = label.get(path, lestari)["items"]
    assert (liked["track"]["owned"], liked["track"]["available"]) == (True, True)


def test_there_is_an_end_to_favourites(label: Label, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(favourites, "FAVOURITES_MAX", 1)
    owner, lestari = label.person("Kyai", "artist"), label.listener()
    first, second = label.track(owner), label.track(owner)
    for _ in range(2):
        assert label.call("PUT", f"/library/favourites/{first}", lestari).status_code == 204
    assert kind_of(label.call("PUT", f"/library/favourites/{second}", lestari)) == (409, "too-many-favourites")
