"""The room of those who run the co-op, and what is shown of music that is reported."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from streamcoop.demo.client import Json, Person, until
from streamcoop.embedded.temporary import Service
from tests.web.test_deciding import at, browser_of
from tests.web.test_pages import MARKUP, Page
from tests.whole_service import (
    READY_S_MAX,
    is_ready,
    operator_of,
    piece,
    second_officer_of,
    service,
    somebody,
)

__all__ = ["service"]

REASON = f"It is theirs. {MARKUP}"


@dataclass
class Office:
    """An artist whose names are markup, with two tracks; two operators, a treasurer, and the browser of each."""

    service: Service
    artist: Person
    release: str
    tracks: list[str]
    operator: Person
    second: Person
    treasurer: Person
    browsers: dict[str, httpx.Client]

    def page(self, who: str, path: str) -> Page:
        return at(self.browsers[who], path)


@pytest.fixture(scope="module")
def office(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    artist, treasurer = somebody(service, MARKUP).join(artist=True), somebody(service, "Till").join()
    operator, second = operator_of(service), second_officer_of(service)
    operator.put(f"/api/v1/users/{treasurer.get('/api/v1/me')['id']}/roles", {"roles": ["listener", "treasurer"]})
    treasurer.sign_in()
    profile = artist.post("/api/v1/artists", {"name": MARKUP})["id"]
    new = {"title": MARKUP, "kind": "single"}
    release = artist.post(f"/api/v1/artists/{profile}/releases", new)["id"]
    tracks = [_track(artist, release, tmp_path_factory.mktemp("music")) for _ in range(2)]
    artist.post(f"/api/v1/releases/{release}/publish")
    people = {"artist": artist, "operator": operator, "second": second, "treasurer": treasurer}
    with ExitStack() as stack:
        browsers = {name: stack.enter_context(browser_of(service, person)) for name, person in people.items()}
        browsers["visitor"] = stack.enter_context(browser_of(service, None))
        yield Office(service, artist, release, tracks, operator, second, treasurer, browsers)


def _track(artist: Person, release: str, folder: Path) -> str:
    track = str(artist.upload(release, piece(folder))["id"])
    until(lambda: is_ready(artist, track), "a rendition", READY_S_MAX)
    assert artist.http.patch(f"/api/v1/tracks/{track}", json={"title": MARKUP}).status_code == 200
    return track


def forms(page: Page, ending: str = "") -> list[dict[str, str]]:
    """The forms that ask this of the API."""
    return [form for form in page.every("form") if form.get("data-api", "").endswith(ending)]


def request_ids(page: Page) -> list[str]:
    return [field["value"] for field in page.every("input") if field.get("name") == "request_id"]


def applicant(office: Office, name: str = MARKUP) -> tuple[Person, Json]:
    someone = somebody(office.service, name).join()
    return someone, someone.post("/api/v1/membership", {"member_class": "listener"})


def reported(office: Office, about: dict[str, str], text: str) -> Person:
    reporter = somebody(office.service, f"Reporter {uuid4().hex}").join()
    reporter.post("/api/v1/moderation/reports", {"ground": "copyright", "text": text, **about})
    return reporter


# --- Overview ---


def test_an_overview_tells_each_what_is_hers_to_do(office: Office) -> None:
    applicant(office)
    operator, treasurer = office.page("operator", "/run"), office.page("treasurer", "/run")
    applied = len(office.operator.get("/api/v1/members", state="applied", limit=200)["items"])
    assert re.search(rf"\b{applied} applications? for membership", operator.text)
    assert "Is everything well?" in operator.text
    assert "/run/reports" in {link["href"] for link in operator.every("a")}
    assert "Is everything well?" not in treasurer.text
    places = {link["href"].partition("#")[0] for link in treasurer.every("a") if link["href"].startswith("/run")}
    assert places == {"/run", "/run/cash-desk", "/run/payouts"}
    unpaid = len(office.treasurer.get("/api/v1/treasury/shares", limit=100)["unpaid"])
    assert re.search(rf"\b{unpaid} member shares? to be paid in", treasurer.text)


# --- Cash desk ---


def test_each_form_of_each_page_has_a_request_id_of_its_own(office: Office) -> None:
    applicant(office)
    ids = [each for _ in range(2) for each in request_ids(office.page("treasurer", "/run/cash-desk"))]
    assert len(ids) >= 6
    assert len(set(ids)) == len(ids)


def test_what_was_booked_is_shown_as_the_api_tells_it(office: Office) -> None:
    listener = somebody(office.service, MARKUP).join()
    top_up = {"request_id": str(uuid4()), "listener_email": listener.email, "amount_minor": 1234, "reference": MARKUP}
    office.treasurer.post("/api/v1/treasury/topups", top_up)
    (entry,) = office.treasurer.get("/api/v1/treasury/entries", limit=1)
    assert (entry["request_id"], entry["kind"], entry["listener_name"]) == (top_up["request_id"], "top-up", MARKUP)
    assert (entry["money_micro"], entry["remark"]) == (12_340_000, MARKUP)
    page = office.page("treasurer", "/run/cash-desk")
    assert "€12.34" in page.text
    assert page.text.count(MARKUP) >= 2
    assert "Till" in page.text, "who booked it"


def test_member_shares_are_listed_until_they_are_paid_and_after_a_refusal_until_they_are_paid_back(
    office: Office,
) -> None:
    _, member = applicant(office)
    path = f"/members/{member['id']}/share"
    assert forms(office.page("treasurer", "/run/cash-desk"), path)
    office.treasurer.post(f"/api/v1{path}", {"request_id": str(uuid4())})
    assert not forms(office.page("treasurer", "/run/cash-desk"), path)
    office.operator.post(f"/api/v1/members/{member['id']}/refuse")
    (waiting,) = [
        each
        for each in office.treasurer.get("/api/v1/treasury/shares", limit=200)["to_refund"]
        if each["member_id"] == member["id"]
    ]
    assert waiting["amount_minor"] == member["share_minor"]
    assert forms(office.page("treasurer", "/run/cash-desk"), f"{path}/refund")
    office.treasurer.post(f"/api/v1{path}/refund", {"request_id": str(uuid4())})
    assert not forms(office.page("treasurer", "/run/cash-desk"), f"{path}/refund")


# --- Payouts ---


def test_a_run_is_listed_and_told_with_its_payouts(office: Office) -> None:
    due = office.treasurer.get("/api/v1/treasury/payouts-due")
    run = office.treasurer.post("/api/v1/treasury/payout-runs", {"request_id": str(uuid4())})
    assert len(run["payouts"]) == due["payees"]
    assert sum(payout["amount_minor"] for payout in run["payouts"]) == due["amount_minor"]
    newest = office.treasurer.get("/api/v1/treasury/payout-runs", limit=1)[0]
    assert (newest["id"], newest["planned"]) == (run["id"], due["payees"])
    assert office.treasurer.get(f"/api/v1/treasury/payout-runs/{run['id']}") == run
    assert f"/run/payouts/{run['id']}" in {link["href"] for link in office.page("treasurer", "/run/payouts").every("a")}
    page = office.page("treasurer", f"/run/payouts/{run['id']}")
    assert bool(forms(page, "/sent")) == bool(run["payouts"])


# --- Members ---


def test_an_application_is_approved_once_by_each_officer(office: Office) -> None:
    _, member = applicant(office)
    path = f"/members/{member['id']}/approve"
    page = office.page("operator", "/run/members")
    assert forms(page, path)
    assert forms(page, f"/members/{member['id']}/refuse")
    assert MARKUP in page.text
    office.operator.post(f"/api/v1{path}")
    assert not forms(office.page("operator", "/run/members"), path)
    assert forms(office.page("second", "/run/members"), path)
    office.operator.post(f"/api/v1/members/{member['id']}/refuse")
    assert member["address"] not in office.page("operator", "/run/members").text


# --- Months and holds ---


def test_what_is_held_is_shown_with_its_reason_until_it_is_lifted(office: Office) -> None:
    held = {"track_id": office.tracks[0], "reason": MARKUP}
    hold = office.operator.post("/api/v1/holds", held)["id"]
    page = office.page("operator", "/run/epochs")
    assert forms(page, f"/holds/{hold}")
    assert page.text.count(MARKUP) >= 3, "title, artist and reason"
    assert office.operator.http.delete(f"/api/v1/holds/{hold}").status_code == 204
    assert not forms(office.page("operator", "/run/epochs"), f"/holds/{hold}")


# --- Reports ---


def test_music_of_others_can_be_reported_from_its_page_and_ones_own_cannot(office: Office) -> None:
    track, release = f"/report?track={office.tracks[0]}", f"/report?release={office.release}"
    for path, report in ((f"/tracks/{office.tracks[0]}", track), (f"/releases/{office.release}", release)):
        assert report in {link["href"] for link in office.page("second", path).every("a")}
        assert report not in {link["href"] for link in office.page("artist", path).every("a")}
        page = office.page("second", report)
        assert forms(page, "/moderation/reports")
        assert MARKUP in page.text
    answer = office.browsers["visitor"].get(track)
    assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/sign-in")
    assert office.browsers["second"].get(f"/report?track={uuid4()}").status_code == 404


def test_a_takedown_is_told_to_everybody_with_its_reason_and_never_who_reported(office: Office) -> None:
    text, track = f"I am Ann. {MARKUP}", office.tracks[1]
    reporter = reported(office, {"track_id": track}, text)
    page = office.page("operator", "/run/reports")
    assert text in page.text
    waiting = office.operator.get("/api/v1/moderation/reports", limit=200)
    (report,) = [each["id"] for each in waiting if each["subject"]["id"] == track]
    path = f"/moderation/reports/{report}/decision"
    assert forms(page, path)
    decided = {"outcome": "taken-down", "ground": "copyright", "reason": REASON}
    decision = office.operator.post(f"/api/v1{path}", decided)["id"]
    for who in ("visitor", "operator", "artist"):
        told = office.page(who, "/moderation").text
        assert REASON in told
        assert "I am Ann" not in told
        assert reporter.name not in told
    assert office.browsers["visitor"].get(f"/tracks/{track}").status_code == 404
    assert "The co-op has taken this down" in office.page("artist", f"/tracks/{track}").text
    assert forms(office.page("artist", "/moderation/own"), f"/moderation/{decision}/appeal")
    office.artist.post(f"/api/v1/moderation/{decision}/appeal", {"text": MARKUP})
    assert not forms(office.page("artist", "/moderation/own"), f"/moderation/{decision}/appeal")
    answer = f"/moderation/{decision}/appeal/decision"
    assert not forms(office.page("operator", "/run/reports"), answer), "who took it down"
    assert forms(office.page("second", "/run/reports"), answer)
    office.second.post(f"/api/v1{answer}", {"outcome": "restored", "reason": REASON})
    assert office.page("visitor", f"/tracks/{track}").text.count(MARKUP) >= 1
    assert office.page("visitor", "/moderation").text.count(REASON) >= 2
