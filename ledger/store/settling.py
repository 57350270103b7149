"""Settling: recorded plays become transfers, progress and tallies, a batch at a time, in one transaction.

Set-based and never refusing: what could be refused was refused when the play was recorded. The
transfers are netted per listener and per track, so the books hold no listening history.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from ledger.accounts import PLAYS_CLEARING
from ledger.ids import lowest_id, new_id
from ledger.store import posting
from ledger.store.batches import open_batch

BATCH_MAX = 20_000
# Up to here the plays that wait are counted; a backlog of hours would take seconds.
COUNTED_MAX = 10_000

# Settling and closing both change many track accounts; one at a time spares them deadlocks.
TRACKS_LOCK = 0x5C_01

# Where statistics are behind (of the queue they often are: it was empty a moment ago, and a new epoch's accounts are
# all new) the planner takes thousands for a handful, and would go through the batch once for each of them. So what is
# in tables is looked up one by one, and what is in the batch is joined by hashing.
_HASH_JOINS = text("set local enable_nestloop = off")
_ANY_JOINS = text("reset enable_nestloop")

# The batch is cut off before anything else, so that a long queue costs no more than a short one. Its rows need no lock:
# nobody else takes rows out, and what is not committed yet is not seen, whatever its number. While an epoch is being
# closed, what came late for it waits: what its tracks collected stays what the log has told. The
# accounts of tracks that nobody has played in this epoch are opened; a play whose track's account appeared meanwhile
# waits for the next batch.
_SETTLE = text("""
    with first as materialized (
        select id, track_id, epoch from ledger.play_queue
         where epoch > (select coalesce(max(epoch), -2147483648) from ledger.epoch_close where closed_at is null)
         order by id limit :batch
    ), known as materialized (
        select track_id, epoch, (select a.id from ledger.account a
                                  where a.kind = 'track' and a.owner = track_id and a.epoch = asked.epoch) as account_id
          from (select distinct track_id, epoch from first) as asked
    ), opened as (
        insert into ledger.account (code, kind, asset, owner, epoch)
        select 'track:' || track_id || ':' || epoch, 'track', 'credit', track_id, epoch
          from known where account_id is null
            on conflict do nothing returning owner as track_id, epoch, id as account_id
    ), accounts as materialized (
        select track_id, epoch, account_id from known where account_id is not null
         union all select track_id, epoch, account_id from opened
    ), taken as (
        delete from ledger.play_queue where id = any (array(select id from first join accounts using (track_id, epoch)))
        returning play_id, listener_id, track_id, kind, price_micro, completes, epoch, month, commitment
    ), told as (
        insert into ledger.log_play (play_id, batch, epoch, track_id, price_micro, commitment)
        select play_id, :log_batch, epoch, track_id, price_micro, commitment from taken
    ), wallets as materialized (
        select (select w.id from ledger.account w where w.kind = 'wallet' and w.owner = listener_id) as account_id,
               sum(price_micro)::bigint as paid_micro
          from taken group by listener_id
    ), tracks as materialized (
        select account_id, track_id, epoch, paid_micro, plays, buyouts
          from (select track_id, epoch, sum(price_micro)::bigint as paid_micro,
                       count(*) filter (where kind = 'play') as plays,
                       count(*) filter (where kind = 'buyout') as buyouts
                  from taken group by track_id, epoch) as summed
          join accounts using (track_id, epoch)
    ), debits as (
        insert into ledger.transfer (posting_id, debit_account, credit_account, asset, amount_micro, posted_at)
        select :posting, account_id, :clearing, 'credit', paid_micro, :now from wallets where account_id is not null
    ), credits as (
        insert into ledger.transfer (posting_id, debit_account, credit_account, asset, amount_micro, posted_at)
        select :posting, :clearing, account_id, 'credit', paid_micro, :now from tracks
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
    select (select count(*) from taken),
           coalesce((select sum(paid_micro) from wallets where account_id is not null), 0),
           coalesce((select sum(paid_micro) from tracks), 0)
""")


# Locked in the order of their ids, as others do who lock several. A wallet that a top-up changed while this waited is
# added to as it is then: an update at READ COMMITTED reads such a row anew.
_ADD_TO_BALANCES = text("""
    with moved as materialized (
        select account_id, sum(micro)::bigint as micro from (
            select credit_account as account_id, amount_micro as micro from ledger.transfer where posting_id = :posting
            union all select debit_account, -amount_micro from ledger.transfer where posting_id = :posting) as sides
         group by account_id having sum(micro) <> 0
    ), locked as materialized (
        select a.id from ledger.account a where a.id = any (array(select account_id from moved))
         order by a.id for no key update
    )
    update ledger.account a set balance_micro = a.balance_micro + moved.micro
      from locked join moved on moved.account_id = locked.id where a.id = locked.id
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
    key: UUID = new_id()
    log_batch = open_batch(conn)
    posting_id = posting.open_posting(conn, key, "settling", {}, now, log_batch)
    clearing = posting.account_id(conn, PLAYS_CLEARING)
    figures = {"posting": posting_id, "clearing": clearing, "now": now, "batch": batch, "log_batch": log_batch}
    conn.execute(_HASH_JOINS)
    count, left_wallets_micro, reached_tracks_micro = conn.execute(_SETTLE, figures).one()
    conn.execute(_ANY_JOINS)
    posting.require_balance(left_wallets_micro, reached_tracks_micro, posting=str(key))
    conn.execute(_ADD_TO_BALANCES, {"posting": posting_id})
    return int(count)


def unsettled(conn: Connection) -> tuple[int, datetime | None]:
    """How many plays wait to be settled, and when the oldest was recorded.

    Cheap however many they are. From COUNTED_MAX on the number is that of the ids from the oldest to the newest, which
    is too large by those that were given out and never committed.
    """
    count, oldest = conn.execute(_UNSETTLED, {"counted_max": COUNTED_MAX}).one()
    return int(count), oldest


_UNSETTLED = text("""
    select case when counted < :counted_max then counted
                else (select max(id) - min(id) + 1 from ledger.play_queue) end, oldest
      from (select count(*) as counted, min(recorded_at) as oldest
              from (select recorded_at from ledger.play_queue order by id limit :counted_max) as first) as bounded
""")


def recorded_since(conn: Connection, since: datetime, opened_from: datetime, most: int) -> tuple[int, int]:
    """How many plays were recorded from `since` on, and how many of those wait to be settled, each up to `most`.

    Plays are found by their ids: one that was opened before `opened_from` is not counted.
    """
    asked = {"since": since, "lowest": lowest_id(opened_from), "most": most}
    recorded, waiting = conn.execute(_RECORDED_SINCE, asked).one()
    return int(recorded), int(waiting)


_RECORDED_SINCE = text("""
    select (select count(*) from (select from ledger.play
                                   where id >= :lowest and recorded_at >= :since limit :most) as recorded),
           (select count(*) from (select from ledger.play_queue where recorded_at >= :since limit :most) as waiting)
""")
