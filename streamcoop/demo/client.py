"""The service as the demo's people use it: over HTTP, knowing nothing else of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import httpx

REQUEST_S_MAX = 60.0
POLL_S = 0.25
# Long music is not heard to its end: the next one comes so long after the play counts.
LISTEN_ON_S = 2.0

Json = Any
Result = TypeVar("Result")


class DemoFailed(Exception):
    """The demo met something it did not expect; the message says what."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A problem document that was the answer."""

    status: int
    type: str
    title: str


class Person:
    """Somebody with an account, signed in."""

    def __init__(self, address: str, name: str, email: str, password: str) -> None:
        self.name, self.email, self.password = name, email, password
        self.http = httpx.Client(base_url=address, timeout=REQUEST_S_MAX, trust_env=False)

    def join(self, artist: bool = False) -> Person:
        """Open an account and sign in."""
        new = {"email": self.email, "password": self.password, "name": self.name, "artist": artist}
        self.post("/api/v1/users", new)
        return self.sign_in()

    def sign_in(self) -> Person:
        """Sign in; the session travels in a cookie from here on."""
        self.post("/api/v1/session", {"email": self.email, "password": self.password})
        return self

    def get(self, path: str, **params: Any) -> Json:
        """A resource as JSON. Raises DemoFailed for any problem."""
        return self._answer(self.http.get(path, params={k: v for k, v in params.items() if v is not None}))

    def post(self, path: str, body: Json = None) -> Json:
        """Send and expect success."""
        return self._answer(self.http.post(path, json=body))

    def put(self, path: str, body: Json) -> Json:
        """Replace and expect success."""
        return self._answer(self.http.put(path, json=body))

    def refused(self, path: str, body: Json) -> Refusal:
        """Send and expect a problem."""
        answer = self.http.post(path, json=body)
        if answer.is_success:
            raise DemoFailed(f"POST {path} should have been refused and was not")
        problem = answer.json()
        return Refusal(answer.status_code, problem["type"], problem["title"])

    def upload(self, release_id: str, path: Path) -> Json:
        """Upload a file to a release."""
        with path.open("rb") as audio:
            return self._answer(
                self.http.post(
                    f"/api/v1/releases/{release_id}/tracks",
                    params={"filename": path.name},
                    content=iter(lambda: audio.read(1 << 16), b""),
                    headers={"Content-Type": "application/octet-stream", "Content-Length": str(path.stat().st_size)},
                )
            )

    def listen(self, track_id: str, codec: str = "mp3") -> Json:
        """Play a track as a player does: to its end, or on to the next one once it counts. Returns the opening."""
        opened = self.post("/api/v1/plays", {"track_id": track_id, "codec": codec})
        leave_at = time.monotonic() + opened["counts_after_ms"] / 1000 + LISTEN_ON_S
        received = 0
        with self.http.stream("GET", opened["stream_url"]) as audio:
            if audio.status_code != httpx.codes.OK:
                audio.read()
                self._answer(audio)
            for block in audio.iter_bytes():
                received += len(block)
                if time.monotonic() > leave_at:
                    break
            else:
                if received != int(audio.headers["content-length"]):
                    raise DemoFailed(f"{self.name} got {received} bytes of {audio.headers['content-length']}")
        if not opened["free"]:
            self.post("/api/v1/plays/record", {"play_token": opened["play_token"]})
        return opened

    def buy(self, track_id: str) -> Json:
        """Pay what is left of a track and own it."""
        opened = self.post("/api/v1/plays", {"track_id": track_id, "kind": "buyout"})
        return self.post("/api/v1/plays/record", {"play_token": opened["play_token"]})

    def top_up(self, listener: Person, amount_minor: int) -> Json:
        """As the treasurer: book what a listener paid at the cash desk."""
        request = {"request_id": str(uuid4()), "listener_email": listener.email, "amount_minor": amount_minor}
        return self.post("/api/v1/treasury/topups", request)

    def _answer(self, answer: httpx.Response) -> Json:
        if answer.is_success:
            return answer.json() if answer.content else None
        path = answer.request.url.path
        raise DemoFailed(
            f"{self.name}: {answer.request.method} {path} answered {answer.status_code}: {answer.text[:500]}"
        )


def until(found: Callable[[], Result | None], what: str, seconds: float) -> Result:
    """Ask again and again until something other than None is found. Raises DemoFailed past `seconds`."""
    deadline = time.monotonic() + seconds
    while (result := found()) is None:
        if time.monotonic() > deadline:
            raise DemoFailed(f"waited {seconds:.0f} s for {what}")
        time.sleep(POLL_S)
    return result
