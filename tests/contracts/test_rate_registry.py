"""RateRegistry on py-evm and on anvil: what `IRateRegistry.sol` promises."""

from __future__ import annotations

import secrets
from dataclasses import astuple, dataclass, replace
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from web3 import Web3
from web3.contract import Contract
from web3.exceptions import ContractLogicError, ContractPanicError

from streamcoop.adapters.rate_registry import Rates
from streamcoop.embedded.chain.evm import REGISTRY_FILE
from tests import anvil
from tests.contracts.stand import (
    REGISTRAR,
    STRANGER,
    ZERO,
    artifact_of,
    changing_functions,
    deployed,
    fund,
    mine,
    now,
    pass_time,
    refused,
    require_no_code_of_others,
    sent,
)
from tests.contracts.stand import own_anvil as own_anvil
from tests.contracts.stand import web3 as web3

ARTIFACT = artifact_of(REGISTRY_FILE)
ABI = ARTIFACT["abi"]
CODE_BYTES_MAX = 24_576
ADMIN_ROLE = bytes(32)
RECORDER_ROLE = keccak(text="RECORDER_ROLE")
TIMELOCK_S = 5
LOWEST = Rates(5_000, 0, 1_000, 1_000, 5, 100, 10_000)
HIGHEST = Rates(9_000, 5_000, 9_000, 16_000, 12, 10_000, 60_000)
STEP_MAX = Rates(500, 500, 500, 2_000, 1, 1_000, 15_000)
FOUNDING = Rates(7_000, 1_000, 3_000, 2_000, 9, 1_000, 45_000)
NOTHING = (bytes(16), 0, 0, bytes(32), (0,) * 7)


@dataclass(frozen=True)
class Decided:
    """What is given to the contract, in its order."""

    ballot: bytes
    result_hash: bytes
    rates: Rates


@dataclass(frozen=True)
class Book:
    """One registry."""

    web3: Web3
    contract: Contract
    recorder: LocalAccount

    @property
    def ask(self) -> Any:
        return self.contract.functions

    def decided(self, **otherwise: int) -> Decided:
        """A decision that may be made now: the founding's rates, but for these."""
        rates = replace(FOUNDING, **otherwise)
        return Decided(secrets.token_bytes(16), secrets.token_bytes(32), rates)

    def decision(self, decided: Decided) -> Any:
        return self.ask.decide(decided.ballot, decided.result_hash, astuple(decided.rates))

    def send(self, decided: Decided) -> Any:
        receipt = sent(self.web3, self.recorder, self.decision(decided))
        assert receipt["status"] == 1
        return receipt

    def written(self, decided: Decided) -> int:
        """Sends it; from when on it holds."""
        self.send(decided)
        return now(self.web3) + TIMELOCK_S

    def refusal(self, decided: Decided) -> None:
        self.decision(decided).call({"from": self.recorder.address})

    def rates_at(self, time: int) -> Rates:
        return Rates(*self.ask.ratesAt(time).call())


@pytest.fixture(scope="module")
def recorder(web3: Web3) -> LocalAccount:
    account: LocalAccount = Account.create()
    fund(web3, account)
    return account


def deploy(web3: Web3, recorder: LocalAccount) -> Book:
    numbers = map(astuple, (LOWEST, HIGHEST, STEP_MAX, FOUNDING))
    arguments = (REGISTRAR.address, recorder.address, TIMELOCK_S, *numbers)
    return Book(web3, deployed(web3, ARTIFACT, *arguments), recorder)


@pytest.fixture
def book(web3: Web3, recorder: LocalAccount) -> Book:
    return deploy(web3, recorder)


# --- Deciding ---


