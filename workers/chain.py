"""What touches the chain: admitting members, reading the weights of ballots, counting those that are over, anchoring.

No step holds a database transaction while it waits for a node. Whatever a step finds done already,
by itself before it was killed or by another worker at the same time, it leaves as it is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import text

from ledger.errors import DomainError
from streamcoop import metrics
from streamcoop.adapters import chain as adapter
from streamcoop.adapters.chain import BlockStamp, ChainError, ChainUnavailable
from streamcoop.adapters.members import MemberClass, Membership, WeightsDoNotAddUp
from streamcoop.clock import now
from streamcoop.database import engine, transaction
from streamcoop.governance import service as governance
from streamcoop.governance.models import OPEN, PREPARING
from streamcoop.membership import service as membership
from streamcoop.membership.models import INTENDED, SENT
from streamcoop.settings import settings
from workers import anchors, transactions
from workers.app import app
from workers.transactions import INTEND_TRIES_MAX, NODE_TIMEOUT_S

log = logging.getLogger(__name__)

# How long a ballot waits for a chain that does not answer, before its weights are read and before it is counted.
PREPARING_MAX = timedelta(minutes=10)
COUNTING_MAX = timedelta(days=1)
SWEEP_ADMISSIONS_MAX = 100
# Members whose weights are stored in one transaction.
WEIGHTS_A_TIME = 5_000
# A sweep gives way to the next after this long.
SWEEP_S_MAX = 20.0
_SWEEP_LOCK = 0x5C_02

# What no waiting mends. Only while a ballot is prepared may a fork be met by another snapshot.
_FATAL = (adapter.WrongChain, adapter.ContractMissing, adapter.ContractChanged, WeightsDoNotAddUp)
_FATAL_TO_SNAPSHOT = (*_FATAL, adapter.ChainForked)


# --- Tasks ---


@app.task(name="workers.chain.admit")
def admit(member_id: str) -> None:
    """Carry one admission as far as it goes."""
    _carry_all([UUID(member_id)])


@app.task(name="workers.chain.read_weights")
def read_weights(ballot_id: str) -> None:
    """Open one ballot in preparation with the weights the contract tells."""
    open_with_weights(UUID(ballot_id))


@app.task(name="workers.chain.sweep")
def sweep() -> None:
    """Do whatever is due on the chain. Of several sweeps at once one works: they would wait for the same node."""
    with _alone() as alone:
        if not alone:
            return
        with transaction() as session:
            admissions = membership.unfinished(session, SWEEP_ADMISSIONS_MAX)
            preparing, due = governance.in_preparation(session), governance.due(session, now())
        for ballot_id in due:
            close(ballot_id)
        for ballot_id in preparing:
            open_with_weights(ballot_id)
        _carry_all(admissions)
        anchors.carry_due()


@contextmanager
def _alone() -> Iterator[bool]:
    """Whether this is the only sweep. The lock is the connection's, so it ends with a killed worker."""
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        alone = bool(connection.scalar(text("select pg_try_advisory_lock(:key)"), {"key": _SWEEP_LOCK}))
        try:
            yield alone
        finally:
            if alone:
                connection.execute(text("select pg_advisory_unlock(:key)"), {"key": _SWEEP_LOCK})


# --- Admissions ---


def registrar() -> Membership:
    """The contract, with the means to admit. Raises the adapter's ChainErrors, ContractNotConfigured and
    RegistrarKeyMissing.
    """
    configured = settings()
    return Membership.connect(
        configured.chain_rpc_url,
        membership.require_contract(configured),
        chain_id=configured.chain_id,
        registrar_key=membership.require_registrar(configured),
        timeout_s=NODE_TIMEOUT_S,
    )


def _carry_all(member_ids: list[UUID]) -> None:
    """Carry these admissions as far as they go, until time is up or the node does not answer."""
    if not member_ids:
        return
    try:
        chain = registrar()
    except (ChainError, DomainError) as error:
        _hold_up(member_ids, error)
        return
    begun = time.monotonic()
    for member_id in member_ids:
        try:
            carry(chain, member_id)
        except ChainUnavailable as error:
            _hold_up(member_ids, error)
            return
        except ChainError as error:
            _hold_up([member_id], error)
        if time.monotonic() - begun > SWEEP_S_MAX:
            return


def _hold_up(member_ids: list[UUID], error: ChainError | DomainError) -> None:
    metrics.CHAIN_ERRORS.labels(type(error).__name__).inc()
    log.warning("admission held up", extra={"members": len(member_ids), "error": type(error).__name__})
    with transaction() as session:
        membership.hold_up(session, member_ids, transactions.reason(error))


def carry(chain: Membership, member_id: UUID) -> None:
    """One admission's steps, from wherever it stands. Raises the adapter's ChainErrors: it is tried again later."""
    intend(chain, member_id)
    send(chain, member_id)
    confirm(chain, member_id)
    with transaction() as session:
        membership.hold_up(session, [member_id], None)


def _admission(member_id: UUID) -> membership.Admission | None:
    with transaction() as session:
        return membership.admission(session, member_id)


