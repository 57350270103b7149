"""API processes and workers are restarted one after the other, under load: nobody notices, and nothing is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamcoop.demo.client import REQUEST_S_MAX, Person, until
from streamcoop.embedded.temporary import Service
from tests.production.parts import API, WORKERS, is_used, log_of, needed, processes_of, replaced, serves
from tests.whole_service import draft_of, is_ready, operator_of, piece, published_track, rows, setting, somebody

pytestmark = needed

LISTENERS = 4
TRACKS = 3
# Long enough that most restarts catch a stream in the middle.
TRACK_S = 4.0
ROUNDS = 2
READY_S_MAX = 60.0
BACK_S_MAX = 60.0
SETTLED_S_MAX = 60.0


@dataclass
class Load:
    """What listeners and an artist ask for until they are told to stop, and whatever went wrong for them."""

    service: Service
    over: threading.Event = field(default_factory=threading.Event)
    wrong: list[str] = field(default_factory=list)
    answers: int = 0
    acknowledged: dict[str, int] = field(default_factory=dict)
    uploaded: list[str] = field(default_factory=list)

    def ask(self, someone: Person, method: str, path: str, **about: Any) -> httpx.Response | None:
        """One request. Anything but an answer below 500, whole, is noted as wrong."""
        try:
            answer = someone.http.request(method, path, timeout=REQUEST_S_MAX, **about)
        except httpx.TransportError as error:
            self.wrong.append(f"{method} {path[:20]}: {error!r}")
            return None
        self.answers += 1
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            self.wrong.append(f"{method} {path[:20]}: {answer.status_code} {answer.text[:200]}")
        return answer if answer.is_success else None

    def listen(self, listener: Person, tracks: list[str]) -> None:
        """Play track after track to its end, owned ones too."""
        number = 0
        while not self.over.is_set():
            number += 1
            opened = self.ask(listener, "POST", "/api/v1/plays", json={"track_id": tracks[number % len(tracks)]})
            if opened is None:
                continue
            play = opened.json()
            self.ask(listener, "GET", play["stream_url"])
            if play["free"]:
                continue
            told = self.ask(listener, "POST", "/api/v1/plays/record", json={"play_token": play["play_token"]})
            if told is not None:
                self.acknowledged[told.json()["play_id"]] = told.json()["price_micro"]

    def change(self, artist: Person, profile_id: str) -> None:
        """Requests that a proxy may not repeat."""
        number = 0
        while not self.over.is_set():
            number += 1
            self.ask(artist, "PATCH", f"/api/v1/artists/{profile_id}", json={"bio": f"Number {number}."})

    def upload(self, artist: Person, release: str, folder: Path) -> None:
        while not self.over.is_set():
            recording = piece(folder)
            path = f"/api/v1/releases/{release}/tracks"
            sent = self.ask(artist, "POST", path, params={"filename": recording.name}, content=recording.read_bytes())
            if sent is not None:
                self.uploaded.append(str(sent.json()["id"]))
            self.over.wait(1.0)


@pytest.fixture(scope="module")
def artist(service: Service) -> Person:
    return somebody(service, "Sekar").join(artist=True)


@contextmanager
def under_load(service: Service, artist: Person, folder: Path) -> Iterator[Load]:
    """Listeners play, and the artist uploads and edits, for the length of the block; all of it must go well."""
    tracks = [published_track(artist, folder, TRACK_S) for _ in range(TRACKS)]
    release, profile = draft_of(artist), artist.post("/api/v1/artists", {"name": "Gong"})["id"]
    operator, load = operator_of(service), Load(service)
    listeners = [somebody(service, f"Budi {number}").join() for number in range(LISTENERS)]
    for listener in listeners:
        operator.top_up(listener, 1_000)
    editor = Person(service.address, artist.name, artist.email, artist.password).sign_in()
    with ThreadPoolExecutor(LISTENERS + 2) as pool:
        going_on = [pool.submit(load.listen, listener, tracks) for listener in listeners]
        going_on += [pool.submit(load.change, editor, profile), pool.submit(load.upload, artist, release, folder)]
        try:
            yield load
        finally:
            load.over.set()
        for one in going_on:
            one.result()
    editor.http.close()
    assert load.wrong == [], f"{len(load.wrong)} of {load.answers}"
    for track_id in load.uploaded:
        until(lambda wanted=track_id: is_ready(artist, wanted), "an upload's rendition", READY_S_MAX)  # type: ignore[misc]
    _require_recorded_once_and_settled(service, load)


def _require_recorded_once_and_settled(service: Service, load: Load) -> None:
    owner_url = setting(service, "DATABASE_OWNER_URL")
    empty = "select 1 where not exists (select from ledger.play_queue)"
    until(lambda: rows(owner_url, empty) or None, "the plays to be settled", SETTLED_S_MAX)
    recorded = {str(play): price for play, price in rows(owner_url, "select id, price_micro from ledger.play")}
    assert len(load.acknowledged) > LISTENERS
    assert load.acknowledged.items() <= recorded.items()
    assert operator_of(service).get("/api/v1/books/check")["balanced"]


def test_each_api_process_is_restarted_and_nobody_notices(service: Service, artist: Person, tmp_path: Path) -> None:
    with under_load(service, artist, tmp_path):
        for line in [api.cmdline() for api in processes_of(service, *API)] * ROUNDS:
            (running,) = processes_of(service, *line)
            log = log_of(service, running)
            successor = replaced(service, running, signal.SIGTERM)
            until(lambda one=successor: serves(one) or None, "a successor to be ready", BACK_S_MAX)  # type: ignore[misc]
            since = log.stat().st_size
            # The other one is not restarted before the proxy sends listeners to this one again.
            until(lambda at=log, n=since: is_used(at, n) or None, "a listener to be sent there", BACK_S_MAX)  # type: ignore[misc]


def test_each_worker_is_restarted_and_no_task_is_lost(service: Service, artist: Person, tmp_path: Path) -> None:
    with under_load(service, artist, tmp_path):
        # The first of each pair, then the second.
        for number in ("-1@streamcoop", "-2@streamcoop"):
            workers = processes_of(service, *WORKERS, number)
            assert len(workers) == 3
            for successor in [replaced(service, worker, signal.SIGTERM) for worker in workers]:
                # Its pool's process is there.
                until(lambda one=successor: one.children() or None, "a successor's pool", BACK_S_MAX)  # type: ignore[misc]
