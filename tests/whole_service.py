"""The whole service for the tests that need it: one, started at first use and stopped at the end of the run."""

from __future__ import annotations

import json
import secrets
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psutil
import psycopg
import pytest
from dotenv import dotenv_values

from streamcoop.demo import music
from streamcoop.demo.client import REQUEST_S_MAX, Json, Person, until
from streamcoop.embedded.temporary import Service
from tests.membership.authenticator import Authenticator
from tests.production import running_on_chosen_parts

# Tests ask thousands of times from one address, and sign in with what is wrong on purpose.
UNLIMITED = {
    "STREAMCOOP_REQUESTS_PER_MINUTE_ADDRESS": "0",
    "STREAMCOOP_REQUESTS_PER_MINUTE_ACCOUNT": "0",
    "STREAMCOOP_SIGN_IN_FAILURES_FREE": "0",
}
# Short, so that what takes a month can be seen in a test. The grace exceeds the life of the tests' play tokens, which
# is ten seconds or three times a piece of a few.
SETTINGS = {
    "STREAMCOOP_EPOCH_SECONDS": "10",
    "STREAMCOOP_EPOCH_GRACE_SECONDS": "20",
    "STREAMCOOP_TOKEN_MS_MIN": "10000",
    "STREAMCOOP_LISTEN_MS_MAX": "500",
    "STREAMCOOP_FREE_EXTRA_MS": "300",
    "STREAMCOOP_UPLOAD_BYTES_MAX": str(32 << 20),
    "STREAMCOOP_LOG_BATCH_SECONDS": "1",
    "STREAMCOOP_LOG_BATCH_LISTENERS_MIN": "1",
    "STREAMCOOP_WAITING_SECONDS": "0",
    "STREAMCOOP_SUPPORTERS_MIN": "1",
    "STREAMCOOP_DISCUSSION_SECONDS": "0",
    "STREAMCOOP_BALLOT_SECONDS_MIN": "1",
    "STREAMCOOP_QUIET_SECONDS": "0",
    "STREAMCOOP_TIMELOCK_SECONDS": "1",
    **UNLIMITED,
}
PASSWORD = "correct horse battery"
READY_S_MAX = 120.0

_STARTED = pytest.StashKey[Service]()


@pytest.fixture(scope="session")
def service(request: pytest.FixtureRequest) -> Service:
    """The service that all such tests share, whichever of them asks first."""
    stash = request.config.stash
    if _STARTED not in stash:
        running = ExitStack()
        request.config.add_cleanup(running.close)
        stash[_STARTED] = running.enter_context(running_on_chosen_parts(SETTINGS))
    return stash[_STARTED]


def person(service: Service, name: str, email: str, password: str) -> Person:
    """Somebody who leaves no connection open, so that nobody has to be sent home at the end of a test."""
    someone = Person(service.address, name, email, password)
    someone.http = httpx.Client(
        base_url=service.address,
        timeout=REQUEST_S_MAX,
        trust_env=False,
        limits=httpx.Limits(max_keepalive_connections=0),
    )
    return someone


def somebody(service: Service, name: str) -> Person:
    """Somebody with an e-mail address of her own, and no account yet."""
    return person(service, name, f"{secrets.token_hex(8)}@streamcoop.example", PASSWORD)


def operator_of(service: Service) -> Person:
    """The first operator, who is treasurer too."""
    return person(service, "Operator", service.operator_email, service.operator_password).sign_in()


def second_officer_of(service: Service) -> Person:
    """The operator whose approval an admission needs beside the first one's."""
    return person(service, "Second officer", service.second_officer_email, service.second_officer_password).sign_in()


def a_passkey(service: Service, someone: Person) -> tuple[str, Authenticator]:
    """One that is registered."""
    site = urlsplit(setting(service, "PUBLIC_ADDRESS"))
    options = someone.post("/api/v1/passkeys/options", {"password": PASSWORD})["options"]
    authenticator = Authenticator(origin=f"{site.scheme}://{site.netloc}", rp_id=site.hostname or "")
    made = {"name": "phone", "credential": authenticator.made(options)}
    return str(someone.post("/api/v1/passkeys", made)["id"]), authenticator


def admit(service: Service, member_id: str) -> None:
    """An applicant's share is booked, and both officers approve: the chain follows."""
    officers = operator_of(service), second_officer_of(service)
    officers[0].post(f"/api/v1/members/{member_id}/share", {"request_id": str(uuid4())})
    for officer in officers:
        officer.post(f"/api/v1/members/{member_id}/approve")
        officer.http.close()


def draft_of(artist: Person, title: str = "Release") -> str:
    """A draft to upload to, of a new artist of hers."""
    profile = artist.post("/api/v1/artists", {"name": artist.name})
    return str(artist.post(f"/api/v1/artists/{profile['id']}/releases", {"title": title, "kind": "single"})["id"])


def piece(folder: Path, seconds: float = 1.0) -> Path:
    """A recording that nobody has uploaded before."""
    name = secrets.token_hex(4)
    return music.encode(
        music.compose(secrets.randbits(32), seconds), "mp3", {"title": f"Piece {name}"}, folder=folder, name=name
    )


def is_ready(artist: Person, track_id: str) -> Json | None:
    """The track once it can be played."""
    track = artist.get(f"/api/v1/tracks/{track_id}")
    assert track["state"] != "failed", track
    return track if track["state"] == "ready" else None


def published_track(artist: Person, folder: Path, seconds: float = 1.0) -> str:
    """A short track that can be played."""
    release = draft_of(artist)
    track_id = str(artist.upload(release, piece(folder, seconds))["id"])
    until(lambda: is_ready(artist, track_id), "the rendition", READY_S_MAX)
    artist.post(f"/api/v1/releases/{release}/publish")
    return track_id


def play_at_once(listener: Person, track_id: str) -> Json:
    """A play that counts without waiting; returns what was recorded."""
    opened = listener.post("/api/v1/plays", {"track_id": track_id})
    return listener.post("/api/v1/plays/record", {"play_token": opened["play_token"], "skip_ahead": True})


def setting(service: Service, name: str) -> str:
    """A setting as the running service has it."""
    value = dotenv_values(service.data_dir / "service.env")[f"STREAMCOOP_{name}"]
    assert value is not None
    return value


def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    """What a statement gives, in a transaction of its own."""
    with psycopg.connect(url) as conn:
        cursor = conn.execute(statement)
        return cursor.fetchall() if cursor.description else []


def supervisor_of(service: Service) -> psutil.Process:
    """The process that keeps the service up."""
    return psutil.Process(int(json.loads((service.data_dir / "running.json").read_text(encoding="utf-8"))["process"]))


def part_of(service: Service, *words: str) -> psutil.Process | None:
    """The part of this service, a child of its supervisor, whose command line has all these words."""
    for child in supervisor_of(service).children():
        try:
            line = " ".join(child.cmdline())
        except psutil.NoSuchProcess:
            continue
        if child.status() != psutil.STATUS_ZOMBIE and all(word in line for word in words):
            return child
    return None
