"""The steps of a transaction of the registrar's, whatever it is for: signed and stored, sent, in a final block.

Each step is a transaction of the database, and none is open while the node is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy.orm import Session

from ledger.errors import DomainError
from streamcoop.adapters import chain as adapter
from streamcoop.adapters.chain import ChainError, ChainUnavailable, CoopContract, Receipt, SignedTransaction
from streamcoop.database import transaction
from streamcoop.membership import transactions as rows
from streamcoop.membership.models import ChainTransaction
from streamcoop.settings import settings

# For each answer of the node; the adapter asks again a few times.
NODE_TIMEOUT_S = 5.0
# A nonce may be given to another transaction between choosing and storing it.
INTEND_TRIES_MAX = 5


def sign(
    chain: CoopContract, build: Callable[[int], SignedTransaction], store: Callable[[Session, SignedTransaction], bool]
) -> bool:
    """Sign what `build` gives for the next free nonce, and store it. False if `store` says that it came too late."""
    next_nonce = chain.next_nonce()
    with transaction() as session:
        nonce = rows.free_nonce(session, next_nonce)
    signed = build(nonce)
    with transaction() as session:
        return store(session, signed)


def send(chain: CoopContract, stored: ChainTransaction, now: datetime) -> None:
    """Give the node a transaction that is stored."""
    _broadcast(chain, stored)
    with transaction() as session:
        rows.mark_sent(session, stored.id, now)


def final_receipt(chain: CoopContract, sent: ChainTransaction) -> Receipt | None:
    """What became of a transaction once its block is final. What the chain has lost is sent again as it was."""
    receipt = chain.receipt(sent.hash, settings().chain_finality_depth)
    if receipt is None and chain.receipt(sent.hash) is None:
        _broadcast(chain, sent)
    return receipt


def reason(error: ChainError | DomainError) -> str:
    """What people are told. The address of a node may hold a key, and so may what is told of a call that failed."""
    return type(error).__doc__ or "" if isinstance(error, ChainUnavailable) else str(error)


def _broadcast(chain: CoopContract, stored: ChainTransaction) -> None:
    try:
        chain.broadcast(stored.raw)
    except (adapter.NonceTaken, adapter.TransactionRefused) as refusal:
        with transaction() as session:
            rows.give_up(session, stored.id, stored.hash, str(refusal))
        raise
