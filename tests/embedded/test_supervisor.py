"""The supervisor over trivial programs and a real PostgreSQL: order, restarts, stopping, and being killed."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from dotenv import dotenv_values

from streamcoop.embedded import crew, plan, process, supervisor
from tests.embedded.conftest import finish

Eventually = Callable[[Callable[[], bool]], None]
Started = Callable[..., "subprocess.Popen[str]"]
# The chain, migrate, found, two workers, beat, the API, and what one of them starts itself.
STARTED = 8


@pytest.fixture
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sc-") as folder:
        yield Path(folder) / "data"


@pytest.fixture
def started(root: Path) -> Iterator[Started]:
    """Start a supervisor over `root` with a fault; whatever is left of it goes at the end."""
    children: list[subprocess.Popen[str]] = []

    def start(fault: str = "", **settings: str) -> "subprocess.Popen[str]":
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.embedded.fake_service", str(root), fault],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **settings},
        )
        children.append(child)
        return child

    yield start
    for child in children:
        finish(child)
    assert process.until(lambda: not process.in_folder(root, "postgres"), 30.0, 0.02)


def journal(root: Path, word: str) -> list[str]:
    """Names of the programs that started, or that were asked to end, in order."""
    return [name for event, name, _ in entries(root) if event == word]


def entries(root: Path) -> list[list[str]]:
    path = root / "journal"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def pids(root: Path) -> list[int]:
    return [int(pid) for event, _, pid in entries(root) if event == "start"]


def is_up(root: Path) -> Callable[[], bool]:
    return (root / "running.json").exists


def stopped(child: "subprocess.Popen[str]") -> str:
    child.send_signal(signal.SIGTERM)
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 0, output
    return output


def test_starts_in_order_and_stops_in_reverse(root: Path, started: Started, eventually: Eventually) -> None:
    child = started()
    eventually(is_up(root))
    # Workers, beat and API are spawned one after the other and write when they get to it.
    eventually(lambda: len(journal(root, "start")) >= STARTED)
    order = journal(root, "start")
    assert order[:3] == ["chain", "migrate", "found"]
    assert sorted(order[3:]) == ["api", "beat", "grandchild", "media", "worker"]
    told = json.loads((root / "running.json").read_text())
    assert urllib.request.urlopen(f"{told['address']}/readyz").status == 200
    everybody = pids(root)
    output = stopped(child)
    ends = journal(root, "end")
    assert (ends[:2], sorted(ends[2:4]), ends[4:]) == (["api", "beat"], ["media", "worker"], ["chain"])
    assert not any(map(process.is_running, everybody))
    assert not process.in_folder(root, "postgres")
    assert not (root / "running.json").exists()

    passwords = [(root / "secrets" / f"{who}_password").read_text().strip() for who in ("operator", "second_officer")]
    people = (told["operator_email"], told["second_officer_email"])
    told_people = told["address"].replace("127.0.0.1", "localhost")
    for said in (told_people, f"{told_people}/docs", *people, *passwords, str(root), "Ctrl-C"):
        assert said in output
    assert passwords[0] != passwords[1]


def test_two_officers__have_keys_that_last_and_are_the_chains(tmp_path: Path) -> None:
    setups = [plan.make_setup(plan.make_root(tmp_path / "data"), "127.0.0.1", 8000, "operator@example") for _ in "12"]
    first, second = setups[0].credentials.officer_addresses
    assert setups[1].credentials.officer_addresses == (first, second)
    assert first != second
    command = list(plan.service_commands(setups[0]).chain)
    assert [command[at + 1] for at, word in enumerate(command) if word == "--officer"] == [first, second]


def test_a_later_start_finds_everything_again(root: Path, started: Started, eventually: Eventually) -> None:
    first = started()
    eventually(is_up(root))
    before = dotenv_values(root / "service.env")
    owner_url = before["STREAMCOOP_DATABASE_OWNER_URL"]
    assert owner_url is not None
    with psycopg.connect(owner_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    first.kill()
    first.wait()
    (root / "running.json").unlink()

    second = started()
    eventually(is_up(root))
    after = dotenv_values(root / "service.env")
    changing = {"STREAMCOOP_PUBLIC_ADDRESS"}
    assert {name: after[name] for name in after if name not in changing} == {
        name: before[name] for name in before if name not in changing
    }
    with psycopg.connect(owner_url) as connection:
        assert connection.execute("SELECT number FROM kept").fetchall() == [(7,)]
    output = stopped(second)
    for who in ("operator", "second_officer"):
        file = root / "secrets" / f"{who}_password"
        assert file.read_text().strip() not in output
        assert str(file) in output


def test_killing_the_supervisor_leaves_nothing(root: Path, started: Started, eventually: Eventually) -> None:
    child = started("stubborn")
    eventually(is_up(root))
    eventually(lambda: len(pids(root)) == 8)
    everybody = pids(root)
    child.kill()
    child.wait()
    eventually(lambda: not any(map(process.is_running, everybody)))
    eventually(lambda: not process.in_folder(root, "postgres"))


def test_a_part_that_dies_is_started_again(root: Path, started: Started, eventually: Eventually) -> None:
    child = started()
    eventually(is_up(root))
    worker = next(int(pid) for event, name, pid in entries(root) if (event, name) == ("start", "worker"))
    grandchild = next(int(pid) for event, name, pid in entries(root) if (event, name) == ("start", "grandchild"))
    server = min(process.in_folder(root, "postgres"))
    os.kill(worker, signal.SIGKILL)
    os.kill(server, signal.SIGKILL)
    eventually(lambda: journal(root, "start").count("grandchild") == 2)
    eventually(lambda: not process.is_running(grandchild))
    app_url = dotenv_values(root / "service.env")["STREAMCOOP_DATABASE_URL"]
    assert app_url is not None

    def answers() -> bool:
        try:
            psycopg.connect(app_url).close()
        except psycopg.OperationalError:
            return False
        return True

    eventually(answers)
    assert "worker ended with -9; starting it again" in stopped(child)


def test_who_does_not_obey_is_killed(root: Path, started: Started, eventually: Eventually) -> None:
    child = started("stubborn")
    eventually(is_up(root))
    everybody = pids(root)
    stopped(child)
    assert not any(map(process.is_running, everybody))


def test_a_part_that_keeps_dying_is_told_with_its_last_words(root: Path, started: Started) -> None:
    output, _ = started("api").communicate(timeout=60)
    assert "refused: api keeps dying at its start" in output
    assert "api is broken" in output
    assert not any(map(process.is_running, pids(root)))


def test_a_command_that_fails_stops_the_start(root: Path, started: Started) -> None:
    child = started("found")
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "refused: found ended with 1" in output
    assert "found is broken" in output
    assert "worker" not in journal(root, "start")


def test_asked_to_stop_while_it_starts(root: Path, started: Started, eventually: Eventually) -> None:
    child = started()
    eventually(lambda: bool(pids(root)))
    stopped(child)
    assert not any(map(process.is_running, pids(root)))
    assert not process.in_folder(root, "postgres")


def test_a_folder_has_one_supervisor(root: Path, started: Started, eventually: Eventually) -> None:
    first = started()
    eventually(is_up(root))
    output, _ = started().communicate(timeout=60)
    assert f"refused: {root} is in use by another process (id {first.pid})" in output
    stopped(first)


def test_a_configured_part_is_not_started(root: Path, started: Started, eventually: Eventually) -> None:
    child = started(STREAMCOOP_CHAIN_RPC_URL="http://node.example:8545", STREAMCOOP_COOP_NAME="Bob's \\ co-op")
    eventually(is_up(root))
    settings = dotenv_values(root / "service.env")
    assert settings["STREAMCOOP_CHAIN_RPC_URL"] == "http://node.example:8545"
    assert settings["STREAMCOOP_COOP_NAME"] == "Bob's \\ co-op"
    assert "STREAMCOOP_MEMBERSHIP_CONTRACT" not in settings
    assert "chain" not in journal(root, "start")
    stopped(child)


def test_everything_in_the_folder_is_closed_to_others(root: Path, started: Started, eventually: Eventually) -> None:
    child = started()
    eventually(is_up(root))
    for entry in root.iterdir():
        mode = entry.stat().st_mode & 0o077
        assert mode == 0 or (entry.name, mode) in {("postgres", 0o011), ("journal", 0o044)}, entry
    assert all(path.stat().st_mode & 0o077 == 0 for path in (root / "secrets").iterdir())
    stopped(child)


def test_an_address_that_is_taken_or_not_ours(root: Path) -> None:
    with pytest.raises(supervisor.CannotListen, match=r"192\.0\.2\.1:0"):
        supervisor.run(root, host="192.0.2.1", port=0)


@pytest.mark.parametrize(("deaths", "wait_s"), [(1, 0.25), (2, 0.5), (5, 4.0), (7, 5.0), (10**9, 5.0)])
def test_the_pause_before_a_restart_is_bounded(deaths: int, wait_s: float) -> None:
    assert crew.backoff_s(deaths) == wait_s


@pytest.mark.parametrize(
    ("host", "address", "told"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000", "http://localhost:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000", "http://localhost:8000"),
        ("::", "http://[::1]:8000", "http://[::1]:8000"),
        ("music.example", "http://music.example:8000", "http://music.example:8000"),
    ],
)
def test_people_are_told_an_address_with_a_name(host: str, address: str, told: str) -> None:
    assert plan.address_of(host, 8000) == address
    assert plan.public_address_of(host, 8000) == told


def test_half_a_line_of_the_chain_is_no_answer(tmp_path: Path) -> None:
    answers = tmp_path / "ready.json"
    assert supervisor.chain_settings(answers) == {}
    contracts = {"membership_contract": "0x1", "anchor_contract": "0x2", "rate_registry": "0x3"}
    line = json.dumps({"rpc_url": "http://127.0.0.1:1", "chain_id": 5, **contracts})
    answers.write_text(line)
    assert supervisor.chain_settings(answers) == {}
    answers.write_text(line + "\n")
    assert supervisor.chain_settings(answers) == {
        "CHAIN_RPC_URL": "http://127.0.0.1:1",
        "CHAIN_ID": "5",
        "MEMBERSHIP_CONTRACT": "0x1",
        "ANCHOR_CONTRACT": "0x2",
        "RATE_REGISTRY": "0x3",
    }


def test_a_large_log_is_set_aside_at_the_next_start(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    with log.open("wb") as file:
        file.truncate(process.LOG_BYTES_MAX + 1)
    process.open_log(log).close()
    assert log.stat().st_size == 0
    assert (tmp_path / "part.log.1").stat().st_size == process.LOG_BYTES_MAX + 1
