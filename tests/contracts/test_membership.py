"""CoopMembership on py-evm and on anvil: what `ICoopMembership.sol` promises of members and their votes."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from web3 import Web3
from web3.exceptions import ContractLogicError

from tests.contracts.register import (
    ABI,
    ARTIFACT,
    ARTIST,
    CAP,
    DELAY_S,
    LISTENER,
    NO_SEAT,
    NONE,
    WORKER,
    Register,
    deploy,
    new_person,
)
from tests.contracts.stand import (
    REGISTRAR,
    STRANGER,
    ZERO,
    changing_functions,
    fund,
    mine,
    now,
    refused,
    require_no_code_of_others,
)
from tests.contracts.stand import web3 as web3
from tests.officers import OFFICERS

CODE_BYTES_MAX = 24_576
BY_REGISTRAR = {"from": REGISTRAR.address}


@pytest.fixture
def coop(web3: Web3) -> Register:
    return deploy(web3)


@pytest.fixture
def ada(coop: Register) -> LocalAccount:
    """An artist who is a member, and can pay for transactions of her own."""
    member = coop.person(ARTIST)
    fund(coop.web3, member)
    return member


@pytest.fixture
def bob(coop: Register) -> LocalAccount:
    return coop.person()


# --- Admission and removal ---


def test_admit__one_token_one_vote(coop: Register) -> None:
    member = new_person().address
    receipt = coop.send(coop.admission(member, WORKER))
    admitted_at = now(coop.web3)

    token = coop.ask.tokenOf(member).call()
    assert (token, coop.ask.lastTokenId().call(), coop.ask.admissionsOf(member).call()) == (1, 1, 1)
    assert coop.ask.isMember(member).call()
    assert coop.ask.ownerOf(token).call() == member
    assert coop.ask.balanceOf(member).call() == 1
    assert tuple(coop.ask.seatOf(member).call()) == (member, WORKER, member, admitted_at)
    assert coop.ask.delegates(member).call() == member
    assert coop.votes(member) == 1
    assert coop.ask.totalSupply().call() == 1
    admitted = coop.contract.events.MemberAdmitted().process_log(receipt["logs"][-1])["args"]
    assert (admitted["member"], admitted["tokenId"], admitted["class"]) == (member, token, WORKER)
    assert coop.contract.events.Locked().process_log(receipt["logs"][-2])["args"]["tokenId"] == token


@pytest.mark.parametrize("who", ["stranger", "member", "officer"])
def test_what_is_the_registrars__by_anybody_else__refused(
    coop: Register, ada: LocalAccount, bob: LocalAccount, who: str
) -> None:
    caller = {"stranger": STRANGER, "member": ada.address, "officer": OFFICERS[0].address}[who]
    for call in (
        coop.admission(new_person().address),
        coop.ask.remove(ada.address),
        coop.ask.changeClass(ada.address, LISTENER),
        coop.rekeying(bob, new_person()),
    ):
        with refused("NotRegistrar(address)", caller):
            call.call({"from": caller})


def test_admit__twice__refused(coop: Register, ada: LocalAccount) -> None:
    with refused("AlreadyMember(address)", ada.address):
        coop.admission(ada.address).call(BY_REGISTRAR)


def test_admit__nobody_or_no_class__refused(coop: Register) -> None:
    with refused("ClassMissing()"):
        coop.admission(STRANGER, NONE).call(BY_REGISTRAR)
    with pytest.raises(ContractLogicError):
        coop.admission(STRANGER, WORKER + 1).call(BY_REGISTRAR)
    with refused("ERC721InvalidReceiver(address)", ZERO):
        coop.admission(ZERO).call(BY_REGISTRAR)


def test_constructor__without_what_it_needs__refused(web3: Web3) -> None:
    first, second = (officer.address for officer in OFFICERS)
    for arguments, error in [
        ((ZERO, [first, second], CAP, DELAY_S), ("RegistrarMissing()",)),
        ((STRANGER, [], CAP, DELAY_S), ("OfficersMissing()",)),
        ((STRANGER, [first], CAP, DELAY_S), ("OfficersMissing()",)),
        ((STRANGER, [first, ZERO], CAP, DELAY_S), ("OfficersMissing()",)),
        ((STRANGER, [first, first], CAP, DELAY_S), ("AlreadyOfficer(address)", first)),
        ((STRANGER, [first, second], 0, DELAY_S), ("DelegationCapMissing()",)),
    ]:
        constructor = web3.eth.contract(abi=ABI, bytecode=ARTIFACT["bytecode"]).constructor(*arguments)
        with refused(*error):
            constructor.estimate_gas(BY_REGISTRAR)


def test_remove__takes_the_vote_and_leaves_the_past(coop: Register, ada: LocalAccount) -> None:
    token = coop.ask.tokenOf(ada.address).call()
    admitted_at = coop.ask.seatOf(ada.address).call()[3]
    before = now(coop.web3)
    receipt = coop.remove(ada.address)
    removed_at = coop.second()

    removed = coop.contract.events.MemberRemoved().process_log(receipt["logs"][-1])["args"]
    assert (removed["member"], removed["tokenId"]) == (ada.address, token)
    assert not coop.ask.isMember(ada.address).call()
    assert tuple(coop.ask.seatOf(ada.address).call()) == NO_SEAT
    assert coop.ask.delegates(ada.address).call() == ZERO
    assert coop.votes(ada.address) == coop.ask.totalSupply().call() == 0
    for time, there in ((before, 1), (removed_at, 0)):
        assert coop.ask.getPastVotes(ada.address, time).call() == there
        assert coop.standings(time, ada.address, STRANGER) == [
            (there, ARTIST * there, admitted_at * there),
            (0, NONE, 0),
        ]
        assert coop.ask.getPastTotalSupply(time).call() == there
        assert coop.ask.getPastBalanceOf(ada.address, time).call() == there
        assert coop.ask.census(ARTIST, time).call() == there
        assert coop.ask.classAt(ada.address, time).call() == ARTIST * there
        assert coop.ask.getPastDelegate(ada.address, time).call() == (ada.address if there else ZERO)
        assert (coop.roll(time)[0] == NO_SEAT) is not bool(there)
    with refused("ERC721NonexistentToken(uint256)", token):
        coop.ask.locked(token).call()
    with refused("NotMember(address)", ada.address):
        coop.ask.remove(ada.address).call(BY_REGISTRAR)


def test_readmission__new_token_one_vote_waiting_anew(coop: Register, ada: LocalAccount) -> None:
    coop.remove(ada.address)
    coop.admit(ada.address, LISTENER)
    assert coop.ask.tokenOf(ada.address).call() == 2
    assert tuple(coop.ask.seatOf(ada.address).call()) == (ada.address, LISTENER, ada.address, now(coop.web3))
    assert (coop.votes(ada.address), coop.ask.totalSupply().call()) == (1, 1)


# --- Classes ---


def test_class_change__counts_from_then_on(coop: Register, ada: LocalAccount) -> None:
    seat = tuple(coop.ask.seatOf(ada.address).call())
    before = now(coop.web3)
    receipt = coop.send(coop.ask.changeClass(ada.address, WORKER))
    after = coop.second()

    changed = coop.contract.events.ClassChanged().process_log(receipt["logs"][-1])["args"]
    assert tuple(changed.values()) == (ada.address, 1, WORKER)
    for time, member_class in ((before, ARTIST), (after, WORKER)):
        assert coop.ask.classAt(ada.address, time).call() == member_class
        assert [coop.ask.census(each, time).call() for each in (LISTENER, ARTIST, WORKER)] == [
            int(each == member_class) for each in (LISTENER, ARTIST, WORKER)
        ]
        assert coop.roll(time) == [(seat[0], member_class, *seat[2:])]
    assert coop.votes(ada.address) == 1


def test_class_change__of_nobody_to_nothing_or_to_the_same__refused(coop: Register, ada: LocalAccount) -> None:
    with refused("NotMember(address)", STRANGER):
        coop.ask.changeClass(STRANGER, WORKER).call(BY_REGISTRAR)
    with refused("ClassMissing()"):
        coop.ask.changeClass(ada.address, NONE).call(BY_REGISTRAR)
    with refused("ClassUnchanged(address,uint8)", ada.address, ARTIST):
        coop.ask.changeClass(ada.address, ARTIST).call(BY_REGISTRAR)


# --- Another address ---


def test_rekey__same_member_at_another_address(coop: Register, ada: LocalAccount, bob: LocalAccount) -> None:
    _, member_class, _, since = coop.ask.seatOf(ada.address).call()
    coop.delegate(ada, bob.address)
    new = new_person()
    before = now(coop.web3)
    receipt = coop.send(coop.rekeying(ada, new))
    after = coop.second()

    rekeyed = coop.contract.events.MemberRekeyed().process_log(receipt["logs"][-1])["args"]
    assert tuple(rekeyed.values()) == (ada.address, new.address, 1, 3)
    assert tuple(coop.ask.seatOf(new.address).call()) == (new.address, member_class, new.address, since)
    assert tuple(coop.ask.seatOf(ada.address).call()) == NO_SEAT
    assert [coop.votes(each.address) for each in (ada, new, bob)] == [0, 1, 1]
    assert coop.ask.totalSupply().call() == 2
    assert coop.ask.census(ARTIST, after).call() == 1
    assert coop.roll(before)[0] == (ada.address, ARTIST, bob.address, since)
    assert coop.roll(after)[0] == NO_SEAT
    assert coop.roll(after)[2] == (new.address, ARTIST, new.address, since)


def test_rekey__who_had_delegated_to_the_old_address_must_delegate_anew(
    coop: Register, ada: LocalAccount, bob: LocalAccount
) -> None:
    coop.delegate(bob, ada.address)
    new = new_person()
    coop.send(coop.rekeying(ada, new))
    assert [coop.votes(each.address) for each in (ada, new)] == [1, 1]
    assert coop.ask.delegates(bob.address).call() == ada.address
    coop.delegate(bob, new.address)
    assert [coop.votes(each.address) for each in (ada, new)] == [0, 2]


def test_rekey__of_nobody_or_to_a_member__refused(coop: Register, ada: LocalAccount, bob: LocalAccount) -> None:
    nobody = new_person()
    with refused("NotMember(address)", nobody.address):
        coop.rekeying(nobody, new_person()).call(BY_REGISTRAR)
    with refused("AlreadyMember(address)", bob.address):
        coop.rekeying(ada, bob).call(BY_REGISTRAR)


def test_rekey__not_signed_by_both_of_just_that__refused(coop: Register, ada: LocalAccount, bob: LocalAccount) -> None:
    new = new_person()
    function, deadline = coop.ask.rekey, 2**40
    _, _, _, by_old, by_new = coop.rekeying(ada, new).args
    for old_signature, new_signature, wrong in (
        (by_new, by_new, ada),
        (by_old, by_old, new),
        (b"", by_new, ada),
        (by_old, b"", new),
    ):
        with refused("InvalidSignature(address)", wrong.address):
            function(ada.address, new.address, deadline, old_signature, new_signature).call(BY_REGISTRAR)
    for signed in ({"new": STRANGER}, {"old": bob.address}, {"nonce": 0}, {"deadline": 2**41}):
        with refused("InvalidSignature(address)", ada.address):
            coop.rekeying(ada, new, signed=signed).call(BY_REGISTRAR)
    late = now(coop.web3) - 1
    with refused("SignatureExpired(uint256)", late):
        coop.rekeying(ada, new, deadline=late).call(BY_REGISTRAR)


# --- Delegation ---


def test_delegation__moves_the_vote_and_back(coop: Register, ada: LocalAccount, bob: LocalAccount) -> None:
    assert coop.send(coop.ask.delegate(bob.address), ada)
    delegated_at = coop.second()
    assert [coop.votes(each.address) for each in (ada, bob)] == [0, 2]
    assert coop.roll(delegated_at)[0][2] == bob.address
    coop.send(coop.ask.delegate(ada.address), ada)
    assert [coop.votes(each.address) for each in (ada, bob)] == [1, 1]
    assert coop.ask.getPastVotes(bob.address, delegated_at).call() == 2
    assert coop.ask.getPastDelegate(ada.address, delegated_at).call() == bob.address


def test_delegation__by_signature__is_the_signers_whoever_sends_it(
    coop: Register, ada: LocalAccount, bob: LocalAccount
) -> None:
    coop.send(coop.delegation(bob, ada.address), ada)
    assert [coop.votes(each.address) for each in (ada, bob)] == [2, 0]


def test_delegation__is_one_hop(coop: Register, ada: LocalAccount, bob: LocalAccount) -> None:
    eve = coop.person()
    coop.delegate(ada, bob.address)
    coop.delegate(bob, eve.address)
    assert [coop.votes(each.address) for each in (ada, bob, eve)] == [0, 1, 2]


def test_delegation__to_or_by_nobody__refused(coop: Register, ada: LocalAccount) -> None:
    for delegate in (STRANGER, ZERO):
        with refused("NotMember(address)", delegate):
            coop.ask.delegate(delegate).call({"from": ada.address})
        with refused("NotMember(address)", delegate):
            coop.delegation(ada, delegate).call({"from": STRANGER})
    for delegate in (STRANGER, ada.address):
        with refused("NotMember(address)", STRANGER):
            coop.ask.delegate(delegate).call({"from": STRANGER})


def test_delegation__beyond_the_cap__refused_and_back_to_oneself_always_possible(
    coop: Register, ada: LocalAccount, bob: LocalAccount
) -> None:
    followers = [coop.person() for _ in range(CAP)]
    for follower in followers[: CAP - 1]:
        coop.delegate(follower, ada.address)
    assert coop.votes(ada.address) == CAP
    with refused("DelegationCapReached(address,uint256)", ada.address, CAP):
        coop.delegation(followers[-1], ada.address).call({"from": STRANGER})
    # Her own vote counts as hers also while another has it: she may want it back.
    coop.delegate(ada, bob.address)
    with refused("DelegationCapReached(address,uint256)", ada.address, CAP):
        coop.delegation(followers[-1], ada.address).call({"from": STRANGER})
    coop.delegate(ada, ada.address)
    assert coop.votes(ada.address) == CAP
    # Nothing changes for who is with her already.
    coop.delegate(followers[0], ada.address)
    coop.delegate(followers[0], followers[0].address)
    coop.delegate(followers[-1], ada.address)
    assert coop.votes(ada.address) == CAP


# --- Reading ---


def test_roll__in_pages_is_the_roll_at_once(coop: Register) -> None:
    for member_class in (LISTENER, ARTIST, WORKER, LISTENER, ARTIST):
        coop.admit(None, member_class)
    time = coop.second()
    whole = coop.roll(time)
    assert [seat for first in (1, 3, 5) for seat in map(tuple, coop.ask.roll(first, 2, time).call())] == [
        *whole,
        NO_SEAT,
    ]
    assert coop.ask.roll(1, 0, time).call() == []
    assert [tuple(seat) for seat in coop.ask.roll(0, 1, time).call()] == [NO_SEAT]


def test_roll__before_anybody_was_there__is_empty(coop: Register) -> None:
    before = coop.second()
    coop.admit()
    assert coop.roll(before) == [NO_SEAT]
    assert coop.ask.getPastTotalSupply(before).call() == 0


def test_whatever_tells_of_the_past__refuses_the_second_that_is_not_over(coop: Register, ada: LocalAccount) -> None:
    time = now(coop.web3)
    for question in (
        coop.ask.roll(1, 1, time),
        coop.ask.classAt(ada.address, time),
        coop.ask.census(ARTIST, time),
        coop.ask.getPastVotes(ada.address, time),
        coop.ask.standings([ada.address], time),
        coop.ask.getPastTotalSupply(time),
        coop.ask.getPastDelegate(ada.address, time),
        coop.ask.getPastBalanceOf(ada.address, time),
    ):
        # By number: what `latest` is pending to, nodes see differently.
        with refused("ERC5805FutureLookup(uint256,uint48)", time, time):
            question.call(block_identifier=coop.web3.eth.block_number)


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
def test_supports_interface(coop: Register, interface: str, supported: bool) -> None:
    assert coop.ask.supportsInterface(interface).call() is supported


def test_clock__is_the_block_timestamp(coop: Register) -> None:
    assert coop.ask.CLOCK_MODE().call() == "mode=timestamp"
    mine(coop.web3)
    assert coop.ask.clock().call(block_identifier=coop.web3.eth.block_number) == now(coop.web3)


def test_domain__is_told(coop: Register) -> None:
    _, name, version, chain_id, address, *_ = coop.ask.eip712Domain().call()
    assert (name, version, chain_id, address) == (
        coop.domain.name,
        coop.domain.version,
        coop.domain.chain_id,
        coop.domain.contract,
    )


def test_personal_data__none(coop: Register, ada: LocalAccount) -> None:
    assert coop.ask.tokenURI(coop.ask.tokenOf(ada.address).call()).call() == ""


# --- What a membership cannot do ---


@pytest.mark.parametrize("who", ["owner", "registrar", "officer", "stranger"])
def test_transfer__by_any_path__refused(coop: Register, ada: LocalAccount, who: str) -> None:
    caller = {"owner": ada, "registrar": REGISTRAR, "officer": OFFICERS[0]}.get(who)
    sender = caller.address if caller else STRANGER
    token = coop.ask.tokenOf(ada.address).call()
    safely = coop.contract.get_function_by_signature("safeTransferFrom(address,address,uint256)")
    safely_with = coop.contract.get_function_by_signature("safeTransferFrom(address,address,uint256,bytes)")
    paths: list[Any] = [
        coop.ask.transferFrom(ada.address, STRANGER, token),
        safely(ada.address, STRANGER, token),
        safely_with(ada.address, STRANGER, token, b""),
        coop.ask.transferFrom(ada.address, ada.address, token),
        coop.ask.transferFrom(ada.address, ZERO, token),
    ]
    for path in paths:
        with refused("Soulbound()"):
            path.call({"from": sender})


def test_approval_of_transfers__by_any_path__refused(coop: Register, ada: LocalAccount) -> None:
    token = coop.ask.tokenOf(ada.address).call()
    with refused("Soulbound()"):
        coop.ask.approve(STRANGER, token).call({"from": ada.address})
    with refused("Soulbound()"):
        coop.ask.setApprovalForAll(STRANGER, True).call({"from": ada.address})


def test_nothing_can_be_initialised_upgraded_or_paid_in(coop: Register, ada: LocalAccount) -> None:
    assert changing_functions(ABI) == [
        "admit",
        "announceChange",
        "carryOutChange",
        "changeClass",
        "delegate",
        "delegateBySig",
        "rekey",
        "remove",
        "safeTransferFrom",
        "withdrawChange",
    ]
    assert {entry["type"] for entry in ABI} == {"constructor", "error", "event", "function"}
    assert not [entry for entry in ABI if entry.get("stateMutability") == "payable"]
    with pytest.raises(ContractLogicError):
        coop.web3.eth.call({"from": ada.address, "to": coop.contract.address, "value": 1})


def test_code__runs_none_of_others_and_fits(coop: Register) -> None:
    code = bytes(coop.web3.eth.get_code(coop.contract.address))
    require_no_code_of_others(code)
    assert len(code) <= CODE_BYTES_MAX
