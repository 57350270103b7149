"""A batch of the log as its entries, from rows that change no more: whenever this runs, the bytes are the same.

In the order of `ledger.entries`: what holds from now on, then what happened, then, where the batch ends with the close
of an epoch, what came of that. Read a few rows at a time, so that memory does not grow with the plays.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from ledger import entries
from ledger.entries import Entry
from ledger.store.batches import Batch
from ledger.store.terms import founding
from ledger.sumtree import Lines, Node, root_of

ROWS_A_TIME = 1_000
NO_CONSENT = "no-consent"
HELD = "held"
"""All that the log says of why money is held, but for missing consent: other reasons are people's own affairs."""

LEAF = struct.Struct(">32sq")
"""A leaf of a plays tree in a batch's file of leaves: commitment and price."""


@dataclass(frozen=True, slots=True)
class Told:
    """An entry, and of plays the leaves below it, packed one after the other."""

    data: bytes
    track_id: UUID | None = None
    epoch: int = 0
    leaves: bytes = b""


def entries_of(conn: Connection, batch: Batch, origin: str, ballots: Iterable[tuple[str, Entry]]) -> Iterator[Told]:
    """The entries of a batch that has ended and of whose tracks, splits and wallets all are told.

    `ballots` are those counted in it, each before its votes. The connection is used until the last entry is read.
    """
    if batch.number == 1:
        yield _told(entries.FOUNDING, _founding(conn, origin))
    opened_at, closed_at = int(batch.opened_at.timestamp()), int(batch.closed_at.timestamp())
    yield _told(entries.BATCH, {"batch": batch.number, "opened_at": opened_at, "closed_at": closed_at})
    for kind, entry in chain(_terms(conn, batch.number), _trust(conn, batch.number), _music(conn, batch.number)):
        yield _told(kind, entry)
    yield from _plays(conn, batch.number)
    for kind, entry in chain(_money(conn, batch.number), ballots):
        yield _told(kind, entry)
    for kind, entry in _releases(conn, batch.number):
        yield _told(kind, entry)
    if batch.seals is not None:
        for kind, entry in _close(conn, batch.number, batch.seals):
            yield _told(kind, entry)


def _told(kind: str, entry: Entry) -> Told:
    return Told(entries.encode(kind, entry))


def _rows(conn: Connection, statement: str, **asked: Any) -> Iterator[Any]:
    """Rows one after the other, of which few are in memory: a cursor of the server's within the transaction."""
    return iter(conn.execution_options(yield_per=ROWS_A_TIME).execute(text(statement), asked))


def _founding(conn: Connection, origin: str) -> Entry:
    founded = founding(conn)
    return {
        "origin": origin,
        "coop": founded.coop_name,
        "currency": founded.currency,
        "minor_digits": founded.minor_digits,
        "credit_price_micro": founded.credit_price_micro,
        "epoch_seconds": founded.epoch_seconds,
        "first_epoch": founded.first_epoch,
        "founded_at": int(founded.founded_at.timestamp()),
        "constitution": founded.constitution.as_json(),
    }


# --- What holds from now on ---

_TERMS = {
    entries.TARIFF: "select version, effective_epoch, first_price_micro, plays, decided_by from ledger.tariff",
    entries.RATES: """select version, effective_epoch, artist_share_bp, community_cut_bp, reserve_cut_bp, decided_by
                        from ledger.rates""",
    entries.RULES: """select version, effective_epoch, payout_minimum_minor, listen_ms_max, decided_by
                        from ledger.rules""",
    entries.NET_FACTORS: """select version, effective_epoch, vat_bp, fees_bp, licensing_bp, decided_by
                              from ledger.net_factors""",
}


def _terms(conn: Connection, batch: int) -> Iterator[tuple[str, Entry]]:
    for kind, statement in _TERMS.items():
        for row in _rows(conn, f"{statement} where batch = :batch order by version", batch=batch):
            yield kind, dict(row._mapping)


