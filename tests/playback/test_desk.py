"""The desk's memory of an epoch's terms: read once, and the listening rule is that of the epoch of the opening."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from ledger.rules import Rules
from ledger.store import terms
from ledger.tariff import Tariff
from streamcoop.playback.desk import EpochTerms, PlaybackDesk
from streamcoop.settings import Settings
from tests.conftest import Database
from tests.ledger.factories import EPOCH, NOW, found


async def _autocommit(conn: psycopg.AsyncConnection[Any]) -> None:
    await conn.set_autocommit(True)


def _read(database: Database, *epochs: int) -> list[EpochTerms]:
    """The terms of these epochs, in turn, and all again once no database can be asked."""
    configured = Settings(
        database_url=database.app_url,
        broker_url="pgmq://nowhere",
        objects_url="file:///nowhere",
        chain_rpc_url="http://nowhere",
        secret_key=base64.b64encode(bytes(32)).decode(),
    )

    async def read() -> list[EpochTerms]:
        pool = AsyncConnectionPool(database.app_url, min_size=1, open=False, configure=_autocommit)
        desk = PlaybackDesk(pool, configured)
        async with pool, desk:
            first = [await desk.terms_in(epoch) for epoch in epochs]
        assert [await desk.terms_in(epoch) for epoch in epochs] == first
        return first

    return asyncio.run(read())


def test_the_listening_rule_and_the_tariff_are_those_of_the_epoch_and_are_read_once(database: Database) -> None:
    found(database.engine)
    with database.engine.begin() as conn:
        terms.adopt_rules(conn, Rules(1_000, 30_000), EPOCH + 1, "ballot:1", NOW)
        terms.adopt_tariff(conn, Tariff(1_000, 8), EPOCH + 2, "ballot:2", NOW)
    now, coming, later = _read(database, EPOCH, EPOCH + 1, EPOCH + 2)
    assert [each.rule.listen_ms_max for each in (now, coming, later)] == [45_000, 30_000, 30_000]
    assert [each.tariff for each in (now, coming, later)] == [Tariff(), Tariff(), Tariff(1_000, 8)]
    # Of a track of a minute; the free part goes with T.
    assert [(each.rule.listen_ms(120_000), each.rule.free_ms(120_000)) for each in (now, coming)] == [
        (45_000, 60_000),
        (30_000, 45_000),
    ]
