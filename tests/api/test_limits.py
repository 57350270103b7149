"""Limits by address and account, and sign-ins that are throttled: on a service of their own, with low limits."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import math
import os
import secrets
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from streamcoop.accounts import passwords, throttle
from streamcoop.accounts.models import SignInDoor
from streamcoop.demo.client import until
from streamcoop.embedded import ports, process
from streamcoop.embedded.plan import source_root
from streamcoop.embedded.supervisor import API_STOP, answers_ready
from streamcoop.embedded.temporary import Service, running_service
from streamcoop.settings import PREFIX, settings
from streamcoop.traffic import KNOWN_MAX, MINUTE_S, Allowance, TooManyRequests, network_of
from tests.conftest import Database
from tests.whole_service import PASSWORD, UNLIMITED, rows, setting

ADDRESS_MAX = 60
ACCOUNT_MAX = 25
FREE = 3
READY_S_MAX = 90.0
POLL_S = 0.01
SAMPLES = 9
WRONG = "not the password"
LIMITED = {
    "STREAMCOOP_REQUESTS_PER_MINUTE_ADDRESS": str(ADDRESS_MAX),
    "STREAMCOOP_REQUESTS_PER_MINUTE_ACCOUNT": str(ACCOUNT_MAX),
    "STREAMCOOP_SIGN_IN_FAILURES_FREE": str(FREE),
}
assert LIMITED.keys() == UNLIMITED.keys()

# Each from a place of its own, by the word of the proxy that the tests are: the server trusts this machine.
_PLACES = itertools.count(int(ipaddress.ip_address("198.18.0.1")))


def a_place() -> str:
    return str(ipaddress.ip_address(next(_PLACES)))


@pytest.fixture(scope="module")
def limited() -> Iterator[Service]:
    with running_service(LIMITED) as service:
        yield service


@contextmanager
def another_process(service: Service, **environment: str) -> Iterator[str]:
    """The address of one more API process of this service."""
    port = ports.any_free(ports.LOOPBACK)
    address = f"http://{ports.LOOPBACK}:{port}"
    command = [sys.executable, "-m", "uvicorn", "streamcoop.app:create_app", "--factory", "--no-access-log"]
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    own |= {f"{PREFIX}DATA_DIR": str(service.data_dir)} | environment
    child = process.spawn(
        [*command, "--host", ports.LOOPBACK, "--port", str(port)],
        output=subprocess.DEVNULL,
        env=own,
        cwd=source_root(),
    )
    try:
        until(lambda: answers_ready(address) or None, "another API process", READY_S_MAX)
        yield address
    finally:
        process.stop(child, API_STOP)


@pytest.fixture(scope="module")
def other(limited: Service) -> Iterator[str]:
    """Another process, which trusts no proxy."""
    with another_process(limited, FORWARDED_ALLOW_IPS="") as address:
        yield address


def ask(address: str, path: str, place: str, method: str = "GET", **how: Any) -> httpx.Response:
    headers = {"X-Forwarded-For": place} | how.pop("headers", {})
    return httpx.request(method, f"{address}{path}", headers=headers, timeout=60, **how)


def sign_in(address: str, email: str, password: str, place: str) -> httpx.Response:
    return ask(address, "/api/v1/session", place, "POST", json={"email": email, "password": password})


def somebody(service: Service, place: str) -> str:
    email = f"{secrets.token_hex(8)}@people.streamcoop.example"
    new = {"email": email, "password": PASSWORD, "name": "Somebody"}
    assert ask(service.address, "/api/v1/users", place, "POST", json=new).status_code == 201
    return email


def refused(answer: httpx.Response, kind: str) -> int:
    """The seconds to wait that a refusal tells."""
    assert (answer.status_code, answer.json()["type"]) == (429, f"/problems/{kind}"), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["retry_after_s"] == int(answer.headers["retry-after"]) > 0
    return int(answer.headers["retry-after"])


def test_an_allowance_is_there_at_once_and_comes_back_evenly() -> None:
    allowance = Allowance(60)
    for _ in range(60):
        allowance.take("a", 1_000.0)
    with pytest.raises(TooManyRequests) as first:
        allowance.take("a", 1_000.0)
    assert first.value.facts == {"retry_after_s": 1}
    allowance.take("b", 1_000.0)
    allowance.take("a", 1_001.0)
    with pytest.raises(TooManyRequests):
        allowance.take("a", 1_001.5)
    for _ in range(60):
        allowance.take("a", 1_001.0 + MINUTE_S)


def test_an_allowance_of_nothing_is_no_limit_and_remembers_nobody() -> None:
    allowance = Allowance(0)
    for _ in range(1_000):
        allowance.take("a", 0.0)
    assert not allowance._full_at


def test_an_allowance_remembers_a_bounded_number() -> None:
    allowance = Allowance(1)
    for number in range(KNOWN_MAX + 100):
        allowance.take(number, 0.0)
    assert len(allowance._full_at) == KNOWN_MAX
    with pytest.raises(TooManyRequests):
        allowance.take(KNOWN_MAX + 99, 0.0)


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
        ("2001:db8:1:3::1", "2001:db8:1:3::"),
        ("::1", "::"),
        ("no address", "no address"),
    ],
)
def test_what_counts_as_one_address(host: str, network: str) -> None:
    assert network_of(host) == network


def test_an_address_that_asks_too_fast_is_told_when_to_go_on_and_others_are_not(limited: Service) -> None:
    place = a_place()
    with httpx.Client(base_url=limited.address, headers={"X-Forwarded-For": place}) as http:
        begun = time.monotonic()
        # What comes back meanwhile may be asked for as well.
        while (answer := http.get("/healthz")).status_code == 200:
            assert time.monotonic() < begun + MINUTE_S, "no limit was met"
        assert refused(answer, "too-many-requests") <= MINUTE_S / ADDRESS_MAX + 1
        assert refused(http.get("/api/v1/releases"), "too-many-requests")
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert ask(limited.address, "/healthz", a_place()).status_code == 200


def test_the_addresses_of_one_ipv6_network_share_their_allowance(limited: Service) -> None:
    with httpx.Client(base_url=limited.address) as http:
        answers = [
            http.get("/healthz", headers={"X-Forwarded-For": f"2001:db8:7:8::{number:x}"}).status_code
            for number in range(1, ADDRESS_MAX * 3)
        ]
        assert 429 in answers
        assert http.get("/healthz", headers={"X-Forwarded-For": "2001:db8:7:9::1"}).status_code == 200


def test_whoever_is_no_trusted_proxy_cannot_choose_the_address_it_is_counted_under(other: str) -> None:
    # From an address of this machine that no other test asks from.
    with httpx.Client(base_url=other, transport=httpx.HTTPTransport(local_address="127.0.0.2")) as http:
        answers = [
            http.get("/healthz", headers={"X-Forwarded-For": a_place()}).status_code for _ in range(ADDRESS_MAX * 3)
        ]
    assert 429 in answers


def test_an_account_has_one_allowance_wherever_it_asks_from(limited: Service) -> None:
    home = a_place()
    email = somebody(limited, home)
    bearer = {"Authorization": f"Bearer {sign_in(limited.address, email, PASSWORD, home).json()['session']}"}
    answers = [ask(limited.address, "/api/v1/me", a_place(), headers=bearer) for _ in range(ACCOUNT_MAX * 3)]
    assert answers[ACCOUNT_MAX - 1].status_code == 200
    assert refused(next(a for a in answers if a.status_code != 200), "too-many-requests")


@pytest.fixture
def books(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """The throttle without a service around it, so that its clock is the test's."""
    needed = {
        "DATABASE_URL": database.app_url,
        "BROKER_URL": "memory://",
        "OBJECTS_URL": "file:///nowhere",
        "CHAIN_RPC_URL": "http://127.0.0.1:1",
        "SECRET_KEY": "key",
        "SIGN_IN_FAILURES_FREE": str(FREE),
    }
    for name, value in needed.items():
        monkeypatch.setenv(f"{PREFIX}{name}", value)
    settings.cache_clear()
    with Session(database.engine) as session:
        yield session
    settings.cache_clear()


