"""Many at the same time: nobody overdraws, nobody pays twice, and the same request has one answer."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from tests.service.coop import (
    PRICES_MICRO,
    Coop,
    Person,
    Request,
    Track,
    at_once,
    openings,
    records,
    refusal,
)

LISTENERS = 32
OPENING_THREADS = 8
STORM = 50
TRACK_S = 3.0
SPEND_MICRO = 7 * PRICES_MICRO[0]


@pytest.fixture(scope="module")
def tracks(coop: Coop) -> list[Track]:
    return [coop.a_published_track(TRACK_S, number) for number in range(3)]


@pytest.fixture(scope="module")
def crowd(coop: Coop) -> list[Person]:
    with ThreadPoolExecutor(OPENING_THREADS) as pool:
        return list(pool.map(lambda _: coop.a_listener(SPEND_MICRO), range(LISTENERS)))


def _plays(person: Person, tracks: list[Track]) -> list[Request]:
    return [Request(person, "POST", "/plays", {"track_id": track.id}) for track in tracks]


def test_a_crowd_on_the_same_tracks_spends_what_it_has_and_no_more(
    coop: Coop, crowd: list[Person], tracks: list[Track]
) -> None:
    paid_micro: dict[str, int] = dict.fromkeys((person.id for person in crowd), 0)
    ordinals: dict[tuple[str, str], list[int]] = {}
    # Three rounds of twice three plays each: more than anybody can pay for.
    for _ in range(3):
        opening = [request for person in crowd for request in _plays(person, tracks * 2)]
        opened = [answer.json() for answer in at_once(opening)]
        coop.traces.secrets.update(o["play_token"] for o in opened)
        recording = [
            record
            for request, o in zip(opening, opened, strict=True)
            for record in records(request.person, [o], skip_ahead=True)
        ]
        for request, answer in zip(recording, at_once(recording), strict=True):
            assert answer.status_code in {200, 402, 409}, answer.text
            if answer.status_code == 200:
                told = answer.json()
                paid_micro[request.person.id] += told["price_micro"]
                ordinals.setdefault((request.person.id, told["track_id"]), []).append(told["ordinal"])

    for heard in ordinals.values():
        assert heard == list(range(1, len(heard) + 1))
    for person in crowd:
        held = coop.settled(person)
        assert held["balance_micro"] == held["spendable_micro"] == SPEND_MICRO - paid_micro[person.id] >= 0
        progress = person.get("/wallet/tracks")["items"]
        assert sum(t["paid_micro"] for t in progress) == paid_micro[person.id]
    # Some ran out of credits, and nobody was refused what she could pay: what is left buys no next play.
    assert max(paid_micro.values()) == SPEND_MICRO
    coop.require_balanced_books()


def test_one_listener_on_many_devices_and_tracks_never_overdraws(coop: Coop, tracks: list[Track]) -> None:
    listener = coop.a_listener(SPEND_MICRO)
    devices = [listener, *(listener.api_token() for _ in range(7))]
    paid_micro = 0
    for _ in range(4):
        opening = [request for device in devices for request in _plays(device, tracks)]
        opened = [answer.json() for answer in at_once(opening)]
        recording = [
            record
            for request, o in zip(opening, opened, strict=True)
            for record in records(request.person, [o], skip_ahead=True)
        ]
        answers = at_once(recording)
        assert {answer.status_code for answer in answers} <= {200, 402, 409}
        paid_micro += sum(answer.json()["price_micro"] for answer in answers if answer.status_code == 200)
    held = coop.settled(listener)
    assert held["balance_micro"] == SPEND_MICRO - paid_micro
    assert held["balance_micro"] >= 0
    assert paid_micro == sum(track["paid_micro"] for track in listener.get("/wallet/tracks")["items"])
    assert held["spent_this_month_micro"] == paid_micro


def test_a_budget_holds_against_many_devices_at_once(coop: Coop, tracks: list[Track]) -> None:
    listener = coop.a_listener(1_000 * PRICES_MICRO[0])
    listener.limit(monthly_budget_micro=2 * PRICES_MICRO[0])
    opened = [o for track in tracks for o in openings(listener, track, 4)]
    answers = at_once(records(listener, opened, skip_ahead=True))
    assert sum(answer.status_code == 200 for answer in answers) == 2
    assert {answer.status_code for answer in answers} == {200, 403, 409}
    assert listener.get("/wallet")["spent_this_month_micro"] == 2 * PRICES_MICRO[0]


@pytest.mark.parametrize("kind", ["play", "buyout"])
def test_a_record_sent_fifty_times_at_once_counts_once_and_is_answered_alike(
    coop: Coop, tracks: list[Track], kind: str
) -> None:
    listener = coop.a_listener(2 * 511 * PRICES_MICRO[0])
    opened = listener.open(tracks[0], kind)
    answers = at_once(records(listener, [opened] * STORM, skip_ahead=True))
    answers.append(listener.record(opened, skip_ahead=True))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert listener.spendable_micro == 2 * 511 * PRICES_MICRO[0] - opened["price_micro"]
    coop.settled(listener)
    assert listener.record(opened, skip_ahead=True).content == answers[0].content


def test_a_top_up_sent_fifty_times_at_once_is_booked_once_and_answered_alike(coop: Coop) -> None:
    listener = coop.a_listener()
    request = {"request_id": str(uuid4()), "listener_email": listener.email, "amount_minor": 7}
    booked = at_once([Request(coop.operator, "POST", "/treasury/topups", request)] * STORM)
    assert {answer.status_code for answer in booked} == {201}
    told = [answer.json() for answer in booked]
    assert sorted(t.pop("repeated") for t in told) == [False] + [True] * (STORM - 1)
    assert all(t == told[0] for t in told)
    other: dict[str, Any] = {**request, "amount_minor": 8}
    for answer in at_once([Request(coop.operator, "POST", "/treasury/topups", other)] * 5):
        refusal(answer, 409, "request-id-reused")
    assert listener.spendable_micro == told[0]["credits_micro"]


def test_two_amounts_under_one_request_id_at_once_are_booked_as_one_of_them(coop: Coop) -> None:
    listener = coop.a_listener()
    same = {"request_id": str(uuid4()), "listener_email": listener.email}
    amounts = itertools.islice(itertools.cycle((5, 6)), STORM)
    requests = [Request(coop.operator, "POST", "/treasury/topups", {**same, "amount_minor": a}) for a in amounts]
    answers = at_once(requests)
    booked = {answer.json()["amount_minor"] for answer in answers if answer.status_code == 201}
    assert len(booked) == 1
    assert sum(answer.status_code == 409 for answer in answers) == STORM // 2
    assert listener.spendable_micro == booked.pop() * PRICES_MICRO[0]


def test_an_account_opened_by_several_requests_at_once_is_opened_once(coop: Coop) -> None:
    person = coop.a_person()
    new = {"email": f"x{person.email}", "password": person.password, "name": "Twin"}
    coop.traces.emails.add(new["email"])
    answers = at_once([Request(person, "POST", "/users", new)] * 12)
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 11


def test_the_books_balance_and_wallets_hold_what_came_in_less_what_was_played(coop: Coop) -> None:
    held_micro = sum(coop.settled(person)["balance_micro"] for person in coop.people)
    coop.require_balanced_books()
    balances = {(b["account"], b["asset"]): b["balance_micro"] for b in coop.operator.get("/books")["balances"]}
    assert held_micro == balances["wallets", "credit"]
