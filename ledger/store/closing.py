"""Closing an epoch: each track's collected credits are extinguished and become money payable.

In chunks of tracks, each its own transaction; a track is shared out once per close, whoever runs it
and however often. What is collected for an epoch after its close began waits in `ledger.late` for
the next one, and is shared out at its own epoch's terms.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from ledger import accounts
from ledger.errors import DomainError
from ledger.ids import new_id
from ledger.royalties import Share, TrackRoyalties, track_royalties
from ledger.store import posting, terms
from ledger.store.batches import end_batch, open_batch
from ledger.store.settling import wait_for_tracks

CHUNK = 1_000
# A track may have many payees: so many royalty lines a chunk, whatever its tracks' splits are.
CHUNK_LINES_MAX = 5_000


class EpochNotOver(DomainError):
    """An epoch can be closed once it has ended and its grace has passed."""


class EarlierEpochOpen(DomainError):
    """Epochs are closed in order."""


class PlaysUnsettled(DomainError):
    """Plays of this epoch are still being settled."""


@dataclass(frozen=True, slots=True, order=True)
class TrackEpoch:
    """A track's plays of one epoch."""

    epoch: int
    track_id: UUID


@dataclass(frozen=True, slots=True)
class _Collected:
    track: TrackEpoch
    account_id: int
    collected_micro: int
    plays: int
    buyouts: int


class CloseUnfinished(DomainError):
    """Some tracks of this epoch are not shared out yet."""


SplitsOf = Callable[[Sequence[TrackEpoch]], dict[TrackEpoch, Sequence[Share]]]


def begin(conn: Connection, founded: terms.Founding, epoch: int, now: datetime) -> bool:
    """Begin an epoch's close; False if it is closed already. Safe to repeat.

    Raises EpochNotOver, EarlierEpochOpen or PlaysUnsettled, but not once it has begun: a clock that was set back, and
    the plays that then come for the epoch, do not hold up a close that is under way.
    """
    row = conn.execute(_STATE, {"epoch": epoch, "first": founded.first_epoch}).one()
    if row.closed:
        return False
    if row.begun:
        return True
    # From here on settling leaves this epoch's plays alone: no batch of theirs may be half on either side.
    wait_for_tracks(conn)
    row = conn.execute(_STATE, {"epoch": epoch, "first": founded.first_epoch}).one()
    if now < founded.may_close_at(epoch):
        raise EpochNotOver(epoch=epoch, may_close_at=founded.may_close_at(epoch).isoformat())
    if epoch > founded.first_epoch and not row.earlier_closed:
        raise EarlierEpochOpen(epoch=epoch)
    if row.waiting:
        raise PlaysUnsettled(epoch=epoch)
    conn.execute(
        text("insert into ledger.epoch_close (epoch, begun_at) values (:epoch, :now) on conflict do nothing"),
        {"epoch": epoch, "now": now},
    )
    return True


_STATE = text("""
    select exists (select from ledger.epoch_close where epoch = :epoch and closed_at is not null) as closed,
           exists (select from ledger.epoch_close where epoch = :epoch) as begun,
           exists (select from ledger.epoch_close where epoch = :epoch - 1 and closed_at is not null) as earlier_closed,
           exists (select from ledger.play_queue where epoch <= :epoch) as waiting
""")


