"""Whether a page can be used by everybody: held against axe, and laid out from a narrow phone to a wide screen."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.browser.chromium import DESKTOP, NARROW, PHONE, kept_in

SERIOUS = {"serious", "critical"}
WIDE = (3840, 2160)


def fits(page: Page) -> bool:
    """Whether nothing makes one scroll sideways."""
    return bool(page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"))


def require_usable(page: Page, name: str) -> None:
    """The page fits every screen, and axe finds nothing serious. Its pictures are left in `build/screens`."""
    pictures = kept_in("screens")
    assert page.locator("h1").count() == 1
    for size in (WIDE, NARROW, PHONE, DESKTOP):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        assert fits(page), size
        if size in (PHONE, DESKTOP):
            page.screenshot(path=pictures / f"{name}-{size[0]}.png", full_page=True)
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    told = [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in found if each["impact"] in SERIOUS]
    assert told == []