def _trust(conn: Connection, batch: int) -> Iterator[tuple[str, Entry]]:
    for row in _rows(conn, _ATTESTATIONS, batch=batch):
        yield (
            entries.ATTESTATION,
            {
                "epoch": row.epoch,
                "batch": row.sealed_in,
                "bank_micro": row.bank_micro,
                "officers": row.officers,
                "signatures": row.signatures,
            },
        )
    for row in _rows(conn, _ROTATION, batch=batch):
        yield entries.KEYS, {"keys": row.keys, "signatures": row.signatures}


_ATTESTATIONS = """
    select epoch, sealed_in, bank_micro, officers, signatures from ledger.log_attestation
     where batch = :batch order by epoch
"""
_ROTATION = "select keys, signatures from ledger.log_rotation where batch = :batch"


def _music(conn: Connection, batch: int) -> Iterator[tuple[str, Entry]]:
    for row in _rows(conn, _TRACKS, batch=batch):
        yield (
            entries.TRACK,
            {"track": str(row.track_id), "artist": str(row.artist_id), "sha256": bytes(row.sha256).hex()},
        )
    for row in _rows(conn, _SPLITS, batch=batch):
        payees = [
            {"payee": bytes(name).hex(), "share_bp": share_bp}
            for name, share_bp in zip(row.names, row.shares, strict=True)
        ]
        yield (
            entries.SPLIT,
            {
                "split": str(row.split_id),
                "track": str(row.track_id),
                "effective_epoch": row.effective_epoch,
                "payees": payees,
            },
        )


_TRACKS = "select track_id, artist_id, sha256 from ledger.log_track where batch = :batch order by track_id"
_SPLITS = """
    select split_id, s.track_id, s.effective_epoch, named.names, named.shares from ledger.log_split s
     cross join lateral (select array_agg(name order by place) as names, array_agg(share_bp order by place) as shares
                           from ledger.log_payee p where p.split_id = s.split_id) named
     where s.batch = :batch order by split_id
"""


# --- What happened ---

# PostgreSQL's binary COPY: a row is its number of fields, then each after its length.
_COPY_HEADER_BYTES = 19
_COPY_TRAILER = b"\xff\xff"
_PLAY_ROW = struct.Struct(">hiii16si32siq")
_PLAY_ROWS = """
    copy (select epoch, track_id, commitment, price_micro from ledger.log_play where batch = {batch:d}
           order by epoch, track_id, commitment) to stdout (format binary)
"""
_EPOCH_AND_TRACK = itemgetter(2, 4)


def _plays(conn: Connection, batch: int) -> Iterator[Told]:
    for (epoch, track), rows in groupby(_play_rows(conn, batch), _EPOCH_AND_TRACK):
        leaves = bytearray()
        root = root_of(entries.PLAYS_TREE, _kept(rows, leaves))
        track_id = UUID(bytes=track)
        entry = {
            "batch": batch,
            "epoch": epoch,
            "track": str(track_id),
            "count": root.count,
            "sum_micro": root.sums[0],
            "root": root.hash.hex(),
        }
        yield Told(entries.encode(entries.PLAYS, entry), track_id, epoch, bytes(leaves))


def _kept(rows: Iterable[Any], leaves: bytearray) -> Lines:
    """The lines of a tree, of which nothing but the packed `leaves` is kept: of one track there may be a million."""
    keep, pack = leaves.extend, LEAF.pack
    for row in rows:
        commitment, price_micro = row[6], row[8]
        keep(pack(commitment, price_micro))
        yield commitment, (price_micro,)


def _play_rows(conn: Connection, batch: int) -> Iterator[Any]:
    driver: Any = conn.connection.driver_connection
    rest, is_first = b"", True
    with driver.cursor() as cursor, cursor.copy(_PLAY_ROWS.format(batch=batch)) as copy:
        for block in copy:
            data = rest + bytes(block)
            if is_first:
                data, is_first = data[_COPY_HEADER_BYTES:], False
            whole = len(data) // _PLAY_ROW.size * _PLAY_ROW.size
            yield from _PLAY_ROW.iter_unpack(data[:whole])
            rest = data[whole:]
    if rest != _COPY_TRAILER:
        raise RuntimeError("a copy of plays ended within a row")


