"""What of the log is a member's own: her plays, her wallet's lines, her name in splits, each with what opens it.

Made from the published files, so a receipt shows what everybody can see, not what the database says.
"""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from ledger import entries, receipts
from ledger.errors import DomainError
from ledger.merkle import inclusion_proof
from ledger.store.telling import LEAF
from ledger.store.terms import Founding
from ledger.sumtree import Lines, path_of
from ledger.tiles import ENTRIES, WIDTH, TiledTree, entries_of, path, width_of
from streamcoop.adapters.objects import ObjectStore
from streamcoop.errors import NotFound
from streamcoop.problems import register
from streamcoop.transparency import files
from streamcoop.transparency.keys import Keyring

# After an epoch's close at the latest everything of it is published; a service that was away has so long to catch up.
PUBLISHED_WITHIN = timedelta(days=1)
LINES_MAX = 1_000
_WALLET = struct.Struct(">32s4q")


class NotYetTold(DomainError):
    """This is not in the shared log yet: ask again after its next batch."""


class LogNotSigned(DomainError):
    """This service has no key to sign a log with: there is nothing to prove here."""


register({NotYetTold: HTTPStatus.CONFLICT, LogNotSigned: HTTPStatus.CONFLICT})


@dataclass(frozen=True, slots=True)
class Log:
    """The published log, as far as this process may read and sign."""

    store: ObjectStore
    keys: Keyring
    origin: str

    def proof(self, index: int) -> tuple[bytes, list[bytes], str]:
        """An entry, its path under the head that is shown, and that head's note. Raises NotYetTold, LogNotSigned."""
        if not self.keys.all:
            raise LogNotSigned
        note, head = files.read_note(self.store, files.CHECKPOINT, self.keys.all)
        if index >= head.size:
            raise NotYetTold
        read = files.reader(self.store)
        bundle, place = divmod(index, WIDTH)
        width = width_of(0, bundle, head.size)
        try:
            data = read(path(ENTRIES, bundle, width))
        except FileNotFoundError:
            data, width = read(path(ENTRIES, bundle)), WIDTH
        entry = entries_of(data, width)[place]
        return entry, inclusion_proof(index, head.size, TiledTree(head.size, read).subtree), str(note)


@dataclass(frozen=True, slots=True)
class PlayReceipt:
    """A play's opening and salt, and either a promise or, once it is told, its receipt."""

    opening: dict[str, Any]
    salt: bytes
    commitment: bytes
    publish_by: datetime
    promise: str | None
    receipt: str | None


def play_receipt(session: Session, log: Log, founding: Founding, listener_id: UUID, play_id: UUID) -> PlayReceipt:
    """What a listener can show of a play of hers. Raises NotFound, LogNotSigned and the store's errors."""
    row = session.execute(_PLAY, {"play": play_id, "listener": listener_id}).one_or_none()
    if row is None:
        raise NotFound
    opening = {
        "play": str(play_id),
        "listener": str(listener_id),
        "track": str(row.track_id),
        "epoch": row.epoch,
        "ordinal": row.ordinal,
        "kind": row.kind,
        "price_micro": row.price_micro,
    }
    salt, commitment = bytes(row.salt), bytes(row.commitment)
    # What comes late is told with the epoch it came in.
    epoch = max(row.epoch, founding.calendar.epoch_at(row.recorded_at))
    publish_by = founding.may_close_at(epoch) + PUBLISHED_WITHIN
    if row.published_at is None:
        if not log.keys.own:
            raise LogNotSigned
        if not log.keys.is_known:
            raise NotYetTold
        told = receipts.Promise(log.origin, commitment, row.price_micro, int(publish_by.timestamp()))
        return PlayReceipt(opening, salt, commitment, publish_by, receipts.promise(told, log.keys.own), None)
    leaves = b"".join(
        log.store.open_range(
            files.leaves_key(row.batch), row.first_leaf * LEAF.size, (row.first_leaf + row.plays) * LEAF.size
        )
    )
    place = bisect.bisect_left(range(row.plays), commitment, key=lambda at: leaves[at * LEAF.size :][:32])

    def lines(begin: int, end: int) -> Lines:
        rows = LEAF.iter_unpack(memoryview(leaves)[begin * LEAF.size : end * LEAF.size])
        return ((name, (price_micro,)) for name, price_micro in rows)

    entry, proof, note = log.proof(row.entry)
    path = path_of(entries.PLAYS_TREE, lines, row.plays, place)
    extra = receipts.play_extra(entry, place, path, salt, opening)
    return PlayReceipt(opening, salt, commitment, publish_by, None, receipts.build(extra, row.entry, proof, note))


_PLAY = text("""
    select p.track_id, p.epoch, p.ordinal, p.kind, p.price_micro, p.salt, p.recorded_at,
           ledger.play_commitment(p.salt, p.id, p.listener_id, p.track_id, p.epoch, p.ordinal, p.kind, p.price_micro)
               as commitment,
           told.batch, b.published_at, place.index as entry, place.first_leaf,
           place.count as plays
      from ledger.play p
      left join ledger.log_play told on told.play_id = p.id
      left join ledger.log_batch b on b.number = told.batch
      left join ledger.log_plays place
             on place.track_id = told.track_id and place.epoch = told.epoch and place.batch = told.batch
     where p.id = :play and p.listener_id = :listener
""")