def test_decision__is_kept_and_told(book: Book) -> None:
    decided = book.decided(artist_share_bp=7_500)
    receipt = book.send(decided)
    at = now(book.web3)
    kept = (decided.ballot, at, at + TIMELOCK_S, decided.result_hash, astuple(decided.rates))
    for told in (book.ask.decisionOf(decided.ballot).call(), book.ask.decisionAt(0).call()):
        assert (*told[:4], tuple(told[4])) == kept
    assert book.ask.count().call() == 1
    (entry,) = receipt["logs"]
    event = book.contract.events.Decided().process_log(entry)["args"]
    assert (event["ballot"], event["resultHash"], event["effectiveAt"]) == (
        decided.ballot,
        decided.result_hash,
        at + TIMELOCK_S,
    )
    assert tuple(event["rates"].values()) == astuple(decided.rates)


def test_decision__holds_from_its_second_on(book: Book) -> None:
    decided = book.decided(plays=10)
    effective_at = book.written(decided)
    assert book.rates_at(0) == book.rates_at(effective_at - 1) == FOUNDING
    assert book.rates_at(effective_at) == book.rates_at(2**48 - 1) == decided.rates


@anvil.needed
def test_two_decisions_in_one_second__the_later_holds(own_anvil: Web3) -> None:
    recorder: LocalAccount = Account.create()
    fund(own_anvil, recorder)
    book = deploy(own_anvil, recorder)
    first, second = book.decided(plays=10), book.decided(plays=10, listen_ms_max=30_000)
    effective_at = book.written(first)
    anvil.ask(own_anvil, "anvil_setBlockTimestampInterval", 0)
    try:
        assert book.written(second) == effective_at
    finally:
        anvil.ask(own_anvil, "anvil_setBlockTimestampInterval", 1)
    assert book.ask.count().call() == 2
    assert book.rates_at(effective_at - 1) == FOUNDING
    assert book.rates_at(effective_at) == second.rates


def test_nothing_decided__the_foundings(book: Book) -> None:
    assert book.rates_at(now(book.web3)) == FOUNDING
    assert book.ask.timelock().call() == TIMELOCK_S
    assert [Rates(*told) for told in book.ask.bounds().call()] == [LOWEST, HIGHEST, STEP_MAX]
    told = book.ask.decisionOf(bytes(16)).call()
    assert (*told[:4], tuple(told[4])) == NOTHING
    with pytest.raises(ContractPanicError):
        book.ask.decisionAt(0).call()


def test_again_with_the_same_content__changes_nothing_at_any_time(book: Book) -> None:
    first = book.decided(plays=10)
    effective_at = book.written(first)
    book.send(book.decided(plays=9))
    pass_time(book.web3, effective_at)
    for _ in range(2):
        assert book.send(first)["logs"] == []
    assert book.ask.count().call() == 2
    assert book.ask.decisionOf(first.ballot).call()[2] == effective_at


def test_again_with_other_content__refused(book: Book) -> None:
    decided = book.decided(plays=10)
    book.send(decided)
    for other in (replace(decided, result_hash=bytes(31) + b"\1"), replace(decided, rates=FOUNDING)):
        with refused("DecidedOtherwise(bytes16)", decided.ballot):
            book.refusal(other)


def test_without_ballot_or_result__refused(book: Book) -> None:
    with refused("BallotMissing()"):
        book.refusal(replace(book.decided(), ballot=bytes(16)))
    with refused("ResultMissing()"):
        book.refusal(replace(book.decided(), result_hash=bytes(32)))


def test_timelock__is_nobodys_to_choose(book: Book) -> None:
    """Build Finance, Beanstalk: what is decided must be seen before it holds. Nor may it wait, and others behind it."""
    (inputs,) = (entry["inputs"] for entry in ABI if entry.get("name") == "decide")
    assert [each["name"] for each in inputs] == ["ballot", "resultHash", "rates"]
    assert not [name for name in changing_functions(ABI) if "lock" in name.lower()]
    assert TIMELOCK_S.to_bytes(32, "big") in bytes(book.web3.eth.get_code(book.contract.address))


NAMES = list(LOWEST.__dataclass_fields__)


@pytest.mark.parametrize("name", NAMES)
def test_number__beyond_its_bounds__refused(web3: Web3, recorder: LocalAccount, name: str) -> None:
    for bound, beyond in ((LOWEST, -1), (HIGHEST, 1)):
        value = getattr(bound, name) + beyond
        if value < 0:
            continue
        book = deploy(web3, recorder)
        with refused("OutOfBounds(uint8,uint64)", NAMES.index(name), value):
            book.refusal(book.decided(**{name: value}))


