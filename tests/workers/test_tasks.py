"""What the workers do, as plain functions on real books; and that beat asks for things that exist."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from celery.beat import Scheduler
from sqlalchemy.orm import Session

from ledger.store import closing, settling
from streamcoop.database import transaction
from streamcoop.embedded.plan import Credentials, Places, Setup, service_commands
from streamcoop.settings import settings
from tests.ledger.factories import EPOCH, claim, record_now
from tests.royalties.label import Label

COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"
AT_ONCE = 4


@pytest.fixture
def workers(label: Label, monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The workers' modules, on the label's clock."""
    from workers import credits, royalties  # they read the settings

    for module in (credits, royalties):
        monkeypatch.setattr(module, "now", label.clock.now)
    return {"credits": credits, "royalties": royalties}


def record(label: Label, plays: int) -> None:
    """Plays of one listener each, recorded and not settled."""
    track = label.track(label.person("Ana", "artist"))
    claims = [claim(label.listener().user_id, track) for _ in range(plays)]
    record_now(label.database.app_url, claims, now=label.clock.now())


def waiting(label: Label) -> int:
    return int(label.rows("select count(*) from ledger.play_queue")[0][0])


def test_settle_settles_all_that_is_recorded(label: Label, workers: dict[str, ModuleType]) -> None:
    record(label, 3)
    assert workers["credits"].settle() == 3
    assert waiting(label) == 0
    assert workers["credits"].settle() == 0


def test_settle_goes_on_from_batch_to_batch(
    label: Label, workers: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling.settle, "__defaults__", (2,))
    record(label, 5)
    assert workers["credits"].settle() == 5
    assert label.rows("select count(*) from ledger.posting where kind = 'settling'")[0][0] >= 3


def test_several_settlings_at_once_settle_each_play_once(label: Label, workers: dict[str, ModuleType]) -> None:
    record(label, 12)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        counts = list(pool.map(lambda _: workers["credits"].settle(), range(AT_ONCE)))
    assert sum(counts) + workers["credits"].settle() == 12
    assert label.rows("select sum(plays) from ledger.progress")[0][0] == 12


def test_a_settling_that_is_killed_before_its_commit_loses_and_doubles_nothing(
    label: Label, workers: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(label, 4)

    @contextmanager
    def killed() -> Iterator[Session]:
        with transaction() as session:
            yield session
            raise KeyboardInterrupt

    monkeypatch.setattr(workers["credits"], "transaction", killed)
    with pytest.raises(KeyboardInterrupt):
        workers["credits"].settle()
    assert waiting(label) == 4
    monkeypatch.setattr(workers["credits"], "transaction", transaction)
    assert workers["credits"].settle() == 4


def test_close_due_closes_each_epoch_that_is_due_in_order(label: Label, workers: dict[str, ModuleType]) -> None:
    ana = label.person("Ana", "artist")
    track, listener = label.track(ana), label.listener()
    assert workers["royalties"].close_due() == []
    label.play(listener, track)
    label.go_to(EPOCH + 1)
    label.play(listener, track, 1, EPOCH + 1)
    label.go_to(EPOCH + 3)
    assert workers["royalties"].close_due() == [EPOCH, EPOCH + 1, EPOCH + 2]
    assert workers["royalties"].close_due() == []
    assert [line["closed_in"] for line in label.lines(ana)] == [EPOCH + 1, EPOCH]


def test_close_due_waits_for_what_is_not_settled(label: Label, workers: dict[str, ModuleType]) -> None:
    record(label, 2)
    label.go_to(EPOCH + 1)
    assert workers["royalties"].close_due() == []
    workers["credits"].settle()
    assert workers["royalties"].close_due() == [EPOCH]


def test_a_close_that_has_begun_is_finished_by_the_next_tick_though_the_clock_is_set_back(
    label: Label, workers: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    ana = label.person("Ana", "artist")
    label.play(label.listener(), label.track(ana))
    label.clock.at = label.founding.may_close_at(EPOCH)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(closing, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            workers["royalties"].close_due()
    label.clock.at -= timedelta(hours=3)
    assert workers["royalties"].close_due() == [EPOCH]
    assert workers["royalties"].close_due() == []
    assert len(label.lines(ana)) == 1


def test_a_co_op_that_was_away_for_long_closes_some_epochs_a_tick(
    label: Label, workers: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers["royalties"], "EPOCHS_A_TICK_MAX", 2)
    label.go_to(EPOCH + 3)
    assert workers["royalties"].close_due() == [EPOCH, EPOCH + 1]
    assert workers["royalties"].close_due() == [EPOCH + 2]


def test_partitions_of_the_coming_months_are_made_once(label: Label, workers: dict[str, ModuleType]) -> None:
    workers["credits"].make_partitions()
    assert workers["credits"].make_partitions() == []


@pytest.mark.usefixtures("label")
def test_beat_asks_for_tasks_that_exist_and_that_a_worker_takes() -> None:
    from workers.app import app  # it reads the settings
    from workers.schedule import TIMETABLE

    app.loader.import_default_modules()
    asked = {entry["task"] for entry in TIMETABLE.values()}
    assert asked <= set(app.tasks)
    assert {
        "workers.credits.settle",
        "workers.credits.make_partitions",
        "workers.royalties.close_due",
        "workers.media.sweep",
        "workers.chain.sweep",
    } <= asked
    ours = [name for name in app.tasks if name.startswith("workers.")]
    queues = {app.amqp.router.route({}, name)["queue"].name for name in ours} | {app.conf.task_default_queue}
    places = Places(Path("/nowhere"))
    credentials = Credentials(**dict.fromkeys((each.name for each in fields(Credentials)), ""))
    setup = Setup(places, credentials, "127.0.0.1", 1, 2)
    embedded = [list(command) for command in service_commands(setup).workers.values()]
    composed = [
        service["command"].split()
        for service in yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"].values()
        if "celery -A workers.app worker" in service.get("command", "")
    ]
    for commands in (embedded, composed):
        taken = {queue for command in commands for queue in command[command.index("--queues") + 1].split(",")}
        assert taken == queues
    for entry in TIMETABLE.values():
        lives = timedelta(seconds=entry["options"]["expires"])
        assert lives >= entry["schedule"].run_every, "a tick must live until its turn"


@pytest.mark.usefixtures("label")
def test_a_clock_that_is_set_neither_stops_beat_nor_makes_it_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    from workers.app import app
    from workers.schedule import TIMETABLE

    begun = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: begun)
    beat = Scheduler(app, schedule={}, Producer=object)
    entry = beat.schedule["settle recorded plays"]
    for set_by in (timedelta(days=-3), timedelta(days=3)):
        monkeypatch.setattr(app, "now", lambda off=set_by: datetime.now(UTC) + off)
        due, wait_s = entry.is_due()
        assert (due, wait_s) == (False, pytest.approx(settings().settle_interval_s, abs=0.01))
    monkeypatch.setattr(time, "monotonic", lambda: begun + settings().settle_interval_s)
    assert entry.is_due().is_due
    assert beat.schedule.keys() == TIMETABLE.keys()
