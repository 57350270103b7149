"""People who use the service while it fails, ask again as their devices would, and note what they were promised."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import httpx

from streamcoop.demo import music
from streamcoop.demo.client import Json
from tests.faults.stand import Stand

PASSWORD = "correct horse battery"
REQUEST_S_MAX = 5.0
# Hashing a password and taking in a file take their time on a busy machine.
SLOW_REQUEST_S_MAX = 30.0
ASK_AGAIN_S = 0.1
# Longer than the service may be away.
GIVE_UP_S = 60.0
LISTENERS = 2
PAUSE_S = 0.1
TRACKS = 6
PLAYS_TO_OWN = 9
TOP_UP_MINOR = 500
# Of what all tracks cost together.
TOP_UPS = 2
ASK_TWICE = 0.1
PIECE_S = 1.0


class RunEnds(Exception):
    """The run is over: people go home."""


class StayedAway(Exception):
    """The service did not answer for GIVE_UP_S."""


@dataclass(frozen=True)
class Play:
    """A play that was acknowledged."""

    play_id: UUID
    listener_id: UUID
    track_id: UUID
    ordinal: int
    price_micro: int


@dataclass(frozen=True)
class TopUp:
    """A top-up that was acknowledged."""

    request_id: UUID
    listener_id: UUID
    credits_micro: int


@dataclass
class Notes:
    """What was acknowledged, in the order it was. Appending to a list needs no lock."""

    plays: list[Play] = field(default_factory=list)
    top_ups: list[TopUp] = field(default_factory=list)
    uploads: list[UUID] = field(default_factory=list)
    members: list[UUID] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Answers that contradict an earlier promise."""


class Device:
    """Somebody's way to the service: signs in, and asks again until there is an answer that means something."""

    def __init__(self, address: str, email: str, password: str, ends: threading.Event) -> None:
        self.email, self._password, self._ends = email, password, ends
        self.user_id: UUID | None = None
        self._last = "never asked"
        self.http = httpx.Client(base_url=address, timeout=REQUEST_S_MAX, trust_env=False)

    def join(self, artist: bool = False) -> None:
        """Open an account (again, if the answer was lost) and sign in."""
        new = {"email": self.email, "password": self._password, "name": "Somebody", "artist": artist}
        self.ask("POST", "/api/v1/users", new, HTTPStatus.CREATED, HTTPStatus.CONFLICT, timeout=SLOW_REQUEST_S_MAX)
        self.sign_in()

    def sign_in(self) -> None:
        """A new session."""
        credentials = {"email": self.email, "password": self._password}
        answer = self.ask("POST", "/api/v1/session", credentials, HTTPStatus.CREATED, timeout=SLOW_REQUEST_S_MAX)
        self.user_id = UUID(answer.json()["user"]["id"])

    def ask(self, method: str, path: str, body: Json = None, *expected: HTTPStatus, **more: Any) -> httpx.Response:
        """Ask until the service answers for itself; then one of `expected`, 200 to 202 by default."""
        deadline = time.monotonic() + GIVE_UP_S
        while True:
            answer = self._try(method, path, body, **more)
            if answer is not None and answer.status_code == HTTPStatus.UNAUTHORIZED and path != "/api/v1/session":
                self.sign_in()
            elif answer is not None:
                if answer.status_code not in (expected or (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED)):
                    raise AssertionError(f"{method} {path} answered {answer.status_code}: {answer.text[:300]}")
                return answer
            if self._ends.wait(ASK_AGAIN_S):
                raise RunEnds
            if time.monotonic() > deadline:
                raise StayedAway(f"{method} {path}: {self._last}")

    def _try(self, method: str, path: str, body: Json, **more: Any) -> httpx.Response | None:
        """One attempt; None if the service could not be reached or says that it cannot do it now."""
        try:
            answer = self.http.request(method, path, json=body, **more)
        except httpx.TransportError as error:
            self._last = repr(error)
            return None
        self._last = f"{answer.status_code} {answer.text[:200]}"
        away = answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
        return None if away or answer.status_code == HTTPStatus.TOO_MANY_REQUESTS else answer


