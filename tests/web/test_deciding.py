"""The rooms where members decide, and one's account: what they show is what the API tells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from ledger.money import allocate
from ledger.rates import ARTISTS, Rates
from streamcoop.accounts.principals import COOKIE
from streamcoop.demo.client import Json, Person, until
from streamcoop.demo.wallet import Wallet
from streamcoop.embedded.temporary import Service
from tests.membership.authenticator import Authenticator
from tests.web.test_pages import MARKUP, Page, read
from tests.whole_service import (
    a_passkey,
    admit,
    operator_of,
    play_at_once,
    published_track,
    service,
    somebody,
)

__all__ = ["service"]

WAIT_S = 90.0
FUNDS = ("community_cut_bp", "reserve_cut_bp")


@contextmanager
def browser_of(service: Service, person: Person | None) -> Iterator[httpx.Client]:
    """A browser of hers, without scripts; of a visitor where there is nobody."""
    headers = {"Accept": "text/html", "Accept-Language": "en"}
    with httpx.Client(base_url=service.address, headers=headers, trust_env=False, timeout=30) as client:
        if person is not None:
            account = {"email": person.email, "password": person.password}
            client.cookies.set(COOKIE, client.post("/api/v1/session", json=account).json()["session"])
        yield client


@dataclass(frozen=True)
class House:
    """Two members, one of whose keys the co-op keeps, and a ballot of the funds that stays open."""

    kept: Person
    passkey: Authenticator
    free: Person
    wallet: Wallet
    ballot: str


@pytest.fixture(scope="module")
def house(service: Service) -> House:
    kept, free = somebody(service, MARKUP).join(), somebody(service, "Wallet").join()
    wallet = Wallet()
    for person, more in ((kept, {}), (free, {"wallet": wallet.proof(free)})):
        applied = person.post("/api/v1/membership", {"member_class": "listener", **more})
        admit(service, applied["id"])
    for person in (kept, free):
        until(lambda p=person: in_state(p.get("/api/v1/membership"), "member"), "the admission", WAIT_S)  # type: ignore[misc]
    _, passkey = a_passkey(service, kept)
    ballot = proposed(kept, [*FUNDS], 3_600)
    kept.post(f"/api/v1/ballots/{ballot}/comments", {"text": MARKUP})
    until(lambda: in_state(kept.get(f"/api/v1/ballots/{ballot}"), "open"), "the electorate", WAIT_S)
    return House(kept, passkey, free, wallet, ballot)


def proposed(by: Person, parameters: list[str], seconds: int) -> str:
    about = {"title": MARKUP, "text": MARKUP, "parameters": parameters, "open_for_seconds": seconds}
    return str(by.post("/api/v1/ballots", about)["id"])


def in_state(told: Json, *states: str) -> Json | None:
    return told if told["state"] in states else None


def at(browser: httpx.Client, path: str) -> Page:
    """A page that is as it should be, whatever people have typed."""
    answer = browser.get(path)
    assert answer.status_code == 200, (path, answer.status_code)
    page = read(answer)
    assert page.ends_well, path
    assert len(page.every("h1")) == 1, path
    assert not [name for _, attributes in page.elements for name in attributes if name in ("style", "onerror")], path
    assert not [attributes for attributes in page.every("img") if attributes.get("src") == "x"], path
    for field in (*page.every("input"), *page.every("textarea"), *page.every("select")):
        labelled = {label.get("for") for label in page.every("label")}
        within = field.get("type") in ("radio", "checkbox", "hidden")
        assert within or "aria-label" in field or field.get("id") in labelled, (path, field)
    return page


# --- Ballots ---


def test_members_and_visitors_see_the_ballot_and_only_members_a_form(service: Service, house: House) -> None:
    for person, has_form in ((None, False), (somebody(service, "A listener").join(), False), (house.free, True)):
        with browser_of(service, person) as browser:
            page = at(browser, f"/ballots/{house.ballot}")
            forms = [form for form in page.every("form") if form.get("class") == "vote"]
            assert bool(forms) is has_form
            assert MARKUP in page.text
            assert f"/ballots/{house.ballot}" in [link.get("href") for link in at(browser, "/decide").every("a")]


def test_a_form_has_the_bounds_and_steps_of_the_constitution(service: Service, house: House) -> None:
    asked = house.free.get(f"/api/v1/ballots/{house.ballot}")["questions"]
    with browser_of(service, house.free) as browser:
        fields = {field.get("name"): field for field in at(browser, f"/ballots/{house.ballot}").every("input")}
    for question in asked:
        field = fields[question["parameter"]]
        scale = int(field["data-scale"])
        for attribute, told in (("min", "lowest"), ("max", "highest"), ("step", "steps_of"), ("value", "status_quo")):
            assert round(float(field[attribute]) * scale) == question[told], (question["parameter"], attribute)


def test_who_has_voted_sees_her_vote_and_nobody_else_does(service: Service, house: House) -> None:
    path, values = f"/api/v1/ballots/{house.ballot}/votes", {FUNDS[0]: 1_234, FUNDS[1]: 3_456}
    drafted = house.free.post(f"{path}/draft", {"values": values})
    signed = {"nonce": drafted["nonce"], "deadline": drafted["deadline"]}
    house.free.post(path, {"values": values, **signed, "signature": house.wallet.signed(drafted["typed_data"])})
    for person, sees in ((house.free, True), (house.kept, False), (None, False)):
        with browser_of(service, person) as browser:
            text = at(browser, f"/ballots/{house.ballot}").text
            assert ("12.34%" in text) is sees
            assert ("34.56%" in text) is sees


def test_a_change_is_shown_on_what_was_taken_in_by_the_functions_that_close(
    service: Service, house: House, tmp_path: Path
) -> None:
    artist, operator = somebody(service, "Artist").join(artist=True), operator_of(service)
    operator.top_up(house.free, 500)
    track = published_track(artist, tmp_path)
    play_at_once(house.free, track)

    def newest() -> Any:
        return next((each for each in house.free.get("/api/v1/epochs", limit=120) if each["gross_micro"]), None)

    until(lambda: newest() and in_state(newest(), "closed"), "an epoch's close", WAIT_S)
    rates = house.free.get("/api/v1/rates")["in_force"]
    with browser_of(service, house.kept) as browser:
        while True:  # another test's plays may be closed just now
            basis = newest()
            figures = [
                figure
                for figure in at(browser, f"/ballots/{house.ballot}").every("figure")
                if figure.get("data-outlook") in FUNDS
            ]
            if basis == newest():
                break
    assert [figure["data-outlook"] for figure in figures] == [*FUNDS]
    in_force = Rates(rates["artist_share_bp"], *(rates[name] for name in FUNDS))
    parts = allocate(basis["net_micro"], in_force.weights(), tie_break=str(basis["epoch"]))
    for figure in figures:
        rows = {row[0]: row[1:] for row in json.loads(figure["data-rows"])}
        assert rows[rates[figure["data-outlook"]]] == [parts[name] for name in parts if name != ARTISTS]
        left = basis["net_micro"] - parts[ARTISTS]
        assert all(abs(sum(row) - left) <= 1 for row in rows.values())  # a unit goes to the largest remainder


def test_a_counted_ballot_shows_every_vote_and_how_to_count_it_again(service: Service, house: House) -> None:
    ballot = proposed(house.free, ["motion"], 10)
    until(lambda: in_state(house.free.get(f"/api/v1/ballots/{ballot}"), "open"), "the electorate", WAIT_S)
    path = f"/api/v1/ballots/{ballot}/votes"
    drafted = house.kept.post(f"{path}/draft", {"values": {"motion": 1}})
    signed = {"nonce": drafted["nonce"], "deadline": drafted["deadline"]}
    assertion = house.passkey.signed(drafted["passkey_options"])
    house.kept.post(path, {"values": {"motion": 1}, **signed, "assertion": assertion})
    until(lambda: in_state(house.free.get(f"/api/v1/ballots/{ballot}"), "closed"), "the count", WAIT_S)
    (vote,) = house.free.get(path)["items"]
    with browser_of(service, None) as browser:
        page = at(browser, f"/ballots/{ballot}")
        decide = at(browser, "/decide")
    assert vote["address"] in page.text
    assert f"--ballot {ballot}" in page.text
    assert "100%" in page.text  # of the votes cast, with kept keys
    assert f"/ballots/{ballot}" in [link.get("href") for link in decide.every("a")]


def test_a_cursor_that_is_none_leads_nowhere(service: Service, house: House) -> None:
    with browser_of(service, None) as browser:
        for path in ("/decide?cursor=x", f"/ballots/{house.ballot}?said=x", f"/ballots/{house.ballot}?votes=%25"):
            assert browser.get(path).status_code == 404, path


# --- Membership and proposing ---


def test_the_way_to_membership_is_shown_step_by_step(service: Service) -> None:
    person = somebody(service, "An applicant").join()
    with browser_of(service, person) as browser:
        assert [form for form in at(browser, "/decide/membership").every("form") if form.get("class") == "apply"]
        assert not at(browser, "/decide/propose").every("textarea")
        applied = person.post("/api/v1/membership", {"member_class": "artist"})
        assert done_steps(browser) == 1
        assert applied["address"] in at(browser, "/decide/membership").text
        admit(service, applied["id"])
        until(lambda: in_state(person.get("/api/v1/membership"), "member"), "the admission", WAIT_S)
        assert done_steps(browser) == 5
        assert at(browser, "/decide/propose").every("textarea")
        a_passkey(service, person)
        assert "phone" in at(browser, "/decide/membership").text


def done_steps(browser: httpx.Client) -> int:
    return len([item for item in at(browser, "/decide/membership").every("li") if item.get("class") == "done"])


def test_what_can_be_proposed_is_what_the_constitution_opens(service: Service, house: House) -> None:
    with browser_of(service, house.kept) as browser:
        page = at(browser, "/decide/propose")
    offered = [json.loads(each["value"]) for each in page.every("input") if each.get("name") == "parameters"]
    names = {question for each in offered for question in each}
    numbers = house.kept.get("/api/v1/rates")["in_force"].keys()
    assert names == {"motion"} | {name for name in numbers if re.search("_(bp|micro|minor|ms_max)$|^plays$", name)}
    assert [*FUNDS] in offered


# --- The constitution and the books ---


def test_the_constitution_is_told_from_its_own_numbers(service: Service) -> None:
    with browser_of(service, None) as browser:
        text = at(browser, "/decide/constitution").text
    assert "Between" not in text
    for told in ("50%", "90%", "5 percentage points", "20%", "180 days"):
        assert told in text, told


def test_the_books_name_no_membership(service: Service, house: House) -> None:
    told = httpx.get(f"{service.address}/api/v1/books", trust_env=False).json()["balances"]
    assert [balance for balance in told if balance["account"] == "shares"]
    for balance in told:
        assert not re.search("[0-9a-f]{8}-", balance["account"]), balance
    member = house.kept.get("/api/v1/membership")["id"]
    with browser_of(service, None) as browser:
        assert member not in at(browser, "/decide/books").text


# --- One's account ---


def test_an_account_shows_its_own_tokens_and_what_erasing_would_lose(service: Service) -> None:
    person, other = somebody(service, MARKUP).join(), somebody(service, "Another").join()
    person.post("/api/v1/me/tokens", {"name": "A token of hers", "scopes": ["wallet"]})
    operator_of(service).top_up(person, 1_234)
    with browser_of(service, person) as browser:
        page = at(browser, "/account")
        assert person.email in page.text
        assert MARKUP in page.text
        assert "A token of hers" in page.text
        erase = at(browser, "/account/erase")
        assert "€12.34" in erase.text or "€12.33" in erase.text
        assert "forfeit_credits" in [field.get("name") for field in erase.every("input")]
    with browser_of(service, other) as browser:
        assert "A token of hers" not in at(browser, "/account").text
        assert "forfeit_credits" not in [field.get("name") for field in at(browser, "/account/erase").every("input")]


def test_a_token_in_the_place_of_a_session_opens_no_account(service: Service) -> None:
    person = somebody(service, "Tokens").join()
    token = person.post("/api/v1/me/tokens", {"name": "Everything", "scopes": ["wallet", "vote"]})["secret"]
    with browser_of(service, None) as browser:
        browser.cookies.set(COOKIE, token)
        assert browser.get("/account").status_code == 403
        assert browser.get("/account/erase").status_code == 403
