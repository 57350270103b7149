"""The hot path: recording plays, many in one durable transaction, each decided under its listener's lock.

Two round trips: lock and look, then append and commit. The locks are taken in sorted order and
before the snapshot of what is looked at, so that two batches neither deadlock nor both spend the
same credits. Everything else that takes credits out of a wallet holds the same lock.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, AsyncCursor

from ledger.epochs import month_of
from ledger.recording import Claim, Decision, Recorded, Refused, Standing, decide_batch
from ledger.tariff import Progress, Tariff

BATCH_MAX = 500
SALT_BYTES = 32

_LISTENER_LOCK = 0x5C_00_00_00_00_00_00_00

LOCK = "select pg_advisory_xact_lock(key) from unnest(%s::bigint[]) as key"

# One statement, so one snapshot: a settling that commits meanwhile moves a play from the queue to the
# balance and is seen on both sides or on neither.
STANDINGS = """
    select asked.id, coalesce(wallet.balance_micro, 0) - coalesce(unsettled.price_micro, 0),
           coalesce(spending.spent_micro, 0) + coalesce(unsettled.month_micro, 0),
           limits.monthly_budget_micro, limits.stop_before_ordinal
      from unnest(%(listeners)s::uuid[]) as asked(id)
      left join ledger.account wallet on wallet.kind = 'wallet' and wallet.owner = asked.id
      left join ledger.listener limits on limits.id = asked.id
      left join ledger.spending on spending.listener_id = asked.id and spending.month = %(month)s
      left join lateral (select sum(price_micro)::bigint as price_micro,
                                sum(price_micro) filter (where month = %(month)s)::bigint as month_micro
                           from ledger.play_queue where listener_id = asked.id) unsettled on true
"""

# Owned by a payment, or under some tariff in force since the latest one.
PROGRESS = """
    with so_far as (
        select asked.listener_id, asked.track_id,
               coalesce(progress.plays, 0) + coalesce(unsettled.plays, 0) as plays,
               coalesce(progress.paid_micro, 0) + coalesce(unsettled.paid_micro, 0) as paid_micro,
               greatest(progress.epoch, unsettled.epoch) as epoch,
               progress.owned_at is not null or coalesce(unsettled.completes, false) as completed
          from unnest(%(listeners)s::uuid[], %(tracks)s::uuid[]) as asked(listener_id, track_id)
          left join ledger.progress on progress.listener_id = asked.listener_id and progress.track_id = asked.track_id
          left join lateral (select count(*) filter (where kind = 'play') as plays, max(epoch) as epoch,
                                    sum(price_micro)::bigint as paid_micro, bool_or(completes) as completes
                               from ledger.play_queue q
                              where q.listener_id = asked.listener_id and q.track_id = asked.track_id) unsettled
                 on true)
    select listener_id, track_id, plays, paid_micro,
           completed or exists (select from ledger.tariff_span s
                                 where s.from_epoch <= greatest(%(epoch)s, so_far.epoch) and s.to_epoch >= so_far.epoch
                                   and (so_far.plays >= s.plays or so_far.paid_micro >= s.total_micro))
      from so_far
"""

ALREADY = """
    select id, listener_id, track_id, kind, ordinal, price_micro, completes, recorded_at
      from ledger.play where id = any(%s::uuid[])