@dataclass
class Audience:
    """Everybody who uses the service during a run, and what they note."""

    stand: Stand
    pieces: Path
    notes: Notes = field(default_factory=Notes)
    ends: threading.Event = field(default_factory=threading.Event)
    tracks: list[UUID] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    def open(self) -> None:
        """A co-op with an artist whose tracks can be played. Nothing fails yet."""
        self.treasurer = self._device(self.stand.service.operator_email, self.stand.service.operator_password)
        self.treasurer.sign_in()
        second = self.stand.service.second_officer_email, self.stand.service.second_officer_password
        self.second_officer = self._device(*second)
        self.second_officer.sign_in()
        self.artist = self.somebody()
        self.artist.join(artist=True)
        profile = self.artist.ask("POST", "/api/v1/artists", {"name": "Sekar"}).json()
        releases, release = f"/api/v1/artists/{profile['id']}/releases", {"title": "Release", "kind": "single"}
        published = self.release = self.artist.ask("POST", releases, release).json()["id"]
        self.tracks = [self.upload(number) for number in range(TRACKS)]
        for track_id in self.tracks:
            self.wait_until_ready(track_id)
        self.artist.ask("POST", f"/api/v1/releases/{published}/publish")
        self.release = self.artist.ask("POST", releases, release).json()["id"]

    @property
    def receipts(self) -> Path:
        """Where listeners keep their receipts."""
        folder = self.pieces / "receipts"
        folder.mkdir(exist_ok=True)
        return folder

    def start(self, seed: str) -> None:
        """Listeners begin to play, each in a thread."""
        for number in range(LISTENERS):
            rng = Random(f"{seed}:listener:{number}")  # what they do, not what they know
            thread = threading.Thread(target=self._play_on, args=(Listener(self, rng),), name=f"listener {number}")
            self._threads.append(thread)
            thread.start()

    def also(self, work: Callable[[], object], name: str) -> None:
        """Do something in a thread of its own; it has time until the run ends."""
        thread = threading.Thread(target=self._noting, args=(work,), name=name)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """Send everybody home."""
        self.ends.set()
        for thread in self._threads:
            thread.join(GIVE_UP_S)

    def top_up(self, listener: Device) -> TopUp:
        """The treasurer books a top-up, and asks again with the same request until it is acknowledged."""
        request_id = UUID(bytes=secrets.token_bytes(16))
        request = {"request_id": str(request_id), "listener_email": listener.email, "amount_minor": TOP_UP_MINOR}
        booked = self.treasurer.ask("POST", "/api/v1/treasury/topups", request).json()
        top_up = TopUp(request_id, UUID(booked["listener_id"]), booked["credits_micro"])
        self.notes.top_ups.append(top_up)
        return top_up

    def upload(self, number: int) -> UUID:
        """The artist uploads a piece nobody has heard; an upload whose answer was lost is found again."""
        path = music.encode(music.compose(secrets.randbits(32), PIECE_S), "mp3", {}, folder=self.pieces)
        content = path.read_bytes()
        answer = self.artist.ask(
            "POST",
            f"/api/v1/releases/{self.release}/tracks",
            None,
            HTTPStatus.CREATED,
            HTTPStatus.ACCEPTED,
            HTTPStatus.CONFLICT,
            params={"filename": f"piece-{number}.mp3"},
            content=content,
            headers={"Content-Type": "application/octet-stream"},
            timeout=SLOW_REQUEST_S_MAX,
        )
        told = answer.json()
        # There already: the first try's answer was lost. One that was not stored whole will be given up.
        track_id = UUID(told["id"] if answer.is_success else told["track_id"])
        if answer.is_success or self._is_kept(track_id):
            self.notes.uploads.append(track_id)
        return track_id

    def _is_kept(self, track_id: UUID) -> bool:
        answer = self.artist.ask("GET", f"/api/v1/tracks/{track_id}", None, HTTPStatus.OK, HTTPStatus.NOT_FOUND)
        return answer.is_success and answer.json()["state"] != "storing"

    def wait_until_ready(self, track_id: UUID) -> None:
        """Return once the track can be played."""
        while self.artist.ask("GET", f"/api/v1/tracks/{track_id}").json()["state"] != "ready":
            if self.ends.wait(ASK_AGAIN_S):
                raise RunEnds

    def admit(self) -> None:
        """Somebody applies for membership and is admitted."""
        applicant = self.somebody()
        applicant.join()
        applicant.ask(
            "POST", "/api/v1/membership", {"member_class": "listener"}, HTTPStatus.CREATED, HTTPStatus.CONFLICT
        )
        member_id = applicant.ask("GET", "/api/v1/membership").json()["id"]
        booking = {"request_id": str(uuid4())}
        self.treasurer.ask("POST", f"/api/v1/members/{member_id}/share", booking)
        for officer in (self.treasurer, self.second_officer):
            officer.ask("POST", f"/api/v1/members/{member_id}/approve", None, HTTPStatus.ACCEPTED, HTTPStatus.CONFLICT)
        self.notes.members.append(UUID(member_id))

    def _device(self, email: str, password: str) -> Device:
        return Device(self.stand.service.address, email, password, self.ends)

    def somebody(self) -> Device:
        """Somebody without an account yet."""
        return self._device(f"{secrets.token_hex(8)}@streamcoop.example", PASSWORD)

    def _play_on(self, listener: Listener) -> None:
        def play() -> None:
            while not self.ends.wait(PAUSE_S):
                listener.play()

        self._noting(play)

    def _noting(self, work: Callable[[], object]) -> None:
        try:
            work()
        except RunEnds:
            return
        except Exception as error:
            self.notes.broken.append(f"{threading.current_thread().name}: {error!r}")