def waits(books: Session, doors: list[throttle.Door], failures: int, at: datetime) -> list[int]:
    """The seconds between so many failures, each as soon as it may be."""
    told = []
    for _ in range(failures):
        begun = at
        while True:
            try:
                throttle.attempt(books, doors, at)
                break
            except throttle.SignInPaused as paused:
                at += timedelta(seconds=int(paused.facts["retry_after_s"]))
        told.append(int((at - begun).total_seconds()))
    return told


def test_a_password_is_guessed_a_few_times_and_then_ever_more_slowly(books: Session) -> None:
    doors = throttle.doors("somebody@streamcoop.example", "198.18.0.1")
    told = waits(books, doors, FREE + 12, datetime(2026, 11, 1, tzinfo=UTC))
    assert told == [0] * FREE + [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]


def test_a_network_and_an_account_are_held_up_for_less(books: Session) -> None:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    network = throttle.doors_of_network("198.18.0.2")
    assert waits(books, network, FREE * 10 + 8, at) == [0] * FREE * 10 + [1, 2, 4, 8, 16, 32, 60, 60]
    account = [throttle.doors("somebody@streamcoop.example", "198.18.0.3")[2]]
    assert waits(books, account, FREE * 20 + 7, at) == [0] * FREE * 20 + [1, 2, 4, 8, 16, 30, 30]


