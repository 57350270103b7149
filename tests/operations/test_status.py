"""`streamcoop status`: what it says of a service that runs, of one that is in trouble, and of one that is not there."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ledger.epochs import Calendar
from streamcoop.operations import terminal
from streamcoop.operations.books_check import LastCheck
from streamcoop.operations.broker import Queue
from streamcoop.operations.exposition import figures
from streamcoop.operations.service import LOOK_S_MAX, Away, Epochs, Head, LastMinute, Picture, Standing
from streamcoop.operations.terminal import Verdict
from tests.operations.conftest import Seen
from tests.whole_service import play_at_once, published_track, somebody

STATUS_S_MAX = 90
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
STANDING = Standing(
    unsettled_plays=0,
    settling_lag=timedelta(),
    epochs=Epochs(Calendar(), 24_322, 24_322, timedelta(), 0),
    orders=0,
    orders_held_up=0,
    register_differences=0,
    ballots_waiting=0,
    anchors=0,
    oldest_anchor=timedelta(),
    log_batches=0,
    oldest_log_batch=timedelta(),
    log_published_at=NOW - timedelta(minutes=3),
    recordings_waiting=0,
    oldest_recording=timedelta(),
    payouts={},
    books=LastCheck(NOW - timedelta(minutes=5), 0, NOW - timedelta(minutes=5)),
)
WELL = Picture(NOW, STANDING, [Queue("credits", 1, NOW)], Head(7, NOW), True)
MINUTE = LastMinute(12, 10)


def status(*options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STREAMCOOP_")}
    return subprocess.run(
        [sys.executable, "-m", "streamcoop.cli", "status", *options],
        env=inherited | {f"STREAMCOOP_{name}": value for name, value in settings.items()},
        capture_output=True,
        text=True,
        timeout=STATUS_S_MAX,
    )


def test_a_service_that_runs_is_well_and_says_what_was_played(seen: Seen, tmp_path: Path) -> None:
    track = published_track(somebody(seen.service, "Artist").join(artist=True), tmp_path)
    listener = somebody(seen.service, "Listener").join()
    seen.operator.top_up(listener, 1_000)
    play_at_once(listener, track)
    told = status("--json", DATA_DIR=str(seen.service.data_dir))
    assert told.returncode == 0, told.stdout + told.stderr
    picture = json.loads(told.stdout)
    assert picture["verdict"] == "well"
    assert picture["last_minute"]["recorded"] >= 1
    assert picture["figures"]["streamcoop_part_answers{database}"] == 1
    assert listener.email not in told.stdout
    on_screen = status(DATA_DIR=str(seen.service.data_dir))
    assert (on_screen.returncode, "All is well." in on_screen.stdout) == (0, True), on_screen.stdout


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Somebody who listens and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_a_part_that_hangs_is_named_and_the_others_are_told_of(seen: Seen, silent_port: int) -> None:
    told = status("--json", DATA_DIR=str(seen.service.data_dir), CHAIN_RPC_URL=f"http://127.0.0.1:{silent_port}")
    assert told.returncode == 2, told.stdout + told.stderr
    lines = json.loads(told.stdout)["lines"]
    assert lines["chain"]["verdict"] == "cannot-tell"
    assert "within 2 s" in lines["chain"]["told"]
    assert {line["verdict"] for about, line in lines.items() if about != "chain"} == {"well"}


def test_where_nothing_answers_each_part_is_named_in_time_and_no_secret_is_told(
    tmp_path: Path, silent_port: int
) -> None:
    address = f"127.0.0.1:{silent_port}"
    begun = time.monotonic()
    told = status(
        DATA_DIR=str(tmp_path),
        DATABASE_URL=f"postgresql://streamcoop_app:hunter2@{address}/streamcoop",
        BROKER_URL=f"amqp://streamcoop:hunter2@{address}//",
        OBJECTS_URL="s3://music",
        S3_ENDPOINT_URL=f"http://{address}",
        S3_ACCESS_KEY_ID="hunter2",
        S3_SECRET_ACCESS_KEY="hunter2",
        CHAIN_RPC_URL=f"http://{address}/hunter2",
        PUBLIC_ADDRESS=f"http://{address}",
        SECRET_KEY="not used",
    )
    assert told.returncode == 2, told.stdout + told.stderr
    assert time.monotonic() - begun < 4 * LOOK_S_MAX + 20
    for part in ("service", "database", "queues", "chain", "objects"):
        assert [line for line in told.stdout.splitlines() if part in line and "could not be reached" in line], part
    assert "hunter2" not in told.stdout + told.stderr


def test_where_no_service_is_it_cannot_tell(tmp_path: Path) -> None:
    told = status(DATA_DIR=str(tmp_path))
    assert (told.returncode, told.stdout) == (2, "")


def screen_of(picture: Picture, ready: bool | Away = True) -> terminal.Screen:
    return terminal.screen(picture, ready, MINUTE)


def test_a_picture_without_trouble_is_well() -> None:
    screen = screen_of(WELL)
    assert screen.verdict == Verdict.WELL == 0
    told = {line.about: line.told for line in screen.lines}
    assert told["plays"] == "12 recorded in the last minute, 10 of them settled"
    assert told["epochs"] == "now 2026-11; open from 2026-11 on"
    assert told["books"] == "balanced 5 min ago"
    assert told["log"] == "published 3 min ago"


def test_a_log_that_nobody_signs_or_that_is_being_published_needs_nobody() -> None:
    for changed, told in (
        ({"log_published_at": None}, "nothing is published yet"),
        (
            {"log_batches": 2, "oldest_log_batch": timedelta(minutes=5)},
            "2 batches wait, the earliest for 5 min; `streamcoop log status`",
        ),
    ):
        screen = screen_of(replace(WELL, database=replace(STANDING, **changed)))  # type: ignore[arg-type]
        assert screen.verdict is Verdict.WELL
        assert told in {line.told for line in screen.lines if line.about == "log"}


def test_a_fork_of_long_ago_is_told_and_needs_nobody() -> None:
    forked = replace(STANDING, forked_logs=2, last_fork_at=NOW - LATE)
    screen = screen_of(replace(WELL, database=forked))
    assert screen.verdict is Verdict.WELL
    (told,) = [line.told for line in screen.lines if line.about == "witness"]
    assert told == "2 witnessed logs FORKED, last seen 8 d ago; `streamcoop witness evidence`"
    assert figures(replace(WELL, database=forked))["streamcoop_witnessed_fork_timestamp_seconds"] == {
        "": (NOW - LATE).timestamp()
    }


LATE = timedelta(days=8)


@pytest.mark.parametrize(
    ("about", "changed"),
    [
        ("settling", {"settling_lag": timedelta(seconds=61), "unsettled_plays": 1}),
        ("epochs", {"epochs": replace(STANDING.epochs, overdue=timedelta(minutes=16))}),
        ("media", {"oldest_recording": timedelta(minutes=61), "recordings_waiting": 1}),
        ("members", {"orders": 1, "orders_held_up": 1}),
        ("members", {"register_differences": 1}),
        ("anchors", {"anchors": 1, "oldest_anchor": timedelta(hours=3)}),
        ("log", {"log_batches": 1, "oldest_log_batch": timedelta(minutes=61)}),
        ("witness", {"forked_logs": 1, "last_fork_at": NOW - timedelta(hours=23)}),
        ("payouts", {"payouts": {"sent": (1, NOW - LATE)}}),
        ("books", {"books": LastCheck(NOW, 3, NOW)}),
        ("books", {"books": LastCheck(NOW - timedelta(hours=4), 0, NOW)}),
    ],
)
def test_each_trouble_is_told_on_its_line(about: str, changed: dict[str, Any]) -> None:
    screen = screen_of(replace(WELL, database=replace(STANDING, **changed)))
    assert [line.about for line in screen.lines if line.verdict is not Verdict.WELL] == [about]
    assert screen.verdict == Verdict.ATTENTION == 1


@pytest.mark.parametrize("queue", [Queue("media", 1, NOW - timedelta(minutes=11)), Queue("media", 1_001, None)])
def test_a_queue_that_nobody_serves_needs_attention(queue: Queue) -> None:
    screen = screen_of(replace(WELL, broker=[queue]))
    assert [line.about for line in screen.lines if line.verdict is Verdict.ATTENTION] == ["queues"]


def test_an_api_that_is_not_ready_needs_attention() -> None:
    assert screen_of(WELL, ready=False).verdict is Verdict.ATTENTION


def test_a_known_trouble_outweighs_what_cannot_be_told() -> None:
    away = replace(WELL, chain=Away("URLError"))
    assert screen_of(away).verdict == Verdict.CANNOT_TELL == 2
    trouble = replace(away, database=replace(STANDING, books=LastCheck(NOW, 1, NOW)))
    assert screen_of(trouble).verdict is Verdict.ATTENTION


def test_every_line_stands_on_the_screen() -> None:
    shown = io.StringIO()
    screen = screen_of(replace(WELL, chain=Away("URLError")))
    terminal.show(screen, Console(width=100, file=shown))
    assert all(line.told in shown.getvalue() for line in screen.lines)
