"""While the service is read-only what only reads goes on, nothing is written, and nothing acknowledged is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg import errors

from streamcoop.demo.client import Json, Person, until
from streamcoop.embedded.temporary import Service
from streamcoop.migrate import migrate
from tests.maintenance.service_command import streamcoop
from tests.whole_service import draft_of, operator_of, play_at_once, published_track, setting, somebody
from tests.workers.test_faults import PARTS, suspended

SETTLED_S_MAX = 60.0
NOTICED_S_MAX = 180.0
WORKER_LOGS = ("credits", "worker", "media")
# Each process of a worker says once that it waits.
PROCESSES_MAX = 2
WAITING, GOING_ON = "waiting: the database is read-only", "going on: the database takes writes again"


@contextmanager
def read_only(service: Service) -> Iterator[None]:
    told = streamcoop(service.data_dir, "read-only", "on")
    try:
        assert told.returncode == 0, told.stderr
        assert "read-only" in told.stdout
        yield
    finally:
        assert streamcoop(service.data_dir, "read-only", "off").returncode == 0


@pytest.fixture(scope="module")
def artist(service: Service) -> Person:
    return somebody(service, "Sekar").join(artist=True)


@pytest.fixture(scope="module")
def track_id(artist: Person, service: Service, tmp_path_factory: pytest.TempPathFactory) -> str:
    return published_track(artist, tmp_path_factory.mktemp("piece"))


@pytest.fixture
def listener(service: Service) -> Person:
    someone = somebody(service, "Budi").join()
    operator_of(service).top_up(someone, 1_000)
    return someone


def readiness(service: Service) -> Json:
    answer = httpx.get(f"{service.address}/readyz", trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.json()


def require_refused(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.json()["type"] == "/problems/read-only"
    assert int(answer.headers["Retry-After"]) > 0


def test_what_reads_goes_on_and_what_writes_is_refused(
    service: Service, artist: Person, listener: Person, track_id: str, tmp_path: Path
) -> None:
    another = published_track(artist, tmp_path)
    listener.buy(another)
    release = draft_of(artist)
    assert readiness(service)["read_only"] is False
    with read_only(service):
        assert readiness(service) | {"status": "ready", "read_only": True} == readiness(service)
        opened = listener.post("/api/v1/plays", {"track_id": track_id})
        record = {"play_token": opened["play_token"], "skip_ahead": True}
        require_refused(listener.http.post("/api/v1/plays/record", json=record))
        limits = {"monthly_budget_micro": 5, "stop_before_ordinal": None}
        require_refused(listener.http.put("/api/v1/wallet/limits", json=limits))
        require_refused(artist.http.patch(f"/api/v1/releases/{release}", json={"title": "Another"}))

        preview = listener.http.get(f"/api/v1/tracks/{track_id}/preview")
        assert (preview.status_code, bool(preview.content)) == (200, True)
        with listener.http.stream("GET", opened["stream_url"]) as free_part:
            assert free_part.status_code == 200
            assert next(free_part.iter_bytes())
        owned = listener.post("/api/v1/plays", {"track_id": another})
        assert owned["free"]
        assert listener.http.get(f"/api/v1/tracks/{another}/original").status_code == 200
        assert listener.http.get(f"/api/v1/tracks/{another}/download?format=mp3").status_code == 200
        assert listener.http.get("/api/v1/library/owned.zip").status_code == 200
        assert listener.get("/api/v1/wallet")["balance_micro"] > 0
        # The owner is not the service: an upgrade's migrations run.
        migrate(setting(service, "DATABASE_OWNER_URL"))
    assert readiness(service)["read_only"] is False
    assert play_at_once(listener, track_id)["play_id"]


def test_it_is_the_database_that_refuses(service: Service) -> None:
    url = setting(service, "DATABASE_URL")
    with read_only(service), psycopg.connect(url) as conn, pytest.raises(errors.ReadOnlySqlTransaction):
        conn.execute("update coop.artist set name = name")
    with psycopg.connect(url) as conn:
        conn.execute("update coop.artist set name = name where false")


def test_the_workers_wait_without_a_word_and_go_on_with_what_was_acknowledged(
    service: Service, listener: Person, track_id: str
) -> None:
    logs = {name: service.data_dir / "logs" / f"{name}.log" for name in WORKER_LOGS}
    begun = {name: log.stat().st_size for name, log in logs.items()}

    def said(name: str) -> str:
        with logs[name].open("rb") as log:
            log.seek(begun[name])
            return log.read().decode()

    with ExitStack() as switched:
        with suspended(service, *PARTS["the workers"]):
            recorded = play_at_once(listener, track_id)
            switched.enter_context(read_only(service))
        for name in ("credits", "media"):
            until(lambda name=name: WAITING in said(name) or None, f"{name} to notice", NOTICED_S_MAX)
        wallet = listener.get("/api/v1/wallet")
        assert wallet["unsettled_micro"] == recorded["price_micro"]
        assert readiness(service)["unsettled_plays"] >= 1
        assert readiness(service)["settling_lag_s"] > 0
        told = {name: said(name) for name in WORKER_LOGS}
    for name in WORKER_LOGS:
        assert told[name].count(WAITING) <= PROCESSES_MAX, name
        assert "Traceback" not in told[name], told[name]
    until(lambda: listener.get("/api/v1/wallet")["unsettled_micro"] == 0 or None, "settling", SETTLED_S_MAX)
    until(lambda: GOING_ON in said("media") or None, "the media worker to go on", NOTICED_S_MAX)
    assert operator_of(service).get("/api/v1/books/check")["balanced"]


def test_a_switch_that_is_on_already_stays_on(service: Service) -> None:
    with read_only(service):
        assert streamcoop(service.data_dir, "read-only", "on").returncode == 0
        assert "read-only" in streamcoop(service.data_dir, "read-only", "status").stdout
    assert "reads and writes" in streamcoop(service.data_dir, "read-only", "status").stdout
