"""EpochAnchor on py-evm and on anvil: what `IEpochAnchor.sol` promises."""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils import keccak
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from web3 import Web3
from web3.contract import Contract
from web3.exceptions import ContractLogicError, ContractPanicError

from tests.contracts.stand import (
    REGISTRAR,
    STRANGER,
    ZERO,
    deployed,
    fund,
    now,
    refused,
    require_no_code_of_others,
    sent,
)
from tests.contracts.stand import web3 as web3

CONTRACT_FILE = Path(__file__).resolve().parents[2] / "contracts" / "abi" / "EpochAnchor.json"
ARTIFACT = json.loads(CONTRACT_FILE.read_text(encoding="utf-8"))
ABI = ARTIFACT["abi"]
ORIGIN_HASH = hashlib.sha256(b"log.example/coop").digest()
ADMIN_ROLE = bytes(32)
ANCHORER_ROLE = keccak(text="ANCHORER_ROLE")
NOTHING = (0, 0, 0, 0, bytes(32))
U64_MAX = 2**64 - 1


@dataclass(frozen=True)
class Head:
    """What is anchored of an epoch, in the order the contract takes it."""

    epoch: int = 24_323
    size: int = 1_000
    root: bytes = b"\x11" * 32
    gross_micro: int = 900_000_000
    royalties_micro: int = 600_000_000


@pytest.fixture(scope="module")
def anchorer(web3: Web3) -> LocalAccount:
    account: LocalAccount = Account.create()
    fund(web3, account)
    return account


@pytest.fixture
def log(web3: Web3, anchorer: LocalAccount) -> Contract:
    """An empty contract whose administrator is the registrar."""
    return deploy(web3, anchorer)


def deploy(web3: Web3, anchorer: LocalAccount) -> Contract:
    return deployed(web3, ARTIFACT, REGISTRAR.address, anchorer.address, ORIGIN_HASH)


def anchoring(log: Contract, head: Head) -> Any:
    return log.functions.anchor(*astuple(head))


def anchored(log: Contract, head: Head, at: int) -> bool:
    """Whether the contract has this head, written at that second."""
    told = (head.size, head.gross_micro, head.royalties_micro, at, head.root)
    return tuple(log.functions.anchorOf(head.epoch).call()) == told


def test_anchor__is_kept_and_told(web3: Web3, log: Contract, anchorer: LocalAccount) -> None:
    head = Head()
    receipt = sent(web3, anchorer, anchoring(log, head))

    assert anchored(log, head, now(web3))
    epoch, last = log.functions.latest().call()
    assert (epoch, tuple(last)) == (head.epoch, tuple(log.functions.anchorOf(head.epoch).call()))
    assert (log.functions.count().call(), log.functions.epochAt(0).call()) == (1, head.epoch)
    (entry,) = receipt["logs"]
    told = log.events.Anchored().process_log(entry)["args"]
    assert tuple(told.values()) == astuple(head)


def test_nothing_anchored__all_zero(log: Contract) -> None:
    assert log.functions.originHash().call() == ORIGIN_HASH
    assert tuple(log.functions.anchorOf(1).call()) == NOTHING
    epoch, last = log.functions.latest().call()
    assert (epoch, tuple(last), log.functions.count().call()) == (0, NOTHING, 0)
    with pytest.raises(ContractPanicError):
        log.functions.epochAt(0).call()


def test_epoch_zero_and_the_largest_values__are_anchored(web3: Web3, log: Contract, anchorer: LocalAccount) -> None:
    for head in (Head(epoch=0, size=1), Head(U64_MAX, U64_MAX, b"\xff" * 32, U64_MAX, U64_MAX)):
        sent(web3, anchorer, anchoring(log, head))
        assert anchored(log, head, now(web3))


