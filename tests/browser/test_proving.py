"""Receipts, verified in a real browser; and what it says when the proof that it is served was tampered with."""

from __future__ import annotations

import json
import re
from pathlib import Path

from playwright.sync_api import Browser, Route, expect

from streamcoop.demo.client import Person, until
from streamcoop.embedded.temporary import Service
from tests.browser.chromium import window
from tests.whole_service import READY_S_MAX, operator_of, play_at_once, published_track, somebody


def receipt_of(listener: Person, play_id: str) -> str | None:
    told = listener.get(f"/api/v1/plays/{play_id}/receipt")
    return told["receipt"]


def test_a_receipt_holds_in_the_page_and_one_that_was_tampered_with_visibly_does_not(
    browser: Browser, service: Service, tmp_path: Path
) -> None:
    artist, listener = somebody(service, "Artist").join(artist=True), somebody(service, "Listener").join()
    operator_of(service).top_up(listener, 2_000)
    track = published_track(artist, tmp_path)
    play_at_once(listener, track)
    play_id = listener.get("/api/v1/library/plays")["items"][0]["play_id"]
    until(lambda: receipt_of(listener, play_id), "the receipt", READY_S_MAX)

    with window(browser, service, listener) as hers:
        page = hers.go("/library/history")
        verdict = page.locator(".verdict", has=page.locator(f'[data-check="{play_id}"]'))
        page.locator(f'[data-check="{play_id}"]').click()
        expect(verdict).to_have_class(re.compile("holds"))

        def tampered(route: Route) -> None:
            told = route.fetch()
            body = told.json()
            lines = body["receipt"].splitlines(keepends=True)
            # Another letter in the middle of the receipt: what is proven is not what is in the log.
            middle = len(lines) // 2
            lines[middle] = ("B" if lines[middle][:1] == "A" else "A") + lines[middle][1:]
            route.fulfill(response=told, body=json.dumps(body | {"receipt": "".join(lines)}))

        page.route(re.compile(f"/plays/{play_id}/receipt"), tampered)
        page.locator(f'[data-check="{play_id}"]').click()
        expect(verdict).to_have_class(re.compile("fails"))
        expect(verdict).not_to_have_class(re.compile("holds"))