class Listener:
    """Plays one track after the other until they are hers, then comes back as somebody else."""

    def __init__(self, audience: Audience, rng: Random) -> None:
        self._audience, self._rng = audience, rng
        self._left: list[UUID] = []
        self.device = audience.somebody()

    def prepare(self) -> None:
        """See to it that there is a play left, and credits for it."""
        if self._left:
            return
        self.device.http.close()
        self.device = self._audience.somebody()
        self.device.join()
        for _ in range(TOP_UPS):
            self._audience.top_up(self.device)
        self._left = list(self._audience.tracks)

    def play(self) -> Play | None:
        """One play, opened and recorded; None if the track was hers. A token that was worn out is left."""
        self.prepare()
        track_id = self._left[0]
        opened = self.device.ask("POST", "/api/v1/plays", {"track_id": str(track_id)}).json()
        if opened["free"]:
            self._left.pop(0)
            return None
        body = {"play_token": opened["play_token"], "skip_ahead": True}
        worn_out = HTTPStatus.GONE, HTTPStatus.FORBIDDEN
        answer = self.device.ask("POST", "/api/v1/plays/record", body, HTTPStatus.OK, *worn_out)
        if answer.status_code != HTTPStatus.OK:
            return None
        told = answer.json()
        assert self.device.user_id is not None
        play = Play(UUID(told["play_id"]), self.device.user_id, track_id, told["ordinal"], told["price_micro"])
        self._audience.notes.plays.append(play)
        if self._rng.random() < ASK_TWICE:
            again = self.device.ask("POST", "/api/v1/plays/record", body, HTTPStatus.OK, *worn_out)
            if again.status_code == HTTPStatus.OK and again.json() != told:
                self._audience.notes.broken.append(f"{told} became {again.json()}")
        return play

    def is_settled(self) -> bool:
        """Whether nothing of hers waits to be settled."""
        return bool(self.device.ask("GET", "/api/v1/wallet").json()["unsettled_micro"] == 0)
