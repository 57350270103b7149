"""Anchors of the public log, carried to their contract one epoch after the other. The sweep of `chain` begins it."""

from __future__ import annotations

import logging
import time
from functools import partial

from ledger.errors import DomainError
from streamcoop import metrics
from streamcoop.adapters.anchors import Anchors
from streamcoop.adapters.chain import ChainError, ChainUnavailable
from streamcoop.anchoring import service as anchoring
from streamcoop.anchoring.service import Anchoring, Place
from streamcoop.clock import now
from streamcoop.database import transaction
from streamcoop.membership import service as membership
from streamcoop.membership.models import INTENDED, SENT
from streamcoop.settings import settings
from streamcoop.transparency import naming
from workers import transactions
from workers.transactions import INTEND_TRIES_MAX, NODE_TIMEOUT_S

log = logging.getLogger(__name__)

# A sweep gives way to the next after this long.
CARRY_S_MAX = 20.0


def carry_due() -> None:
    """Carry the earliest anchor as far as it goes, and the next ones behind it, until one has to wait."""
    contract = settings().anchor_contract
    if contract is None:
        with transaction() as session:
            anchoring.let_go(session, "no anchor contract is configured")
        return
    epoch = _first_unfinished()
    if epoch is None:
        return
    try:
        chain = anchors(contract)
    except (ChainError, DomainError) as error:
        _hold_up(epoch, error)
        if not isinstance(error, ChainUnavailable):
            with transaction() as session:
                anchoring.let_go(session, type(error).__name__)
        return
    begun = time.monotonic()
    last: int | None = None
    while epoch not in (None, last) and time.monotonic() - begun < CARRY_S_MAX:
        try:
            carry(chain, epoch)
        except ChainError as error:
            _hold_up(epoch, error)
            return
        last, epoch = epoch, _first_unfinished()


def anchors(contract: str) -> Anchors:
    """The contract of this log's anchors, with the means to write there.

    Raises the adapters' ChainErrors and RegistrarKeyMissing.
    """
    configured = settings()
    with transaction() as session:
        chain_id, code_hash = anchoring.pin(session, contract)
        origin = naming.origin(session, configured)
    connected = Anchors.connect(
        configured.chain_rpc_url,
        contract,
        chain_id=configured.chain_id or chain_id,
        code_hash=code_hash,
        registrar_key=membership.require_registrar(configured),
        timeout_s=NODE_TIMEOUT_S,
    )
    connected.require_origin(origin)
    return connected


def carry(chain: Anchors, epoch: int) -> None:
    """One anchor's steps, from wherever it stands. Raises the adapter's ChainErrors: it is tried again later."""
    intend(chain, epoch)
    send(chain, epoch)
    confirm(chain, epoch)
    with transaction() as session:
        anchoring.goes_on(session, epoch)


def intend(chain: Anchors, epoch: int) -> None:
    """First step: sign a transaction and store it, if there is none yet."""
    for _ in range(INTEND_TRIES_MAX):
        under_way = _anchoring(epoch)
        if under_way is None or under_way.transaction is not None:
            return
        head = under_way.size, under_way.root, under_way.gross_micro, under_way.royalties_micro
        build = partial(chain.build_anchor, epoch, *head)
        if transactions.sign(chain, build, lambda session, signed: anchoring.intend(session, epoch, signed, now())):
            return


def send(chain: Anchors, epoch: int) -> None:
    """Second step: give the node the transaction that is stored."""
    under_way = _anchoring(epoch)
    if under_way is not None and under_way.transaction is not None and under_way.transaction.state == INTENDED:
        transactions.send(chain, under_way.transaction, now())


def confirm(chain: Anchors, epoch: int) -> None:
    """Third step: once its block is final, read back what the contract has."""
    under_way = _anchoring(epoch)
    if under_way is None or under_way.transaction is None or under_way.transaction.state != SENT:
        return
    receipt = transactions.final_receipt(chain, under_way.transaction)
    if receipt is None:
        return
    place = _place(chain) if _stands(chain, under_way) else None
    with transaction() as session:
        anchoring.confirm(session, epoch, under_way.transaction.id, receipt, place, now())
    log.info("epoch anchored", extra={"epoch": epoch, "block": receipt.block_number, "stands": place is not None})


def _stands(chain: Anchors, asked: Anchoring) -> bool:
    found = chain.anchor_of(asked.epoch)
    return found is not None and (found.size, found.root, found.gross_micro, found.royalties_micro) == (
        asked.size,
        asked.root,
        asked.gross_micro,
        asked.royalties_micro,
    )


def _place(chain: Anchors) -> Place:
    chain_id, code_hash = chain.check()
    return Place(chain_id, chain.address, code_hash)


def _first_unfinished() -> int | None:
    with transaction() as session:
        return anchoring.first_unfinished(session, now())


def _anchoring(epoch: int) -> Anchoring | None:
    with transaction() as session:
        return anchoring.anchoring(session, epoch)


def _hold_up(epoch: int, error: ChainError | DomainError) -> None:
    metrics.CHAIN_ERRORS.labels(type(error).__name__).inc()
    log.warning("anchor held up", extra={"epoch": epoch, "error": type(error).__name__})
    with transaction() as session:
        anchoring.hold_up(session, epoch, transactions.reason(error))
