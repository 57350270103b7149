"""Ballots, carried by what is due: opened with the electorate the contract tells, counted, their decisions written.

No step holds a database transaction while it waits for a node. Whatever a step finds done already, by itself before it
was killed or by another worker at the same time, it leaves as it is.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from ledger.errors import DomainError
from streamcoop import metrics
from streamcoop.adapters import chain as adapter
from streamcoop.adapters import members
from streamcoop.adapters.chain import BlockStamp, ChainError
from streamcoop.adapters.members import SEATS_PER_PAGE, MemberClass, Membership, RollExtent, Seat
from streamcoop.adapters.rate_registry import Decision, RateRegistry, Rates
from streamcoop.clock import now
from streamcoop.database import transaction
from streamcoop.governance import counting, effect, electorate, proposing
from streamcoop.governance import service as governance
from streamcoop.governance.models import COUNTING, PREPARING, Ballot
from streamcoop.membership import service as membership
from streamcoop.membership.models import INTENDED, SENT
from streamcoop.settings import settings
from workers import transactions
from workers.contracts import pinned
from workers.transactions import INTEND_TRIES_MAX

log = logging.getLogger(__name__)

# How long a ballot waits for a chain that does not answer, before its electorate is read and before it is counted.
PREPARING_MAX = timedelta(days=1)
COUNTING_MAX = timedelta(days=1)
# A sweep gives way to the next after this long.
CARRY_S_MAX = 20.0

# What no waiting mends. Only while a ballot is prepared may a fork be met by another snapshot.
_FATAL = (adapter.WrongChain, adapter.ContractMissing, adapter.ContractChanged, members.RollDoesNotAddUp)
_FATAL_TO_SNAPSHOT = (*_FATAL, adapter.ChainForked)


def carry_due() -> None:
    """Do whatever is due of every ballot."""
    with transaction() as session:
        proposing.begin_due(session, now())
    with transaction() as session:
        preparing, over = electorate.in_preparation(session), counting.due(session, now())
    for ballot_id in over:
        count(ballot_id)
    for ballot_id in preparing:
        open_with_electorate(ballot_id)
    carry_decisions()


# --- The contracts, held to what they were when they were first met ---


def membership_contract() -> Membership:
    """The register of members, read only. Raises the adapter's ChainErrors and ContractNotConfigured."""
    return pinned(Membership, "membership", membership.require_contract(settings()))


def rate_registry() -> RateRegistry:
    """The registry of decided rates, to be written to.

    Raises the adapter's ChainErrors, ContractNotConfigured and RegistrarKeyMissing.
    """
    address = settings().rate_registry
    if address is None:
        raise membership.ContractNotConfigured
    return pinned(RateRegistry, "rate_registry", address, membership.require_registrar(settings()))


# --- The electorate ---


def open_with_electorate(ballot_id: UUID) -> None:
    """Read the whole roll at a final block and open the ballot, or stop it where it cannot be opened.

    Pages that were stored before a crash are not read again as long as their block stands.
    """
    with transaction() as session:
        ballot = governance.ballot(session, ballot_id)
    if ballot.state != PREPARING:
        return
    try:
        chain = membership_contract()
        block = _block_of(ballot)
        try:
            _read(chain, ballot_id, block, ballot.read_to + 1)
        except adapter.ChainForked:
            _read(chain, ballot_id, None, 1)
    except (ChainError, DomainError) as error:
        _set_back(ballot_id, error, _FATAL, (ballot.discussed_until or now()) + PREPARING_MAX)


def _read(chain: Membership, ballot_id: UUID, block: BlockStamp | None, first: int) -> None:
    is_new = block is None
    block = block or chain.snapshot_block(settings().chain_finality_depth)
    extent = chain.roll_extent(block)
    if is_new:
        with transaction() as session:
            electorate.begin_reading(session, ballot_id, extent)
    begun = time.monotonic()
    while first <= extent.last_token_id:
        count = min(SEATS_PER_PAGE, extent.last_token_id + 1 - first)
        page = chain.roll_page(block, extent.read_at, first, count)
        with transaction() as session:
            if not electorate.keep_page(session, ballot_id, block.hash, first, first + count - 1, page):
                return
        first += count
        if time.monotonic() - begun > CARRY_S_MAX:
            return  # the next sweep goes on from here
    _add_up(chain, ballot_id, extent)
    with transaction() as session:
        electorate.open_ballot(session, ballot_id, extent.last_token_id, now())
    log.info("electorate read", extra={"ballot": str(ballot_id), "block": block.number})


def _add_up(chain: Membership, ballot_id: UUID, extent: RollExtent) -> None:
    """Raise RollDoesNotAddUp unless the stored seats are what the contract states of its roll in other words."""
    with transaction() as session:
        stored = electorate.stored_seats(session, ballot_id)
    seats = [Seat(s.token_id, s.address, MemberClass[s.member_class.upper()], s.delegate, s.since) for s in stored]
    members.add_up(seats, chain.roll_totals(extent.block, extent.read_at, members.voters_of(seats)))


def _block_of(ballot: Ballot) -> BlockStamp | None:
    if ballot.block_number is None or ballot.block_hash is None or ballot.block_timestamp is None:
        return None
    return BlockStamp(ballot.block_number, ballot.block_hash, ballot.block_timestamp)


# --- The count ---