def close_chunk(
    conn: Connection,
    founded: terms.Founding,
    epoch: int,
    splits_of: SplitsOf,
    now: datetime,
    after: TrackEpoch | None = None,
    chunk: int = CHUNK,
) -> TrackEpoch | None:
    """Share out the next `chunk` tracks of a close after `after`, in the caller's transaction; fewer of many payees.

    Returns the last track looked at, to go on from, or None when no track is left.
    """
    wait_for_tracks(conn)
    start = after or TrackEpoch(-(2**31), UUID(int=0))
    key = {"epoch": epoch, "after_epoch": start.epoch, "after_track": start.track_id, "chunk": chunk}
    rows = conn.execute(_NEXT_TRACKS, key).all()
    if not rows:
        return None
    splits = splits_of([TrackEpoch(r.epoch, r.track_id) for r in rows if r.balance_micro and not r.shared_out])
    rows = rows[: _fitting([len(splits.get(TrackEpoch(r.epoch, r.track_id), ())) for r in rows])]
    due = [
        _Collected(TrackEpoch(r.epoch, r.track_id), r.account_id, r.balance_micro, r.plays, r.buyouts)
        for r in rows
        if r.balance_micro and not r.shared_out
    ]
    if due:
        _share_out(conn, founded, epoch, due, splits, now)
    # What came later still, after this close shared the track out, waits for the next one.
    late = [r for r in rows if r.epoch < epoch and not r.shared_out]
    if late:
        conn.execute(_DROP_LATE, {"epochs": [r.epoch for r in late], "tracks": [r.track_id for r in late]})
    return TrackEpoch(rows[-1].epoch, rows[-1].track_id)


def _fitting(payees: Sequence[int]) -> int:
    """How many tracks of so many payees each stay within CHUNK_LINES_MAX: one at the least."""
    return max(1, sum(total <= CHUNK_LINES_MAX for total in accumulate(payees)))


# What belongs to a track is looked up one by one, hence the limits: accounts are opened and tracks shared out faster
# than statistics follow, and a join planned by them sorts all accounts for each chunk, or goes through all that is
# shared out once for each track.
_NEXT_TRACKS = text("""
    with due as (
        (select epoch, track_id from ledger.late
          where epoch < :epoch and (epoch, track_id) > (:after_epoch, :after_track)
          order by epoch, track_id limit :chunk)
        union all
        (select epoch, track_id from ledger.track_epoch
          where epoch = :epoch and (epoch, track_id) > (:after_epoch, :after_track)
          order by epoch, track_id limit :chunk)
         order by epoch, track_id limit :chunk
    )
    select due.epoch, due.track_id, a.id as account_id, a.balance_micro, before.in_this_close as shared_out,
           t.plays - before.plays as plays, t.buyouts - before.buyouts as buyouts
      from due
     cross join lateral (select id, balance_micro from ledger.account
                          where kind = 'track' and owner = due.track_id and epoch = due.epoch limit 1) a
     cross join lateral (select plays, buyouts from ledger.track_epoch
                          where epoch = due.epoch and track_id = due.track_id limit 1) t
     cross join lateral (select coalesce(sum(plays), 0) as plays, coalesce(sum(buyouts), 0) as buyouts,
                                coalesce(bool_or(closed_in = :epoch), false) as in_this_close
                           from ledger.track_close where track_id = due.track_id and epoch = due.epoch) before
     order by due.epoch, due.track_id
""")

_DROP_LATE = text("""
    delete from ledger.late l using unnest(cast(:epochs as integer[]), cast(:tracks as uuid[])) as done(epoch, track_id)
     where l.epoch = done.epoch and l.track_id = done.track_id
""")


def _share_out(
    conn: Connection,
    founded: terms.Founding,
    epoch: int,
    due: Sequence[_Collected],
    splits: dict[TrackEpoch, Sequence[Share]],
    now: datetime,
) -> None:
    in_force = {e: terms.in_force(conn, founded, e) for e in {d.track.epoch for d in due}}
    shared = [
        (
            d,
            track_royalties(
                d.collected_micro,
                splits[d.track],
                in_force[d.track.epoch].terms,
                epoch=d.track.epoch,
                track=str(d.track.track_id),
            ),
        )
        for d in due
    ]
    posting_id = posting.open_posting(conn, new_id(), "royalties", {"epoch": epoch}, now)
    _post(conn, posting_id, shared, now)
    closes = conn.execute(_INSERT_CLOSES, _close_columns(epoch, posting_id, shared, in_force)).all()
    close_ids = {(row.epoch, row.track_id): row.id for row in closes}
    lines = [
        (
            close_ids[d.track.epoch, d.track.track_id],
            UUID(line.payee),
            line.share_bp,
            line.amount_micro,
            line.held_because,
        )
        for d, royalties in shared
        for line in royalties.lines
    ]
    columns = [list(column) for column in zip(*lines, strict=True)]
    conn.execute(_INSERT_LINES, dict(zip(("closes", "payees", "shares", "amounts", "held"), columns, strict=True)))


