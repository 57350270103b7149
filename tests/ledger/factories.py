"""Small makers of what the books' tests need: a founded co-op, listeners with credit, claims, splits, closes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
from sqlalchemy import Connection, Engine, text

from ledger import accounts
from ledger.constitution import Bound, Constitution
from ledger.ids import new_id
from ledger.money import BASIS_POINTS
from ledger.rates import NetFactors, Rates
from ledger.recording import Claim, Kind
from ledger.royalties import Share
from ledger.rules import Rules
from ledger.store import checking, closing, crediting, posting, settling, terms
from ledger.store.batches import open_batch
from ledger.store.closing import SplitsOf, TrackEpoch
from ledger.store.posting import Transfer
from ledger.store.recording import Outcome, record
from ledger.tariff import Tariff

FOUNDED_AT = datetime(2026, 3, 1, tzinfo=UTC)
EPOCH = 2026 * 12 + 2
"""March 2026, which the co-op of the tests is founded in."""
NOW = FOUNDED_AT + timedelta(days=14)
GRACE_S = 7_200
TARIFF = Tariff()
RATES = Rates()
ARTIST_SHARE_BP_MAX = 9_000
ANYTHING = Constitution(
    parameters={
        "artist_share_bp": Bound(0, ARTIST_SHARE_BP_MAX, 10_000),
        "community_cut_bp": Bound(0, 10_000, 10_000),
        "reserve_cut_bp": Bound(0, 10_000, 10_000),
        "first_price_micro": Bound(1_000, 1_000_000, 1_000_000, 1_000),
        "plays": Bound(1, 16, 16),
        "payout_minimum_minor": Bound(1, 10**9, 10**9),
        "listen_ms_max": Bound(100, 10**6, 10**6),
    }
)
"""A constitution under which nearly any terms may be in force."""


def founding(**changes: Any) -> terms.Founding:
    """A co-op of calendar months that sells a credit for one euro."""
    usual: dict[str, Any] = {
        "coop_name": "Test Co-op",
        "currency": "EUR",
        "minor_digits": 2,
        "credit_price_micro": 1_000_000,
        "epoch_seconds": 0,
        "epoch_grace_seconds": GRACE_S,
        "free_extra_ms": 15_000,
        "token_ms_min": 1_800_000,
        "first_epoch": EPOCH,
        "founded_at": FOUNDED_AT,
        "constitution": ANYTHING,
    }
    return terms.Founding(**usual | changes)


def found(
    engine: Engine,
    founded: terms.Founding | None = None,
    *,
    tariff: Tariff = TARIFF,
    rates: Rates = RATES,
    rules: Rules | None = None,
    factors: NetFactors | None = None,
) -> terms.Founding:
    """Found a co-op in an empty database."""
    founded = founded or founding()
    with engine.begin() as conn:
        assert terms.found(conn, founded, tariff, rates, rules or Rules(), factors or NetFactors())
    return founded


def top_up_transfers(listener: UUID, credits_micro: int, price_micro: int = 1_000_000) -> list[Transfer]:
    """What a listener's payment moves: money into clearing, credits into her wallet."""
    money_micro = credits_micro * price_micro // 1_000_000
    return [
        Transfer(accounts.BANK, accounts.TOPUPS_CLEARING, money_micro),
        Transfer(accounts.CREDITS_ISSUED, accounts.wallet(listener), credits_micro),
    ]


def top_up(conn: Connection, listener: UUID, credits_micro: int, now: datetime = NOW) -> None:
    """Give a listener credits that she paid for."""
    crediting.give(conn, new_id(), "top-up", listener, top_up_transfers(listener, credits_micro), now)