def _credits(conn: Connection, batch: int) -> Iterator[tuple[str, Entry]]:
    rows = _rows(conn, _CREDITS, batch=batch, kind="top-up")
    leaves = [(bytes(row.commitment), (row.credits_micro, row.money_micro)) for row in rows]
    if leaves:
        root = root_of(entries.TOP_UPS_TREE, leaves)
        credits_micro, money_micro = root.sums
        yield (
            entries.TOP_UPS,
            {"batch": batch, "credits_micro": credits_micro, "money_micro": money_micro, **_counted(root)},
        )
    rows = _rows(conn, _CREDITS, batch=batch, kind="grant")
    granted = [(bytes(row.commitment), (row.credits_micro,)) for row in rows]
    if granted:
        root = root_of(entries.GRANTS_TREE, granted)
        yield entries.GRANTS, {"batch": batch, "credits_micro": root.sums[0], **_counted(root)}


_CREDITS = """
    select commitment, credits_micro, money_micro from ledger.log_credit
     where batch = :batch and kind = :kind order by commitment
"""


def _counted(root: Node) -> Entry:
    return {"count": root.count, "root": root.hash.hex()}


def _money(conn: Connection, batch: int) -> Iterator[tuple[str, Entry]]:
    return chain(_credits(conn, batch), _payouts(conn, batch), _shares(conn, batch))


def _payouts(conn: Connection, batch: int) -> Iterator[tuple[str, Entry]]:
    count, money_micro = conn.execute(text(_PAYOUTS), {"batch": batch}).one()
    if count:
        yield entries.PAYOUTS, {"batch": batch, "count": count, "money_micro": int(money_micro)}


_PAYOUTS = """
    select count(*), coalesce(sum(t.amount_micro), 0) from ledger.posting p
      join ledger.transfer t on t.posting_id = p.id
      join ledger.account bank on bank.id = t.credit_account and bank.kind = 'bank'
     where p.batch = :batch and p.kind = 'payout-confirmed'
"""


def _shares(conn: Connection, batch: int) -> Iterator[tuple[str, Entry]]:
    count, paid_micro, refunded_micro = conn.execute(text(_SHARES), {"batch": batch}).one()
    if count:
        told = {"paid_micro": int(paid_micro), "refunded_micro": int(refunded_micro)}
        yield entries.SHARES, {"batch": batch, "count": count, **told}


_SHARES = """
    select count(*), coalesce(sum(t.amount_micro) filter (where credited.kind = 'shares'), 0),
           coalesce(sum(t.amount_micro) filter (where debited.kind = 'shares'), 0)
      from ledger.posting p
      join ledger.transfer t on t.posting_id = p.id
      join ledger.account credited on credited.id = t.credit_account
      join ledger.account debited on debited.id = t.debit_account
     where p.batch = :batch and p.kind in ('share', 'share-refund')
"""


def _releases(conn: Connection, batch: int) -> Iterator[tuple[str, Entry]]:
    for row in _rows(conn, _RELEASES, batch=batch):
        yield (
            entries.RELEASE,
            {
                "closed_in": row.closed_in,
                "epoch": row.epoch,
                "track": str(row.track_id),
                "payee": bytes(row.name).hex(),
                "amount_micro": row.amount_micro,
            },
        )


