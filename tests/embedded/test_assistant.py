"""The founding assistant as a program: whom it shows itself to, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from dotenv import dotenv_values

from streamcoop.embedded import choices, plan, ports
from streamcoop.embedded.plan import Places
from tests.embedded.conftest import finish

KEY = "a key that the terminal told"
ENDED_S_MAX = 30.0
Eventually = Callable[[Callable[[], bool]], None]


@dataclass
class Stand:
    """An assistant that runs, and a browser at it."""

    places: Places
    child: subprocess.Popen[str]
    browser: httpx.Client

    def form(self, **typed: str) -> dict[str, str]:
        people = {"operator_email": "rina@coop.example", "second_officer_email": "budi@coop.example"}
        return {**choices.usual(people), **typed}


@contextmanager
def assistant(folder: Path, eventually: Eventually, **settings: str) -> Iterator[Stand]:
    port, root = ports.any_free(), plan.make_root(folder / "data")
    child = subprocess.Popen(
        plan.assistant_command(root, ports.LOOPBACK, port, "operator@streamcoop.example"),
        env=os.environ | {plan.FOUNDING_KEY: KEY} | settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        with httpx.Client(
            base_url=f"http://{ports.LOOPBACK}:{port}", trust_env=False, follow_redirects=True
        ) as browser:
            eventually(lambda: not ports.is_free(ports.LOOPBACK, port))
            yield Stand(Places(root), child, browser)
    finally:
        finish(child)


@pytest.fixture
def stand(tmp_path: Path, eventually: Eventually) -> Iterator[Stand]:
    with assistant(tmp_path, eventually) as running:
        yield running


def test_who_has_not_the_key_sees_and_founds_nothing(stand: Stand) -> None:
    for answer in (stand.browser.get("/"), stand.browser.get("/?key=guessed"), stand.browser.post("/found")):
        assert answer.status_code == 403
        assert "coop_name" not in answer.text
    assert stand.browser.post("/", data=stand.form()).status_code == 403
    assert not stand.places.chosen.exists()


def test_another_sites_page_cannot_answer_for_the_founders(stand: Stand) -> None:
    stand.browser.get("/", params={"key": KEY})
    assert stand.browser.post("/", data=stand.form(), headers={"Origin": "http://127.0.0.1:1"}).status_code == 403
    assert stand.browser.post("/found", headers={"Sec-Fetch-Site": "same-site"}).status_code == 403


def test_the_key_stands_in_no_address_afterwards(stand: Stand) -> None:
    opened = stand.browser.get("/", params={"key": KEY})
    assert opened.status_code == 200
    assert opened.url.query == b""
    assert "default-src 'none'" in opened.headers["content-security-policy"]


def test_what_is_not_right_is_told_and_nothing_typed_is_lost(stand: Stand) -> None:
    stand.browser.get("/", params={"key": KEY})
    told = stand.browser.post("/", data=stand.form(coop_name='<b>"Bersama"</b>', quorum_bp="101"))
    assert told.status_code == 400
    assert "It may be 100 at most." in told.text
    assert "&lt;b&gt;&#34;Bersama&#34;&lt;/b&gt;" in told.text
    assert "<b>" not in told.text
    in_indonesian = stand.browser.post("/", data=stand.form(coop_name="Bersama", language="id"))
    assert 'lang="id"' in in_indonesian.text
    assert 'value="Bersama"' in in_indonesian.text
    assert stand.browser.post("/found").url.path == "/", "nothing whole was chosen, so nothing is founded"
    assert not stand.places.chosen.exists()


def test_what_was_chosen_is_written_down_for_nobody_else_to_read_and_it_ends(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.browser.get("/", params={"key": KEY})
    review = stand.browser.post("/", data=stand.form(coop_name="Musik Bersama", credit_price_minor="2"))
    assert review.url.path == "/review"
    assert "A credit costs €2." in review.text
    assert "STREAMCOOP_CREDIT_PRICE_MINOR=200" in review.text
    assert not stand.places.chosen.exists(), "reading it once more founds nothing"
    done = stand.browser.post("/found")
    assert stand.places.operator_password.read_text().strip() in done.text
    assert stand.child.wait(ENDED_S_MAX) == 0
    written = (stand.places.chosen, stand.places.operator_email, stand.places.operator_password)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in written)
    assert dotenv_values(stand.places.chosen)["STREAMCOOP_COOP_NAME"] == "Musik Bersama"

    monkeypatch.setenv("STREAMCOOP_CREDIT_PRICE_MINOR", "300")
    for name in dotenv_values(stand.places.chosen):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # taken back at the end
        if not os.environ[name]:
            monkeypatch.delenv(name)
    plan.take_choices(stand.places.root)
    setup = plan.make_setup(stand.places.root, ports.LOOPBACK, 0, "somebody@else.example")
    assert (setup.credentials.operator_email, setup.credentials.second_officer_email) == (
        "rina@coop.example",
        "budi@coop.example",
    )
    assert choices.configured().coop_name == "Musik Bersama"
    assert choices.configured().credit_price_minor == 300, "the environment wins, as it does everywhere"


def test_one_that_is_stopped_has_founded_nothing(stand: Stand) -> None:
    stand.browser.get("/", params={"key": KEY})
    stand.browser.post("/", data=stand.form())
    stand.child.send_signal(signal.SIGTERM)
    assert stand.child.wait(ENDED_S_MAX) not in (0, None)
    assert not stand.places.chosen.exists()
    assert not plan.is_founded(stand.places.root)


def test_what_the_environment_says_cannot_be_typed(tmp_path: Path, eventually: Eventually) -> None:
    with assistant(tmp_path, eventually, STREAMCOOP_QUORUM_BP="3333") as stand:
        stand.browser.get("/", params={"key": KEY})
        review = stand.browser.post("/", data=stand.form(quorum_bp="50"))
        assert "Votes of 33.33% of all members are needed." in review.text
        assert "QUORUM_BP" not in review.text.replace("CLASS_QUORUM_BP", "")
        assert "Set by the environment." in stand.browser.get("/").text