def test_again_with_the_same_values__changes_nothing(web3: Web3, log: Contract, anchorer: LocalAccount) -> None:
    first, second = Head(), Head(epoch=24_324, size=2_000)
    sent(web3, anchorer, anchoring(log, first))
    at = now(web3)
    sent(web3, anchorer, anchoring(log, second))
    for _ in range(2):
        receipt = sent(web3, anchorer, anchoring(log, first))
        assert (receipt["status"], receipt["logs"]) == (1, [])
    assert anchored(log, first, at)
    assert log.functions.count().call() == 2


@pytest.mark.parametrize(
    "other",
    [Head(size=1_001), Head(root=b"\x12" * 32), Head(gross_micro=1), Head(royalties_micro=1)],
    ids=["size", "root", "gross", "royalties"],
)
def test_again_with_other_values__refused(web3: Web3, log: Contract, anchorer: LocalAccount, other: Head) -> None:
    sent(web3, anchorer, anchoring(log, Head()))
    with refused("AnchoredOtherwise(uint64)", other.epoch):
        anchoring(log, other).call({"from": anchorer.address})


def test_earlier_epoch__refused(web3: Web3, log: Contract, anchorer: LocalAccount) -> None:
    sent(web3, anchorer, anchoring(log, Head()))
    with refused("EpochNotAscending(uint64,uint64)", 24_322, 24_323):
        anchoring(log, Head(epoch=24_322)).call({"from": anchorer.address})


def test_log_that_shrank_or_forked__refused(web3: Web3, log: Contract, anchorer: LocalAccount) -> None:
    sent(web3, anchorer, anchoring(log, Head()))
    with refused("LogShrunk(uint64,uint64)", 999, 1_000):
        anchoring(log, Head(epoch=24_324, size=999)).call({"from": anchorer.address})
    with refused("LogForked(uint64)", 1_000):
        anchoring(log, Head(epoch=24_324, root=b"\x12" * 32)).call({"from": anchorer.address})
    assert sent(web3, anchorer, anchoring(log, Head(epoch=24_324)))["status"] == 1


def test_empty_log__refused(log: Contract, anchorer: LocalAccount) -> None:
    with refused("LogEmpty()"):
        anchoring(log, Head(size=0)).call({"from": anchorer.address})


@pytest.mark.parametrize("who", ["administrator", "stranger"])
def test_anchor__by_anybody_else__refused(web3: Web3, log: Contract, anchorer: LocalAccount, who: str) -> None:
    sent(web3, anchorer, anchoring(log, Head()))
    caller = {"administrator": REGISTRAR.address, "stranger": STRANGER}[who]
    for head in (Head(), Head(epoch=24_324)):
        with refused("AccessControlUnauthorizedAccount(address,bytes32)", caller, ANCHORER_ROLE):
            anchoring(log, head).call({"from": caller})


def test_stolen_key__is_replaced_and_nothing_anchored_changes(web3: Web3, log: Contract) -> None:
    thief, successor = (Account.create() for _ in range(2))
    for account in (thief, successor):
        fund(web3, account)
    sent(web3, REGISTRAR, log.functions.grantRole(ANCHORER_ROLE, thief.address))
    sent(web3, thief, anchoring(log, Head()))
    at = now(web3)
    sent(web3, REGISTRAR, log.functions.revokeRole(ANCHORER_ROLE, thief.address))
    sent(web3, REGISTRAR, log.functions.grantRole(ANCHORER_ROLE, successor.address))

    with refused("AccessControlUnauthorizedAccount(address,bytes32)", thief.address, ANCHORER_ROLE):
        anchoring(log, Head(epoch=24_324)).call({"from": thief.address})
    sent(web3, successor, anchoring(log, Head(epoch=24_324)))
    assert anchored(log, Head(), at)


