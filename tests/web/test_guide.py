"""The guide: the same chapters in each language, with pictures that are there, and nothing in it that could run."""

from __future__ import annotations

import re

import httpx
import pytest

from streamcoop.embedded.temporary import Service
from streamcoop.language import NAMES
from streamcoop.web.guiding import CHAPTERS, FOLDER, chapter
from tests.web.test_pages import browser, read
from tests.whole_service import service

__all__ = ["browser", "service"]


def test_every_language_has_every_chapter_and_no_other() -> None:
    for code in NAMES:
        assert {file.stem for file in (FOLDER / code).iterdir()} == set(CHAPTERS), code
    assert {folder.name for folder in FOLDER.iterdir()} == set(NAMES)


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_says_as_much_in_each_language(name: str) -> None:
    shapes = {code: re.findall(r"<(h[1-6]|ol|ul|li|img|p)\b", chapter(code, name).html) for code in NAMES}
    assert len({tuple(shape) for shape in shapes.values()}) == 1, shapes
    titles = {chapter(code, name).title for code in NAMES}
    assert len(titles) == len(NAMES)


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_is_a_page_whose_pictures_are_there_and_described(
    service: Service, browser: httpx.Client, name: str
) -> None:
    page = read(browser.get(f"/guide/{name}"))
    assert page.ends_well
    assert len(page.every("h1")) == 1
    for picture in page.every("img"):
        assert picture["alt"]
        assert browser.get(picture["src"]).headers["content-type"].startswith("image/svg+xml")
    assert f'href="/guide/{name}"' in browser.get("/guide").text


def test_there_is_no_other_chapter(service: Service, browser: httpx.Client) -> None:
    for name in ("nobody", "..%2Fen%2Flisteners", "listeners.md"):
        assert browser.get(f"/guide/{name}").status_code == 404
