"""The rounds themselves: every kind of fault once, and checks that find what is wrong."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import cast
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import create_engine, text

from ledger.store import batches
from tests.conftest import Database
from tests.faults import checks, kinds, rounds
from tests.faults.checks import Found, PublishedLog
from tests.faults.levers import Levers
from tests.faults.load import Notes, Play, TopUp
from tests.faults.stand import PARTS, Stand
from tests.ledger.factories import NOW, claim, found, listener_with, record_now, settle_all

ROUNDS_S_MAX = 600
SEED = 7
CREDITS_MICRO = 5_000_000
CLOCKS_SET = 300
# `workers.schedule.TICK_EXPIRES_S`, whose module reads the settings.
TICKS_LIVE_S = 3_600


@pytest.mark.timeout(ROUNDS_S_MAX)
def test_after_a_round_of_every_kind_nothing_is_lost_or_doubled_and_the_service_is_back(tmp_path: Path) -> None:
    report = tmp_path / "faults.json"
    command = [sys.executable, "-m", "tests.faults", "--seed", str(SEED), "--each", "--report", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=ROUNDS_S_MAX)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(report.read_text(encoding="utf-8"))
    assert figures["rounds"] >= len(kinds.KINDS) + 1 - len(kinds.ON_DISK)
    assert figures["kills"] >= 6
    assert (figures["lost"], figures["doubled"], figures["unbalanced"]) == (0, 0, 0)
    assert 0 < figures["recovery_s_max"] <= rounds.RECOVERY_S_MAX
    assert list(figures) == ["seed", "rounds", "kills", "lost", "doubled", "unbalanced", "recovery_s_max"]


def test_a_round_is_the_same_whenever_it_is_drawn() -> None:
    of = list(kinds.KINDS)
    assert rounds.draw(1, 5, of) == rounds.draw(1, 5, of)
    assert rounds.draw(1, 5, of) != rounds.draw(2, 5, of)


def test_the_clocks_of_two_parts_are_never_further_apart_than_ticks_live(tmp_path: Path) -> None:
    levers, rng = Levers(tmp_path), Random(SEED)
    stand = cast(Stand, SimpleNamespace(levers=levers))
    for _ in range(CLOCKS_SET):
        # As in a round, which may set several before it takes them back.
        struck = [kinds.KINDS[rng.choice(kinds.CLOCKS)](stand, rng) for _ in range(max(rounds.FAULTS_AT_ONCE))]
        offsets_s = [levers.clock_offset_s(part) for part in PARTS]
        assert max(offsets_s) - min(offsets_s) < TICKS_LIVE_S
        for each in struck:
            each.take_back()
        assert {levers.clock_offset_s(part) for part in PARTS} == {0}


@pytest.fixture
def noted(database: Database) -> Notes:
    """Three plays and a top-up that were acknowledged, settled and in order."""
    found(database.engine)
    listener = listener_with(database.engine, CREDITS_MICRO)
    claims = [claim(listener, UUID(int=0x70 + n)) for n in range(3)]
    record_now(database.app_url, claims)
    settle_all(database.engine)
    with database.engine.connect() as conn:
        request_id = conn.scalar(text("select key from ledger.posting where kind = 'top-up'"))
    plays = [Play(c.play_id, c.listener_id, c.track_id, c.ordinal, c.price_micro) for c in claims]
    return Notes(plays=plays, top_ups=[TopUp(request_id, listener, CREDITS_MICRO)])


def look(database: Database, notes: Notes) -> Found:
    """What the harness finds, as the superuser it is."""
    engine = create_engine(database.superuser_url.replace("postgresql", "postgresql+psycopg", 1))
    try:
        found = checks.look(engine, notes)
        found += checks.look_at_wallets(engine, notes)
        return found
    finally:
        engine.dispose()


def test_what_is_in_order_is_found_in_order(database: Database, noted: Notes) -> None:
    found = look(database, noted)
    assert not found, found


@pytest.mark.parametrize(
    ("tampering", "counted"),
    [
        ("delete from ledger.play where id = (select id from ledger.play limit 1)", {"lost", "doubled", "unbalanced"}),
        ("update ledger.play set price_micro = price_micro + 1", {"lost", "unbalanced"}),
        (
            "insert into ledger.transfer (posting_id, debit_account, credit_account, asset, amount_micro, posted_at)"
            " select posting_id, debit_account, credit_account, asset, amount_micro, posted_at from ledger.transfer",
            {"doubled", "unbalanced"},
        ),
        ("delete from ledger.transfer", {"lost", "unbalanced"}),
        ("update ledger.account set balance_micro = balance_micro + 1 where kind = 'wallet'", {"unbalanced"}),
    ],
)
def test_what_a_superuser_did_is_counted(database: Database, noted: Notes, tampering: str, counted: set[str]) -> None:
    with psycopg.connect(database.superuser_url) as conn:
        conn.execute("set session_replication_role = replica")
        conn.execute(tampering)
    found = look(database, noted)
    assert {name for name in ("lost", "doubled", "unbalanced") if getattr(found, name)} == counted, found


def test_promises_that_nobody_kept_are_counted(database: Database, noted: Notes) -> None:
    noted.plays.append(Play(uuid4(), uuid4(), uuid4(), 1, 2_000))
    noted.top_ups.append(TopUp(uuid4(), uuid4(), CREDITS_MICRO))
    noted.uploads.append(uuid4())
    assert len(look(database, noted).lost) == 4


def test_a_play_is_finished_once_a_published_batch_has_it(database: Database, noted: Notes) -> None:
    with database.engine.begin() as conn:
        (batch,) = conn.scalars(text("select distinct batch from ledger.log_play"))
        batches.end_batch(conn, NOW)
    assert len(checks.untold(database.engine, noted)) == len(noted.plays)
    with database.engine.begin() as conn:
        batches.mark_published(conn, batch, 0, 10, bytes(32), NOW)
        conn.execute(_PLACES)
    assert checks.untold(database.engine, noted) == []


_PLACES = text("""
    insert into ledger.log_plays (track_id, epoch, batch, index, first_leaf, count)
    select track_id, epoch, batch, row_number() over (), 0, count(*) from ledger.log_play group by 1, 2, 3
""")


def test_a_log_that_cannot_be_audited_is_counted(database: Database, noted: Notes, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    log = PublishedLog(tmp_path, "log.example/log", base64.b64encode(bytes(32)).decode(), tmp_path)
    assert len(log.look(database.engine, []).unbalanced) == 1
