"""A listener in a real browser, with real audio: from a visitor's preview to a track that is hers."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from streamcoop.demo import music
from streamcoop.demo.client import Person, until
from streamcoop.embedded.temporary import Service
from tests.browser.chromium import PHONE, Window, window
from tests.whole_service import PASSWORD, READY_S_MAX, draft_of, is_ready, operator_of, somebody

LONG_S, SHORT_S = 40.0, 1.5


@pytest.fixture(scope="module")
def shelf(service: Service, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A release with a short track and a long one: the release, both tracks, and the short one's file."""
    folder, name = tmp_path_factory.mktemp("music"), secrets.token_hex(4)
    artist = somebody(service, f"Nyi {name}").join(artist=True)
    release = draft_of(artist, f"Lancaran {name}")
    told: dict[str, Any] = {"release": release, "name": name, "artist": artist}
    for title, seconds in (("short", SHORT_S), ("long", LONG_S)):
        tags = {"title": f"{title.capitalize()} {name}"}
        wav = music.compose(secrets.randbits(32), seconds)
        file = music.encode(wav, "flac" if title == "short" else "mp3", tags, folder=folder, name=title)
        told[title] = str(artist.upload(release, file)["id"])
        told[f"{title}_file"] = file
    for title in ("short", "long"):
        until(lambda: is_ready(artist, told[title]), "a rendition", READY_S_MAX)  # noqa: B023  # waited for here
    artist.post(f"/api/v1/releases/{release}/publish")
    return told


@pytest.fixture
def listener(service: Service) -> Person:
    """Somebody with credits."""
    someone = somebody(service, "Putri").join()
    operator_of(service).top_up(someone, 2_000)
    return someone


def cost(page: Page) -> Any:
    return page.locator("#player .cost")


def row(page: Page, track: str) -> Any:
    return page.locator(f'.track[data-of="{track}"]').first


def test_a_visitor_hears_a_preview_and_no_more(browser: Browser, service: Service, shelf: dict[str, Any]) -> None:
    with window(browser, service) as visitor:
        page = visitor.go(f"/releases/{shelf['release']}")
        row(page, shelf["long"]).locator("button.play").click()
        visitor.require_sound()
        lasts = page.evaluate("() => document.getElementById('audio').duration")
        assert 0 < lasts < LONG_S
        page.evaluate("() => { document.getElementById('audio').currentTime = 1e6 }")
        page.wait_for_function("() => document.getElementById('audio').ended")
        assert visitor.seconds_heard() == lasts
        expect(cost(page)).to_contain_text("preview", ignore_case=True)


def test_whoever_joins_and_pays_in_plays_until_it_is_hers_and_takes_the_very_file_home(
    browser: Browser, service: Service, shelf: dict[str, Any], tmp_path: Path
) -> None:
    email = f"{secrets.token_hex(8)}@streamcoop.example"
    with window(browser, service) as hers, window(browser, service, operator_of(service)) as desk:
        page = hers.go("/join")
        page.get_by_label("What others call you").fill("Lestari")
        page.get_by_label("E-mail address").fill(email)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Join").click()
        expect(page.locator("details.menu summary")).to_contain_text("Lestari")

        counter = desk.go("/run/cash-desk")
        counter.locator("#topup-email").fill(email)
        counter.locator("#topup-amount").fill("20.00")
        counter.get_by_role("button", name="Book the top-up").click()
        expect(counter.locator("#toasts")).to_contain_text("The top-up is booked.")

        page.locator("#q").fill(f"short {shelf['name']}")
        expect(row(page, shelf["short"])).to_be_visible()
        row(page, shelf["short"]).locator(".title").click()
        expect(page.locator("h1")).to_have_text(f"Short {shelf['name']}")
        row(page, shelf["short"]).locator("button.play").click()
        page.locator("#player [name=repeat]").click()
        expect(cost(page)).to_contain_text(re.compile("play 1 of 9|1 of 9"))
        # It goes on by itself, each play at its price, until it is hers.
        expect(page.locator("#toasts")).to_contain_text(f"Short {shelf['name']}", timeout=60_000)
        page.locator("#player [name=repeat]").click()
        hers.go(f"/tracks/{shelf['short']}")
        expect(page.locator("main .owned").first).to_be_visible()

        with page.expect_download() as download:
            page.locator("main .forms").get_by_role("link", name="As it was uploaded").click()
        download.value.save_as(tmp_path / "home.flac")
        assert (tmp_path / "home.flac").read_bytes() == shelf["short_file"].read_bytes()


def test_music_goes_on_while_one_browses_and_while_there_is_no_network(
    browser: Browser, service: Service, shelf: dict[str, Any], listener: Person
) -> None:
    with window(browser, service, listener) as hers:
        page = hers.go(f"/releases/{shelf['release']}")
        row(page, shelf["long"]).locator("button.play").click()
        expect(cost(page)).to_contain_text("of 9")
        hers.require_sound()
        for place in ("Library", "Wallet", "Decide", "Proof"):
            hers.follow(place)
            expect(page.locator("#places a[aria-current]")).to_have_text(place)
        page.go_back()
        expect(page.locator("#places a[aria-current]")).to_have_text("Decide")
        hers.require_sound()
        assert hers.seconds_heard() > 0

        hers.context.set_offline(True)
        hers.follow("Library")
        expect(page.locator("#toasts")).not_to_be_empty()
        hers.require_sound()
        hers.context.set_offline(False)
        hers.follow("Library")
        expect(page.locator("#places a[aria-current]")).to_have_text("Library")
        hers.require_sound()


def test_all_of_it_can_be_done_with_the_keyboard_alone(
    browser: Browser, service: Service, shelf: dict[str, Any], listener: Person
) -> None:
    with window(browser, service, listener) as hers:
        page = hers.go("/")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("/")
        page.keyboard.type(f"long {shelf['name']}")
        expect(row(page, shelf["long"])).to_be_visible()
        presses = _tab_to(page, f'.track[data-of="{shelf["long"]}"] button.play')
        assert presses < 40
        page.keyboard.press("Enter")
        expect(cost(page)).to_contain_text("of 9")
        hers.require_sound()
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("k")
        page.wait_for_function("() => document.getElementById('audio').paused")
        page.keyboard.press("k")
        hers.require_sound()


def _tab_to(page: Page, selector: str) -> int:
    """How often Tab is pressed until this has the focus, which must then be seen."""
    for presses in range(1, 100):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none"
            return presses
    raise AssertionError(f"Tab never comes to {selector}")


@pytest.fixture
def phone(browser: Browser, service: Service, listener: Person) -> Iterator[Window]:
    with window(browser, service, listener, PHONE, locale="id-ID", has_touch=True, is_mobile=True) as opened:
        yield opened


def test_on_a_phone_in_indonesian_a_thumb_is_enough(phone: Window, shelf: dict[str, Any]) -> None:
    page = phone.go(f"/releases/{shelf['release']}")
    assert page.locator("html").get_attribute("lang") == "id"
    row(page, shelf["long"]).locator("button.play").tap()
    phone.require_sound()
    expect(cost(page)).to_contain_text("9")
    for target in ("#player [name=toggle]", "#places a"):
        box = page.locator(target).first.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 24
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
