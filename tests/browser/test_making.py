"""An artist in a real browser: from a name to money for a play."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from playwright.sync_api import Browser, Route, expect

from streamcoop.demo import music
from streamcoop.demo.client import Json, until
from streamcoop.embedded.temporary import Service
from tests.browser.chromium import window
from tests.whole_service import draft_of, operator_of, piece, play_at_once, somebody

READY_MS = 120_000
SETTLED_S_MAX = 30.0


def test_an_artist_uploads_corrects_publishes_and_sees_the_play_and_the_money(
    browser: Browser, service: Service, tmp_path: Path
) -> None:
    name = secrets.token_hex(4)
    artist = somebody(service, f"Ki {name}").join(artist=True)
    files = [
        music.encode(
            music.compose(secrets.randbits(32), 1.5), codec, {"title": f"{codec} {name}"}, folder=tmp_path, name=codec
        )
        for codec in ("mp3", "vorbis", "flac")
    ]
    with window(browser, service, artist) as hers:
        page = hers.go("/make")
        page.on("dialog", lambda asked: asked.accept())
        page.get_by_label("Name", exact=True).fill(f"Ki {name}")
        page.get_by_role("button", name="Open it").click()
        page.get_by_label("Title").fill(f"Panen {name}")
        page.get_by_role("button", name="Begin it").click()
        page.locator("#files").set_input_files(files)
        expect(page.locator("#tags > li")).to_have_count(3, timeout=READY_MS)
        expect(page.locator("#tags .ready")).to_have_count(3, timeout=READY_MS)

        first = page.locator("#tags > li").first
        first.get_by_label("Title").fill("Ladrang <b>Pagi</b>")
        first.get_by_label("ISRC").fill("not one")
        first.get_by_label("ISRC").blur()
        expect(first.locator(".refused").first).to_be_visible()
        first.get_by_label("ISRC").fill("GB-AYE-06-01498")
        first.get_by_label("ISRC").blur()
        expect(first.locator(".refused")).to_have_count(0)
        page.get_by_role("button", name=re.compile("^Publish")).click()
        expect(page.locator("#toasts")).to_contain_text("It is published.")

        release = hers.page.url.rpartition("/")[2]
        tracks = artist.get(f"/api/v1/releases/{release}")["tracks"]
        assert sorted(track["upload"]["format"] for track in tracks) == ["flac", "mp3", "vorbis"]
        corrected = next(track for track in tracks if track["title"] == "Ladrang <b>Pagi</b>")
        assert corrected["isrc"] == "GBAYE0601498"

        listener = somebody(service, "Listener").join()
        operator_of(service).top_up(listener, 2_000)
        play_at_once(listener, corrected["id"])
        page = hers.go(f"/releases/{release}")
        expect(page.get_by_role("link", name="Ladrang <b>Pagi</b>")).to_be_visible()

        def settled() -> Json | None:
            return next((one for one in artist.get("/api/v1/royalties/current") if one["plays"] == 1), None)

        assert until(settled, "the play to be settled", SETTLED_S_MAX)["track_id"] == corrected["id"]
        hers.go("/make")
        expect(page.locator(".figures div", has_text="Plays").locator("dd")).to_have_text("1")
        expect(page.locator(".figures div", has_text="Listeners have paid").locator("dd")).to_contain_text("0.0025")


def test_files_that_were_chosen_before_the_workshops_script_is_there_are_taken(
    browser: Browser, service: Service, tmp_path: Path
) -> None:
    artist = somebody(service, f"Nyi {secrets.token_hex(4)}").join(artist=True)
    release = draft_of(artist, "Sebelum")
    with window(browser, service, artist) as hers:
        held: list[Route] = []
        hers.page.route("**/workshop.js", lambda route: held.append(route))  # noqa: PLW0108  # Playwright asks what it is
        page = hers.go(f"/make/releases/{release}")
        page.locator("#files").set_input_files([piece(tmp_path, 1.5)])
        hers.page.wait_for_timeout(0)
        assert held, "the script is on its way"
        held[0].continue_()
        expect(page.locator("#tags > li")).to_have_count(1, timeout=READY_MS)
