"""Posting transfers: one balanced group at a time, under a key that a caller may retry with for ever.

The claim on a key is the INSERT itself, in the same transaction as its effect.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from ledger.accounts import Account
from ledger.errors import BooksOutOfBalance, InsufficientBalance, RequestIdReused, UnknownAccount
from ledger.store.batches import open_batch

# More than a chunk of a close can have: a transfer for each of its tracks and of their payees.
TRANSFERS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Transfer:
    """A positive amount of one asset, out of `debit` and into `credit`."""

    debit: Account
    credit: Account
    amount_micro: int


@dataclass(frozen=True, slots=True)
class Posted:
    """A posting in the books. `repeated`: it was there already with the same content."""

    id: int
    posted_at: datetime
    note: dict[str, Any]
    repeated: bool = False


def post(
    conn: Connection,
    key: UUID,
    kind: str,
    transfers: Sequence[Transfer],
    now: datetime,
    note: dict[str, Any] | None = None,
    batch: int | None = None,
) -> Posted:
    """Post `transfers` in the caller's transaction under `key`; `batch` is the log's, the open one if it is not given.

    The same key with the same kind, transfers and note again changes nothing and returns the first
    posting; with another content it raises RequestIdReused. Raises InsufficientBalance where an
    account would fall below what it may hold.
    """
    content = _content(kind, transfers, note or {})
    if before := _find(conn, key, content):
        return before
    posting_id = _insert_posting(conn, key, kind, content, note or {}, now, batch)
    if posting_id is None:  # somebody else's insert of the same key committed while ours waited for it
        if before := _find(conn, key, content):
            return before
        raise RequestIdReused(key=str(key))
    ids = ensure_accounts(conn, {t.debit for t in transfers} | {t.credit for t in transfers})
    move(conn, posting_id, [(ids[t.debit], ids[t.credit], t.debit.asset, t.amount_micro) for t in transfers], now)
    return Posted(posting_id, now, note or {})


def open_posting(
    conn: Connection, key: UUID, kind: str, note: dict[str, Any], now: datetime, batch: int | None = None
) -> int:
    """A posting whose transfers the caller writes itself, in sets. The key must be new."""
    posting_id = _insert_posting(conn, key, kind, _content(kind, (), note), note, now, batch)
    if posting_id is None:
        raise RequestIdReused(key=str(key))
    return posting_id


def move(conn: Connection, posting_id: int, rows: Sequence[tuple[int, int, str, int]], now: datetime) -> None:
    """Append transfers (debit id, credit id, asset, amount) to a posting and bring the balances up to date.

    Balances are changed in the order of account ids, so that two postings cannot deadlock.
    """
    if not rows:
        return
    if len(rows) > TRANSFERS_MAX:
        raise ValueError(f"a posting has at most {TRANSFERS_MAX} transfers")
    debits, credits, assets, amounts = (list(column) for column in zip(*rows, strict=True))
    columns = {"debits": debits, "credits": credits, "assets": assets, "amounts": amounts}
    conn.execute(_APPEND_TRANSFERS, {"posting": posting_id, "now": now, **columns})
    deltas: dict[int, int] = {}
    for debit, credit, _, amount_micro in rows:
        deltas[debit] = deltas.get(debit, 0) - amount_micro
        deltas[credit] = deltas.get(credit, 0) + amount_micro
    changed = {account: delta for account, delta in sorted(deltas.items()) if delta}
    held = conn.execute(_LOCK_BALANCES, {"ids": list(changed)}).all()
    for account, code, kind, balance_micro in held:
        if kind not in MAY_OWE and balance_micro + changed[account] < 0:
            raise InsufficientBalance(account=code, balance_micro=balance_micro, change_micro=changed[account])
    conn.execute(_ADD_TO_BALANCES, {"ids": list(changed), "deltas": list(changed.values())})


# The kinds that stand for what came in from outside; the schema's constraint says the same.
MAY_OWE = frozenset({"issued", "bank"})

_APPEND_TRANSFERS = text("""
    insert into ledger.transfer (posting_id, debit_account, credit_account, asset, amount_micro, posted_at)
    select :posting, debit, credit, asset, amount, :now
      from unnest(cast(:debits as bigint[]), cast(:credits as bigint[]), cast(:assets as text[]),
                  cast(:amounts as bigint[])) as t(debit, credit, asset, amount)
