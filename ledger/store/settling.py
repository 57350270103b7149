"""Settling: recorded plays become transfers, progress and tallies, a batch at a time, in one transaction.

Set-based and never refusing: what could be refused was refused when the play was recorded. The
transfers are netted per listener and per track, so the books hold no listening history.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from ledger.accounts import PLAYS_CLEARING
from ledger.ids import new_id
from ledger.store import posting

BATCH_MAX = 20_000

# Settling and closing both change many track accounts; one at a time spares them deadlocks.
TRACKS_LOCK = 0x5C_01

_TRACK_ACCOUNTS = text("""
    insert into ledger.account (code, kind, asset, owner, epoch)
    select distinct 'track:' || track_id || ':' || epoch, 'track', 'credit', track_id, epoch
      from (select track_id, epoch from ledger.play_queue order by id limit :batch) as waiting
     where not exists (select from ledger.account a
                        where a.kind = 'track' and a.owner = waiting.track_id and a.epoch = waiting.epoch)
        on conflict do nothing
""")

# A play whose track account appeared too late for the statement above waits for the next batch.
_SETTLE = text("""
    with taken as (
        delete from ledger.play_queue where id in (
            select q.id from ledger.play_queue q
              join ledger.account a on a.kind = 'track' and a.owner = q.track_id and a.epoch = q.epoch
             order by q.id limit :batch for update of q skip locked)
        returning listener_id, track_id, kind, price_micro, completes, epoch, month
    ), wallets as (
        select w.id as account_id, sum(price_micro)::bigint as paid_micro
          from taken join ledger.account w on w.kind = 'wallet' and w.owner = taken.listener_id
         group by w.id
    ), tracks as (
        select a.id as account_id, taken.track_id, taken.epoch, sum(price_micro)::bigint as paid_micro,
               count(*) filter (where taken.kind = 'play') as plays,
               count(*) filter (where taken.kind = 'buyout') as buyouts
          from taken join ledger.account a on a.kind = 'track' and a.owner = taken.track_id and a.epoch = taken.epoch
         group by a.id, taken.track_id, taken.epoch
    ), debits as (
        insert into ledger.transfer (posting_id, debit_account, credit_account, asset, amount_micro, posted_at)
        select :posting, account_id, :clearing, 'credit', paid_micro, :now from wallets
    ), credits as (
        insert into ledger.transfer (posting_id, debit_account, credit_account, asset, amount_micro, posted_at)
        select :posting, :clearing, account_id, 'credit', paid_micro, :now from tracks
    ), balances as (
        update ledger.account a set balance_micro = a.balance_micro + delta.micro
          from (select account_id, -paid_micro as micro from wallets
                union all select account_id, paid_micro from tracks) as delta
         where a.id = delta.account_id
    ), tallied as (
        insert into ledger.track_epoch as t (epoch, track_id, plays, buyouts, collected_micro)
        select epoch, track_id, plays, buyouts, paid_micro from tracks
            on conflict (epoch, track_id) do update
           set plays = t.plays + excluded.plays, buyouts = t.buyouts + excluded.buyouts,
               collected_micro = t.collected_micro + excluded.collected_micro
    ), belated as (
        insert into ledger.late (epoch, track_id)
        select epoch, track_id from tracks join ledger.epoch_close using (epoch) on conflict do nothing
    ), progressed as (
        insert into ledger.progress as p (listener_id, track_id, plays, paid_micro, epoch, owned_at)
        select listener_id, track_id, count(*) filter (where kind = 'play'), sum(price_micro), max(epoch),
               case when bool_or(completes) then cast(:now as timestamptz) end
          from taken group by listener_id, track_id
            on conflict (listener_id, track_id) do update
           set plays = p.plays + excluded.plays, paid_micro = p.paid_micro + excluded.paid_micro,
               epoch = greatest(p.epoch, excluded.epoch),
               owned_at = coalesce(p.owned_at, excluded.owned_at)
    ), spent as (
        insert into ledger.spending as s (listener_id, month, spent_micro)
        select listener_id, month, sum(price_micro) from taken group by listener_id, month
            on conflict (listener_id, month) do update set spent_micro = s.spent_micro + excluded.spent_micro
    )
    select (select count(*) from taken), coalesce((select sum(paid_micro) from wallets), 0),
           coalesce((select sum(paid_micro) from tracks), 0)
""")


def wait_for_tracks(conn: Connection) -> None:
    """Wait for settlings and closes that are under way, and hold up others until this transaction ends."""
    conn.execute(text("select pg_advisory_xact_lock(:key)"), {"key": TRACKS_LOCK})


def settle(conn: Connection, now: datetime, batch: int = BATCH_MAX) -> int:
    """Settle up to `batch` recorded plays in the caller's transaction; returns how many.

    Zero also when another settling or a close is under way. Raises BooksOutOfBalance should what
    left the wallets not be what reached the tracks.
    """
    if not conn.scalar(text("select pg_try_advisory_xact_lock(:key)"), {"key": TRACKS_LOCK}):
        return 0
    if not conn.scalar(text("select exists (select from ledger.play_queue)")):
        return 0
    conn.execute(_TRACK_ACCOUNTS, {"batch": batch})
    key: UUID = new_id()
    posting_id = posting.open_posting(conn, key, "settling", {}, now)
    clearing = posting.account_id(conn, PLAYS_CLEARING)
    figures = {"posting": posting_id, "clearing": clearing, "now": now, "batch": batch}
    count, left_wallets_micro, reached_tracks_micro = conn.execute(_SETTLE, figures).one()
    posting.require_balance(left_wallets_micro, reached_tracks_micro, posting=str(key))
    return int(count)


def unsettled(conn: Connection) -> tuple[int, datetime | None]:
    """How many plays wait to be settled, and when the oldest was recorded."""
    count, oldest = conn.execute(text("select count(*), min(recorded_at) from ledger.play_queue")).one()
    return int(count), oldest
