"""A running service as its people and its attackers use it: over HTTP, and with their own eyes on every byte."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
from dotenv import dotenv_values

from streamcoop.catalogue.lookup import playable
from streamcoop.demo import music
from streamcoop.demo.client import until
from streamcoop.embedded.temporary import Service
from streamcoop.playback.rule import Meter, Rule
from streamcoop.settings import SERVICE_ENV, Settings
from tests.whole_service import UNLIMITED

LISTEN_MS_MAX = 400
FREE_EXTRA_MS = 600
TOKEN_MS_MIN = 3_000
UPLOAD_BYTES_MAX = 12 << 20
DURATION_S_MAX = 120
# One minor unit of money buys exactly the first play of a track.
CREDIT_PRICE_MINOR = 500
MINOR_BUYS_MICRO = 1_000_000 // CREDIT_PRICE_MINOR
SETTINGS = {
    "STREAMCOOP_LISTEN_MS_MAX": str(LISTEN_MS_MAX),
    "STREAMCOOP_FREE_EXTRA_MS": str(FREE_EXTRA_MS),
    "STREAMCOOP_TOKEN_MS_MIN": str(TOKEN_MS_MIN),
    # No epoch ends while the tests run.
    "STREAMCOOP_EPOCH_SECONDS": "1000000000",
    "STREAMCOOP_UPLOAD_BYTES_MAX": str(UPLOAD_BYTES_MAX),
    "STREAMCOOP_DURATION_S_MAX": str(DURATION_S_MAX),
    "STREAMCOOP_CREDIT_PRICE_MINOR": str(CREDIT_PRICE_MINOR),
    **UNLIMITED,
}
RULE = Rule(LISTEN_MS_MAX, FREE_EXTRA_MS, TOKEN_MS_MIN)

PRICES_MICRO = tuple(2_000 << n for n in range(9))
TOTAL_MICRO = sum(PRICES_MICRO)
PROBLEM = "application/problem+json"
REQUEST_S_MAX = 60.0
WAIT_S_MAX = 60.0
CONNECTIONS_MAX = 40

Json = Any


@dataclass
class Traces:
    """What the service learnt from us, none of which belongs in a log."""

    secrets: set[str] = field(default_factory=set)
    emails: set[str] = field(default_factory=set)
    listeners: set[str] = field(default_factory=set)
    tracks: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Heard:
    """What came of asking for audio. `whole`: as many bytes as were announced."""

    status: int
    headers: httpx.Headers
    body: bytes
    whole: bool
    arrivals: list[tuple[float, int]]

    @property
    def problem(self) -> Json:
        return problem_of(self.status, self.headers, self.body)

    def bytes_by(self, at: float) -> int:
        """How many had come at an instant of the monotonic clock."""
        return max((total for when, total in self.arrivals if when <= at), default=0)


def problem_of(status: int, headers: httpx.Headers, body: bytes) -> Json:
    """The problem document of an answer, which is one."""
    assert headers["content-type"] == PROBLEM, (status, headers["content-type"], body[:200])
    problem = httpx.Response(status, content=body).json()
    assert problem["status"] == status
    assert problem["type"].startswith("/problems/")
    assert problem["title"]
    return problem


def refusal(answer: httpx.Response, status: int, kind: str) -> Json:
    """The problem document of an answer that must be this one."""
    problem = problem_of(answer.status_code, answer.headers, answer.content)
    assert (answer.status_code, problem["type"]) == (status, f"/problems/{kind}"), problem
    return problem


@dataclass
class Person:
    """Somebody with an account on one device: one session, or one API token, sent as a bearer token."""

    coop: Coop
    id: str
    email: str
    password: str
    secret: str

    @cached_property
    def http(self) -> httpx.Client:
        return self.coop.client(self.secret)

    def get(self, path: str, **params: Any) -> Json:
        answer = self.http.get(f"/api/v1{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Json = None) -> Json:
        answer = self.http.post(f"/api/v1{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def open(self, track: Track, kind: str = "play", codec: str = "mp3") -> Json:
        opened = self.post("/plays", {"track_id": track.id, "kind": kind, "codec": codec})
        self.coop.traces.secrets.add(opened["play_token"])
        return opened

    def record(self, opened: Json, skip_ahead: bool = False) -> httpx.Response:
        body = {"play_token": opened["play_token"], "skip_ahead": skip_ahead}
        return self.http.post("/api/v1/plays/record", json=body)

    def hear(self, opened: Json, range_: str | None = None, method: str = "GET", **params: Any) -> Heard:
        """Ask for a play's audio and take what comes, to the end or to where the connection ends."""
        return listened(self.http, method, opened["stream_url"], range_, **params)

    def pay(self, track: Track) -> Json:
        """One paid play, skipping ahead."""
        answer = self.record(self.open(track), skip_ahead=True)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def buy(self, track: Track) -> httpx.Response:
        return self.record(self.open(track, kind="buyout"))

    @property
    def spendable_micro(self) -> int:
        return int(self.get("/wallet")["spendable_micro"])

    def limit(self, monthly_budget_micro: int | None = None, stop_before_ordinal: int | None = None) -> None:
        limits = {"monthly_budget_micro": monthly_budget_micro, "stop_before_ordinal": stop_before_ordinal}
        assert self.http.put("/api/v1/wallet/limits", json=limits).status_code == 200

    def progress(self, track: Track) -> tuple[int, int, bool]:
        """(plays, paid, owned) of a track, as the wallet tells it."""
        mine = [t for t in self.get("/wallet/tracks")["items"] if t["track_id"] == track.id]
        return (mine[0]["plays"], mine[0]["paid_micro"], mine[0]["owned"]) if mine else (0, 0, False)

    def other_session(self) -> Person:
        """The same account, signed in on another device."""
        return self.coop.signed_in(self.email, self.password)

    def api_token(self, *scopes: str) -> Person:
        """The same account by a personal API token."""
        made = self.post("/me/tokens", {"name": "a device", "scopes": scopes or ["listen", "wallet"]})
        self.coop.traces.secrets.add(made["secret"])
        return Person(self.coop, self.id, self.email, self.password, made["secret"])


