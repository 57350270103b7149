"""A listener's own rooms: library, wallet, and what she can check."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from streamcoop.accounts.principals import COOKIE
from streamcoop.demo.client import Person, until
from streamcoop.embedded.temporary import Service
from tests.web.test_pages import MARKUP, marked, read
from tests.whole_service import PASSWORD, READY_S_MAX, operator_of, play_at_once, published_track, service, somebody

__all__ = ["marked", "service"]


@pytest.fixture(scope="module")
def listener(service: Service) -> Person:
    someone = somebody(service, "Putri").join()
    body = {"request_id": str(uuid4()), "listener_email": someone.email, "amount_minor": 2_000}
    operator_of(service).post("/api/v1/treasury/topups", body)
    return someone


@pytest.fixture(scope="module")
def browser(service: Service, listener: Person) -> Iterator[httpx.Client]:
    """Hers, without scripts."""
    with httpx.Client(base_url=service.address, trust_env=False, timeout=30) as client:
        signed_in = client.post("/api/v1/session", json={"email": listener.email, "password": PASSWORD}).json()
        client.cookies.set(COOKIE, signed_in["session"])
        yield client


@pytest.fixture(scope="module")
def played(listener: Person, marked: tuple[Person, dict[str, str]]) -> str:
    """A track that she has played once."""
    track = marked[1]["track"]
    play_at_once(listener, track)
    return track


def text_of(browser: httpx.Client, path: str) -> str:
    page = read(browser.get(path))
    assert page.ends_well, path
    assert len(page.every("h1")) == 1, path
    return " ".join(page.text.split())


def test_what_a_listener_played_is_on_the_way_and_in_her_history(browser: httpx.Client, played: str) -> None:
    assert MARKUP in text_of(browser, "/library/on-the-way")
    history = browser.get("/library/history")
    assert MARKUP in read(history).text
    assert f'href="/tracks/{played}"' in history.text
    assert 'data-price="2000"' in history.text
    assert "Nothing is yours yet" in text_of(browser, "/library")


def test_what_she_bought_is_hers_to_download(browser: httpx.Client, listener: Person, played: str) -> None:
    listener.buy(played)
    until(lambda: listener.get("/api/v1/wallet/tracks", owned=True)["items"] or None, "ownership", READY_S_MAX)
    for page in (read(browser.get("/library")), read(browser.get(f"/tracks/{played}"))):
        links = [link.get("href", "") for link in page.every("a")]
        forms = [link for link in links if link.startswith(f"/api/v1/tracks/{played}/download")]
        # Its original is an MP3: there is nothing to have as FLAC.
        assert [link.partition("=")[2] for link in forms] == ["original", "mp3", "opus"]
        assert MARKUP in page.text
    assert "Yours" in text_of(browser, f"/tracks/{played}")


def test_all_that_is_hers_is_offered_as_one_file_with_its_size(browser: httpx.Client, played: str) -> None:
    page = read(browser.get("/library"))
    archives = [link["href"] for link in page.every("a") if "owned.zip" in link.get("href", "")]
    assert [link.partition("=")[2] for link in archives] == ["original", "mp3", "opus"]
    assert "1 track is yours" in page.text
    assert " kB" in page.text
    assert browser.get(archives[1]).headers["content-type"] == "application/zip"
    assert "owned.zip" not in browser.get("/library/on-the-way").text


def test_a_track_is_drawn_on_its_page(browser: httpx.Client, played: str) -> None:
    page = read(browser.get(f"/tracks/{played}"))
    assert [each["viewbox"] for each in page.every("svg") if each.get("data-of") == played] == ["0 0 200 100"]


def test_what_is_nearly_hers_is_on_the_first_page_the_cheapest_first(
    browser: httpx.Client, listener: Person, marked: tuple[Person, dict[str, str]], tmp_path: Path
) -> None:
    others = [published_track(marked[0], tmp_path) for _ in range(2)]
    for track, plays in zip(others, (1, 3), strict=True):
        for _ in range(plays):
            play_at_once(listener, track)
    page = browser.get("/")
    assert "Nearly yours" in read(page).text
    assert page.text.index(others[1]) < page.text.index(others[0])
    assert marked[1]["track"] not in page.text.split("<h2>New</h2>")[0]


def test_a_release_tells_what_all_of_it_would_cost_and_what_its_artist_gets(
    browser: httpx.Client, listener: Person, marked: tuple[Person, dict[str, str]], tmp_path: Path
) -> None:
    track = published_track(marked[0], tmp_path)
    release = listener.get(f"/api/v1/tracks/{track}")["release_id"]
    price_micro = listener.get("/api/v1/wallet")["credit_price_micro"]
    shown = text_of(browser, f"/releases/{release}")
    left = 2_000 * 511 * price_micro / 1e12
    assert f"One track is not yours yet: €{left:g}" in shown
    assert "goes to those who made it" in shown
    listener.buy(track)
    assert "not yours yet" not in text_of(browser, f"/releases/{release}")


def test_every_row_says_whether_it_is_a_favourite(browser: httpx.Client, listener: Person, played: str) -> None:
    def pressed(path: str) -> set[str]:
        return {each["aria-pressed"] for each in read(browser.get(path)).every("button") if each.get("class") == "like"}

    path = f"/api/v1/library/favourites/{played}"
    assert listener.http.delete(path).status_code == 204
    assert pressed(f"/tracks/{played}") == {"false"}
    assert listener.http.put(path).status_code == 204
    assert pressed(f"/tracks/{played}") == {"true"}
    assert pressed("/library/favourites") == {"true"}


def test_favourites_and_playlists_are_shown_in_order(browser: httpx.Client, listener: Person, played: str) -> None:
    assert listener.http.put(f"/api/v1/library/favourites/{played}").status_code == 204
    assert MARKUP in text_of(browser, "/library/favourites")
    made = listener.post("/api/v1/library/playlists", {"name": "Malam <i>Minggu</i>", "visibility": "public"})
    for _ in range(2):
        listener.post(f"/api/v1/library/playlists/{made['id']}/items", {"track_id": played})
    assert "Malam <i>Minggu</i> 2 tracks" in text_of(browser, "/library/playlists")
    shown = text_of(browser, f"/playlists/{made['id']}")
    assert shown.count(MARKUP) >= 2
    assert "Change or delete it" in shown


def test_a_public_playlist_is_everybodys_to_see_and_a_private_one_is_not(
    browser: httpx.Client, listener: Person, service: Service
) -> None:
    lists = {
        kind: listener.post("/api/v1/library/playlists", {"name": kind, "visibility": kind})["id"]
        for kind in ("public", "private")
    }
    visitor = {"Cookie": ""}
    shown = httpx.get(f"{service.address}/playlists/{lists['public']}", trust_env=False, headers=visitor)
    assert shown.status_code == 200
    assert "Change or delete it" not in shown.text
    assert httpx.get(f"{service.address}/playlists/{lists['private']}", trust_env=False).status_code == 404


def test_the_wallet_tells_what_the_api_tells(browser: httpx.Client, listener: Person, played: str) -> None:
    told = listener.get("/api/v1/wallet")
    shown = text_of(browser, "/wallet")
    assert f"€{told['spendable_money_micro'] / 1e6:g}" in shown
    month = datetime.now(UTC).strftime("%Y-%m")
    statement = text_of(browser, f"/wallet/{month}")
    assert "€20.00" in statement
    assert MARKUP in statement
    assert browser.get("/wallet/2026-13").status_code == 404
    assert "Nothing came in or went out" in text_of(browser, "/wallet/2020-01")


def test_limits_that_are_set_are_shown(browser: httpx.Client, listener: Person) -> None:
    listener.put("/api/v1/wallet/limits", {"monthly_budget_micro": 12_500_000, "stop_before_ordinal": 4})
    values = {each.get("name"): each.get("value") for each in read(browser.get("/wallet")).every("input")}
    worth = 12_500_000 * listener.get("/api/v1/wallet")["credit_price_micro"] / 1e12
    assert (values["monthly_budget_micro"], values["stop_before_ordinal"]) == (f"{worth:g}", "4")
    assert "12.5 credits" in text_of(browser, "/wallet")
    # Worth no exact sum of money; it came by the API.
    listener.put("/api/v1/wallet/limits", {"monthly_budget_micro": 12_500_001})
    assert "12.500001 credits" in text_of(browser, "/wallet")
    listener.put("/api/v1/wallet/limits", {})


def test_the_page_of_the_log_has_its_head_and_keys(browser: httpx.Client, listener: Person, played: str) -> None:
    until(lambda: listener.get("/api/v1/log")["size"] or None, "a published log", READY_S_MAX)
    page = read(browser.get("/proof"))
    told = listener.get("/api/v1/log")
    assert told["origin"] in page.text
    assert f"streamcoop-verify {told['address']}" in page.text
    assert f"--key {told['keys'][0]}" in page.text
    assert sha256(told["keys"][0].encode()).hexdigest()[:4] in page.text
    assert any(each.get("id") == "pinned" for each in page.every("p"))


def test_a_genre_has_a_page(browser: httpx.Client, marked: tuple[Person, dict[str, str]]) -> None:
    genre = MARKUP[:50]
    assert genre in read(browser.get("/genres")).text
    shown = read(browser.get("/genres", params={"name": genre}))
    assert shown.text.count(MARKUP) >= 1
    assert "Nothing is published in this genre" in text_of(browser, "/genres?name=none")