def _post(
    conn: Connection, posting_id: int, shared: Sequence[tuple[_Collected, TrackRoyalties]], now: datetime
) -> None:
    """Extinguish each track's credits; pay money out of `topups:clearing`, netted over the chunk per account."""
    money: dict[accounts.Account, int] = {}
    for due, royalties in shared:
        for code, amount_micro in (royalties.deductions | royalties.funds).items():
            account = accounts.named(code)
            money[account] = money.get(account, 0) + amount_micro
        for line in royalties.lines:
            held = line.held_because is not None
            account = accounts.held(due.track.track_id) if held else accounts.royalty(UUID(line.payee))
            money[account] = money.get(account, 0) + line.amount_micro
    fixed = {accounts.CREDITS_CONSUMED, accounts.TOPUPS_CLEARING}
    ids = posting.ensure_accounts(conn, fixed | {account for account, amount in money.items() if amount})
    consumed, topups = ids[accounts.CREDITS_CONSUMED], ids[accounts.TOPUPS_CLEARING]
    rows = [(due.account_id, consumed, accounts.CREDIT, due.collected_micro) for due, _ in shared]
    rows += [(topups, ids[account], accounts.MONEY, amount) for account, amount in sorted(money.items()) if amount]
    posting.move(conn, posting_id, rows, now)


def _close_columns(
    epoch: int,
    posting_id: int,
    shared: Sequence[tuple[_Collected, TrackRoyalties]],
    in_force: dict[int, terms.TermsInForce],
) -> dict[str, Any]:
    return {
        "closed_in": epoch,
        "posting": posting_id,
        "epochs": [d.track.epoch for d, _ in shared],
        "tracks": [d.track.track_id for d, _ in shared],
        "plays": [d.plays for d, _ in shared],
        "buyouts": [d.buyouts for d, _ in shared],
        "collected": [d.collected_micro for d, _ in shared],
        "tariffs": [in_force[d.track.epoch].versions["tariff"] for d, _ in shared],
        "rates": [in_force[d.track.epoch].versions["rates"] for d, _ in shared],
        "factors": [in_force[d.track.epoch].versions["net_factors"] for d, _ in shared],
        "gross": [r.gross_micro for _, r in shared],
        "deductions": [json.dumps(r.deductions) for _, r in shared],
        "net": [r.net_micro for _, r in shared],
        "artists": [r.artists_micro for _, r in shared],
        "funds": [json.dumps(r.funds) for _, r in shared],
    }


_INSERT_CLOSES = text("""
    insert into ledger.track_close (closed_in, posting_id, epoch, track_id, plays, buyouts, collected_micro,
           tariff_version, rates_version, factors_version, gross_micro, deductions, net_micro, artists_micro, funds)
    select :closed_in, :posting, * from unnest(
           cast(:epochs as integer[]), cast(:tracks as uuid[]), cast(:plays as bigint[]), cast(:buyouts as bigint[]),
           cast(:collected as bigint[]), cast(:tariffs as integer[]), cast(:rates as integer[]),
           cast(:factors as integer[]), cast(:gross as bigint[]), cast(:deductions as jsonb[]),
           cast(:net as bigint[]), cast(:artists as bigint[]), cast(:funds as jsonb[]))
    returning id, epoch, track_id
""")