def count(ballot_id: UUID) -> None:
    """Count a ballot that is over, once its electorate has been seen to stand: chain, code, block and seats."""
    with transaction() as session:
        counting.begin(session, ballot_id, now())
    with transaction() as session:
        ballot = governance.ballot(session, ballot_id)
    block = _block_of(ballot)
    if ballot.state != COUNTING or block is None or ballot.closes_at is None:
        return
    try:
        chain = membership_contract()
        _add_up(chain, ballot_id, chain.roll_extent(block))
    except (ChainError, DomainError) as error:
        _set_back(ballot_id, error, _FATAL_TO_SNAPSHOT, ballot.closes_at + COUNTING_MAX)
        return
    with transaction() as session:
        counted = counting.counted(session, governance.ballot(session, ballot_id))
    with transaction() as session:
        counting.close(session, ballot_id, counted, now())
    log.info("ballot counted", extra={"ballot": str(ballot_id)})


def _set_back(
    ballot_id: UUID, error: ChainError | DomainError, fatal: tuple[type[Exception], ...], until: datetime
) -> None:
    """Stop the ballot for what no waiting mends or once it has waited long enough; else it is tried again."""
    metrics.CHAIN_ERRORS.labels(type(error).__name__).inc()
    log.warning("ballot held up", extra={"ballot": str(ballot_id), "error": type(error).__name__})
    if isinstance(error, fatal) or now() >= until:
        with transaction() as session:
            electorate.stop(session, ballot_id, transactions.reason(error), now())


# --- Decisions ---


def carry_decisions() -> None:
    """Carry the earliest decision that is not in force as far as it goes, and the next behind it."""
    ballot_id = _first_undone()
    if ballot_id is None:
        return
    try:
        registry = rate_registry()
    except (ChainError, DomainError) as error:
        _hold_up(ballot_id, error)
        return
    begun, last = time.monotonic(), None
    while ballot_id not in (None, last) and time.monotonic() - begun < CARRY_S_MAX:
        try:
            carry(registry, ballot_id)
        except ChainError as error:
            _hold_up(ballot_id, error)
            return
        last, ballot_id = ballot_id, _first_undone()


def carry(registry: RateRegistry, ballot_id: UUID) -> None:
    """One decision's steps, from wherever it stands. Raises the adapter's ChainErrors: it is tried again later."""
    intend(registry, ballot_id)
    send(registry, ballot_id)
    confirm(registry, ballot_id)
    adopt(registry, ballot_id)
    with transaction() as session:
        effect.hold_up(session, ballot_id, None)


def intend(registry: RateRegistry, ballot_id: UUID) -> None:
    """First step: sign a transaction and store it, if there is none yet and the registry has not the decision."""
    for _ in range(INTEND_TRIES_MAX):
        under_way = _decision(ballot_id)
        if under_way is None or under_way.transaction is not None or under_way.effective_at is not None:
            return
        known = registry.decision_of(ballot_id)
        if known is not None and _says(known, under_way):
            with transaction() as session:
                effect.found_written(session, ballot_id, known.effective_at)
            return
        build = partial(registry.build_decision, ballot_id, under_way.result_hash, Rates(**under_way.numbers))
        if transactions.sign(registry, build, lambda session, it: effect.intend(session, ballot_id, it, now())):
            return


def send(registry: RateRegistry, ballot_id: UUID) -> None:
    """Second step: give the node the transaction that is stored."""
    under_way = _decision(ballot_id)
    if under_way is not None and under_way.transaction is not None and under_way.transaction.state == INTENDED:
        transactions.send(registry, under_way.transaction, now())


def confirm(registry: RateRegistry, ballot_id: UUID) -> None:
    """Third step: once its block is final, read back what the registry has, word for word."""
    under_way = _decision(ballot_id)
    if under_way is None or under_way.transaction is None or under_way.transaction.state != SENT:
        return
    receipt = transactions.final_receipt(registry, under_way.transaction)
    if receipt is None:
        return
    written = registry.decision_of(ballot_id)
    effective_at = written.effective_at if written is not None and _says(written, under_way) else None
    with transaction() as session:
        effect.confirm(session, ballot_id, under_way.transaction.id, receipt, effective_at, now())
    log.info("decision written", extra={"ballot": str(ballot_id), "block": receipt.block_number})


def adopt(registry: RateRegistry, ballot_id: UUID) -> None:
    """Last step: once a final block has passed the timelock and the registry still says so, the rates are adopted."""
    under_way = _decision(ballot_id)
    if under_way is None or under_way.effective_at is None:
        return
    block = registry.final_block(settings().chain_finality_depth, under_way.effective_at)
    if block is None:
        return
    written = registry.decision_of(ballot_id)
    if written is None or not _says(written, under_way):
        with transaction() as session:
            effect.lost(session, ballot_id)
        raise adapter.ChainForked(f"the registry has lost the decision of ballot {ballot_id}")
    with transaction() as session:
        effect.adopt(session, ballot_id, now())
    log.info("rates adopted", extra={"ballot": str(ballot_id), "block": block.number})


def _says(written: Decision, asked: effect.Decision) -> bool:
    return written.result_hash == asked.result_hash and written.rates == Rates(**asked.numbers)


def _first_undone() -> UUID | None:
    with transaction() as session:
        return effect.first_undone(session)


def _decision(ballot_id: UUID) -> effect.Decision | None:
    with transaction() as session:
        return effect.decision(session, ballot_id, now())


def _hold_up(ballot_id: UUID, error: ChainError | DomainError) -> None:
    metrics.CHAIN_ERRORS.labels(type(error).__name__).inc()
    log.warning("decision held up", extra={"ballot": str(ballot_id), "error": type(error).__name__})
    with transaction() as session:
        effect.hold_up(session, ballot_id, transactions.reason(error))
