"""CoopMembership on py-evm, in this process: what `ICoopMembership.sol` promises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from web3 import Web3
from web3.contract import Contract
from web3.exceptions import ContractLogicError

from streamcoop.embedded.chain.evm import CONTRACT_FILE
from tests.contracts.stand import (
    REGISTRAR,
    STRANGER,
    ZERO,
    deployed,
    fund,
    mine,
    now,
    refused,
    require_no_code_of_others,
    sent,
)
from tests.contracts.stand import web3 as web3

ARTIFACT = json.loads(CONTRACT_FILE.read_text(encoding="utf-8"))
ABI = ARTIFACT["abi"]
NONE, LISTENER, ARTIST, WORKER = range(4)


def deploy(web3: Web3) -> Contract:
    return deployed(web3, ARTIFACT, REGISTRAR.address)


@pytest.fixture
def coop(web3: Web3) -> Contract:
    return deploy(web3)


@pytest.fixture
def ada(web3: Web3, coop: Contract) -> LocalAccount:
    """A member who can pay for transactions of her own."""
    account: LocalAccount = Account.create()
    fund(web3, account)
    sent(web3, REGISTRAR, coop.functions.admit(account.address, ARTIST))
    return account


def test_admit__by_registrar__one_token_one_vote(web3: Web3, coop: Contract) -> None:
    member = Account.create().address
    receipt = sent(web3, REGISTRAR, coop.functions.admit(member, WORKER))
    token = coop.functions.tokenOf(member).call()

    assert token == 1
    assert coop.functions.isMember(member).call()
    assert coop.functions.ownerOf(token).call() == member
    assert coop.functions.balanceOf(member).call() == 1
    assert coop.functions.classOf(token).call() == WORKER
    assert coop.functions.delegates(member).call() == member
    assert coop.functions.getVotes(member).call() == 1
    assert coop.functions.totalSupply().call() == 1
    admitted = coop.events.MemberAdmitted().process_log(receipt["logs"][-1])["args"]
    assert (admitted["member"], admitted["tokenId"], admitted["class"]) == (member, token, WORKER)
    assert coop.events.Locked().process_log(receipt["logs"][-2])["args"]["tokenId"] == token


@pytest.mark.parametrize("who", ["stranger", "member"])
def test_admit_and_remove__by_anybody_else__refused(coop: Contract, ada: LocalAccount, who: str) -> None:
    caller = STRANGER if who == "stranger" else ada.address
    with refused("NotRegistrar(address)", caller):
        coop.functions.admit(Account.create().address, LISTENER).call({"from": caller})
    with refused("NotRegistrar(address)", caller):
        coop.functions.remove(ada.address).call({"from": caller})


def test_admit__twice__refused(coop: Contract, ada: LocalAccount) -> None:
    with refused("AlreadyMember(address)", ada.address):
        coop.functions.admit(ada.address, LISTENER).call({"from": REGISTRAR.address})


def test_admit__nobody_or_no_class__refused(coop: Contract) -> None:
    with refused("ClassMissing()"):
        coop.functions.admit(STRANGER, NONE).call({"from": REGISTRAR.address})
    with pytest.raises(ContractLogicError):
        coop.functions.admit(STRANGER, WORKER + 1).call({"from": REGISTRAR.address})
    with refused("ERC721InvalidReceiver(address)", ZERO):
        coop.functions.admit(ZERO, LISTENER).call({"from": REGISTRAR.address})


def test_constructor__without_registrar__refused(web3: Web3) -> None:
    constructor = web3.eth.contract(abi=ABI, bytecode=ARTIFACT["bytecode"]).constructor(ZERO)
    with refused("RegistrarMissing()"):
        constructor.estimate_gas({"from": REGISTRAR.address})


def test_remove__takes_the_vote_and_leaves_the_past(web3: Web3, coop: Contract, ada: LocalAccount) -> None:
    token = coop.functions.tokenOf(ada.address).call()
    before = now(web3)
    receipt = sent(web3, REGISTRAR, coop.functions.remove(ada.address))
    removed_at = now(web3)
    mine(web3)

    removed = coop.events.MemberRemoved().process_log(receipt["logs"][-1])["args"]
    assert (removed["member"], removed["tokenId"]) == (ada.address, token)
    assert not coop.functions.isMember(ada.address).call()
    assert coop.functions.getVotes(ada.address).call() == 0
    assert coop.functions.totalSupply().call() == 0
    assert coop.functions.classOf(token).call() == ARTIST
    assert coop.functions.getPastVotes(ada.address, before).call() == 1
    assert coop.functions.getPastTotalSupply(before).call() == 1
    assert coop.functions.getPastVotes(ada.address, removed_at).call() == 0
    with refused("ERC721NonexistentToken(uint256)", token):
        coop.functions.locked(token).call()
    with refused("NotMember(address)", ada.address):
        coop.functions.remove(ada.address).call({"from": REGISTRAR.address})


def test_readmission__new_token_one_vote(web3: Web3, coop: Contract, ada: LocalAccount) -> None:
    sent(web3, REGISTRAR, coop.functions.remove(ada.address))
    sent(web3, REGISTRAR, coop.functions.admit(ada.address, LISTENER))

    assert coop.functions.tokenOf(ada.address).call() == 2
    assert coop.functions.getVotes(ada.address).call() == 1
    assert coop.functions.totalSupply().call() == 1


@pytest.mark.parametrize("who", ["owner", "registrar", "stranger"])
def test_transfer__by_any_path__refused(coop: Contract, ada: LocalAccount, who: str) -> None:
    caller = {"owner": ada.address, "registrar": REGISTRAR.address, "stranger": STRANGER}[who]
    token = coop.functions.tokenOf(ada.address).call()
    paths = [
        coop.functions.transferFrom(ada.address, STRANGER, token),
        coop.get_function_by_signature("safeTransferFrom(address,address,uint256)")(ada.address, STRANGER, token),
        coop.get_function_by_signature("safeTransferFrom(address,address,uint256,bytes)")(
            ada.address, STRANGER, token, b""
        ),
        coop.functions.transferFrom(ada.address, ada.address, token),
    ]
    for path in paths:
        with refused("Soulbound()"):
            path.call({"from": caller})
    with refused("ERC721InvalidReceiver(address)", ZERO):
        coop.functions.transferFrom(ada.address, ZERO, token).call({"from": caller})


def test_approval__by_any_path__refused(coop: Contract, ada: LocalAccount) -> None:
    token = coop.functions.tokenOf(ada.address).call()
    with refused("Soulbound()"):
        coop.functions.approve(STRANGER, token).call({"from": ada.address})
    with refused("Soulbound()"):
        coop.functions.setApprovalForAll(STRANGER, True).call({"from": ada.address})


def test_delegate__to_another__refused(coop: Contract, ada: LocalAccount) -> None:
    for delegatee in (STRANGER, ZERO):
        with refused("DelegationDisabled(address,address)", ada.address, delegatee):
            coop.functions.delegate(delegatee).call({"from": ada.address})


def test_delegate__to_oneself__changes_nothing(web3: Web3, coop: Contract, ada: LocalAccount) -> None:
    assert sent(web3, ada, coop.functions.delegate(ada.address))["status"] == 1
    assert coop.functions.getVotes(ada.address).call() == 1


def test_delegate__to_oneself_before_admission__still_one_vote(web3: Web3, coop: Contract) -> None:
    bob: LocalAccount = Account.create()
    fund(web3, bob)
    sent(web3, bob, coop.functions.delegate(bob.address))
    assert coop.functions.getVotes(bob.address).call() == 0

    sent(web3, REGISTRAR, coop.functions.admit(bob.address, LISTENER))
    assert coop.functions.getVotes(bob.address).call() == 1


def signed_delegation(coop: Contract, signer: LocalAccount, delegatee: str, chain_id: int) -> tuple[Any, ...]:
    domain = {
        "name": "StreamCoop Membership",
        "version": "1",
        "chainId": chain_id,
        "verifyingContract": coop.address,
    }
    kinds = {
        "Delegation": [
            {"name": "delegatee", "type": "address"},
            *({"name": name, "type": "uint256"} for name in ("nonce", "expiry")),
        ]
    }
    message = {"delegatee": delegatee, "nonce": 0, "expiry": 2**40}
    signature = signer.sign_typed_data(domain, kinds, message)
    return delegatee, 0, 2**40, signature.v, signature.r.to_bytes(32, "big"), signature.s.to_bytes(32, "big")


def test_delegate_by_sig__only_to_oneself(web3: Web3, coop: Contract, ada: LocalAccount) -> None:
    other = signed_delegation(coop, ada, STRANGER, web3.eth.chain_id)
    with refused("DelegationDisabled(address,address)", ada.address, STRANGER):
        coop.functions.delegateBySig(*other).call({"from": STRANGER})
    oneself = signed_delegation(coop, ada, ada.address, web3.eth.chain_id)
    coop.functions.delegateBySig(*oneself).call({"from": STRANGER})


@pytest.mark.parametrize(
    ("interface", "supported"),
    [
        ("0x01ffc9a7", True),  # ERC-165
        ("0x80ac58cd", True),  # ERC-721
        ("0x5b5e139f", True),  # ERC-721 metadata
        ("0xb45a3c0e", True),  # ERC-5192
        ("0xda287a1d", True),  # ERC-6372
        ("0xe90fb3f6", True),  # IVotes
        ("0xffffffff", False),  # by ERC-165, never
    ],
)
def test_supports_interface(coop: Contract, interface: str, supported: bool) -> None:
    assert coop.functions.supportsInterface(interface).call() is supported


def test_clock__is_the_block_timestamp(web3: Web3, coop: Contract, ada: LocalAccount) -> None:
    assert coop.functions.CLOCK_MODE().call() == "mode=timestamp"
    assert coop.functions.clock().call() == now(web3)
    # The present second is not over: what is read now could still change.
    with refused("ERC5805FutureLookup(uint256,uint48)", now(web3), now(web3)):
        coop.functions.getPastVotes(ada.address, now(web3)).call()


def test_nothing_can_be_initialised_upgraded_or_paid_in() -> None:
    changing = [
        entry["name"]
        for entry in ABI
        if entry["type"] == "function" and entry["stateMutability"] not in ("view", "pure")
    ]
    assert sorted(changing) == [
        "admit",
        "delegate",
        "delegateBySig",
        "remove",
        "safeTransferFrom",
        "safeTransferFrom",
        "transferFrom",
    ]
    assert {entry["type"] for entry in ABI} == {"constructor", "error", "event", "function"}
    assert not [entry for entry in ABI if entry.get("stateMutability") == "payable"]


def test_no_code_of_others_is_run(web3: Web3, coop: Contract) -> None:
    require_no_code_of_others(bytes(web3.eth.get_code(coop.address)))


def test_personal_data__none(coop: Contract, ada: LocalAccount) -> None:
    assert coop.functions.tokenURI(coop.functions.tokenOf(ada.address).call()).call() == ""


PEOPLE = [Account.create().address for _ in range(4)]


def test_supply_is_the_members_and_the_past_stands(web3: Web3) -> None:
    class Register(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.coop = deploy(web3)
            self.members: set[str] = set()
            self.past: dict[int, set[str]] = {}

        @rule(person=st.sampled_from(PEOPLE), member_class=st.sampled_from([LISTENER, ARTIST, WORKER]))
        def admit(self, person: str, member_class: int) -> None:
            call = self.coop.functions.admit(person, member_class)
            if person in self.members:
                with refused("AlreadyMember(address)", person):
                    call.call({"from": REGISTRAR.address})
            else:
                sent(web3, REGISTRAR, call)
                self.members.add(person)

        @rule(person=st.sampled_from(PEOPLE))
        def remove(self, person: str) -> None:
            call = self.coop.functions.remove(person)
            if person in self.members:
                sent(web3, REGISTRAR, call)
                self.members.remove(person)
            else:
                with refused("NotMember(address)", person):
                    call.call({"from": REGISTRAR.address})

        @invariant()
        def adds_up(self) -> None:
            votes = {person: self.coop.functions.getVotes(person).call() for person in PEOPLE}
            assert votes == {person: int(person in self.members) for person in PEOPLE}
            assert self.coop.functions.totalSupply().call() == len(self.members)
            self.past[now(web3)] = set(self.members)

        def teardown(self) -> None:
            mine(web3)
            for second, members in self.past.items():
                assert self.coop.functions.getPastTotalSupply(second).call() == len(members)
                for person in PEOPLE:
                    assert self.coop.functions.getPastVotes(person, second).call() == int(person in members)

    run_state_machine_as_test(
        Register,
        settings=settings(
            max_examples=6,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