""")
_LOCK_BALANCES = text("""
    select id, code, kind, balance_micro from ledger.account where id = any(:ids) order by id for no key update
""")
_ADD_TO_BALANCES = text("""
    update ledger.account a set balance_micro = a.balance_micro + delta.micro
      from unnest(cast(:ids as bigint[]), cast(:deltas as bigint[])) as delta(id, micro) where a.id = delta.id
""")
_INSERT_POSTING = text("""
    insert into ledger.posting (key, kind, content_sha256, note, posted_at, batch)
    values (:key, :kind, :content, cast(:note as jsonb), :now, :batch) on conflict (key) do nothing returning id
""")
_ENSURE_ACCOUNTS = text("""
    insert into ledger.account (code, kind, asset, owner, epoch)
    select * from unnest(cast(:codes as text[]), cast(:kinds as text[]), cast(:assets as text[]),
                         cast(:owners as uuid[]), cast(:epochs as integer[]))
        on conflict do nothing
""")


def ensure_accounts(conn: Connection, accounts: Iterable[Account]) -> dict[Account, int]:
    """The ids of `accounts`, opening those that are not in the books yet."""
    wanted = {account.code: account for account in sorted(accounts, key=lambda a: a.code)}
    found = account_ids(conn, list(wanted))
    missing = [account for code, account in wanted.items() if code not in found]
    if missing:
        conn.execute(
            _ENSURE_ACCOUNTS,
            {
                "codes": [a.code for a in missing],
                "kinds": [a.kind for a in missing],
                "assets": [a.asset for a in missing],
                "owners": [a.owner for a in missing],
                "epochs": [a.epoch for a in missing],
            },
        )
        found = account_ids(conn, list(wanted))
    return {account: found[code] for code, account in wanted.items()}


def account_ids(conn: Connection, codes: list[str]) -> dict[str, int]:
    """The ids of those accounts that exist, by their codes."""
    rows = conn.execute(text("select code, id from ledger.account where code = any(:codes)"), {"codes": codes})
    return {row.code: row.id for row in rows}


def account_id(conn: Connection, account: Account) -> int:
    """An account's id. Raises UnknownAccount."""
    found = account_ids(conn, [account.code])
    if account.code not in found:
        raise UnknownAccount(account=account.code)
    return found[account.code]


def balance_micro(conn: Connection, account: Account) -> int:
    """An account's balance. Zero if it was never opened."""
    held = conn.scalar(text("select balance_micro from ledger.account where code = :code"), {"code": account.code})
    return int(held or 0)


def require_balance(left_micro: int, reached_micro: int, **facts: Any) -> None:
    """Raise BooksOutOfBalance unless both sides of a movement are equal."""
    if left_micro != reached_micro:
        raise BooksOutOfBalance(left_micro=left_micro, reached_micro=reached_micro, **facts)


def _content(kind: str, transfers: Sequence[Transfer], note: dict[str, Any]) -> bytes:
    said = [kind, [[t.debit.code, t.credit.code, t.debit.asset, t.amount_micro] for t in transfers], note]
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).digest()


def _insert_posting(
    conn: Connection, key: UUID, kind: str, content: bytes, note: dict[str, Any], now: datetime, batch: int | None
) -> int | None:
    # Told there or not: by its batch a posting is found in exactly one copy first.
    batch = open_batch(conn) if batch is None else batch
    told = {"key": key, "kind": kind, "content": content, "note": json.dumps(note), "now": now, "batch": batch}
    posting_id = conn.scalar(_INSERT_POSTING, told)
    return None if posting_id is None else int(posting_id)


def _find(conn: Connection, key: UUID, content: bytes) -> Posted | None:
    row = conn.execute(
        text("select id, content_sha256, posted_at, note from ledger.posting where key = :key"), {"key": key}
    ).one_or_none()
    if row is None:
        return None
    if bytes(row.content_sha256) != content:
        raise RequestIdReused(key=str(key))
    return Posted(row.id, row.posted_at, row.note, repeated=True)
