"""A real browser: Debian's Chromium, driven by Playwright, and people in front of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, Playwright, Request, Response

from streamcoop.accounts.principals import COOKIE
from streamcoop.demo.client import Person
from streamcoop.embedded.temporary import Service
from tests import debian_chromium
from tests.whole_service import setting

# Nothing of the browser's own leaves the machine, and sound begins without a click where a test asks for it.
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
WAIT_MS = 20_000
DESKTOP, PHONE, NARROW = (1280, 900), (390, 844), (320, 640)


def launch(playwright: Playwright) -> Browser:
    """Chromium, as it is installed or unpacked in build/. Raises FileNotFoundError."""
    arguments = [*ARGUMENTS, "--no-sandbox"] if os.geteuid() == 0 else ARGUMENTS
    program, environment = debian_chromium.program(), debian_chromium.environment()
    return playwright.chromium.launch(executable_path=program, args=arguments, env=environment)


class Window:
    """A page somebody looks at, and all that went wrong in it."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.context, self.address = context, address
        self.page: Page = context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        self.page.on("request", self._see)
        self.page.on("console", lambda said: self._hear(said.type, said.text))
        self.page.on(
            "response", lambda answer: answer.status >= 500 and self.faults.append(f"{answer.status} {answer.url}")
        )

    def _see(self, request: Request) -> None:
        told = urlsplit(request.url)
        if told.scheme not in {"data", "blob"} and told.netloc != urlsplit(self.address).netloc:
            self.faults.append(f"it asked {request.url}")

    def _judge(self, answer: Response) -> None:
        if answer.status >= 500:
            self.faults.append(f"{answer.status} {answer.url}")

    def _hear(self, kind: str, said: str) -> None:
        if kind == "error" and ("Content Security Policy" in said or "Uncaught" in said):
            self.faults.append(said)

    def go(self, path: str) -> Page:
        """Open a page of the service, as by typing its address."""
        self.page.goto(f"{self.address}{path}", wait_until="load")
        return self.page

    def follow(self, name: str) -> Page:
        """By the bar's link of that name."""
        self.page.locator("#places").get_by_role("link", name=name, exact=True).click()
        return self.page

    def seconds_heard(self) -> float:
        """How far the audio that plays has come; 0 where none does."""
        return float(self.page.evaluate("document.getElementById('audio').currentTime"))

    def require_sound(self) -> None:
        """Audio is really played: its time goes on."""
        before = self.seconds_heard()
        self.page.wait_for_function(
            "before => { const a = document.getElementById('audio'); return !a.paused && a.currentTime > before }",
            arg=before,
        )


def public_address(service: Service) -> str:
    """As people reach it."""
    return setting(service, "PUBLIC_ADDRESS")


@contextmanager
def window(
    browser: Browser,
    service: Service,
    person: Person | None = None,
    size: tuple[int, int] = DESKTOP,
    **more: Any,
) -> Iterator[Window]:
    """A window of its own, of somebody signed in or of a visitor. At the end nothing may have gone wrong in it."""
    given = {"locale": "en-GB", "viewport": {"width": size[0], "height": size[1]}, **more}
    with browser.new_context(**given) as context:
        address = public_address(service)
        if person is not None:
            context.add_cookies([{"name": COOKIE, "value": str(person.http.cookies[COOKIE]), "url": address}])
        opened = Window(context, address)
        yield opened
        assert opened.faults == []


def is_here() -> bool:
    """Whether there is a browser to test with."""
    return debian_chromium.is_here()


def kept_in(folder: str) -> Path:
    """A folder of build/ for what is to be looked at."""
    path = Path(__file__).resolve().parents[2] / "build" / folder
    path.mkdir(parents=True, exist_ok=True)
    return path
