"""Checking the books now and then, and what becomes known of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from ledger.store.checking import add_up_books
from streamcoop.operations import books_check
from tests.conftest import Database
from tests.ledger.factories import UUID, claim, found, listener_with, record_now, settle_all

HOUR = timedelta(hours=1)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def played(database: Database) -> Database:
    """Books with a play in them."""
    found(database.engine)
    listener = listener_with(database.engine, 5_000_000)
    record_now(database.app_url, [claim(listener, UUID(int=0x70))])
    settle_all(database.engine)
    return database


def _check(database: Database, at: datetime) -> books_check.LastCheck | None:
    with Session(database.engine) as session, session.begin():
        check_id = books_check.begin(session, HOUR, at)
    if check_id is not None:
        report = add_up_books(database.engine)
        with Session(database.engine) as session, session.begin():
            books_check.end(session, check_id, report, at + timedelta(seconds=5))
    with Session(database.engine) as session:
        return books_check.last(session)


def test_before_the_first_check_nothing_is_claimed(played: Database) -> None:
    with Session(played.engine) as session:
        assert books_check.last(session) is None


def test_books_that_balance_are_known_to_and_are_checked_again_after_an_interval(played: Database) -> None:
    first = _check(played, NOW)
    assert first == books_check.LastCheck(NOW + timedelta(seconds=5), 0, NOW)
    assert _check(played, NOW + timedelta(minutes=59)) == first
    assert _check(played, NOW + HOUR) == books_check.LastCheck(NOW + HOUR + timedelta(seconds=5), 0, NOW + HOUR)


def test_books_that_stopped_balancing_are_known_to(played: Database) -> None:
    _check(played, NOW)
    with psycopg.connect(played.superuser_url) as conn:
        conn.execute("set session_replication_role = replica")
        conn.execute("update ledger.account set balance_micro = balance_micro + 1 where kind = 'wallet'")
    last = _check(played, NOW + HOUR)
    assert last is not None
    assert last.findings >= 1
    with played.engine.connect() as conn:
        findings = conn.scalar(text("select findings from coop.books_check order by begun_at desc limit 1"))
    assert {"check", "subject", "kept", "added_up"} == set(findings[0])


def test_a_check_that_was_killed_says_nothing_and_the_one_before_stands(played: Database) -> None:
    _check(played, NOW)
    with Session(played.engine) as session, session.begin():
        assert books_check.begin(session, HOUR, NOW + HOUR) is not None
    with Session(played.engine) as session:
        assert books_check.last(session) == books_check.LastCheck(NOW + timedelta(seconds=5), 0, NOW + HOUR)


def test_old_checks_are_forgotten(played: Database) -> None:
    for day in range(3):
        _check(played, NOW + day * (books_check.KEPT / 2 + HOUR))
    with played.engine.connect() as conn:
        assert conn.scalar(text("select count(*) from coop.books_check")) == 2


def test_a_check_has_a_bound_in_time(played: Database) -> None:
    with psycopg.connect(played.owner_url) as conn:
        # Held until this block ends: the check would wait for it.
        conn.execute("lock table ledger.transfer in access exclusive mode")
        with pytest.raises(OperationalError, match="timeout"):
            add_up_books(played.engine, 1)
