"""Where artists make: uploads, what tracks are called, who has a share, and how each royalty came about."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamcoop.accounts.principals import COOKIE
from streamcoop.demo import music
from streamcoop.demo.client import Person, until
from streamcoop.embedded.temporary import Service
from tests.web.test_pages import MARKUP, Page, marked, read
from tests.whole_service import (
    PASSWORD,
    READY_S_MAX,
    is_ready,
    operator_of,
    piece,
    play_at_once,
    service,
    somebody,
)

__all__ = ["marked", "service"]

Marked = tuple[Person, dict[str, str]]
LISTENERS = 5


@contextmanager
def signed_in(service: Service, someone: Person) -> Iterator[httpx.Client]:
    """Her browser, without scripts."""
    with httpx.Client(base_url=service.address, trust_env=False, timeout=30) as client:
        told = client.post("/api/v1/session", json={"email": someone.email, "password": PASSWORD}).json()
        client.cookies.set(COOKIE, told["session"])
        yield client


@pytest.fixture(scope="module")
def browser(service: Service, marked: Marked) -> Iterator[httpx.Client]:
    """The artist's all of whose names are markup."""
    with signed_in(service, marked[0]) as client:
        yield client


@pytest.fixture(scope="module")
def draft(marked: Marked, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A draft with a track that is ready."""
    artist, ids = marked
    release = artist.post(f"/api/v1/artists/{ids['artist']}/releases", {"title": MARKUP, "kind": "ep"})["id"]
    track = artist.upload(release, piece(tmp_path_factory.mktemp("draft")))["id"]
    until(lambda: is_ready(artist, track), "a rendition", READY_S_MAX)
    return {"release": release, "track": track}


def shown(browser: httpx.Client, path: str) -> Page:
    answer = browser.get(path)
    assert answer.status_code == 200, (path, answer.status_code)
    page = read(answer)
    assert page.ends_well, path
    assert len(page.every("h1")) == 1, path
    assert "<img src=x" not in answer.text, path
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")], path
    return page


def words(page: Page) -> str:
    return " ".join(page.text.split())


def asks(page: Page) -> set[str]:
    """What a page's forms ask of the API."""
    return {each["data-api"] for each in page.every("form") if "data-api" in each}


# --- Names, releases, tracks ---


def test_an_artist_sees_her_names_releases_and_what_waits(
    browser: httpx.Client, marked: Marked, draft: dict[str, str]
) -> None:
    page = shown(browser, "/make")
    links = {each.get("href") for each in page.every("a")}
    assert {f"/make/artists/{marked[1]['artist']}", f"/make/releases/{draft['release']}"} <= links
    assert "is ready to be published" in words(page)
    assert "Published" in words(page)
    assert "POST /api/v1/artists" in asks(page)
    named = shown(browser, f"/make/artists/{marked[1]['artist']}")
    assert MARKUP in named.text
    assert f"POST /api/v1/artists/{marked[1]['artist']}/releases" in asks(named)


def test_a_draft_can_be_filled_and_published_and_what_is_published_withdrawn(
    browser: httpx.Client, marked: Marked, draft: dict[str, str]
) -> None:
    path = f"/api/v1/releases/{draft['release']}"
    page = shown(browser, f"/make/releases/{draft['release']}")
    assert {f"POST {path}/publish", f"PATCH {path}", f"DELETE /api/v1/tracks/{draft['track']}"} <= asks(page)
    assert {each.get("id") for each in page.every("input")} >= {"files", "folder", "picture"}
    of_published = shown(browser, f"/make/releases/{marked[1]['release']}")
    told = asks(of_published)
    assert f"POST /api/v1/releases/{marked[1]['release']}/withdraw" in told
    assert not [each for each in told if "DELETE" in each or each.endswith("/publish")]
    assert "files" not in {each.get("id") for each in of_published.every("input")}


def test_a_row_has_what_the_api_says_about_its_track(
    browser: httpx.Client, marked: Marked, draft: dict[str, str]
) -> None:
    artist, _ = marked
    change = {"title": MARKUP, "position": 7, "isrc": "GBAYE0601498", "genre": None}
    assert artist.http.patch(f"/api/v1/tracks/{draft['track']}", json=change).status_code == 200
    page = shown(browser, f"/make/releases/{draft['release']}")
    (row,) = [each for each in page.every("form") if each.get("data-row") == f"/api/v1/tracks/{draft['track']}"]
    fields = {
        each["name"]: each["value"] for each in page.every("input") if each.get("id", "").endswith(draft["track"])
    }
    assert row
    assert fields == {"title": MARKUP, "position": "7", "isrc": "GBAYE0601498", "genre": ""}
    (state,) = [each["data-state"] for each in page.every("li") if each.get("data-track") == draft["track"]]
    assert state == "ready"


def test_why_a_track_failed_stands_beside_it(browser: httpx.Client, marked: Marked, tmp_path: Path) -> None:
    artist, ids = marked
    release = artist.post(f"/api/v1/artists/{ids['artist']}/releases", {"title": "Torn", "kind": "single"})["id"]
    # What a file says about itself is whole; that its sound is not is seen when it is decoded.
    whole = music.encode(music.compose(secrets.randbits(32), 4.0), "flac", {}, folder=tmp_path, name="torn")
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    track = artist.upload(release, whole)["id"]
    until(lambda: artist.get(f"/api/v1/tracks/{track}")["state"] == "failed" or None, "its failure", READY_S_MAX)
    problem = artist.get(f"/api/v1/tracks/{track}")["upload"]["problem"]
    page = shown(browser, f"/make/releases/{release}")
    assert problem["title"] in words(page)
    assert f"POST /api/v1/releases/{release}/publish" not in asks(page)
    assert "of Torn could not be made ready" in words(shown(browser, "/make"))


def test_what_is_anothers_is_not_there(service: Service, marked: Marked, draft: dict[str, str]) -> None:
    other = somebody(service, "Another").join(artist=True)
    with signed_in(service, other) as client:
        for path in (
            f"artists/{marked[1]['artist']}",
            f"releases/{draft['release']}",
            f"releases/{marked[1]['release']}",
        ):
            assert client.get(f"/make/{path}").status_code == 404
        assert client.get(f"/make/tracks/{draft['track']}").status_code == 404


def test_a_listener_is_told_how_to_become_an_artist(service: Service) -> None:
    with signed_in(service, somebody(service, "Listener").join()) as client:
        page = shown(client, "/make")
        assert "ask the co-op’s operators" in words(page)
        assert not asks(page)
        for path in ("shares", "earnings", "statements", "payouts"):
            shown(client, f"/make/{path}")


# --- Shares ---


def test_a_share_waits_for_whoever_gets_it_until_she_agrees(
    service: Service, browser: httpx.Client, marked: Marked, draft: dict[str, str]
) -> None:
    artist, _ = marked
    payee = somebody(service, MARKUP[:90]).join()
    shares = [{"payee_email": artist.email, "share_bp": 6_250}, {"payee_email": payee.email, "share_bp": 3_750}]
    split = artist.put(f"/api/v1/tracks/{draft['track']}/split", {"shares": shares})
    of_track = words(shown(browser, f"/make/tracks/{draft['track']}"))
    assert "62.5%" in of_track
    assert "37.5%" in of_track
    assert MARKUP[:90] in of_track
    assert "has not agreed yet" in of_track
    with signed_in(service, payee) as client:
        waiting = shown(client, "/make/shares")
        assert "37.5%" in words(waiting)
        assert asks(waiting) == {f"POST /api/v1/splits/{split['id']}/consent"}
        payee.post(f"/api/v1/splits/{split['id']}/consent")
        assert not asks(shown(client, "/make/shares"))
    assert "has not agreed yet" not in words(shown(browser, f"/make/tracks/{draft['track']}"))


# --- Money ---


@pytest.fixture(scope="module")
def earned(service: Service, marked: Marked) -> dict[str, Any]:
    """A statement of an epoch in which as many people have played as are told of."""
    artist, ids = marked
    operator = operator_of(service)
    for number in range(LISTENERS):
        listener = somebody(service, f"Listener {number}").join()
        operator.top_up(listener, 500)
        play_at_once(listener, ids["track"])
    statement = until(lambda: artist.get("/api/v1/royalties/statement")["lines"] or None, "a close", READY_S_MAX)
    return {"line": statement[0]}


def test_earnings_show_what_the_dashboard_of_the_api_tells(
    browser: httpx.Client, marked: Marked, earned: dict[str, Any]
) -> None:
    epoch = earned["line"]["epoch"]
    told = marked[0].get("/api/v1/royalties/dashboard", epoch=epoch)
    page = shown(browser, f"/make/earnings?epoch={epoch}")
    assert f"Plays{told['plays']}" in "".join(words(page).split())
    assert ("fewer than 5" in words(page)) == (told["listeners"] is None or told["new_owners"] is None)
    assert MARKUP in page.text
    assert page.every("rect")
    assert browser.get(f"/make/earnings?epoch={epoch + 10**6}").status_code == 404


def test_a_statement_tells_how_each_amount_came_about(
    browser: httpx.Client, marked: Marked, earned: dict[str, Any]
) -> None:
    epoch = earned["line"]["closed_in"]
    told = marked[0].get("/api/v1/royalties/statement", epoch=epoch)
    page = shown(browser, f"/make/statements/{epoch}")
    for figure in ("gross_micro", "deductions_micro", "net_micro", "artists_micro", "royalty_micro"):
        amount = f"{sum(line[figure] for line in told['lines']) / 1e6:.6f}".rstrip("0")
        assert f"€{amount}" in page.text.replace(",", ""), figure
    assert MARKUP in page.text
    assert f"/api/v1/royalties/statement.csv?epoch={epoch}" in {each.get("href") for each in page.every("a")}
    assert f"/make/statements/{epoch}" in {each.get("href") for each in shown(browser, "/make/statements").every("a")}
    assert browser.get("/make/statements/2147483648").status_code == 404
    assert browser.get("/make/statements/0").status_code == 404


def test_payouts_show_where_money_goes(browser: httpx.Client, marked: Marked) -> None:
    assert "Until then nothing is paid out" in words(shown(browser, "/make/payouts"))
    marked[0].put("/api/v1/royalties/payout-destination", {"destination": MARKUP})
    page = shown(browser, "/make/payouts")
    assert [each["value"] for each in page.every("input") if each.get("name") == "destination"] == [MARKUP]
    assert "Until then nothing is paid out" not in words(page)


def test_texts_of_the_upload_are_there_for_its_script(browser: httpx.Client) -> None:
    """What a script asks `word` for exists: a missing one would break the page in the middle of an upload."""
    static = Path(__file__).resolve().parents[2] / "streamcoop" / "web" / "static"
    page = browser.get("/make").text
    known = json.loads(page.partition('id="words">')[2].partition("</script>")[0])
    for script in ("upload.js", "workshop.js", "make.js"):
        for asked in (static / script).read_text(encoding="utf-8").split('word("')[1:]:
            assert asked.partition('"')[0] in known, (script, asked[:30])
