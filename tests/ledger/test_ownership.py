"""Owning across changes of the tariff, on PostgreSQL: whoever owned a track once owns it for ever."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import text

from ledger.recording import Recorded, Refused
from ledger.store import terms
from ledger.store.recording import standings_of
from ledger.tariff import Progress, Tariff
from tests.conftest import Database
from tests.ledger.factories import EPOCH, NOW, claim, connect, findings, listener_with, record_now, settle_all

pytestmark = pytest.mark.usefixtures("founded")

CHEAP = Tariff(plays=3)
DEAR = Tariff(first_price_micro=4_000)


def play(database: Database, listener: UUID, track: UUID, count: int, epoch: int = EPOCH) -> None:
    """Record the next plays of the golden curve, one after the other."""
    done = progress(database, listener, track, epoch).plays
    for ordinal in range(done + 1, done + count + 1):
        (outcome,) = record_now(
            database.app_url, [claim(listener, track, ordinal, Tariff().price_micro(ordinal), epoch=epoch)]
        )
        assert isinstance(outcome.decision, Recorded), outcome


def progress(database: Database, listener: UUID, track: UUID, epoch: int) -> Progress:
    """A listener's progress as the hot path sees it in an epoch."""

    async def look() -> Progress:
        async with await connect(database.app_url) as conn:
            return (await standings_of(conn, [(listener, track)], epoch, NOW))[listener].progress[track]

    return asyncio.run(look())


def adopt(database: Database, tariff: Tariff, epoch: int) -> None:
    with database.engine.begin() as conn:
        terms.adopt_tariff(conn, tariff, epoch, "test", NOW)


@pytest.mark.parametrize("settled", [True, False])
def test_a_tariff_of_fewer_plays_makes_owners_who_stay_owners_when_it_is_gone(
    database: Database, settled: bool
) -> None:
    listener, track = listener_with(database.engine, 10_000_000), uuid4()
    play(database, listener, track, 3)
    if settled:
        settle_all(database.engine)
    adopt(database, CHEAP, EPOCH + 1)
    adopt(database, DEAR, EPOCH + 2)

    assert not progress(database, listener, track, EPOCH).owned
    assert progress(database, listener, track, EPOCH + 1).owned
    assert progress(database, listener, track, EPOCH + 5).owned
    (outcome,) = record_now(database.app_url, [claim(listener, track, 4, 16_000, epoch=EPOCH + 5)])
    assert isinstance(outcome.decision, Refused)
    assert outcome.decision.reason == "already-owned"
    assert findings(database.engine) == []


def test_who_reached_the_number_only_after_the_cheap_tariff_does_not_own(database: Database) -> None:
    listener, track = listener_with(database.engine, 10_000_000), uuid4()
    adopt(database, CHEAP, EPOCH + 1)
    adopt(database, Tariff(), EPOCH + 2)
    play(database, listener, track, 3, EPOCH + 2)
    settle_all(database.engine)

    assert not progress(database, listener, track, EPOCH + 2).owned


def test_a_tariff_replaced_before_it_began_made_nobody_an_owner(database: Database) -> None:
    listener, track = listener_with(database.engine, 10_000_000), uuid4()
    play(database, listener, track, 3)
    adopt(database, CHEAP, EPOCH + 1)
    adopt(database, Tariff(), EPOCH + 1)

    assert not progress(database, listener, track, EPOCH + 1).owned


def test_a_play_can_be_blanked_by_erasure_and_never_rewritten(database: Database) -> None:
    listener, track = listener_with(database.engine, 10_000_000), uuid4()
    play(database, listener, track, 1)
    with psycopg.connect(database.app_url, autocommit=True) as conn:
        for change in ("listener_id = gen_random_uuid()", "salt = sha256('x')"):
            with pytest.raises(psycopg.errors.RestrictViolation):
                conn.execute(f"update ledger.play set {change}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("update ledger.play set price_micro = 1000")
        conn.execute("update ledger.play set listener_id = null, salt = null")
    with database.engine.begin() as conn:
        assert conn.scalar(text("select count(*) from ledger.play where listener_id is null and salt is null")) == 1
