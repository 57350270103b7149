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
) -> Posted:
    """Post what gives a listener credits, as `posting.post` does; what reaches her wallet and what she paid is told."""
    batch = open_batch(conn)
    posted = posting.post(conn, key, kind, transfers, now, note, batch)
    if posted.repeated:
        return posted
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


_TELL = text("""
    insert into ledger.log_credit (posting_id, batch, kind, listener_id, salt, credits_micro, money_micro, commitment)
    values (:posting, :batch, :kind, :listener, :salt, :credits_micro, :money_micro, :commitment)
""")