def intend(chain: Membership, member_id: UUID) -> None:
    """First step: sign a transaction and store it, if there is none yet."""
    for _ in range(INTEND_TRIES_MAX):
        under_way = _admission(member_id)
        if under_way is None or under_way.transaction is not None:
            return
        build = partial(chain.build_admission, under_way.address, MemberClass[under_way.member_class.upper()])
        try:
            if transactions.sign(chain, build, lambda session, it: membership.intend(session, member_id, it, now())):
                return
        except adapter.CallRefused:
            if not chain.is_member(under_way.address):
                raise
            # By a transaction that was signed here and lost with a restored database, or elsewhere with the same key.
            with transaction() as session:
                membership.found_on_chain(session, member_id, now())
            return


def send(chain: Membership, member_id: UUID) -> None:
    """Second step: give the node the transaction that is stored."""
    under_way = _admission(member_id)
    if under_way is not None and under_way.transaction is not None and under_way.transaction.state == INTENDED:
        transactions.send(chain, under_way.transaction, now())


def confirm(chain: Membership, member_id: UUID) -> None:
    """Third step: once its block is final, see what became of it. What the chain has lost is sent again as it was."""
    under_way = _admission(member_id)
    if under_way is None or under_way.transaction is None or under_way.transaction.state != SENT:
        return
    sent = under_way.transaction
    receipt = transactions.final_receipt(chain, sent)
    if receipt is None:
        return
    is_member = receipt.succeeded or chain.is_member(under_way.address)
    with transaction() as session:
        membership.confirm(session, sent.id, receipt, is_member, now())
    log.info("admission confirmed", extra={"member": str(member_id), "block": receipt.block_number})


# --- Ballots ---


def open_with_weights(ballot_id: UUID) -> None:
    """Read every member's weight at a final block and open the ballot, or stop it where it cannot be opened."""
    contract = settings().membership_contract or ""
    with transaction() as session:
        ballot = governance.ballot(session, ballot_id)
        known_chain_id, code_hash = governance.pin(session, contract)
    if ballot.state != PREPARING:
        return
    try:
        chain = _reader(contract, settings().chain_id or known_chain_id, code_hash)
        block = chain.snapshot_block(settings().chain_finality_depth)
        # Only now: whoever the contract has at this block was stored here before being sent there.
        with transaction() as session:
            electorate = membership.electorate(session)
        weights = chain.weights_at(block, list(electorate))
    except ChainError as error:
        _set_back(ballot_id, error, _FATAL, ballot.called_at + PREPARING_MAX)
        return
    for begun in range(0, len(weights.members), WEIGHTS_A_TIME):
        with transaction() as session:
            part = weights.members[begun : begun + WEIGHTS_A_TIME]
            governance.keep_weights(session, ballot_id, part, electorate, from_the_first=begun == 0)
    with transaction() as session:
        governance.open_ballot(session, ballot_id, weights, now())
    log.info("weights read", extra={"ballot": str(ballot_id), "block": block.number, "total": weights.total})


def close(ballot_id: UUID) -> None:
    """Count a ballot that is over, after reading its snapshot once more: it must say what it said at the opening."""
    with transaction() as session:
        ballot = governance.ballot(session, ballot_id)
        stored = governance.stored_weights(session, ballot_id)
    if ballot.state != OPEN or ballot.closes_at is None or ballot.closes_at > now():
        return
    try:
        chain = _reader(ballot.contract or "", ballot.chain_id, ballot.code_hash)
        snapshot = BlockStamp(ballot.block_number or 0, ballot.block_hash or "", ballot.block_timestamp or 0)
        weights = chain.weights_at(snapshot, list(stored))
    except ChainError as error:
        _set_back(ballot_id, error, _FATAL_TO_SNAPSHOT, ballot.closes_at + COUNTING_MAX)
        return
    with transaction() as session:
        if {voter.address: voter.weight for voter in weights.members} == stored:
            governance.close(session, ballot_id, now())
        else:
            governance.stop(session, ballot_id, "the contract now tells other weights than at the opening", now())
    log.info("ballot closed", extra={"ballot": str(ballot_id)})


def _reader(contract: str, chain_id: int | None, code_hash: str | None) -> Membership:
    if not contract:
        raise adapter.ContractMissing("none is configured")
    return Membership.connect(
        settings().chain_rpc_url, contract, chain_id=chain_id, code_hash=code_hash, timeout_s=NODE_TIMEOUT_S
    )


def _set_back(ballot_id: UUID, error: ChainError, fatal: tuple[type[ChainError], ...], until: datetime) -> None:
    """Stop the ballot for what no waiting mends or once it has waited long enough; else it is tried again."""
    metrics.CHAIN_ERRORS.labels(type(error).__name__).inc()
    log.warning("ballot held up", extra={"ballot": str(ballot_id), "error": type(error).__name__})
    if isinstance(error, fatal) or now() >= until:
        with transaction() as session:
            governance.stop(session, ballot_id, transactions.reason(error), now())