"""

APPEND = """
    with new (id, listener_id, track_id, kind, ordinal, price_micro, completes, epoch, salt) as (
        select * from unnest(%(ids)s::uuid[], %(listeners)s::uuid[], %(tracks)s::uuid[], %(kinds)s::text[],
                             %(ordinals)s::smallint[], %(prices)s::bigint[], %(completes)s::boolean[],
                             %(epochs)s::integer[], %(salts)s::text[])
    ), plays as (
        insert into ledger.play
               (id, listener_id, track_id, kind, ordinal, price_micro, completes, epoch, salt, recorded_at)
        select id, listener_id, track_id, kind, ordinal, price_micro, completes, epoch, decode(salt, 'hex'), %(now)s
          from new
    )
    insert into ledger.play_queue
           (play_id, listener_id, track_id, kind, price_micro, completes, epoch, month, recorded_at, commitment)
    select id, listener_id, track_id, kind, price_micro, completes, epoch, %(month)s, %(now)s,
           ledger.play_commitment(decode(salt, 'hex'), id, listener_id, track_id, epoch, ordinal, kind, price_micro)
      from new
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a claim; `recorded_at` is None where it was refused. `repeated`: its first answer again."""

    decision: Decision
    recorded_at: datetime | None
    repeated: bool = False


def lock_key(listener_id: UUID) -> int:
    """The advisory-lock key of a listener: 64 bits, signed."""
    key = (listener_id.int ^ _LISTENER_LOCK) & 0xFFFF_FFFF_FFFF_FFFF
    return key - (1 << 64) if key >> 63 else key


async def record(
    conn: AsyncConnection[Any], claims: Sequence[Claim], tariff_in: Callable[[int], Tariff], now: datetime
) -> list[Outcome]:
    """Record what can be recorded of `claims` in one transaction, committed on return. Outcomes in the claims' order.

    A claim whose play id was recorded before with the same content gets its first answer; with other
    content it is refused as `id-reused`. `now` is the server's clock (timezone-aware).
    """
    if not 0 < len(claims) <= BATCH_MAX:
        raise ValueError(f"a batch has 1 to {BATCH_MAX} claims")
    async with conn.pipeline(), conn.transaction():
        standings, already = await _look(conn, claims, month_of(now))
        fresh: dict[UUID, Claim] = {}
        for claim in claims:
            if claim.play_id not in already:
                fresh.setdefault(claim.play_id, claim)
        decided = dict(zip(fresh, decide_batch(list(fresh.values()), standings, tariff_in), strict=True))
        await append(conn, [d for d in decided.values() if isinstance(d, Recorded)], now)
    outcomes: list[Outcome] = []
    for claim in claims:
        if claim.play_id in already:
            outcomes.append(_repeat(claim, *already[claim.play_id]))
            continue
        decision = decided[claim.play_id]
        if isinstance(decision, Recorded):
            already[claim.play_id] = decision, now
            outcomes.append(Outcome(decision, now))
        else:
            outcomes.append(Outcome(decision if decision.claim == claim else Refused(claim, "id-reused"), None))
    return outcomes


async def standings_of(
    conn: AsyncConnection[Any], pairs: Collection[tuple[UUID, UUID]], epoch: int, now: datetime
) -> dict[UUID, Standing]:
    """What listeners can spend, and have paid for the tracks that `pairs` name with them, settled or not.

    Without their locks: for quotes. Ownership is as of `epoch`.
    """
    async with conn.pipeline():
        return await _standings(conn, pairs, epoch, month_of(now))


async def _look(
    conn: AsyncConnection[Any], claims: Sequence[Claim], month: int
) -> tuple[dict[UUID, Standing], dict[UUID, tuple[Recorded, datetime]]]:
    """Take the listeners' locks, then read their standings and the plays recorded before."""
    pairs = {(claim.listener_id, claim.track_id) for claim in claims}
    await conn.execute(LOCK, (_array(sorted({lock_key(listener) for listener, _ in pairs})),))
    already = await conn.execute(ALREADY, (_array(claim.play_id for claim in claims),))
    standings = await _standings(conn, pairs, max(claim.epoch for claim in claims), month)
    return standings, await _plays_recorded(already)


async def _standings(
    conn: AsyncConnection[Any], pairs: Collection[tuple[UUID, UUID]], epoch: int, month: int
) -> dict[UUID, Standing]:
    listeners = {listener for listener, _ in pairs}
    standing = await conn.execute(STANDINGS, {"listeners": _array(listeners), "month": month})
    asked = {"listeners": _array(pair[0] for pair in pairs), "tracks": _array(pair[1] for pair in pairs)}
    progress = await conn.execute(PROGRESS, {**asked, "epoch": epoch})
    standings = {row[0]: Standing(*row[1:]) for row in await standing.fetchall()}
    for listener, track, plays, paid_micro, owned in await progress.fetchall():
        standings[listener].progress[track] = Progress(plays, paid_micro, owned)
    return standings


async def _plays_recorded(found: AsyncCursor[Any]) -> dict[UUID, tuple[Recorded, datetime]]:
    return {
        play_id: (Recorded(Claim(play_id, listener, track, kind, ordinal, price_micro, 0), completes), recorded_at)
        for play_id, listener, track, kind, ordinal, price_micro, completes, recorded_at in await found.fetchall()
    }


def _repeat(claim: Claim, first: Recorded, recorded_at: datetime) -> Outcome:
    was = first.claim
    same = (was.listener_id, was.track_id, was.kind, was.ordinal, was.price_micro) == (
        claim.listener_id,
        claim.track_id,
        claim.kind,
        claim.ordinal,
        claim.price_micro,
    )
    if not same:
        return Outcome(Refused(claim, "id-reused"), None)
    return Outcome(Recorded(claim, first.completes), recorded_at, repeated=True)


async def append(conn: AsyncConnection[Any], recorded: Sequence[Recorded], now: datetime) -> None:
    """Append the rows of plays that are decided, in the caller's transaction."""
    if not recorded:
        return
    claims = [decision.claim for decision in recorded]
    await conn.execute(
        APPEND,
        {
            "ids": _array(claim.play_id for claim in claims),
            "listeners": _array(claim.listener_id for claim in claims),
            "tracks": _array(claim.track_id for claim in claims),
            "kinds": _array(claim.kind for claim in claims),
            "ordinals": _array(claim.ordinal for claim in claims),
            "prices": _array(claim.price_micro for claim in claims),
            "completes": _array(decision.completes for decision in recorded),
            "epochs": _array(claim.epoch for claim in claims),
            "salts": _array(secrets.token_hex(SALT_BYTES) for _ in claims),
            "now": now,
            "month": month_of(now),
        },
    )


def _array(values: Iterable[object]) -> str:
    """An array as PostgreSQL reads it, of values that need no quoting.

    psycopg would look at each item for what to quote, thousands of them in a batch.
    """
    return "{" + ",".join(map(str, values)) + "}"