# The split that was in force for an epoch, as the log tells it.
_IN_FORCE = """
    lateral (select s.split_id from ledger.log_split s
              where s.track_id = c.track_id and s.effective_epoch <= c.epoch
              order by s.effective_epoch desc, s.split_id desc limit 1)
"""
_RELEASES = f"""
    select c.closed_in, c.epoch, c.track_id, named.name, l.amount_micro from ledger.posting p
      join ledger.royalty_release r on r.posting_id = p.id
      join ledger.royalty_line l on l.id = r.royalty_line_id
      join ledger.track_close c on c.id = l.track_close_id
     cross join {_IN_FORCE} split
      join ledger.log_payee named on named.split_id = split.split_id and named.payee = l.payee
     where p.batch = :batch and p.kind = 'royalty-release' order by c.closed_in, c.epoch, c.track_id, named.name
"""


# --- What came of an epoch ---


def _close(conn: Connection, batch: int, epoch: int) -> Iterator[tuple[str, Entry]]:
    totals = {"tracks": 0, "collected_micro": 0, "gross_micro": 0, "royalties_micro": 0, "held_micro": 0}
    deductions: dict[str, int] = {}
    funds: dict[str, int] = {}
    for row in _rows(conn, _SHARE_OUTS, batch=batch, epoch=epoch):
        lines = [
            {"amount_micro": amount, "held_because": _told_reason(reason)}
            for amount, reason in zip(row.amounts, row.reasons, strict=True)
        ]
        yield (
            entries.ROYALTIES if row.epoch == row.closed_in else entries.LATE,
            {
                "closed_in": row.closed_in,
                "epoch": row.epoch,
                "track": str(row.track_id),
                "collected_micro": row.collected_micro,
                "split": str(row.split_id),
                "gross_micro": row.gross_micro,
                "deductions": row.deductions,
                "net_micro": row.net_micro,
                "artists_micro": row.artists_micro,
                "funds": row.funds,
                "lines": lines,
            },
        )
        totals["tracks"] += 1
        totals["collected_micro"] += row.collected_micro
        totals["gross_micro"] += row.gross_micro
        totals["royalties_micro"] += row.artists_micro
        totals["held_micro"] += sum(line["amount_micro"] for line in lines if line["held_because"])
        for parts, kept in ((row.deductions, deductions), (row.funds, funds)):
            for code, amount_micro in parts.items():
                kept[code] = kept.get(code, 0) + amount_micro
    yield entries.WALLETS, _wallets(conn, epoch)
    yield entries.SEAL, {"epoch": epoch, "batch": batch, **totals, "deductions": deductions, "funds": funds}


def _told_reason(reason: str | None) -> str | None:
    return reason if reason in (None, NO_CONSENT) else HELD


# All closes since the last that was sealed. Lines in the order of the split's payees.
_SHARE_OUTS = f"""
    select c.closed_in, c.epoch, c.track_id, c.collected_micro, split.split_id, c.gross_micro, c.deductions,
           c.net_micro, c.artists_micro, c.funds, told.amounts, told.reasons
      from ledger.track_close c
     cross join {_IN_FORCE} split
     cross join lateral (
            select array_agg(l.amount_micro order by named.place) as amounts,
                   array_agg(l.held_because order by named.place) as reasons
              from ledger.royalty_line l
              join ledger.log_payee named on named.split_id = split.split_id and named.payee = l.payee
             where l.track_close_id = c.id) told
     where c.closed_in <= :epoch
       and c.closed_in > (select coalesce(max(seals), -2147483648) from ledger.log_batch
                           where seals is not null and number < :batch)
     order by c.closed_in, c.epoch, c.track_id
"""


def _wallets(conn: Connection, epoch: int) -> Entry:
    rows = _rows(conn, _WALLETS, epoch=epoch)
    root = root_of(entries.WALLETS_TREE, ((bytes(commitment), amounts) for commitment, *amounts in rows))
    return {"epoch": epoch, **dict(zip(entries.WALLETS_TREE.amounts, root.sums, strict=True)), **_counted(root)}


_WALLETS = """
    select commitment, opening_micro, in_micro, spent_micro, closing_micro from ledger.log_wallet
     where epoch = :epoch order by commitment
"""
