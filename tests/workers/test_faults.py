"""Whatever is lost or killed, no play that was acknowledged is lost or settled twice, and the service comes back."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest

from streamcoop.demo.client import DemoFailed, Json, Person, until
from streamcoop.embedded import process
from streamcoop.embedded.temporary import Service, running_service
from tests.whole_service import (
    SETTINGS,
    draft_of,
    is_ready,
    operator_of,
    part_of,
    person,
    piece,
    play_at_once,
    published_track,
    rows,
    setting,
    somebody,
    supervisor_of,
)

pytestmark = pytest.mark.embedded_parts("it is the supervisor's and pgmq's; tests/production/test_kills.py is its like")

BACK_S_MAX = 30.0
SETTLED_S_MAX = 30.0
GONE_S_MAX = 20.0
PLAYS_TO_OWN = 9
# While a part is away, requests fail in one of these ways; and a player asks again.
AWAY = (httpx.TransportError, DemoFailed)

PARTS = {
    "the workers": ("celery", "worker", "credits"),
    "the media worker": ("celery", "worker", "--queues media"),
    "beat": ("celery", "beat"),
    "the API": ("uvicorn",),
    "PostgreSQL": ("postgres",),
}


@dataclass
class Stage:
    """A service with a track that can be played, and its artist."""

    service: Service
    artist: Person
    track_id: str

    def listener(self) -> Person:
        someone = somebody(self.service, "Budi").join()
        operator_of(self.service).top_up(someone, 1_000)
        return someone


@dataclass
class Player:
    """A listener's device that plays one track until it is hers, whatever happens, and notes what it was promised."""

    stage: Stage
    listener: Person
    acknowledged: dict[str, int] = field(default_factory=dict)

    def play(self) -> bool:
        """One play, opened again until one is acknowledged; False once there is nothing left to pay."""
        told = until(self._try, "the service to come back", BACK_S_MAX)
        if told["free"]:
            return False
        self.acknowledged[told["play_id"]] = told["price_micro"]
        return True

    def play_on(self) -> None:
        while self.play():
            pass

    def _try(self) -> Json | None:
        try:
            opened = self.listener.post("/api/v1/plays", {"track_id": self.stage.track_id})
            if opened["free"]:
                return opened
            body = {"play_token": opened["play_token"], "skip_ahead": True}
            return opened | self.listener.post("/api/v1/plays/record", body)
        except AWAY:
            return None

    def is_settled(self) -> bool | None:
        try:
            return self.listener.get("/api/v1/wallet")["unsettled_micro"] == 0 or None
        except AWAY:
            return None

    def require_each_play_settled_once(self) -> None:
        until(self.is_settled, "the plays to be settled", SETTLED_S_MAX)
        month = datetime.now(UTC).strftime("%Y-%m")
        lines = self.listener.get("/api/v1/wallet/statement", month=month)["lines"]
        plays = [(line["play_id"], -line["credits_micro"]) for line in lines if line["play_id"]]
        # A play whose answer was lost on the way counts too: nobody knows whether it was heard.
        assert self.acknowledged.items() <= dict(plays).items()
        assert [price for _, price in plays] == [2_000 << n for n in range(PLAYS_TO_OWN)]
        assert len(dict(plays)) == PLAYS_TO_OWN
        assert all(line["settled"] for line in lines)
        assert operator_of(self.stage.service).get("/api/v1/books/check")["balanced"]