def top_up_all(conn: Connection, listeners: Sequence[UUID], credits_micro: int) -> None:
    """The same for many listeners, in one posting."""
    paid = [transfer for listener in listeners for transfer in top_up_transfers(listener, credits_micro)]
    batch = open_batch(conn)
    posted = posting.post(conn, new_id(), "top-up", paid, NOW, batch=batch)
    conn.execute(
        text("""
            insert into ledger.log_credit (posting_id, listener_id, batch, kind, credits_micro, money_micro, salt,
                                           commitment)
            select :posting, id, :batch, 'top-up', :micro, :micro, salt,
                   sha256('\x02'::bytea || salt || '\x63'::bytea || uuid_send(cast(:key as uuid)) || uuid_send(id)
                          || '\x01'::bytea || int8send(:micro) || int8send(:micro))
              from (select id, sha256(uuid_send(id)) as salt from unnest(cast(:ids as uuid[])) as id) as salted
        """),
        {"posting": posted.id, "key": new_id(), "batch": batch, "micro": credits_micro, "ids": list(listeners)},
    )


def listener_with(engine: Engine, credits_micro: int) -> UUID:
    """A new listener and her credits."""
    listener = uuid4()
    with engine.begin() as conn:
        top_up(conn, listener, credits_micro)
    return listener


def claim(
    listener: UUID,
    track: UUID,
    ordinal: int = 1,
    price_micro: int = 2_000,
    kind: Kind = "play",
    *,
    epoch: int = EPOCH,
    play_id: UUID | None = None,
) -> Claim:
    """A play (by default the first, at the golden price) asked to be recorded."""
    return Claim(play_id or new_id(), listener, track, kind, ordinal, price_micro, epoch)


def any_tariff(tariff: Tariff = TARIFF) -> Callable[[int], Tariff]:
    """The same tariff in every epoch."""
    return lambda _epoch: tariff


async def connect(app_url: str) -> psycopg.AsyncConnection[Any]:
    """A connection as the hot path has it."""
    return await psycopg.AsyncConnection.connect(app_url, autocommit=True)


def record_now(app_url: str, claims: Sequence[Claim], tariff: Tariff = TARIFF, now: datetime = NOW) -> list[Outcome]:
    """Record one batch on a connection of its own."""

    async def on_own_connection() -> list[Outcome]:
        async with await connect(app_url) as conn:
            return await record(conn, claims, any_tariff(tariff), now)

    return asyncio.run(on_own_connection())


def settle_all(engine: Engine, now: datetime = NOW, batch: int = settling.BATCH_MAX) -> int:
    """Settle until nothing waits; returns how many plays were settled."""
    total = 0
    while True:
        with engine.begin() as conn:
            count = settling.settle(conn, now, batch)
        if not count:
            return total
        total += count


def solo(payee: UUID, held_because: str | None = None) -> tuple[Share, ...]:
    """The split of a track with a single payee."""
    return (Share(str(payee), BASIS_POINTS, held_because),)


def splits_from(splits: Mapping[UUID, Sequence[Share]]) -> SplitsOf:
    """Splits that stay the same in every epoch, by track."""

    def splits_of(tracks: Sequence[TrackEpoch]) -> dict[TrackEpoch, Sequence[Share]]:
        return {track: splits[track.track_id] for track in tracks}

    return splits_of


def close(
    engine: Engine,
    founded: terms.Founding,
    epoch: int,
    splits_of: SplitsOf,
    now: datetime | None = None,
    *,
    chunk: int = closing.CHUNK,
    chunks_max: int | None = None,
) -> bool:
    """Close an epoch as a worker does; with `chunks_max`, one that is killed after so many chunks. True once closed."""
    now = now or founded.may_close_at(epoch)
    with engine.begin() as conn:
        closing.begin(conn, founded, epoch, now)
    after, chunks = None, 0
    while chunks_max is None or chunks < chunks_max:
        with engine.begin() as conn:
            after = closing.close_chunk(conn, founded, epoch, splits_of, now, after, chunk)
        if after is None:
            with engine.begin() as conn:
                closing.finish(conn, epoch, now)
            return True
        chunks += 1
    return False


def balance_micro(engine: Engine, account: accounts.Account) -> int:
    """What an account holds."""
    with engine.connect() as conn:
        return posting.balance_micro(conn, account)


def findings(engine: Engine) -> list[checking.Finding]:
    """What does not agree in the books."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as conn:
        return list(checking.check_books(conn).findings)
