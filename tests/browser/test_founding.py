"""The first start: founders say what their co-op begins with, and it begins with that."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from streamcoop.embedded import ports, process
from streamcoop.embedded.temporary import running_service
from tests.browser.chromium import DESKTOP, WAIT_MS
from tests.browser.looking import require_usable

STARTED_MS_MAX = 120_000
STOPPED_S_MAX = 90
AMOUNTS = {
    "credit_price_minor": "20000",
    "payout_minimum_minor": "100000",
    "share_minor": "150000",
    "payout_minimum_minor.lowest": "10000",
    "payout_minimum_minor.highest": "1000000",
    "payout_minimum_minor.step_max": "50000",
}


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # PostgreSQL, which may have to run as another account, has to get through.
    base = tmp_path_factory.getbasetemp()
    for folder in (base.parent, base):
        folder.chmod(0o711)
    made = tmp_path_factory.mktemp("founded")
    made.chmod(0o711)
    return made / "data"


@pytest.fixture
def address(root: Path) -> Iterator[str]:
    """What the terminal tells at a first start that asks; the service is stopped at the end."""
    said = root.with_name("terminal")
    command = [sys.executable, "-m", "streamcoop.embedded.supervisor", "--data", str(root), "--port", "0", "--ask"]
    with said.open("wb") as file:
        child = process.spawn(command, output=file, death_signal=signal.SIGTERM)
    try:
        told = r"http://localhost:\S+"
        assert process.until(lambda: re.search(told, said.read_text()) is not None, 60.0, 0.05)
        found = re.search(told, said.read_text())
        assert found
        yield found[0]
    finally:
        child.send_signal(signal.SIGINT)
        assert child.wait(STOPPED_S_MAX) == 0, said.read_text()


def opened(browser: Browser, locale: str, theme: str) -> BrowserContext:
    context = browser.new_context(
        locale=locale, color_scheme=theme, viewport={"width": DESKTOP[0], "height": DESKTOP[1]}
    )
    context.set_default_timeout(WAIT_MS)
    return context


def test_founders_choose_and_the_coop_is_what_they_chose(browser: Browser, address: str, root: Path) -> None:
    with opened(browser, "id-ID", "dark") as context:
        page = context.new_page()
        page.goto(address)
        assert page.locator("html").get_attribute("lang") == "id"
        require_usable(page, "founding-form-dark")
        page.fill("#coop_name", "Musik Bersama")
        page.get_by_role("button", name="English").click()
        expect(page.locator("h1")).to_have_text("Found a co-op")
        expect(page.locator("#coop_name")).to_have_value("Musik Bersama")

    with opened(browser, "en-GB", "light") as context:
        page = context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(address)
        page.select_option("#currency", "IDR")
        page.get_by_role("button", name="See what this means").click()
        expect(page.get_by_role("alert")).to_have_text("6 fields are not right yet.")
        require_usable(page, "founding-form-light")
        for name, amount in AMOUNTS.items():
            page.fill(f'[name="{name}"]', amount)
        page.fill("#operator_email", "rina@coop.example")
        page.get_by_role("button", name="See what this means").click()
        expect(page.locator("h1")).to_have_text("Musik Bersama")
        expect(page.get_by_text("A credit costs IDR20,000.")).to_be_visible()
        require_usable(page, "founding-review-light")
        page.get_by_role("button", name="Found Musik Bersama").click()
        expect(page.locator("h1")).to_have_text("Musik Bersama is being founded")
        password = page.locator("dd code").first.inner_text()
        expect(page.get_by_text("It is here.")).to_be_visible(timeout=STARTED_MS_MAX)
        require_usable(page, "founding-done-light")
        page.get_by_role("link", name="Sign in").click()
        page.fill("#email", "rina@coop.example")
        page.fill("#password", password)
        page.locator("main").get_by_role("button", name="Sign in").click()
        expect(page.locator(".brand")).to_have_text("Musik Bersama")
        page.goto(f"{address.partition('/?')[0]}/decide/constitution")
        expect(page.get_by_text("The member share is IDR150,000")).to_be_visible()
        expect(page.get_by_role("row", name="The least that is paid out")).to_contain_text("IDR1,000,000")
        assert faults == []


def test_a_later_start_asks_nothing_and_is_the_same_coop(root: Path) -> None:
    given = {"STREAMCOOP_COOP_NAME": "Musik Bersama", "STREAMCOOP_CURRENCY": "IDR"}
    (root.parent / "data").mkdir(mode=0o711)
    (root / "founding.env").write_text("".join(f"{name}='{value}'\n" for name, value in given.items()))
    for _ in range(2):
        with running_service(data_dir=root, host=ports.LOOPBACK) as service:
            home = httpx.get(service.address, trust_env=False)
            assert "<title>Musik Bersama</title>" in home.text.replace("\n", "")
