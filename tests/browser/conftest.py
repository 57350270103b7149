"""One browser for each file of tests. Without Chromium they are left out, but in CI."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser import chromium
from tests.whole_service import service

__all__ = ["service"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. Not for longer than a file: while it is there, asyncio takes its own loop for a running one."""
    if not chromium.is_here() and "CI" not in os.environ:
        pytest.skip("no Chromium: see `make test`")
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright)
        yield browser
        browser.close()
