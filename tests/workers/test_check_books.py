"""`streamcoop check-books` says by its exit status whether the books agree, whoever changed them behind their back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Database
from tests.ledger import factories
from tests.ledger.factories import claim, found, listener_with, record_now, settle_all

CHECK_S_MAX = 60


def check_books(url: str, folder: Path, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    values = settings or {
        "DATA_DIR": str(folder),
        "DATABASE_URL": url,
        "BROKER_URL": "memory://",
        "OBJECTS_URL": folder.as_uri(),
        "CHAIN_RPC_URL": "http://127.0.0.1:1",
        "SECRET_KEY": "not used",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STREAMCOOP_")}
    return subprocess.run(
        [sys.executable, "-m", "streamcoop.cli", "check-books", *options],
        env=inherited | {f"STREAMCOOP_{name}": value for name, value in values.items()},
        capture_output=True,
        text=True,
        timeout=CHECK_S_MAX,
    )


@pytest.fixture
def played(database: Database) -> Database:
    """Books with some plays in them."""
    found(database.engine)
    listener = listener_with(database.engine, 5_000_000)
    record_now(database.app_url, [claim(listener, factories.UUID(int=0x70 + n)) for n in range(3)])
    settle_all(database.engine)
    return database


def test_books_that_agree_end_with_0(played: Database, tmp_path: Path) -> None:
    told = check_books(played.app_url, tmp_path)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "The books balance" in told.stdout
    report = json.loads(check_books(played.app_url, tmp_path, "--json").stdout)
    assert (report["balanced"], report["findings"], report["plays"]) == (True, [], 3)


@pytest.mark.parametrize(
    "tampering",
    [
        "update ledger.account set balance_micro = balance_micro + 1 where kind = 'wallet'",
        "update ledger.transfer set amount_micro = amount_micro + 1 where id = (select max(id) from ledger.transfer)",
        "delete from ledger.play where id = (select id from ledger.play order by id limit 1)",
        "update ledger.play set price_micro = price_micro + 1",
        "update ledger.progress set plays = plays + 1",
    ],
)
def test_books_that_a_superuser_changed_end_with_1(played: Database, tmp_path: Path, tampering: str) -> None:
    with psycopg.connect(played.superuser_url) as conn:
        # The books' own triggers would refuse; who owns the machine can turn them off.
        conn.execute("set session_replication_role = replica")
        conn.execute(tampering)
    told = check_books(played.app_url, tmp_path, "--json")
    assert told.returncode == 1, told.stdout + told.stderr
    report = json.loads(told.stdout)
    assert not report["balanced"]
    assert report["findings"]
    assert check_books(played.app_url, tmp_path).returncode == 1


@pytest.mark.parametrize("why", ["nothing runs there", "no such setting", "the database is away"])
def test_books_that_cannot_be_seen_end_with_2_and_tell_no_secret(tmp_path: Path, why: str) -> None:
    secret = "postgresql://streamcoop_app:hunter2@127.0.0.1:1/streamcoop"
    settings = {
        "nothing runs there": {"DATA_DIR": str(tmp_path), "DATABASE_URL": secret},
        "no such setting": {"DATA_DIR": str(tmp_path), "DATABSE_URL": secret},
        "the database is away": {},
    }[why]
    told = check_books(secret, tmp_path, **settings)
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("Error: ")
    assert "hunter2" not in told.stderr
    assert "Traceback" not in told.stderr