def listened(http: httpx.Client, method: str, url: str, range_: str | None = None, **params: Any) -> Heard:
    """Ask for audio and take what comes."""
    headers = {"Range": range_} if range_ is not None else {}
    body, arrivals = b"", []
    with http.stream(method, url, headers=headers, params=params) as answer:
        try:
            for block in answer.iter_raw():
                body += block
                arrivals.append((time.monotonic(), len(body)))
            whole = True
        except httpx.RemoteProtocolError:
            whole = False
        return Heard(answer.status_code, answer.headers, body, whole, arrivals)


@dataclass(frozen=True)
class Track:
    """A published track, the file it was made from, and its mp3's measures."""

    id: str
    release_id: str
    source: bytes
    artist: Person
    meter: Meter

    @property
    def free_bytes(self) -> int:
        return self.meter.free_bytes

    @property
    def size(self) -> int:
        return self.meter.size


@dataclass
class Coop:
    """The service under test, its operator, and the means to people it."""

    service: Service
    traces: Traces = field(default_factory=Traces)
    people: list[Person] = field(default_factory=list)
    _clients: list[httpx.Client] = field(default_factory=list)
    _tracks: dict[tuple[float, int], Track] = field(default_factory=dict)

    @cached_property
    def settings(self) -> Settings:
        """The service's own settings, from its folder."""
        return Settings(_env_file=self.service.data_dir / SERVICE_ENV)  # type: ignore[call-arg]

    @cached_property
    def disk(self) -> Path:
        """The folder that the API's processes keep their own files in."""
        told = dotenv_values(self.service.data_dir / SERVICE_ENV)
        return Path(told.get("STREAMCOOP_DATA_DIR") or self.service.data_dir)

    @cached_property
    def operator(self) -> Person:
        self.traces.emails.add(self.service.operator_email)
        self.traces.secrets.add(self.service.operator_password)
        return self.signed_in(self.service.operator_email, self.service.operator_password)

    @cached_property
    def artist(self) -> Person:
        """The artist of the tracks that nothing is said about."""
        return self.an_artist()

    @cached_property
    def visitor(self) -> httpx.Client:
        return self.client(None)

    def client(self, secret: str | None, **about: Any) -> httpx.Client:
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        client = httpx.Client(
            base_url=self.service.address, timeout=REQUEST_S_MAX, trust_env=False, headers=headers, **about
        )
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def signed_in(self, email: str, password: str) -> Person:
        answer = self.visitor.post("/api/v1/session", json={"email": email, "password": password})
        assert answer.status_code == 201, answer.text
        self.visitor.cookies.clear()
        session = answer.json()
        self.traces.secrets.add(session["session"])
        return Person(self, session["user"]["id"], email, password, session["session"])

    def a_person(self, artist: bool = False) -> Person:
        email, password = f"{secrets.token_hex(8)}@people.streamcoop.example", secrets.token_urlsafe(16)
        self.traces.emails.add(email)
        self.traces.secrets.add(password)
        new = {"email": email, "password": password, "name": "Somebody", "artist": artist}
        assert self.visitor.post("/api/v1/users", json=new).status_code == 201
        person = self.signed_in(email, password)
        self.traces.listeners.add(person.id)
        self.people.append(person)
        return person

    def a_listener(self, credits_micro: int = 0) -> Person:
        """A listener with exactly so many micro-credits."""
        listener = self.a_person()
        if credits_micro:
            amount_minor, rest = divmod(credits_micro, MINOR_BUYS_MICRO)
            assert not rest, "no amount of money buys that"
            self.top_up(listener, amount_minor)
        return listener

    def top_up(self, listener: Person, amount_minor: int) -> None:
        request = {"request_id": str(uuid4()), "listener_email": listener.email, "amount_minor": amount_minor}
        self.operator.post("/treasury/topups", request)

    def an_artist(self) -> Person:
        return self.a_person(artist=True)

    def a_release(self, artist: Person) -> str:
        """A draft to upload to."""
        profile = artist.post("/artists", {"name": "Kyai Guntur"})
        return str(artist.post(f"/artists/{profile['id']}/releases", {"title": "Gong", "kind": "ep"})["id"])

    def upload(self, artist: Person, release_id: str, content: bytes, filename: str = "piece.wav") -> httpx.Response:
        path = f"/api/v1/releases/{release_id}/tracks"
        return artist.http.post(path, params={"filename": filename}, content=content)

    def a_published_track(self, seconds: float = 3.0, number: int = 0) -> Track:
        """A published track of this length. The same number is the same track all through the session."""
        if (seconds, number) not in self._tracks:
            self._tracks[seconds, number] = self.publish(seconds)
        return self._tracks[seconds, number]

    def publish(self, seconds: float) -> Track:
        """A fresh track that nobody else plays."""
        source = music.compose(random.getrandbits(32), seconds)
        release_id = self.a_release(self.artist)
        uploaded = self.upload(self.artist, release_id, source)
        assert uploaded.status_code == 202, uploaded.text
        track_id = uploaded.json()["id"]
        until(lambda: self._rendered(track_id), "a rendition", WAIT_S_MAX)
        self.artist.post(f"/releases/{release_id}/publish")
        self.traces.tracks.add(track_id)
        return Track(track_id, release_id, source, self.artist, asyncio.run(self._meter(track_id)))

    def _rendered(self, track_id: str) -> bool | None:
        track = self.artist.get(f"/tracks/{track_id}")
        assert track["state"] != "failed", track
        return True if track["state"] == "ready" else None

    async def _meter(self, track_id: str) -> Meter:
        async with await psycopg.AsyncConnection.connect(self.settings.database_url.get_secret_value()) as conn:
            found = (await playable(conn, [UUID(track_id)])).get(UUID(track_id))
        assert found is not None
        mp3 = found.renditions["mp3"]
        listen_ms, free_ms = RULE.listen_ms(found.duration_ms), RULE.free_ms(found.duration_ms)
        return Meter(mp3.size, mp3.header_bytes, mp3.duration_ms, listen_ms, free_ms)

    def settled(self, listener: Person) -> Json:
        """The listener's wallet once nothing is left to settle."""

        def wallet() -> Json | None:
            held = listener.get("/wallet")
            return held if held["unsettled_micro"] == 0 else None

        return until(wallet, "plays to be settled", WAIT_S_MAX)

    def require_balanced_books(self) -> None:
        report = self.operator.get("/books/check")
        assert report["balanced"], report["findings"]


