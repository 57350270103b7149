"""Production parts are killed under a listener's hands: what she was promised holds, and the service comes back."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import amqp
import pytest
from kombu import Connection, Exchange, Queue

from streamcoop.demo.client import until
from streamcoop.embedded.temporary import Service
from streamcoop.work import QUEUES
from tests.production.parts import needed, processes_of, replaced, serves, suspended
from tests.whole_service import draft_of, is_ready, piece, setting
from tests.workers.test_faults import BACK_S_MAX, Player, Stage, set_up

pytestmark = needed

RENDERED_S_MAX = 90.0
# RabbitMQ takes half of this to start on a busy machine.
AWAY_S_MAX = 90.0
PARTS = {
    "an API process": ("streamcoop", "serve"),
    "a worker that settles": ("celery", "worker", "credits-1"),
    "PostgreSQL": ("bin/postgres",),
    "RabbitMQ": ("beam.smp",),
    "nginx": ("nginx:", "master"),
}


@pytest.fixture(scope="module")
def stage(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return set_up(service, tmp_path_factory.mktemp("pieces"))


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_killed_comes_back_and_every_play_is_settled_once(stage: Stage, part: str) -> None:
    player = Player(stage, stage.listener())
    for _ in range(2):
        player.play()
    going_on = threading.Thread(target=player.play_on)
    going_on.start()
    try:
        victim = processes_of(stage.service, *PARTS[part])[0]
        successor = replaced(stage.service, victim, signal.SIGKILL)
    finally:
        going_on.join(3 * BACK_S_MAX)
    assert not going_on.is_alive()
    until(player.is_settled, f"the plays to be settled after {part} was away", AWAY_S_MAX)
    player.require_each_play_settled_once()
    if part == "an API process":
        until(lambda: serves(successor) or None, f"{part} to serve again", BACK_S_MAX)


def test_a_request_for_a_task_outlives_the_kill_of_rabbitmq(stage: Stage, tmp_path: Path) -> None:
    release = draft_of(stage.artist)
    with suspended(stage.service, "celery", "worker", "media"):
        track_id = str(stage.artist.upload(release, piece(tmp_path))["id"])
        replaced(stage.service, processes_of(stage.service, *PARTS["RabbitMQ"])[0], signal.SIGKILL)
    # The sweep would not ask again before ten minutes have passed.
    until(lambda: is_ready(stage.artist, track_id), "the rendition", RENDERED_S_MAX)


def test_a_media_worker_that_is_killed_at_its_task_has_it_done_by_the_other(stage: Stage, tmp_path: Path) -> None:
    release = draft_of(stage.artist)
    tracks = [str(stage.artist.upload(release, piece(tmp_path, 2.0))["id"]) for _ in range(4)]
    replaced(stage.service, processes_of(stage.service, "celery", "worker", "media-1")[0], signal.SIGKILL)
    for track_id in tracks:
        until(lambda wanted=track_id: is_ready(stage.artist, wanted), "the rendition", RENDERED_S_MAX)  # type: ignore[misc]


@pytest.mark.parametrize("name", QUEUES)
def test_every_queue_is_a_quorum_queue_with_a_delivery_limit(service: Service, name: str) -> None:
    with Connection(setting(service, "BROKER_URL")) as connection:
        # RabbitMQ refuses to declare a queue anew in another way, and says in which way it is declared.
        for argument in ("x-queue-type", "x-delivery-limit"):
            declared = {"x-queue-type": "quorum"} if argument == "x-delivery-limit" else {}
            queue = Queue(name, Exchange("streamcoop", "direct"), routing_key=name, queue_arguments=declared)
            with connection.channel() as channel, pytest.raises(amqp.PreconditionFailed, match=argument):
                queue.bind(channel).queue_declare()
