"""The registrar's transactions, whatever each is for: one sequence of nonces, each signed before it is sent.

Two unfinished ones never have the same nonce, or one of them would never be; and none is left out, or it would hold up
all above it. Whoever signs with the registrar's key takes part in this.
"""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ledger.ids import new_id
from streamcoop.membership.models import CONFIRMED, FAILED, INTENDED, SENT, ChainTransaction

if TYPE_CHECKING:  # only the workers talk to the chain: the service need not load web3
    from streamcoop.adapters.chain import Receipt, SignedTransaction

REASON_LENGTH_MAX = 500
UNFINISHED = ChainTransaction.state.in_((INTENDED, SENT))
_NONCE_LOCK = 0x5C_03


def free_nonce(session: Session, lowest: int) -> int:
    """The lowest nonce from `lowest` on that no unfinished transaction has: a gap would hold up all above it."""
    taken = set(session.scalars(select(ChainTransaction.nonce).where(UNFINISHED, ChainTransaction.nonce >= lowest)))
    return next(nonce for nonce in itertools.count(lowest) if nonce not in taken)


def lock(session: Session) -> None:
    """Until the end of this transaction nobody else stores one. To be taken before looking whether one is needed."""
    session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _NONCE_LOCK})


def store(session: Session, purpose: str, subject: UUID, signed: SignedTransaction, now: datetime) -> bool:
    """Store a signed transaction before it is sent, in the place of one that failed. The caller holds the `lock`.

    False, and nothing is stored, if its nonce was given to another one.
    """
    if free_nonce(session, signed.nonce) != signed.nonce:
        return False
    fresh = {
        "raw": signed.raw,
        "hash": signed.hash,
        "nonce": signed.nonce,
        "state": INTENDED,
        "error": None,
        "sent_at": None,
        "created_at": now,
    }
    replaced = insert(ChainTransaction).values(id=new_id(), purpose=purpose, subject=subject, **fresh)
    session.execute(replaced.on_conflict_do_update(index_elements=["purpose", "subject"], set_=fresh))
    return True


def mark_sent(session: Session, transaction_id: UUID, now: datetime) -> None:
    """The node has taken the transaction."""
    transaction = _locked(session, transaction_id)
    if transaction.state == INTENDED:
        transaction.state, transaction.sent_at = SENT, now


def give_up(session: Session, transaction_id: UUID, hash_: str, reason: str) -> None:
    """The node will never take this one: it is built anew at the next try."""
    transaction = _locked(session, transaction_id)
    # Another worker may have replaced it in the meantime; then this is not about the one in the row.
    if transaction.state in (INTENDED, SENT) and transaction.hash == hash_:
        transaction.state, transaction.error = FAILED, reason[:REASON_LENGTH_MAX]


def give_up_all(session: Session, purpose: str, reason: str) -> None:
    """Nothing of this purpose can be sent: no nonce is to wait for it."""
    session.execute(
        update(ChainTransaction)
        .where(ChainTransaction.purpose == purpose, UNFINISHED)
        .values(state=FAILED, error=reason[:REASON_LENGTH_MAX])
    )


def finish(session: Session, transaction_id: UUID, receipt: Receipt, now: datetime) -> ChainTransaction | None:
    """The transaction stands in a final block; None if it is finished already, or another one by now."""
    transaction = _locked(session, transaction_id)
    if transaction.state in (CONFIRMED, FAILED) or transaction.hash != receipt.hash:
        return None
    transaction.state = CONFIRMED if receipt.succeeded else FAILED
    transaction.block_number, transaction.block_hash = receipt.block_number, receipt.block_hash
    transaction.confirmed_at = now
    return transaction


def _locked(session: Session, transaction_id: UUID) -> ChainTransaction:
    return session.get_one(ChainTransaction, transaction_id, with_for_update=True)
