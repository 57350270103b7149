"""The register of members: what the registrar is asked, carried to the contract, and that held against the table.

No step holds a database transaction while it waits for a node. Whatever a step finds done already, by itself before it
was killed or by another worker at the same time, it leaves as it is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

from ledger.errors import DomainError
from streamcoop import metrics
from streamcoop.adapters import chain as adapter
from streamcoop.adapters.chain import ChainError, ChainUnavailable, SignedTransaction
from streamcoop.adapters.members import APPROVALS, Approval, MemberClass, Membership
from streamcoop.clock import now
from streamcoop.database import transaction
from streamcoop.membership import orders, reconciling
from streamcoop.membership import service as membership
from streamcoop.membership.models import ADMISSION, CLASS_CHANGE, INTENDED, REKEY, REMOVAL, SENT, RegisterOrder
from streamcoop.membership.orders import UnderWay
from streamcoop.membership.reconciling import SeatTold
from streamcoop.settings import settings
from workers import transactions
from workers.contracts import pinned
from workers.transactions import INTEND_TRIES_MAX

log = logging.getLogger(__name__)

SWEEP_ORDERS_MAX = 100
# A sweep gives way to the next after this long.
CARRY_S_MAX = 20.0
APPROVAL_TAKEN_BACK = "an officer who approved it is none any more, or signs with another key"

# What the contract says against an order as it was given: no waiting mends it. Whatever else it says, above all that
# this is not the registrar's key, an operator can mend.
_AGAINST_THE_ORDER = frozenset(
    {
        "AlreadyMember",
        "NotMember",
        "ClassUnchanged",
        "SignatureExpired",
        "NotOfficer",
        "SameOfficer",
        "InvalidSignature",
        "DelegationCapReached",
        "VotesExpiredSignature",
        "InvalidAccountNonce",
    }
)


def registrar() -> Membership:
    """The contract, with the means to write there. Raises the adapter's ChainErrors, ContractNotConfigured and
    RegistrarKeyMissing.
    """
    contract, key = membership.require_contract(settings()), membership.require_registrar(settings())
    return pinned(Membership, "membership", contract, key)


def carry_due() -> None:
    """Carry whatever is asked of the registrar as far as it goes."""
    with transaction() as session:
        due = orders.unfinished(session, SWEEP_ORDERS_MAX, now())
    carry_all(due)


def carry_all(order_ids: Sequence[UUID]) -> None:
    """Carry these orders as far as they go, until time is up or the node does not answer."""
    if not order_ids:
        return
    try:
        chain = registrar()
    except (ChainError, DomainError) as error:
        _hold_up(order_ids, error)
        return
    begun = time.monotonic()
    for order_id in order_ids:
        try:
            carry(chain, order_id)
        except ChainUnavailable as error:
            _hold_up(order_ids, error)
            return
        except ChainError as error:
            _hold_up([order_id], error)
        if time.monotonic() - begun > CARRY_S_MAX:
            return


def _hold_up(order_ids: Sequence[UUID], error: ChainError | DomainError) -> None:
    metrics.CHAIN_ERRORS.labels(type(error).__name__).inc()
    log.warning("order held up", extra={"orders": len(order_ids), "error": type(error).__name__})
    with transaction() as session:
        orders.hold_up(session, order_ids, transactions.reason(error))


def carry(chain: Membership, order_id: UUID) -> None:
    """One order's steps, from wherever it stands. Raises the adapter's ChainErrors: it is tried again later."""
    intend(chain, order_id)
    send(chain, order_id)
    confirm(chain, order_id)
    with transaction() as session:
        orders.goes_on(session, order_id)


def _under_way(order_id: UUID) -> UnderWay | None:
    with transaction() as session:
        return orders.under_way(session, order_id)


def intend(chain: Membership, order_id: UUID) -> None:
    """First step: sign a transaction and store it, if there is none yet."""
    for _ in range(INTEND_TRIES_MAX):
        found = _under_way(order_id)
        if found is None or found.transaction is not None:
            return
        if found.order.kind == ADMISSION and len(found.approvals) < APPROVALS:
            with transaction() as session:
                orders.refuse(session, order_id, APPROVAL_TAKEN_BACK, now())
            return
        try:
            if transactions.sign(
                chain, _builder(chain, found), lambda session, it: orders.intend(session, order_id, it, now())
            ):
                return
        except adapter.CallRefused as refusal:
            # By a transaction that was signed here and lost with a restored database, or elsewhere with the same key.
            if stands(chain, found.order):
                with transaction() as session:
                    orders.found_done(session, order_id, now())
                return
            said = str(refusal)
            if found.order.kind == REMOVAL or not any(name in said for name in _AGAINST_THE_ORDER):
                raise
            with transaction() as session:
                orders.refuse(session, order_id, said, now())
            return


def _builder(chain: Membership, asked: UnderWay) -> Callable[[int], SignedTransaction]:
    order = asked.order
    if order.kind == ADMISSION:
        approvals = [Approval(each.officer, bytes(each.signature)) for each in asked.approvals]
        deadline = asked.approvals[0].deadline
        return partial(chain.build_admission, order.address, _class(order), deadline, approvals)
    if order.kind == REMOVAL:
        return partial(chain.build_removal, order.address)
    if order.kind == CLASS_CHANGE:
        return partial(chain.build_class_change, order.address, _class(order))
    other, deadline = order.other_address or "", order.deadline or 0
    signature = bytes(order.signature or b"")
    if order.kind == REKEY:
        return partial(
            chain.build_rekey, order.address, other, deadline, signature, bytes(order.second_signature or b"")
        )
    return partial(chain.build_delegation, other, order.nonce or 0, deadline, signature)


def _class(order: RegisterOrder) -> MemberClass:
    return MemberClass[(order.member_class or "").upper()]


def send(chain: Membership, order_id: UUID) -> None:
    """Second step: give the node the transaction that is stored."""
    found = _under_way(order_id)
    if found is not None and found.transaction is not None and found.transaction.state == INTENDED:
        transactions.send(chain, found.transaction, now())


def confirm(chain: Membership, order_id: UUID) -> None:
    """Third step: once its block is final, see what became of it. What the chain has lost is sent again as it was."""
    found = _under_way(order_id)
    if found is None or found.transaction is None or found.transaction.state != SENT:
        return
    receipt = transactions.final_receipt(chain, found.transaction)
    if receipt is None:
        return
    done = receipt.succeeded or stands(chain, found.order)
    with transaction() as session:
        orders.confirm(session, found.transaction.id, receipt, done, now())
    log.info("order carried out", extra={"order": str(order_id), "kind": found.order.kind, "done": done})


def stands(chain: Membership, order: RegisterOrder) -> bool:
    """Whether the contract is as the order wants it."""
    if order.kind == REKEY:
        return chain.is_member(order.other_address or "") and not chain.is_member(order.address)
    seat = chain.seat_of(order.address)
    if order.kind == REMOVAL:
        return seat is None
    if seat is None:
        return False
    if order.kind == ADMISSION:
        return True
    if order.kind == CLASS_CHANGE:
        return seat.member_class == _class(order)
    return seat.delegate == order.other_address


# --- The contract and the table ---


def reconcile() -> None:
    """Read the whole roll at a final block and hold it against the table: what is lag is mended, the rest reported."""
    begun_at = now()
    try:
        chain = registrar()
        roll = chain.roll_at(chain.snapshot_block(settings().chain_finality_depth))
    except (ChainError, DomainError) as error:
        metrics.CHAIN_ERRORS.labels(type(error).__name__).inc()
        log.warning("register not compared", extra={"error": type(error).__name__})
        return
    seats = {seat.address: SeatTold(seat.address, seat.member_class.name.lower()) for seat in roll.seats}
    with transaction() as session:
        found = reconciling.compare(session, seats, begun_at, now())
    if found:
        log.warning("the register differs", extra={"differences": found})