@pytest.fixture(scope="module")
def stage(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return set_up(service, tmp_path_factory.mktemp("pieces"))


def set_up(service: Service, folder: Path) -> Stage:
    artist = somebody(service, "Sekar").join(artist=True)
    return Stage(service, artist, published_track(artist, folder))


@contextmanager
def suspended(service: Service, *words: str) -> Iterator[None]:
    """A part of the service, with its children, does nothing for the length of the block."""
    part = part_of(service, *words)
    assert part is not None
    os.killpg(part.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(part.pid, signal.SIGCONT)


def empty_the_broker(service: Service) -> int:
    """Every message of every queue is lost; returns how many there were."""
    url = setting(service, "BROKER_URL").replace("pgmq://", "postgresql://", 1)
    queues = [name for (name,) in rows(url, "select queue_name from pgmq.list_queues()")]
    assert {"credits", "media"} <= set(queues)
    return sum(int(rows(url, f"select pgmq.purge_queue('{name}')")[0][0]) for name in queues)


def test_losing_all_that_is_in_the_broker_loses_no_play(stage: Stage) -> None:
    player = Player(stage, stage.listener())
    with suspended(stage.service, *PARTS["the workers"]):
        player.play_on()
        until(lambda: empty_the_broker(stage.service) or None, "a message to lose", BACK_S_MAX)
        assert player.listener.get("/api/v1/wallet")["unsettled_micro"] > 0
    player.require_each_play_settled_once()


def test_losing_all_that_is_in_the_broker_loses_no_upload(stage: Stage, tmp_path: Path) -> None:
    release = draft_of(stage.artist)
    with suspended(stage.service, *PARTS["the media worker"]):
        track_id = str(stage.artist.upload(release, piece(tmp_path))["id"])
        until(lambda: empty_the_broker(stage.service) or None, "a message to lose", BACK_S_MAX)
    # The sweeper asks again after ten minutes, in which a busy queue may yet come to it. They have passed.
    owner_url = setting(stage.service, "DATABASE_OWNER_URL")
    rows(owner_url, f"update coop.track set due_at = now() where id = '{track_id}' and state = 'processing'")
    until(lambda: is_ready(stage.artist, track_id), "the sweeper to ask again", 2 * BACK_S_MAX)


@pytest.mark.parametrize("part", ["the workers", "the API", "PostgreSQL"])
def test_a_part_that_is_killed_comes_back_and_every_play_is_settled_once(stage: Stage, part: str) -> None:
    player = Player(stage, stage.listener())
    for _ in range(2):
        player.play()
    going_on = threading.Thread(target=player.play_on)
    going_on.start()
    try:
        victim = part_of(stage.service, *PARTS[part])
        assert victim is not None
        victim.kill()
    finally:
        going_on.join(3 * BACK_S_MAX)
    assert not going_on.is_alive()
    until(lambda: _successor(stage.service, victim, PARTS[part]), f"{part} to come back", BACK_S_MAX)
    player.require_each_play_settled_once()


def test_a_pool_process_that_is_killed_while_it_waits_does_not_stop_its_worker(stage: Stage) -> None:
    player = Player(stage, stage.listener())
    player.play()
    worker = part_of(stage.service, *PARTS["the workers"])
    assert worker is not None
    for waiting in worker.children():
        waiting.kill()
    player.play_on()
    player.require_each_play_settled_once()


def _successor(service: Service, victim: psutil.Process, words: tuple[str, ...]) -> psutil.Process | None:
    found = part_of(service, *words)
    return found if found is not None and found.pid != victim.pid else None


@pytest.mark.timeout(400)
def test_a_supervisor_that_is_killed_leaves_nothing_behind_and_loses_nothing(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="streamcoop-killed-") as folder:
        # Where PostgreSQL runs as another account, that one must get through.
        Path(folder).chmod(0o711)
        root = Path(folder) / "data"
        with running_service(SETTINGS, data_dir=root) as service:
            stage = set_up(service, tmp_path)
            player = Player(stage, stage.listener())
            for _ in range(4):
                player.play()
            supervisor = supervisor_of(service)
            family = [supervisor, *supervisor.children(recursive=True)]
            assert len(family) > len(PARTS)
            supervisor.kill()
            require_gone(family)
            assert not process.in_folder(root, "postgres")

        with running_service(SETTINGS, data_dir=root) as again:
            assert again.operator_password == service.operator_password
            # The address is another one; who she is, what she owns and what she paid are not.
            listener = person(again, "Budi", player.listener.email, player.listener.password).sign_in()
            resumed = Player(Stage(again, stage.artist, stage.track_id), listener, dict(player.acknowledged))
            assert resumed.listener.get("/api/v1/wallet/tracks")["items"][0]["plays"] == 4
            resumed.play_on()
            resumed.require_each_play_settled_once()
            require_nothing_left_after_ctrl_c(again)


def require_gone(family: list[psutil.Process]) -> None:
    """None of these processes runs within a moment."""
    _, alive = psutil.wait_procs(family, GONE_S_MAX)
    left = [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert not left, [" ".join(process.cmdline()) for process in left]


def require_nothing_left_after_ctrl_c(service: Service) -> None:
    supervisor = supervisor_of(service)
    family = [supervisor, *supervisor.children(recursive=True)]
    supervisor.send_signal(signal.SIGINT)
    require_gone(family)
    assert not (service.data_dir / "running.json").exists()
    assert not (service.data_dir / "postgres" / "data" / "postmaster.pid").exists()
    assert not process.in_folder(service.data_dir, "postgres")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{service.address}/healthz", trust_env=False)


def test_plays_go_on_while_the_workers_are_away_and_are_settled_later(stage: Stage) -> None:
    listener = stage.listener()
    with suspended(stage.service, *PARTS["the workers"]):
        recorded = play_at_once(listener, stage.track_id)
        wallet = listener.get("/api/v1/wallet")
        assert wallet["unsettled_micro"] == recorded["price_micro"]
        assert wallet["spendable_micro"] == wallet["balance_micro"] - recorded["price_micro"]
    until(lambda: listener.get("/api/v1/wallet")["unsettled_micro"] == 0 or None, "settling", SETTLED_S_MAX)