@pytest.mark.parametrize("name", NAMES)
def test_number__one_step_and_no_more(book: Book, name: str) -> None:
    before, step = getattr(FOUNDING, name), getattr(STEP_MAX, name)
    for way in (1, -1):
        value = before + way * step
        if not getattr(LOWEST, name) <= value <= getattr(HIGHEST, name):
            continue
        book.refusal(book.decided(**{name: value}))
        if getattr(LOWEST, name) <= value + way <= getattr(HIGHEST, name):
            with refused("StepTooLarge(uint8,uint64,uint64)", NAMES.index(name), value + way, before):
                book.refusal(book.decided(**{name: value + way}))


def test_many_steps_at_once__refused(book: Book) -> None:
    """A stolen recorder's key cannot walk: a step is from what is decided and from what is in force."""
    effective_at = book.written(book.decided(artist_share_bp=7_500))
    further = book.decided(artist_share_bp=8_000)
    with refused("StepTooLarge(uint8,uint64,uint64)", 0, 8_000, 7_000):
        book.refusal(further)
    with refused("StepTooLarge(uint8,uint64,uint64)", 0, 6_500, 7_500):
        book.refusal(book.decided(artist_share_bp=6_500))
    pass_time(book.web3, effective_at)
    book.send(further)


def test_cuts_out_of_order__refused(web3: Web3, recorder: LocalAccount) -> None:
    founding = replace(FOUNDING, community_cut_bp=3_000, reserve_cut_bp=3_000)
    numbers = map(astuple, (LOWEST, HIGHEST, STEP_MAX, founding))
    arguments = (REGISTRAR.address, recorder.address, TIMELOCK_S, *numbers)
    book = Book(web3, deployed(web3, ARTIFACT, *arguments), recorder)
    crossed = replace(book.decided(), rates=replace(founding, community_cut_bp=3_001))
    with refused("CutsNotOrdered(uint16,uint16)", 3_001, 3_000):
        book.refusal(crossed)
    book.refusal(replace(crossed, rates=founding))


# --- Who may decide ---


@pytest.mark.parametrize("who", ["administrator", "stranger"])
def test_decision__front_run_by_anybody_else__refused(book: Book, who: str) -> None:
    """Whoever sees a decision in the pool can neither write it, nor another of the same ballot, nor cancel it."""
    caller = {"administrator": REGISTRAR.address, "stranger": STRANGER}[who]
    decided = book.decided(plays=10)
    for attempt in (decided, replace(decided, rates=FOUNDING)):
        with refused("AccessControlUnauthorizedAccount(address,bytes32)", caller, RECORDER_ROLE):
            book.decision(attempt).call({"from": caller})
    book.send(decided)


def test_stolen_key__is_replaced_and_nothing_decided_changes(book: Book) -> None:
    decided, successor = book.decided(plays=10), Account.create()
    effective_at = book.written(decided)
    fund(book.web3, successor)
    sent(book.web3, REGISTRAR, book.ask.revokeRole(RECORDER_ROLE, book.recorder.address))
    sent(book.web3, REGISTRAR, book.ask.grantRole(RECORDER_ROLE, successor.address))
    with refused("AccessControlUnauthorizedAccount(address,bytes32)", book.recorder.address, RECORDER_ROLE):
        book.refusal(book.decided(plays=10))
    later = Book(book.web3, book.contract, successor)
    later.send(later.decided(plays=10, listen_ms_max=30_000))
    assert book.rates_at(effective_at) == decided.rates


def test_roles__only_the_administrator_gives_them(book: Book) -> None:
    assert book.ask.RECORDER_ROLE().call() == RECORDER_ROLE
    for caller in (book.recorder.address, STRANGER):
        for role in (RECORDER_ROLE, ADMIN_ROLE):
            with refused("AccessControlUnauthorizedAccount(address,bytes32)", caller, ADMIN_ROLE):
                book.ask.grantRole(role, STRANGER).call({"from": caller})


