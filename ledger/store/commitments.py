"""What the log tells by commitments only, and what opens them: payees of splits, and wallets.

A salt is drawn when its row is written and never again. Whoever is told it, and nobody else, can see what was meant.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from ledger.entries import payee_opening, wallet_opening
from ledger.sumtree import SALT_BYTES, commitment

# Of the wallets told at a seal, so many a transaction.
WALLETS_CHUNK = 5_000


@dataclass(frozen=True, slots=True)
class ToldSplit:
    """A split as the log tells it: payees with their basis points, in the order their lines will have."""

    split_id: UUID
    track_id: UUID
    effective_epoch: int
    payees: Sequence[tuple[UUID, int]]


@dataclass(frozen=True, slots=True)
class ToldTrack:
    """A recording as the log tells it, and who is paid for it unless a split says otherwise."""

    track_id: UUID
    artist_id: UUID
    sha256: bytes
    owner_id: UUID


def tell_splits(conn: Connection, batch: int, splits: Sequence[ToldSplit]) -> None:
    """These splits are told in this batch. One that is told already stays as it is."""
    if not splits:
        return
    columns = {
        "splits": [split.split_id for split in splits],
        "tracks": [split.track_id for split in splits],
        "epochs": [split.effective_epoch for split in splits],
    }
    fresh = set(conn.scalars(_TELL_SPLITS, {"batch": batch, **columns}))
    rows = [
        (split.split_id, place, payee, secrets.token_bytes(SALT_BYTES), share_bp)
        for split in splits
        if split.split_id in fresh
        for place, (payee, share_bp) in enumerate(split.payees)
    ]
    if not rows:
        return
    names = [commitment(salt, payee_opening(payee, split_id)) for split_id, _, payee, salt, _ in rows]
    split_ids, places, payees, salts, shares = (list(column) for column in zip(*rows, strict=True))
    told = {"splits": split_ids, "places": places, "payees": payees, "salts": salts, "shares": shares, "names": names}
    conn.execute(_TELL_PAYEES, told)


_TELL_SPLITS = text("""
    insert into ledger.log_split (split_id, batch, track_id, effective_epoch)
    select split_id, :batch, track_id, effective_epoch
      from unnest(cast(:splits as uuid[]), cast(:tracks as uuid[]), cast(:epochs as integer[]))
           as told (split_id, track_id, effective_epoch)
        on conflict do nothing returning split_id
""")
_TELL_PAYEES = text("""
    insert into ledger.log_payee (split_id, place, payee, salt, share_bp, name)
    select * from unnest(cast(:splits as uuid[]), cast(:places as smallint[]), cast(:payees as uuid[]),
                         cast(:salts as bytea[]), cast(:shares as integer[]), cast(:names as bytea[]))
""")


def untold_tracks(conn: Connection, batch: int, most: int) -> list[UUID]:
    """Tracks that are first played in this batch and not told yet."""
    return list(conn.scalars(_UNTOLD_TRACKS, {"batch": batch, "most": most}))


_UNTOLD_TRACKS = text("""
    select distinct track_id from ledger.log_play p
     where p.batch = :batch and not exists (select from ledger.log_track t where t.track_id = p.track_id)
     limit :most
""")


def tell_tracks(conn: Connection, batch: int, first_epoch: int, tracks: Sequence[ToldTrack]) -> None:
    """These recordings are told in this batch, each with its owner as its first split. Safe to repeat."""
    columns = {
        "tracks": [track.track_id for track in tracks],
        "artists": [track.artist_id for track in tracks],
        "digests": [track.sha256 for track in tracks],
    }
    conn.execute(_TELL_TRACKS, {"batch": batch, **columns})
    firsts = [ToldSplit(t.track_id, t.track_id, first_epoch, [(t.owner_id, 10_000)]) for t in tracks]
    tell_splits(conn, batch, firsts)


_TELL_TRACKS = text("""
    insert into ledger.log_track (track_id, batch, artist_id, sha256)
    select track_id, :batch, artist_id, sha256
      from unnest(cast(:tracks as uuid[]), cast(:artists as uuid[]), cast(:digests as bytea[]))
           as told (track_id, artist_id, sha256)
        on conflict do nothing
