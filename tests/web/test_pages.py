"""The frame of all pages: what they load and may do, who is let in, which language they speak."""

from __future__ import annotations

import gzip
import io
import re
import secrets
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from PIL import Image

from streamcoop.accounts.principals import COOKIE
from streamcoop.demo.client import Person, until
from streamcoop.embedded.temporary import Service
from streamcoop.web import assets
from tests.whole_service import PASSWORD, READY_S_MAX, is_ready, piece, service, somebody

__all__ = ["service"]

MARKUP = '<img src=x onerror="alert(1)"> & </title><script>alert(2)</script>'
FIRST_PAGE_BYTES_MAX = 150_000
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr", "use"}


class Page(HTMLParser):
    """A page taken apart: its elements, what it loads, its text; and whether each element ends where it should."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.ends_well = True
        self.feed(html)
        self.close()
        self.ends_well = self.ends_well and not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            self.ends_well = bool(self.open) and self.open.pop() == tag and self.ends_well

    def handle_data(self, data: str) -> None:
        self.text += data

    def every(self, tag: str) -> list[dict[str, str]]:
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def loaded(self) -> set[str]:
        """What a browser fetches with it."""
        sources = [attributes.get("src", "") for _, attributes in self.elements]
        links = [attributes.get("href", "") for attributes in self.every("link")]
        icons = [attributes.get("href", "") for attributes in self.every("use")]
        return {address for address in (*sources, *links, *icons) if address}


@pytest.fixture
def browser(service: Service) -> Iterator[httpx.Client]:
    """A visitor's browser, without scripts."""
    headers = {"Accept": "text/html", "Accept-Language": "en"}
    with httpx.Client(base_url=service.address, headers=headers, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def marked(service: Service, tmp_path_factory: pytest.TempPathFactory) -> tuple[Person, dict[str, str]]:
    """An artist all of whose names are markup, with a published release: herself, and its ids."""
    artist = somebody(service, "An artist").join(artist=True)
    ids = {"artist": artist.post("/api/v1/artists", {"name": MARKUP, "bio": MARKUP})["id"]}
    new = {"title": MARKUP, "kind": "album", "genre": MARKUP[:50]}
    ids["release"] = artist.post(f"/api/v1/artists/{ids['artist']}/releases", new)["id"]
    ids["track"] = artist.upload(ids["release"], piece(tmp_path_factory.mktemp("music")))["id"]
    until(lambda: is_ready(artist, ids["track"]), "a rendition", READY_S_MAX)
    assert artist.http.patch(f"/api/v1/tracks/{ids['track']}", json={"title": MARKUP}).status_code == 200
    artist.post(f"/api/v1/releases/{ids['release']}/publish")
    return artist, ids


def read(answer: httpx.Response) -> Page:
    assert answer.headers["content-type"] == "text/html; charset=utf-8", answer.text
    return Page(answer.text)


# --- What a page loads and may do ---


def test_a_page_loads_nothing_of_others_and_runs_nothing_within_it(
    browser: httpx.Client, marked: tuple[Person, dict[str, str]]
) -> None:
    _, ids = marked
    paths = ["/", "/sign-in", "/join", "/search?q=img", "/offline", "/nowhere", *(f"/{k}s/{v}" for k, v in ids.items())]
    for path in paths:
        answer = browser.get(path)
        policy = answer.headers["content-security-policy"]
        page = read(answer)
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert all(address.startswith("/") and not address.startswith("//") for address in page.loaded), path
        for tag, attributes in page.elements:
            assert not [name for name in attributes if name.startswith("on") or name == "style"], (path, tag)
            is_data = attributes.get("type") == "application/json"
            assert tag != "script" or is_data or attributes["src"].startswith("/static/"), path
        assert page.ends_well, path
        assert len(page.every("h1")) == 1, path
        assert [tag for tag, _ in page.elements].count("main") == 1


def test_markup_in_every_name_stays_text(browser: httpx.Client, marked: tuple[Person, dict[str, str]]) -> None:
    _, ids = marked
    for kind, id_ in ids.items():
        answer = browser.get(f"/{kind}s/{id_}")
        assert MARKUP in read(answer).text
        assert "<img src=x" not in answer.text
        assert "alert(2)</script>" not in answer.text


def test_all_that_a_page_names_is_there_and_kept_for_good(browser: httpx.Client) -> None:
    page = read(browser.get("/"))
    for address in page.loaded:
        answer = browser.get(address.partition("#")[0])
        assert answer.status_code == 200, address
        assert not address.startswith("/static/") or "immutable" in answer.headers["cache-control"]
    icons = browser.get(assets.address("icons/icons.svg")).text
    for name in {attributes["href"].partition("#")[2] for attributes in page.every("use")}:
        assert f'<symbol id="{name}"' in icons


def test_scripts_import_only_what_is_there() -> None:
    for name, asset in assets.assets().files.items():
        if name.endswith(".js") and "vendor" not in name:
            folder = (assets.FOLDER / name).parent
            for asked in re.findall(r"""(?:from|import\(?)\s*["'](\.[^"']+)["']""", asset.plain.decode()):
                assert (folder / asked).resolve().is_file(), (name, asked)


def test_a_file_of_another_version_or_none_is_not_found(browser: httpx.Client) -> None:
    assert browser.get("/static/000000000000/app.js").status_code == 404
    assert browser.get(assets.address("app.js").replace("app.js", "%2e%2e/pages.py")).status_code == 404


def test_the_first_page_is_small(browser: httpx.Client) -> None:
    page = browser.get("/")
    scripts = [asset.gzipped for name, asset in assets.assets().files.items() if name.endswith((".js", ".css"))]
    first = len(gzip.compress(page.content)) + sum(len(each or b"") for each in scripts)
    assert first < FIRST_PAGE_BYTES_MAX, first


def test_what_is_installed_names_files_that_are_there(browser: httpx.Client) -> None:
    manifest = browser.get("/manifest.webmanifest").json()
    for icon in manifest["icons"]:
        assert browser.get(icon["src"]).status_code == 200
    assert browser.get("/worker.js").headers["content-type"].startswith("text/javascript")


# --- Reading without a script ---


def test_a_visitor_reads_releases_and_what_their_plays_cost(
    browser: httpx.Client, marked: tuple[Person, dict[str, str]]
) -> None:
    _, ids = marked
    page = read(browser.get(f"/releases/{ids['release']}"))
    (row,) = [attributes for attributes in page.every("li") if "data-track" in attributes]
    assert ids["track"] in row["data-track"]
    assert "€0.0025" in page.text


def test_artwork_that_is_there_is_shown(browser: httpx.Client, marked: tuple[Person, dict[str, str]]) -> None:
    artist, ids = marked
    picture = io.BytesIO()
    Image.new("RGB", (300, 300), (20, 90, 80)).save(picture, "PNG")
    artist.http.put(f"/api/v1/releases/{ids['release']}/artwork", content=picture.getvalue()).raise_for_status()
    shown = [each for each in read(browser.get(f"/releases/{ids['release']}")).every("img") if each["class"] == "cover"]
    assert shown[0]["alt"] == ""
    assert browser.get(shown[0]["src"]).headers["content-type"].startswith("image/")


def test_what_is_not_there_is_told_in_words(browser: httpx.Client) -> None:
    for path in ("/releases/00000000-0000-7000-8000-000000000000", "/releases/none", "/tracks/1"):
        answer = browser.get(path)
        assert answer.status_code == 404
        assert read(answer).every("h1")


# --- Signing in ---


@pytest.fixture
def listener(service: Service) -> Person:
    return somebody(service, "Ayu <b>Lestari</b>").join()


def test_one_signs_in_and_out_without_a_script(browser: httpx.Client, listener: Person) -> None:
    answer = browser.post("/sign-in", data={"email": listener.email, "password": PASSWORD, "next": "/search?q=a"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/search?q=a")
    assert "Ayu <b>Lestari</b>" in read(browser.get("/")).text
    answer = browser.post("/sign-out")
    assert answer.status_code == 303
    assert "Ayu" not in read(browser.get("/")).text


def test_a_wrong_password_is_told_and_the_address_is_kept(browser: httpx.Client, listener: Person) -> None:
    answer = browser.post("/sign-in", data={"email": listener.email, "password": "wrong " + PASSWORD, "next": "/"})
    page = read(answer)
    assert "wrong" in page.text
    assert [each["value"] for each in page.every("input") if each.get("name") == "email"] == [listener.email]
    assert COOKIE not in browser.cookies


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_nobody_is_led_elsewhere_by_signing_in(browser: httpx.Client, listener: Person, elsewhere: str) -> None:
    answer = browser.post("/sign-in", data={"email": listener.email, "password": PASSWORD, "next": elsewhere})
    assert answer.headers["location"] == "/"


def test_another_sites_form_signs_nobody_in_or_out(browser: httpx.Client, listener: Person) -> None:
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    fields = {"email": listener.email, "password": PASSWORD}
    assert browser.post("/sign-in", data=fields, headers=foreign).status_code == 403
    assert browser.post("/sign-out", headers=foreign).status_code == 403


def test_whose_session_has_ended_sees_what_a_visitor_sees(browser: httpx.Client) -> None:
    browser.cookies.set(COOKIE, f"scs_{secrets.token_urlsafe(32)}")
    assert browser.get("/").status_code == 200


def test_a_form_that_is_none_is_refused_in_words(browser: httpx.Client) -> None:
    for body in (b"", b"\xff\xfe=1", b"a&" * 50):
        answer = browser.post("/sign-in", content=body)
        assert answer.status_code == 200
        assert read(answer).every("h1")


# --- Languages ---


def test_pages_speak_the_language_that_is_asked_for(browser: httpx.Client) -> None:
    indonesian = browser.get("/", headers={"Accept-Language": "id-ID,id;q=0.9,en;q=0.8"})
    assert '<html lang="id">' in indonesian.text
    assert "Dengarkan" in indonesian.text
    assert '<html lang="en">' in browser.get("/", headers={"Accept-Language": "de, fr;q=0.5"}).text


def test_a_language_that_was_chosen_stays(browser: httpx.Client) -> None:
    answer = browser.post("/language", data={"language": "id", "next": "/join"})
    assert answer.headers["location"] == "/join"
    assert '<html lang="id">' in browser.get("/").text


def test_refusals_of_the_api_are_told_in_the_readers_language(browser: httpx.Client) -> None:
    answer = browser.get("/api/v1/me", headers={"Accept-Language": "id"})
    assert answer.json()["title"] != browser.get("/api/v1/me").json()["title"]
    assert answer.json()["type"] == "/problems/not-signed-in"


def test_templates_are_files_of_the_package() -> None:
    assert (Path(assets.__file__).parent / "templates" / "layout.html").is_file()