def test_a_success_forgets_the_failures_and_old_doors_are_removed(books: Session) -> None:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    doors = throttle.doors("somebody@streamcoop.example", "198.18.0.4")
    for _ in range(2):
        assert waits(books, doors, FREE, at) == [0] * FREE
        at += timedelta(seconds=2)
        throttle.attempt(books, doors, at)
        throttle.succeeded(books, doors, at)
    kept = books.scalars(select(SignInDoor)).all()
    assert sorted(door.failures for door in kept) == [0, FREE * 2, FREE * 2]
    throttle.attempt(books, throttle.doors_of_network("198.18.0.5"), at + throttle.FORGET_AFTER * 2)
    assert [
        door.known_until is not None for door in books.scalars(select(SignInDoor).order_by(SignInDoor.failures))
    ] == [
        True,
        False,
    ], "the place that is known, and the new one"


def test_a_right_password_is_answered_like_a_wrong_one_while_it_must_wait(limited: Service) -> None:
    email, place = somebody(limited, a_place()), a_place()
    for _ in range(FREE):
        sign_in(limited.address, email, WRONG, place)
    _wait_for_a_minute(limited)
    right, wrong = (sign_in(limited.address, email, password, place) for password in (PASSWORD, WRONG))
    assert refused(right, "sign-in-paused")
    assert {**right.json(), "retry_after_s": 0} == {**wrong.json(), "retry_after_s": 0}


def _wait_for_a_minute(service: Service) -> None:
    """Whatever has failed a few times must wait for a minute: a machine that is busy outlasts a second."""
    rows(
        setting(service, "DATABASE_URL"),
        f"update coop.sign_in_door set free_at = now() + interval '1 minute' where failures >= {FREE}",
    )


def test_failures_on_one_process_count_on_another(limited: Service, other: str) -> None:
    email = somebody(limited, a_place())
    # The other process trusts no proxy: both see this machine.
    for number in range(FREE):
        assert sign_in((limited.address, other)[number % 2], email, WRONG, ports.LOOPBACK).status_code == 401
    _wait_for_a_minute(limited)
    for address in (limited.address, other):
        assert refused(sign_in(address, email, PASSWORD, ports.LOOPBACK), "sign-in-paused")


def test_guesses_made_at_once_are_counted_each(limited: Service) -> None:
    email, place = somebody(limited, a_place()), a_place()
    begun = time.monotonic()
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: sign_in(limited.address, email, WRONG, place).status_code, range(20)))
    # After the free ones, one more with each doubling of the seconds it took.
    doublings = math.ceil(math.log2(time.monotonic() - begun + 1))
    assert FREE <= answers.count(401) <= FREE + doublings
    assert answers.count(401) + answers.count(429) == 20


def test_failures_are_forgotten_after_a_while(limited: Service) -> None:
    email, place = somebody(limited, a_place()), a_place()
    for _ in range(FREE):
        sign_in(limited.address, email, WRONG, place)
    _wait_for_a_minute(limited)
    assert sign_in(limited.address, email, PASSWORD, place).status_code == 429
    rows(
        setting(limited, "DATABASE_URL"),
        "update coop.sign_in_door"
        " set free_at = free_at - interval '2 hours', forget_at = forget_at - interval '2 hours'",
    )
    for _ in range(FREE):
        assert sign_in(limited.address, email, WRONG, place).status_code == 401
    # What nobody knocks at any more is removed as others knock.
    assert rows(setting(limited, "DATABASE_URL"), "select 1 from coop.sign_in_door where forget_at < now()") == []