_INSERT_LINES = text("""
    insert into ledger.royalty_line (track_close_id, payee, share_bp, amount_micro, held_because)
    select * from unnest(cast(:closes as bigint[]), cast(:payees as uuid[]), cast(:shares as integer[]),
                         cast(:amounts as bigint[]), cast(:held as text[]))
""")


def finish(conn: Connection, epoch: int, now: datetime) -> None:
    """Mark an epoch closed, which ends the open batch of the log: it tells the close, and the wallets as of its end.

    Safe to repeat: the first time stands. Raises CloseUnfinished while a track is left.
    """
    if conn.scalar(_TRACKS_LEFT, {"epoch": epoch}):
        raise CloseUnfinished(epoch=epoch)
    marked = conn.execute(
        text("update ledger.epoch_close set closed_at = :now where epoch = :epoch and closed_at is null"),
        {"epoch": epoch, "now": now},
    )
    if marked.rowcount:
        end_batch(conn, now, seals=epoch)


# What came after a track was shared out is on the late list, and for the next close. One set is taken from another by
# hashing or by sorting, whatever statistics say.
_TRACKS_LEFT = text("""
    select exists (
        select track_id from ledger.track_epoch where epoch = :epoch
        except (select track_id from ledger.track_close where closed_in = :epoch and epoch = :epoch
                 union all select track_id from ledger.late where epoch = :epoch))
""")


def due_epoch(conn: Connection, founded: terms.Founding, now: datetime) -> int | None:
    """The earliest epoch that is not closed, if its grace has passed or its close has begun; else None.

    What has begun is due by that fact: the clock may have been set back since.
    """
    epoch = first_open(conn, founded)
    begun = text("select exists (select from ledger.epoch_close where epoch = :epoch)")
    return epoch if now >= founded.may_close_at(epoch) or conn.scalar(begun, {"epoch": epoch}) else None


def first_open(conn: Connection, founded: terms.Founding) -> int:
    """The earliest epoch that is not closed: it may still be running, or not have begun."""
    last = conn.scalar(text("select max(epoch) from ledger.epoch_close where closed_at is not null"))
    return founded.first_epoch if last is None else int(last) + 1


def late_tracks(conn: Connection, count_max: int) -> int:
    """How many tracks wait on the late list, counted up to `count_max`."""
    counted = text("select count(*) from (select from ledger.late limit :most) as counted")
    return int(conn.scalar(counted, {"most": count_max}) or 0)


def release(conn: Connection, track_id: UUID, payee: UUID, now: datetime, epochs: Sequence[int] | None = None) -> int:
    """Pay a payee's held lines of a track, of all epochs or of those given, now that nothing holds them.

    In the caller's transaction; each line is released once, whoever asks. Returns the micro-units released.
    """
    wait_for_tracks(conn)
    of = {"track": track_id, "payee": payee, "epochs": None if epochs is None else list(epochs)}
    lines = conn.execute(_HELD_LINES, of).all()
    total_micro = sum(line.amount_micro for line in lines)
    if not lines:
        return 0
    paid = posting.Transfer(accounts.held(track_id), accounts.royalty(payee), total_micro)
    note = {"lines": [line.id for line in lines]}
    moved = [paid] if total_micro else []
    posted = posting.post(conn, new_id(), "royalty-release", moved, now, note, open_batch(conn))
    conn.execute(
        text("insert into ledger.royalty_release (royalty_line_id, posting_id, released_at)"
             " select unnest(cast(:lines as bigint[])), :posting, :now"),
        {"lines": note["lines"], "posting": posted.id, "now": now},
    )  # fmt: skip
    return int(total_micro)


_HELD_LINES = text("""
    select line.id, line.amount_micro from ledger.royalty_line line
      join ledger.track_close on track_close.id = line.track_close_id
     where track_close.track_id = :track and line.payee = :payee and line.held_because is not null
       and (cast(:epochs as integer[]) is null or track_close.epoch = any(:epochs))
       and not exists (select from ledger.royalty_release r where r.royalty_line_id = line.id)
     order by line.id
""")
