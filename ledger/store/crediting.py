"""Credits given to listeners, for money or as grants: posted, and told in the log by a commitment."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, text

from ledger import accounts
from ledger.entries import credit_opening
from ledger.errors import RequestIdReused
from ledger.store import posting
from ledger.store.batches import open_batch
from ledger.store.posting import Posted, Transfer
from ledger.sumtree import SALT_BYTES, commitment


def give(
    conn: Connection,
    key: UUID,
    kind: Literal["top-up", "grant"],
    listener_id: UUID,
    transfers: Sequence[Transfer],
    now: datetime,
    note: dict[str, Any] | None = None,
    remark: str = "",
) -> Posted:
    """Post what gives a listener credits, as `posting.post` does; what reaches her wallet and what she paid is told.

    `remark` is what somebody wrote beside it: no part of the books, since it goes when she is erased.
    """
    batch = open_batch(conn)
    posted = posting.post(conn, key, kind, transfers, now, note, batch)
    if posted.repeated:
        _require_same(conn, key, posted, remark)
        return posted
    if remark:
        conn.execute(_REMARK, {"posting": posted.id, "remark": remark})
    wallet = accounts.wallet(listener_id)
    credits_micro = sum(t.amount_micro for t in transfers if t.credit == wallet)
    money_micro = sum(t.amount_micro for t in transfers if t.debit == accounts.BANK)
    salt = secrets.token_bytes(SALT_BYTES)
    told = {
        "posting": posted.id,
        "batch": batch,
        "kind": kind,
        "listener": listener_id,
        "salt": salt,
        "credits_micro": credits_micro,
        "money_micro": money_micro,
        "commitment": commitment(salt, credit_opening(key, listener_id, kind, credits_micro, money_micro)),
    }
    conn.execute(_TELL, told)
    return posted


def _require_same(conn: Connection, key: UUID, posted: Posted, remark: str) -> None:
    """Raise RequestIdReused where another remark was made; one that is erased is not there to compare with."""
    first = conn.scalar(text("select text from ledger.remark where posting_id = :posting"), {"posting": posted.id})
    if first is not None and first != remark:
        raise RequestIdReused(key=str(key))


_REMARK = text("insert into ledger.remark (posting_id, text) values (:posting, :remark)")
_TELL = text("""
    insert into ledger.log_credit (posting_id, batch, kind, listener_id, salt, credits_micro, money_micro, commitment)
    values (:posting, :batch, :kind, :listener, :salt, :credits_micro, :money_micro, :commitment)
""")