def test_a_member_can_sign_in_where_she_usually_is_however_many_strangers_guess(limited: Service) -> None:
    home = a_place()
    email = somebody(limited, home)
    assert sign_in(limited.address, email, PASSWORD, home).status_code == 201
    answers = [sign_in(limited.address, email, WRONG, a_place()).status_code for _ in range(FREE * 20 + 1)]
    assert set(answers[: FREE * 20]) == {401}
    _wait_for_a_minute(limited)
    assert refused(sign_in(limited.address, email, PASSWORD, a_place()), "sign-in-paused")
    assert sign_in(limited.address, email, PASSWORD, home).status_code == 201


def test_passwords_are_verified_a_few_at_a_time_and_not_too_many_wait() -> None:
    beyond, free, lock = 10, threading.Event(), threading.Lock()
    under_way: list[int] = [0, 0]

    def verify() -> None:
        with lock:
            under_way[0] += 1
            under_way[1] = max(under_way)
        assert free.wait(READY_S_MAX)
        with lock:
            under_way[0] -= 1

    async def storm() -> list[BaseException | None]:
        asked = passwords.AT_ONCE_MAX + passwords.WAITING_MAX + beyond
        attempts = [asyncio.ensure_future(passwords.in_turn(verify)) for _ in range(asked)]
        _, waiting = await asyncio.wait(attempts, return_when=asyncio.FIRST_EXCEPTION)
        async with asyncio.timeout(READY_S_MAX):
            while under_way[0] < passwords.AT_ONCE_MAX:
                await asyncio.sleep(POLL_S)
        free.set()
        assert len(waiting) >= passwords.AT_ONCE_MAX
        return await asyncio.gather(*attempts, return_exceptions=True)

    ended = asyncio.run(storm())
    refusals = [end for end in ended if end is not None]
    assert [type(refusal) for refusal in refusals] == [passwords.SignInsOverloaded] * beyond
    assert under_way == [0, passwords.AT_ONCE_MAX]


def test_an_address_without_an_account_is_answered_as_one_with_an_account(limited: Service) -> None:
    known, unknown, here, there = somebody(limited, a_place()), "nobody@people.streamcoop.example", a_place(), a_place()

    def told(email: str, place: str) -> list[Any]:
        answers = [sign_in(limited.address, email, WRONG, place) for _ in range(FREE + 1)]
        hidden = {"date", "content-length"}
        return [(a.status_code, a.text, {n: v for n, v in a.headers.items() if n not in hidden}) for a in answers]

    assert told(known, here) == told(unknown, there)


def test_an_address_without_an_account_takes_as_long_to_refuse(limited: Service) -> None:
    known = somebody(limited, a_place())

    def seconds(email: str) -> float:
        begun = time.perf_counter()
        assert sign_in(limited.address, email, WRONG, a_place()).status_code == 401
        return time.perf_counter() - begun

    seconds("nobody@people.streamcoop.example")
    pairs = [(seconds(known), seconds(f"{secrets.token_hex(8)}@people.streamcoop.example")) for _ in range(SAMPLES)]
    medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
    # Without a password to verify it would be a tenth.
    assert 0.5 < medians[0] / medians[1] < 2


def test_asking_which_addresses_are_taken_counts_like_failing_to_sign_in(limited: Service) -> None:
    taken, place = somebody(limited, a_place()), a_place()
    new = {"email": taken, "password": PASSWORD, "name": "Somebody"}
    asked = [ask(limited.address, "/api/v1/users", place, "POST", json=new).status_code for _ in range(FREE * 10)]
    assert set(asked) == {409}
    _wait_for_a_minute(limited)
    assert refused(ask(limited.address, "/api/v1/users", place, "POST", json=new), "sign-in-paused")


def test_the_table_of_failures_tells_neither_people_nor_addresses(limited: Service) -> None:
    place = a_place()
    email = somebody(limited, place)
    sign_in(limited.address, email, WRONG, place)
    stored = str(rows(setting(limited, "DATABASE_OWNER_URL"), "select encode(key, 'escape'), * from coop.sign_in_door"))
    assert email not in stored
    assert place not in stored
