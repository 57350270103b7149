"""How many transfers of a kind an account has under way at once, on all processes together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.errors import ReadOnlySqlTransaction
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from ledger.ids import new_id
from streamcoop.catalogue.models import TransferKind
from streamcoop.database import ReadOnly

# How long the transfers of a process that died count on. A living one renews its places twice as often.
PLACE_S = 60

# A place that cannot be written of just now is renewed or left the next time, or ends by itself.
_AWAY = (psycopg.OperationalError, PoolTimeout, ReadOnlySqlTransaction)

Pool = AsyncConnectionPool[AsyncConnection[Any]]

_LOCK_ACCOUNT = "select pg_advisory_xact_lock(hashtextextended(%(account_id)s::text, 0))"
_FORGET_DEAD = "delete from coop.transfer_place where account_id = %(account_id)s and held_until <= now()"
_TAKE_PLACE = """
    insert into coop.transfer_place (id, account_id, kind, held_until)
    select %(id)s, %(account_id)s, %(kind)s, now() + make_interval(secs => %(place_s)s)
     where (select count(*) from coop.transfer_place where account_id = %(account_id)s and kind = %(kind)s) < %(most)s
"""
_RENEW_PLACE = """
    update coop.transfer_place set held_until = now() + make_interval(secs => %(place_s)s) where id = %(id)s
"""
_LEAVE_PLACE = "delete from coop.transfer_place where id = %(id)s"


@asynccontextmanager
async def held(pool: Pool, account_id: UUID, kind: TransferKind, most: int) -> AsyncIterator[bool]:
    """One of the account's `most` places for a kind of transfer, for the length of the block. False: all are taken.

    Raises ReadOnly.
    """
    place_id = new_id()
    if not await _take(pool, place_id, account_id, kind, most):
        yield False
        return
    renewing = asyncio.create_task(_renew(pool, place_id))
    try:
        yield True
    finally:
        renewing.cancel()
        # A place that is not left, because the database is away or we are being stopped, is free in PLACE_S.
        with suppress(*_AWAY):
            async with pool.connection() as conn:
                await conn.execute(_LEAVE_PLACE, {"id": place_id})


async def _take(pool: Pool, place_id: UUID, account_id: UUID, kind: TransferKind, most: int) -> bool:
    terms = {"id": place_id, "account_id": account_id, "kind": kind, "place_s": PLACE_S, "most": most}
    try:
        async with pool.connection() as conn, conn.transaction():
            await conn.execute(_LOCK_ACCOUNT, terms)
            await conn.execute(_FORGET_DEAD, terms)
            taken = await conn.execute(_TAKE_PLACE, terms)
    except ReadOnlySqlTransaction as refused:
        raise ReadOnly from refused
    return bool(taken.rowcount)


async def _renew(pool: Pool, place_id: UUID) -> None:
    while True:
        await asyncio.sleep(PLACE_S / 2)
        with suppress(*_AWAY):
            async with pool.connection() as conn:
                await conn.execute(_RENEW_PLACE, {"id": place_id, "place_s": PLACE_S})