def test_roles__only_the_administrator_gives_them(log: Contract, anchorer: LocalAccount) -> None:
    assert log.functions.ANCHORER_ROLE().call() == ANCHORER_ROLE
    for caller in (anchorer.address, STRANGER):
        for role in (ANCHORER_ROLE, ADMIN_ROLE):
            with refused("AccessControlUnauthorizedAccount(address,bytes32)", caller, ADMIN_ROLE):
                log.functions.grantRole(role, STRANGER).call({"from": caller})
            with refused("AccessControlUnauthorizedAccount(address,bytes32)", caller, ADMIN_ROLE):
                log.functions.revokeRole(role, anchorer.address).call({"from": caller})


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((ZERO, STRANGER, ORIGIN_HASH), "AdministratorMissing()"),
        ((STRANGER, ZERO, ORIGIN_HASH), "AnchorerMissing()"),
        ((STRANGER, STRANGER, bytes(32)), "OriginMissing()"),
    ],
)
def test_constructor__without_what_it_needs__refused(web3: Web3, arguments: tuple[Any, ...], error: str) -> None:
    constructor = web3.eth.contract(abi=ABI, bytecode=ARTIFACT["bytecode"]).constructor(*arguments)
    with refused(error):
        constructor.estimate_gas({"from": REGISTRAR.address})


def test_nothing_can_be_initialised_upgraded_or_paid_in(web3: Web3, log: Contract, anchorer: LocalAccount) -> None:
    changing = [
        entry["name"]
        for entry in ABI
        if entry["type"] == "function" and entry["stateMutability"] not in ("view", "pure")
    ]
    assert sorted(changing) == ["anchor", "grantRole", "renounceRole", "revokeRole"]
    assert {entry["type"] for entry in ABI} == {"constructor", "error", "event", "function"}
    assert not [entry for entry in ABI if entry.get("stateMutability") == "payable"]
    with pytest.raises(ContractLogicError):
        web3.eth.call({"from": anchorer.address, "to": log.address, "value": 1})


def test_no_code_of_others_is_run(web3: Web3, log: Contract) -> None:
    require_no_code_of_others(bytes(web3.eth.get_code(log.address)))


HEADS = st.builds(
    Head,
    epoch=st.integers(0, 4),
    size=st.integers(1, 4),
    root=st.sampled_from([b"\x01" * 32, b"\x02" * 32]),
    gross_micro=st.just(2),
    royalties_micro=st.integers(0, 1),
)


def test_anchors_only_ever_grow_in_order(web3: Web3, anchorer: LocalAccount) -> None:
    class Anchors(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.log = deploy(web3, anchorer)
            self.written: list[tuple[Head, int]] = []

        def refusal(self, head: Head) -> tuple[Any, ...] | None:
            """What the contract must say to a head that is not anchored yet."""
            if any(known.epoch == head.epoch for known, _ in self.written):
                return ("AnchoredOtherwise(uint64)", head.epoch)
            last = self.written[-1][0] if self.written else Head(epoch=-1, size=0)
            if head.epoch < last.epoch:
                return ("EpochNotAscending(uint64,uint64)", head.epoch, last.epoch)
            if head.size < last.size:
                return ("LogShrunk(uint64,uint64)", head.size, last.size)
            if head.size == last.size and head.root != last.root:
                return ("LogForked(uint64)", head.size)
            return None

        @rule(head=HEADS)
        def anchor(self, head: Head) -> None:
            call = anchoring(self.log, head)
            if head in [known for known, _ in self.written]:
                assert sent(web3, anchorer, call)["logs"] == []
            elif refusal := self.refusal(head):
                with refused(*refusal):
                    call.call({"from": anchorer.address})
            else:
                sent(web3, anchorer, call)
                self.written.append((head, now(web3)))

        @invariant()
        def stands(self) -> None:
            assert all(anchored(self.log, head, at) for head, at in self.written)
            number = self.log.functions.count().call()
            epochs = [self.log.functions.epochAt(index).call() for index in range(number)]
            assert epochs == [head.epoch for head, _ in self.written] == sorted(epochs)
            assert self.log.functions.latest().call()[0] == (epochs[-1] if epochs else 0)

    run_state_machine_as_test(
        Anchors,
        settings=settings(
            max_examples=6,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