""")


def tell_wallets(conn: Connection, epoch: int, after: UUID | None, chunk: int = WALLETS_CHUNK) -> UUID | None:
    """Tell the next `chunk` wallets as of the batch that seals the epoch, by their owners' ids after `after`.

    Returns the last owner looked at, or None when none is left. Safe to repeat: what is told stays. What a wallet held
    and got follows from rows of batches that have ended, so it is the same whenever this runs.
    """
    found = conn.execute(_WALLETS, {"epoch": epoch, "after": after or UUID(int=0), "chunk": chunk}).all()
    rows = [row for row in found if row.opening_micro or row.in_micro or row.spent_micro]
    if rows:
        salts = [secrets.token_bytes(SALT_BYTES) for _ in rows]
        names = [commitment(s, wallet_opening(r.owner, epoch)) for s, r in zip(salts, rows, strict=True)]
        columns: dict[str, Any] = {
            "commitments": names,
            "listeners": [row.owner for row in rows],
            # Nobody is left to be told what opens the line of a closed wallet.
            "salts": [None if r.closed else s for s, r in zip(salts, rows, strict=True)],
            "openings": [row.opening_micro for row in rows],
            "ins": [row.in_micro for row in rows],
            "spents": [row.spent_micro for row in rows],
        }
        conn.execute(_TELL_WALLETS, {"epoch": epoch, **columns})
    return found[-1].owner if len(found) == chunk else None


# Batches between two seals; the first runs from the beginning. What a wallet held at the end of the last one is what it
# holds now without what later batches moved, few since this follows the end closely; what it spent is what is missing.
_WALLETS = text("""
    with sealed as (
        select b.number as last_batch, before.seals as earlier, coalesce(before.number, 0) as after_batch
          from ledger.log_batch b
          left join lateral (select number, seals from ledger.log_batch e
                              where e.seals is not null and e.number < b.number order by number desc limit 1) before
                 on true
         where b.seals = :epoch
    ), wallets as materialized (
        select id, owner, balance_micro from ledger.account
         where kind = 'wallet' and owner > :after order by owner limit :chunk
    ), later as (
        select side.account_id, sum(side.micro)::bigint as micro
          from sealed join ledger.posting p on p.batch > sealed.last_batch
          join ledger.transfer t on t.posting_id = p.id and t.asset = 'credit'
         cross join lateral (values (t.credit_account, t.amount_micro), (t.debit_account, -t.amount_micro))
               as side (account_id, micro)
         group by side.account_id
    )
    select owner, opening_micro, in_micro, opening_micro + in_micro - held_micro as spent_micro, closed
      from (
        select wallets.owner, coalesce(w.closing_micro, 0) as opening_micro, given.micro as in_micro,
               wallets.balance_micro - coalesce(later.micro, 0) as held_micro,
               exists (select from ledger.listener l where l.id = wallets.owner and l.closed_at is not null) as closed
          from wallets cross join sealed
          left join ledger.log_wallet w on w.listener_id = wallets.owner and w.epoch = sealed.earlier
          left join later on later.account_id = wallets.id
         cross join lateral (
            select coalesce(sum(c.credits_micro), 0)::bigint as micro from ledger.log_credit c
             where c.listener_id = wallets.owner and c.batch > sealed.after_batch and c.batch <= sealed.last_batch
         ) as given) as told
     order by owner
""")
_TELL_WALLETS = text("""
    insert into ledger.log_wallet (epoch, commitment, listener_id, salt, opening_micro, in_micro, spent_micro,
                                   closing_micro)
    select :epoch, commitment, listener_id, salt, opening_micro, in_micro, spent_micro,
           opening_micro + in_micro - spent_micro
      from unnest(cast(:commitments as bytea[]), cast(:listeners as uuid[]), cast(:salts as bytea[]),
                  cast(:openings as bigint[]), cast(:ins as bigint[]), cast(:spents as bigint[]))
           as told (commitment, listener_id, salt, opening_micro, in_micro, spent_micro)
        on conflict (listener_id, epoch) do nothing
""")
