"""Erasing a listener from the books: her plays lose her name and their salts, her other commitments their salts.

Transfers, totals and the log stay what they are: wallets are accounts by a number, and once nothing else has that
number it is nobody's. Credits that are left stay in the wallet for good. The books' checks pass over whoever is being
erased, so they agree at every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, CursorResult, text

from ledger.store.recording import lock_key

# Of whatever is erased, so many rows a transaction: half a second at the most, where the machine is busy.
CHUNK = 5_000


@dataclass(frozen=True, slots=True)
class Kept:
    """What the books have of a listener that can be opened: plays, wallet's lines, top-ups and grants, and shares."""

    plays: int
    lines: int
    credits: int
    shares: int


def kept(conn: Connection, listener_id: UUID) -> Kept:
    """How many commitments there are that she or the co-op could open."""
    return Kept(*conn.execute(_KEPT, {"listener": listener_id}).one())


_KEPT = text("""
    select (select count(*) from ledger.play where listener_id = :listener),
           (select count(*) from ledger.log_wallet where listener_id = :listener and salt is not null),
           (select count(*) from ledger.log_credit where listener_id = :listener and salt is not null),
           (select count(*) from ledger.log_payee where payee = :listener and salt is not null)
""")


def close_wallet(conn: Connection, listener_id: UUID, now: datetime) -> None:
    """Nothing is spent from this wallet any more, whatever was quoted or is being streamed. Safe to repeat.

    A budget of nothing is what the hot path looks at already; her lock is held until this transaction ends.
    """
    conn.execute(text("select pg_advisory_xact_lock(:key)"), {"key": lock_key(listener_id)})
    conn.execute(_CLOSE, {"listener": listener_id, "now": now})


_CLOSE = text("""
    insert into ledger.listener as l (id, monthly_budget_micro, stop_before_ordinal, closed_at)
    values (:listener, 0, 1, :now)
        on conflict (id) do update
       set monthly_budget_micro = 0, stop_before_ordinal = 1, closed_at = coalesce(l.closed_at, excluded.closed_at)
""")


def has_unsettled(conn: Connection, listener_id: UUID) -> bool:
    """Whether plays of hers wait to be settled, which needs to know whose they are."""
    found = text("select exists (select from ledger.play_queue where listener_id = :listener)")
    return bool(conn.scalar(found, {"listener": listener_id}))


def erase_chunk(conn: Connection, listener_id: UUID, chunk: int = CHUNK) -> bool:
    """Erase the next `chunk` rows of a listener whose wallet is closed and whose plays are settled.

    False once none is left. Safe to repeat.
    """
    for statement in _ERASE:
        done: CursorResult[Any] = conn.execute(statement, {"listener": listener_id, "chunk": chunk})
        if done.rowcount:
            return True
    return False


# Plays first: of all rows they alone say who heard what.
_ERASE = [
    text(statement)
    for statement in (
        """
        update ledger.play set listener_id = null, salt = null
         where id = any (array(select id from ledger.play where listener_id = :listener limit :chunk))""",
        """
        delete from ledger.progress where listener_id = :listener and track_id = any (
            array(select track_id from ledger.progress where listener_id = :listener limit :chunk))""",
        """
        delete from ledger.spending where listener_id = :listener and month = any (
            array(select month from ledger.spending where listener_id = :listener limit :chunk))""",
        """
        delete from ledger.remark where posting_id = any (
            array(select posting_id from ledger.remark join ledger.log_credit using (posting_id)
                   where listener_id = :listener limit :chunk))""",
        """
        update ledger.log_credit set salt = null where listener_id = :listener and posting_id = any (
            array(select posting_id from ledger.log_credit
                   where listener_id = :listener and salt is not null limit :chunk))""",
        """
        update ledger.log_wallet set salt = null where listener_id = :listener and epoch = any (
            array(select epoch from ledger.log_wallet
                   where listener_id = :listener and salt is not null limit :chunk))""",
        """
        update ledger.log_payee set salt = null where payee = :listener and split_id = any (
            array(select split_id from ledger.log_payee where payee = :listener and salt is not null limit :chunk))""",
    )
]