@dataclass(frozen=True, slots=True)
class WalletLine:
    """What a wallet held and got between two seals. `receipt`: once the seal is published."""

    epoch: int
    opening_micro: int
    in_micro: int
    spent_micro: int
    closing_micro: int
    is_published: bool


def wallet_lines(session: Session, listener_id: UUID) -> list[WalletLine]:
    """A listener's lines in the log, the newest first."""
    rows = session.execute(_LINES, {"listener": listener_id, "most": LINES_MAX})
    return [WalletLine(*row) for row in rows]


_LINES = text("""
    select w.epoch, w.opening_micro, w.in_micro, w.spent_micro, w.closing_micro, b.published_at is not null
      from ledger.log_wallet w join ledger.log_batch b on b.seals = w.epoch
     where w.listener_id = :listener and w.salt is not null order by w.epoch desc limit :most
""")


def wallet_receipt(session: Session, log: Log, listener_id: UUID, epoch: int) -> str:
    """That a wallet's line is among an epoch's. Raises NotFound, NotYetTold and the store's errors."""
    row = session.execute(_LINE, {"listener": listener_id, "epoch": epoch}).one_or_none()
    if row is None:
        raise NotFound
    if row.published_at is None:
        raise NotYetTold
    packed = b"".join(_packed(session, epoch))
    count, commitment = len(packed) // _WALLET.size, bytes(row.commitment)
    place = bisect.bisect_left(range(count), commitment, key=lambda at: packed[at * _WALLET.size :][:32])

    def lines(begin: int, end: int) -> Lines:
        rows = _WALLET.iter_unpack(memoryview(packed)[begin * _WALLET.size : end * _WALLET.size])
        return ((name, amounts) for name, *amounts in rows)

    # The wallets stand before the seal, which ends its batch.
    index = row.size - 2
    entry, proof, note = log.proof(index)
    path = path_of(entries.WALLETS_TREE, lines, count, place)
    amounts = (row.opening_micro, row.in_micro, row.spent_micro, row.closing_micro)
    opening = {"listener": str(listener_id), "epoch": epoch}
    extra = receipts.wallet_extra(entry, place, path, bytes(row.salt), opening, amounts)
    return receipts.build(extra, index, proof, note)


_LINE = text("""
    select w.*, b.size, b.published_at from ledger.log_wallet w join ledger.log_batch b on b.seals = w.epoch
     where w.listener_id = :listener and w.epoch = :epoch and w.salt is not null
""")
_ALL_LINES = text("""
    select commitment, opening_micro, in_micro, spent_micro, closing_micro from ledger.log_wallet
     where epoch = :epoch order by commitment
""")


def _packed(session: Session, epoch: int) -> Iterator[bytes]:
    for row in session.execute(_ALL_LINES, {"epoch": epoch}, execution_options={"yield_per": 10_000}):
        yield _WALLET.pack(bytes(row.commitment), *row[1:])


@dataclass(frozen=True, slots=True)
class PayeeName:
    """What the log calls a payee in a split, and what shows that it is she."""

    split_id: UUID
    track_id: UUID
    effective_epoch: int
    share_bp: int
    name: bytes
    salt: bytes


def payee_names(session: Session, payee: UUID, after: UUID | None) -> list[PayeeName]:
    """A payee's names in the splits that are told, by the splits' ids after `after`."""
    rows = session.execute(_NAMES, {"payee": payee, "after": after or UUID(int=0), "most": LINES_MAX})
    return [
        PayeeName(r.split_id, r.track_id, r.effective_epoch, r.share_bp, bytes(r.name), bytes(r.salt)) for r in rows
    ]


_NAMES = text("""
    select p.split_id, s.track_id, s.effective_epoch, p.share_bp, p.name, p.salt from ledger.log_payee p
      join ledger.log_split s on s.split_id = p.split_id
     where p.payee = :payee and p.split_id > :after and p.salt is not null order by p.split_id limit :most
""")


def payee_receipt(session: Session, log: Log, payee: UUID, split_id: UUID) -> str:
    """That a payee has her part in a split. Raises NotFound, NotYetTold and the store's errors."""
    row = session.execute(_NAME, {"payee": payee, "split": split_id}).one_or_none()
    if row is None:
        raise NotFound
    if row.published_at is None:
        raise NotYetTold
    entry, proof, note = log.proof(row.entry)
    extra = receipts.payee_extra(entry, bytes(row.salt), {"payee": str(payee), "split": str(split_id)})
    return receipts.build(extra, row.entry, proof, note)


# Where a split's entry is follows from the order in which a batch tells: its beginning, terms, trust, tracks, splits.
_NAME = text("""
    select p.salt, b.published_at,
           b.first_index + (s.batch = 1)::integer + 1
               + (select count(*) from ledger.tariff t where t.batch = s.batch)
               + (select count(*) from ledger.rates t where t.batch = s.batch)
               + (select count(*) from ledger.net_factors t where t.batch = s.batch)
               + (select count(*) from ledger.log_attestation t where t.batch = s.batch)
               + (select count(*) from ledger.log_rotation t where t.batch = s.batch)
               + (select count(*) from ledger.log_track t where t.batch = s.batch)
               + (select count(*) from ledger.log_split t where t.batch = s.batch and t.split_id < s.split_id) as entry
      from ledger.log_payee p
      join ledger.log_split s on s.split_id = p.split_id
      join ledger.log_batch b on b.number = s.batch
     where p.payee = :payee and p.split_id = :split and p.salt is not null
""")