def test_constructor__without_what_it_needs__refused(web3: Web3) -> None:
    def constructing(administrator: str, recorder: str, founding: Rates = FOUNDING) -> Any:
        numbers = map(astuple, (LOWEST, HIGHEST, STEP_MAX, founding))
        contract = web3.eth.contract(abi=ABI, bytecode=ARTIFACT["bytecode"])
        return contract.constructor(administrator, recorder, TIMELOCK_S, *numbers)

    for new, error in (
        (constructing(ZERO, STRANGER), ("AdministratorMissing()",)),
        (constructing(STRANGER, ZERO), ("RecorderMissing()",)),
        (constructing(STRANGER, STRANGER, replace(FOUNDING, plays=13)), ("OutOfBounds(uint8,uint64)", 4, 13)),
        (
            constructing(STRANGER, STRANGER, replace(FOUNDING, community_cut_bp=3_001)),
            ("CutsNotOrdered(uint16,uint16)", 3_001, 3_000),
        ),
    ):
        with refused(*error):
            new.estimate_gas({"from": REGISTRAR.address})


def test_nothing_can_be_initialised_upgraded_or_paid_in(book: Book) -> None:
    assert changing_functions(ABI) == ["decide", "grantRole", "renounceRole", "revokeRole"]
    assert {entry["type"] for entry in ABI} == {"constructor", "error", "event", "function"}
    assert not [entry for entry in ABI if entry.get("stateMutability") == "payable"]
    with pytest.raises(ContractLogicError):
        book.web3.eth.call({"from": book.recorder.address, "to": book.contract.address, "value": 1})


def test_code__runs_none_of_others_and_fits(book: Book) -> None:
    code = bytes(book.web3.eth.get_code(book.contract.address))
    require_no_code_of_others(code)
    assert len(code) <= CODE_BYTES_MAX


# --- Whatever is decided in whatever order ---

SHARES = st.integers(13, 15).map(lambda half: half * 500)


def test_decisions_only_ever_grow_in_order(web3: Web3, recorder: LocalAccount) -> None:
    class Decisions(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.book = deploy(web3, recorder)
            self.written: list[tuple[Decided, int]] = []
            self.final: dict[int, Rates] = {}

        def in_force(self, time: int) -> Rates:
            due = [decided.rates for decided, effective_at in self.written if effective_at <= time]
            return due[-1] if due else FOUNDING

        @rule(share=SHARES)
        def decide(self, share: int) -> None:
            while self.in_force(now(web3)) != self.in_force(now(web3) + 1):
                mine(web3)
            decided = self.book.decided(artist_share_bp=share)
            last = self.written[-1][0].rates if self.written else FOUNDING
            if all(
                abs(share - rates.artist_share_bp) <= STEP_MAX.artist_share_bp
                for rates in (self.in_force(now(web3)), last)
            ):
                self.written.append((decided, self.book.written(decided)))
            else:
                with pytest.raises(ContractLogicError):
                    self.book.decision(decided).call({"from": recorder.address}, block_identifier=web3.eth.block_number)

        @rule()
        def wait(self) -> None:
            for _ in range(TIMELOCK_S):
                mine(web3)

        @invariant()
        def stands(self) -> None:
            assert self.book.ask.count().call() == len(self.written)
            for index, (decided, effective_at) in enumerate(self.written):
                told = self.book.ask.decisionAt(index).call()
                at = effective_at - TIMELOCK_S
                kept = (decided.ballot, at, effective_at, decided.result_hash, astuple(decided.rates))
                assert (*told[:4], tuple(told[4])) == kept
            # What is less than the timelock ahead is settled.
            self.final |= {time: self.in_force(time) for time in (now(web3), now(web3) + TIMELOCK_S - 1)}
            for time, rates in self.final.items():
                assert self.book.rates_at(time) == rates == self.in_force(time)

    run_state_machine_as_test(
        Decisions,
        settings=settings(
            max_examples=6,
            stateful_step_count=10,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
