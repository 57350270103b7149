"""A service that was backed up while it was used, and started again from the backup."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from streamcoop.demo.client import Json, Person, until
from streamcoop.embedded.temporary import Service, running_service
from tests.conftest import PASSABLE
from tests.maintenance.service_command import streamcoop
from tests.whole_service import (
    SETTINGS,
    draft_of,
    is_ready,
    operator_of,
    person,
    piece,
    play_at_once,
    published_track,
    rows,
    setting,
    somebody,
)
from tests.workers.test_faults import PARTS, suspended

READY_S_MAX = 120.0
CLOSED_S_MAX = 120.0
SETTLED_S_MAX = 60.0
TRACKS = 3


@dataclass
class Listening:
    """A listener who plays on until told to stop, and what she was promised."""

    listener: Person
    tracks: list[str]
    acknowledged: list[Json]
    ended: threading.Event

    def play_on(self) -> None:
        while not self.ended.is_set():
            for track_id in self.tracks:
                opened = self.listener.post("/api/v1/plays", {"track_id": track_id})
                if not opened["free"]:
                    body = {"play_token": opened["play_token"], "skip_ahead": True}
                    self.acknowledged.append(self.listener.post("/api/v1/plays/record", body))


def owned_original(listener: Person, track_id: str) -> bytes:
    answer = listener.http.get(f"/api/v1/tracks/{track_id}/original")
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.mark.timeout(900)
def test_what_was_acknowledged_before_a_backup_is_there_after_a_restore(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="streamcoop-backup-") as folder:
        Path(folder).chmod(PASSABLE)
        old_home, new_home, backup = Path(folder, "old"), Path(folder, "new"), Path(folder, "monday")
        with running_service(SETTINGS, data_dir=old_home) as service:
            artist = somebody(service, "Sekar").join(artist=True)
            tracks = [published_track(artist, tmp_path) for _ in range(TRACKS)]
            listener = somebody(service, "Budi").join()
            operator_of(service).top_up(listener, 1_000)
            listener.buy(tracks[0])
            original = owned_original(listener, tracks[0])
            # Nobody has rendered it when the backup is taken: its request stands in the broker, which is not in it.
            with suspended(service, *PARTS["the media worker"]):
                release = draft_of(artist, "Unfinished")
                unfinished = str(artist.upload(release, piece(tmp_path))["id"])
                listening = Listening(somebody(service, "Wati").join(), tracks, [], threading.Event())
                operator_of(service).top_up(listening.listener, 1_000)
                playing = threading.Thread(target=listening.play_on)
                playing.start()
                try:
                    until(lambda: len(listening.acknowledged) >= 2 or None, "some plays", READY_S_MAX)
                    before = list(listening.acknowledged)
                    taken = streamcoop(old_home, "backup", str(backup))
                finally:
                    listening.ended.set()
                    playing.join()
            assert taken.returncode == 0, taken.stderr

        restored = streamcoop(new_home, "restore", str(backup))
        assert restored.returncode == 0, restored.stderr
        assert "The books balance." in restored.stdout

        with running_service(SETTINGS, data_dir=new_home) as again:
            assert again.operator_password == service.operator_password
            budi = person(again, "Budi", listener.email, listener.password).sign_in()
            assert owned_original(budi, tracks[0]) == original
            require_settled(again)
            found = {str(play_id) for (play_id,) in rows(owner_url(again), "select id from ledger.play")}
            assert {recorded["play_id"] for recorded in before} <= found
            # The sweep finds what only the lost queue knew; its ten minutes' patience has passed.
            rows(owner_url(again), f"update coop.track set due_at = now() where id = '{unfinished}'")
            sekar = person(again, "Sekar", artist.email, artist.password).sign_in()
            until(lambda: is_ready(sekar, unfinished), "the rendering", READY_S_MAX)
            wati = person(again, "Wati", listening.listener.email, listening.listener.password).sign_in()
            own_tracks = {item["track_id"]: item["plays"] for item in wati.get("/api/v1/wallet/tracks")["items"]}
            another = next((track for track in tracks if own_tracks.get(track, 0) < 9), None)
            if another is not None:
                play_at_once(wati, another)
            require_settled(again)
            until(lambda: closed_since_restore(again), "an epoch with plays to be closed", CLOSED_S_MAX)
            assert operator_of(again).get("/api/v1/books/check")["balanced"]


def owner_url(service: Service) -> str:
    return setting(service, "DATABASE_OWNER_URL")


def require_settled(service: Service) -> None:
    waiting = "select count(*) from ledger.play_queue"
    until(lambda: rows(owner_url(service), waiting) == [(0,)] or None, "settling", SETTLED_S_MAX)


def closed_since_restore(service: Service) -> bool | None:
    """Whether all that was collected is shared out."""
    left = "select count(*) from ledger.account where kind = 'track' and balance_micro <> 0"
    return rows(owner_url(service), left) == [(0,)] or None
