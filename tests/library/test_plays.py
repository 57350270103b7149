"""A listener's own plays: newest first, page by page, settled or not, and nobody else's."""

from __future__ import annotations

from tests.ledger import factories
from tests.library.shelf import everything, set_state
from tests.royalties.label import Label

FIRST_MICRO = 2_000


def test_plays_are_listed_newest_first_with_what_they_cost(label: Label) -> None:
    pagi, sore = (label.track(label.person("Kyai", "artist"), title) for title in ("Pagi", "Sore"))
    lestari, sekar = label.listener(), label.listener("Sekar")
    # One by one: within a millisecond ids are in no order.
    for listener, track in ((lestari, pagi), (lestari, pagi), (lestari, pagi), (sekar, sore), (lestari, sore)):
        label.play(listener, track)
    label.play(lestari, sore)
    told = everything(label, "/library/plays", lestari, 2)
    assert [(play["track"]["title"], play["ordinal"]) for play in told] == [
        ("Sore", 2), ("Sore", 1), ("Pagi", 3), ("Pagi", 2), ("Pagi", 1),
    ]  # fmt: skip
    ids = [play["play_id"] for play in told]
    assert ids == sorted(ids, reverse=True)
    assert told[0]["price_micro"] == 2 * FIRST_MICRO
    assert told[0]["price_money_micro"] == label.founding.credit_price.value_micro(2 * FIRST_MICRO)
    assert told[0]["track"]["artist"]["name"] == "Kyai"
    assert all(play["settled"] and play["kind"] == "play" for play in told)
    assert label.get("/library/plays", lestari)["currency"] == label.founding.currency


def test_a_play_is_listed_before_and_after_it_is_settled(label: Label) -> None:
    track, lestari = label.track(label.person("Kyai", "artist")), label.listener()
    label.play(lestari, track)
    claim = factories.claim(lestari.user_id, track, 2, 2 * FIRST_MICRO)
    factories.record_now(label.database.app_url, [claim], now=label.clock.now())
    page = label.get("/library/plays", lestari)
    assert [(play["ordinal"], play["settled"]) for play in page["items"]] == [(2, False), (1, True)]
    factories.settle_all(label.database.engine, label.clock.now())
    assert [play["settled"] for play in label.get("/library/plays", lestari)["items"]] == [True, True]


def test_a_play_of_what_was_withdrawn_keeps_its_name(label: Label) -> None:
    track, lestari = label.track(label.person("Kyai", "artist"), "Pagi"), label.listener()
    label.play(lestari, track)
    set_state(label, track, "withdrawn")
    [play] = label.get("/library/plays", lestari)["items"]
    assert (play["track"]["title"], play["track"]["available"]) == ("Pagi", False)


def test_owned_tracks_are_asked_for_by_themselves(label: Label) -> None:
    owner = label.person("Kyai", "artist")
    pagi, sore = label.track(owner, "Pagi"), label.track(owner, "Sore")
    lestari = label.listener()
    label.play(lestari, pagi, times=9)
    label.play(lestari, sore)
    [mine] = label.get("/wallet/tracks?owned=true", lestari)["items"]
    [still] = label.get("/wallet/tracks?owned=false", lestari)["items"]
    assert (mine["title"], mine["owned"], still["title"], still["owned"]) == ("Pagi", True, "Sore", False)
    assert (mine["release_title"], mine["artwork"], mine["duration_ms"]) == ("Release", None, 1_000)
    assert len(everything(label, "/wallet/tracks", lestari, 1)) == 2