@dataclass(frozen=True)
class Request:
    """Something to be asked for together with others."""

    person: Person
    method: str
    path: str
    body: Json = None


def at_once(requests: Sequence[Request]) -> list[httpx.Response]:
    """Ask for all of it as much at the same time as connections allow. Answers in the order of the requests."""
    return asyncio.run(_at_once(requests))


async def _at_once(requests: Sequence[Request]) -> list[httpx.Response]:
    """By plain sockets: httpx would use up the machine that the service needs."""
    address = httpx.URL(requests[0].person.coop.service.address)
    waiting = iter(enumerate(requests))
    answers: dict[int, httpx.Response] = {}

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        for number, request in waiting:
            writer.write(_written(request))
            answers[number] = await _read(reader)
        writer.close()
        await writer.wait_closed()

    async with asyncio.timeout(REQUEST_S_MAX):
        await asyncio.gather(*(connection() for _ in range(min(CONNECTIONS_MAX, len(requests)))))
    return [answers[number] for number in range(len(requests))]


def _written(request: Request) -> bytes:
    body = b"" if request.body is None else json.dumps(request.body).encode()
    head = (
        f"{request.method} /api/v1{request.path} HTTP/1.1",
        "Host: service",
        f"Authorization: Bearer {request.person.secret}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


async def _read(reader: asyncio.StreamReader) -> httpx.Response:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status, *lines = head.strip().split("\r\n")
    headers = httpx.Headers([(name, value) for name, _, value in (line.partition(": ") for line in lines)])
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return httpx.Response(int(status.split()[1]), headers=headers, content=body)


def records(person: Person, opened: Iterable[Json], skip_ahead: bool = False) -> list[Request]:
    """The requests to record these plays."""
    return [
        Request(person, "POST", "/plays/record", {"play_token": o["play_token"], "skip_ahead": skip_ahead})
        for o in opened
    ]


def openings(person: Person, track: Track, count: int) -> list[Json]:
    """So many plays of a track, opened at once."""
    answers = at_once([Request(person, "POST", "/plays", {"track_id": track.id})] * count)
    assert {answer.status_code for answer in answers} == {201}
    opened = [answer.json() for answer in answers]
    person.coop.traces.secrets.update(o["play_token"] for o in opened)
    return opened


@contextmanager
def unchanged(reading: Callable[[], Any]) -> Iterator[None]:
    """What is read after the block is what was read before it."""
    before = reading()
    yield
    assert reading() == before


def read(path: Path) -> str:
    """A log, whole."""
    return path.read_text(encoding="utf-8", errors="replace")
