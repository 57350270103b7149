"""What was done to others' governance and may be tried on ours: each attempt by its name, on py-evm and on anvil."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from web3 import Web3
from web3.exceptions import ContractLogicError
from web3.logs import DISCARD

from streamcoop.adapters import typed_data
from streamcoop.adapters.typed_data import Office, membership_domain
from tests import anvil
from tests.contracts.register import ARTIST, CAP, DELAY_S, LISTENER, NO_SEAT, WORKER, Register, deploy, new_person
from tests.contracts.stand import (
    REGISTRAR,
    STRANGER,
    deployed_code,
    fund,
    mine,
    now,
    own_anvil,
    pass_time,
    refused,
    require_no_code_of_others,
)
from tests.contracts.stand import web3 as web3
from tests.officers import FAR_OFF, OFFICERS, signature

__all__ = ["own_anvil"]

BY_REGISTRAR = {"from": REGISTRAR.address}
ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
MAGIC = bytes.fromhex("1626ba7e")
# Whatever it is called with, it answers that the signature is valid.
CONSENTS = b"\x63" + MAGIC + bytes.fromhex("60e01b5f5260205ff3")


@pytest.fixture
def coop(web3: Web3) -> Register:
    return deploy(web3)


@pytest.fixture
def ada(coop: Register) -> LocalAccount:
    return coop.person(ARTIST)


@pytest.fixture
def bob(coop: Register) -> LocalAccount:
    return coop.person()


# --- Votes that come from nowhere ---


def test_weight_read_at_execution__is_of_a_second_that_is_over(
    coop: Register, ada: LocalAccount, bob: LocalAccount
) -> None:
    """Beanstalk: votes collected after the snapshot."""
    snapshot = coop.second()
    coop.delegate(ada, bob.address)
    coop.admit()
    coop.remove(ada.address)
    mine(coop.web3)
    assert coop.past_votes(snapshot, ada.address, bob.address) == [1, 1]
    assert [seat[0] for seat in coop.roll(snapshot)] == [ada.address, bob.address, NO_SEAT[0]]


@anvil.needed
def test_flash_membership__within_one_second__never_was(own_anvil: Web3) -> None:
    coop = deploy(own_anvil)
    bob = coop.person()
    mine(own_anvil)
    anvil.ask(own_anvil, "anvil_setBlockTimestampInterval", 0)
    try:
        for _ in range(2):
            flash = coop.person(WORKER)
            coop.delegate(flash, bob.address)
            coop.remove(flash.address)
        stays = coop.person(ARTIST)
        coop.send(coop.ask.changeClass(stays.address, WORKER))
        coop.remove(stays.address)
        coop.admit(stays.address, LISTENER)
        second = now(own_anvil)
    finally:
        anvil.ask(own_anvil, "anvil_setBlockTimestampInterval", 1)
    mine(own_anvil)
    assert coop.past_votes(second, flash.address, bob.address, stays.address) == [0, 1, 1]
    assert coop.ask.classAt(flash.address, second).call() == 0
    assert [coop.ask.census(each, second).call() for each in (LISTENER, ARTIST, WORKER)] == [2, 0, 0]
    there = [seat for seat in coop.roll(second) if seat != NO_SEAT]
    assert [seat[0] for seat in there] == [bob.address, stays.address]
    assert there[1] == (stays.address, LISTENER, stays.address, second)


def test_flash_membership__of_one_block__cannot_hide_how_young_it_is(coop: Register) -> None:
    flash = coop.person()
    second = coop.second()
    coop.remove(flash.address)
    assert coop.roll(second)[0][3] == second


def test_waiting_period__is_not_cut_short_by_returning(coop: Register, ada: LocalAccount) -> None:
    coop.remove(ada.address)
    coop.admit(ada.address)
    assert coop.ask.seatOf(ada.address).call()[3] == now(coop.web3)


def test_stale_delegate__after_removal_and_return__has_nothing(
    coop: Register, ada: LocalAccount, bob: LocalAccount
) -> None:
    coop.delegate(ada, bob.address)
    coop.remove(ada.address)
    receipt = coop.send(coop.admission(ada.address))
    second = coop.second()
    # Not even for a moment: no event tells of a vote that bob had in between.
    moved = coop.contract.events.DelegateVotesChanged().process_receipt(receipt, errors=DISCARD)
    assert [event["args"]["delegate"] for event in moved] == [ada.address]
    assert coop.past_votes(second, ada.address, bob.address) == [1, 1]


def test_delegate_who_left__cannot_gather_and_comes_back_within_the_cap(coop: Register, ada: LocalAccount) -> None:
    followers = [coop.person() for _ in range(CAP)]
    for follower in followers[: CAP - 1]:
        coop.delegate(follower, ada.address)
    coop.remove(ada.address)
    with refused("NotMember(address)", ada.address):
        coop.delegation(followers[-1], ada.address).call()
    coop.admit(ada.address)
    assert coop.votes(ada.address) == CAP


def test_delegating_before_admission__gives_nothing(coop: Register, bob: LocalAccount) -> None:
    outsider = new_person()
    for delegate in (bob.address, outsider.address):
        with refused("NotMember(address)", outsider.address):
            coop.delegation(outsider, delegate).call()


# --- Signatures ---


def test_replayed_approval__after_a_removal__refused(coop: Register) -> None:
    member = new_person().address
    admission = coop.admission(member)
    coop.send(admission)
    coop.remove(member)
    with refused("InvalidSignature(address)", OFFICERS[0].address):
        admission.call(BY_REGISTRAR)


def test_replayed_approval__of_an_admission_overtaken_by_a_rekey__refused(coop: Register, ada: LocalAccount) -> None:
    new = new_person()
    admission = coop.admission(new.address)
    coop.send(coop.rekeying(ada, new))
    coop.remove(new.address)
    with refused("InvalidSignature(address)", OFFICERS[0].address):
        admission.call(BY_REGISTRAR)


def test_replayed_rekey__there_and_back__refused(coop: Register, ada: LocalAccount) -> None:
    new = new_person()
    there = coop.rekeying(ada, new)
    coop.send(there)
    with refused("NotMember(address)", ada.address):
        there.call(BY_REGISTRAR)
    coop.send(coop.rekeying(new, ada))
    with refused("InvalidSignature(address)", ada.address):
        there.call(BY_REGISTRAR)


def test_replayed_change_of_offices__refused(coop: Register) -> None:
    new = new_person().address
    announcement = coop.announcement(Office.OFFICER, new)
    coop.send(announcement)
    coop.send(coop.withdrawal(1))
    with refused("InvalidSignature(address)", OFFICERS[0].address):
        announcement.call()


def test_replayed_delegation__refused(coop: Register, ada: LocalAccount, bob: LocalAccount) -> None:
    delegation = coop.delegation(ada, bob.address)
    coop.send(delegation)
    coop.delegate(ada, ada.address)
    with refused("InvalidAccountNonce(address,uint256)", ada.address, 2):
        delegation.call()


def test_approvals_for_another_chain_or_contract__refused(coop: Register, ada: LocalAccount) -> None:
    other = deploy(coop.web3)
    new = new_person()
    for domain in (
        membership_domain(1, coop.contract.address),
        membership_domain(coop.web3.eth.chain_id, other.contract.address),
    ):
        signed = {"domain": domain}
        with refused("InvalidSignature(address)", OFFICERS[0].address):
            coop.admission(STRANGER, signed=signed).call(BY_REGISTRAR)
        with refused("InvalidSignature(address)", OFFICERS[0].address):
            coop.announcement(Office.OFFICER, STRANGER, signed=signed).call()
        with refused("InvalidSignature(address)", ada.address):
            coop.rekeying(ada, new, signed=signed).call(BY_REGISTRAR)
        # Whose this one is cannot be said: nobody's who is a member.
        with pytest.raises(ContractLogicError):
            coop.delegation(ada, ada.address, signed=signed).call()


def test_approval_of_one_thing__used_for_another__refused(coop: Register) -> None:
    coop.send(coop.announcement(Office.OFFICER, STRANGER))
    announcing = coop.announcement(Office.OFFICER, STRANGER, holds=False).args[-2:]
    with refused("InvalidSignature(address)", OFFICERS[0].address):
        coop.ask.withdrawChange(1, FAR_OFF, *announcing).call()
    with refused("InvalidSignature(address)", OFFICERS[0].address):
        coop.ask.admit(STRANGER, LISTENER, FAR_OFF, *announcing).call(BY_REGISTRAR)


def malleated(made: bytes) -> bytes:
    """The other signature that the same key could have made of the same thing."""
    s = ORDER - int.from_bytes(made[32:64], "big")
    return made[:32] + s.to_bytes(32, "big") + bytes([55 - made[64]])


@pytest.mark.parametrize(
    "spoil",
    [
        malleated,
        lambda made: made[:32] + (int.from_bytes(made[32:64], "big") | (made[64] - 27) << 255).to_bytes(32, "big"),
        lambda made: made[:64] + bytes([made[64] - 27]),
        lambda made: made + b"\0",
        lambda made: made[:64],
        lambda _: b"",
        lambda _: bytes(65),
    ],
    ids=["upper half", "compact", "v 0 or 1", "too long", "too short", "empty", "zero"],
)
def test_malleable_or_malformed_signature__refused(coop: Register, ada: LocalAccount, spoil: Any) -> None:
    member, member_class, deadline, first, second = coop.admission(STRANGER).args
    for one, other, wrong in (
        ((first[0], spoil(first[1])), second, first[0]),
        (first, (second[0], spoil(second[1])), second[0]),
    ):
        with refused("InvalidSignature(address)", wrong):
            coop.ask.admit(member, member_class, deadline, one, other).call(BY_REGISTRAR)


def test_malleable_delegation__refused(coop: Register, ada: LocalAccount, bob: LocalAccount) -> None:
    delegate, nonce, expiry, v, r, s = coop.delegation(ada, bob.address).args
    made = malleated(r + s + bytes([v]))
    with refused("ECDSAInvalidSignatureS(bytes32)", made[32:64]):
        coop.ask.delegateBySig(delegate, nonce, expiry, made[64], made[:32], made[32:64]).call()


def test_one_officer_twice__in_two_ways_to_sign__refused(coop: Register) -> None:
    """Not even if the officer is a contract that agrees to everything."""
    consenting = deployed_code(coop.web3, CONSENTS)
    coop.carry_out(Office.OFFICER, consenting)
    data = typed_data.admission(coop.domain, STRANGER, LISTENER, 0, FAR_OFF)
    honest = (OFFICERS[0].address, signature(data, OFFICERS[0]))
    with refused("SameOfficer(address)", consenting):
        coop.ask.admit(STRANGER, LISTENER, FAR_OFF, (consenting, b"\1"), (consenting, b"\2")).call(BY_REGISTRAR)
    coop.send(coop.ask.admit(STRANGER, LISTENER, FAR_OFF, (consenting, b"\1"), honest))


def test_contract_that_consents__but_is_no_officer__refused(coop: Register) -> None:
    consenting = deployed_code(coop.web3, CONSENTS)
    data = typed_data.admission(coop.domain, STRANGER, LISTENER, 0, FAR_OFF)
    honest = (OFFICERS[0].address, signature(data, OFFICERS[0]))
    with refused("NotOfficer(address)", consenting):
        coop.ask.admit(STRANGER, LISTENER, FAR_OFF, (consenting, b""), honest).call(BY_REGISTRAR)


def test_officers_contract__can_change_nothing_while_it_is_asked(coop: Register) -> None:
    """Re-entrance: it calls back, and then consents."""
    coop.send(coop.announcement(Office.REGISTRAR, STRANGER))
    pass_time(coop.web3, now(coop.web3) + DELAY_S)
    coop.ask.carryOutChange(1).call()
    selector = keccak(text="carryOutChange(uint256)")[:4]
    re_entering = deployed_code(
        coop.web3,
        # mstore(0, selector << 224); mstore(4, 1); call(gas, caller, 0, 0, 36, 0, 0); then as CONSENTS.
        b"\x63" + selector + bytes.fromhex("60e01b5f5260016004525f5f60245f5f335af150") + CONSENTS,
    )
    coop.carry_out(Office.OFFICER, re_entering)
    data = typed_data.admission(coop.domain, STRANGER, LISTENER, 0, FAR_OFF)
    honest = (OFFICERS[0].address, signature(data, OFFICERS[0]))
    coop.send(coop.ask.admit(STRANGER, LISTENER, FAR_OFF, (re_entering, b""), honest))
    assert coop.ask.registrar().call() == REGISTRAR.address
    coop.ask.carryOutChange(1).call()


# --- Being first ---


def test_front_run_change__is_announced_once_by_whomever(coop: Register) -> None:
    """Whoever takes the approvals from the pool does what the officers approved, and nothing else."""
    thief = new_person()
    fund(coop.web3, thief)
    announcement = coop.announcement(Office.OFFICER, STRANGER)
    coop.send(announcement, thief)
    with refused("InvalidSignature(address)", OFFICERS[0].address):
        announcement.call()
    assert coop.ask.lastChange().call() == 1
    office, account, holds, _, _ = coop.ask.announcedChange(1).call()
    assert (office, account, holds) == (Office.OFFICER, STRANGER, True)


def test_front_run_withdrawal__by_who_may_not__refused(coop: Register) -> None:
    """Proposals that anybody could cancel (GHSA-5h3x-9wvq-w4m2)."""
    coop.send(coop.announcement(Office.OFFICER, STRANGER))
    thieves = (new_person(), new_person())
    with refused("NotOfficer(address)", thieves[0].address):
        coop.withdrawal(1, officers=thieves).call()
    with refused("NotOfficer(address)", thieves[0].address):
        coop.withdrawal(1, officers=(thieves[0], OFFICERS[0])).call()


def test_front_run_delegation__does_what_was_signed_once(coop: Register, ada: LocalAccount, bob: LocalAccount) -> None:
    thief = new_person()
    fund(coop.web3, thief)
    delegation = coop.delegation(ada, bob.address)
    coop.send(delegation, thief)
    with refused("InvalidAccountNonce(address,uint256)", ada.address, 1):
        delegation.call(BY_REGISTRAR)
    assert [coop.votes(each.address) for each in (ada, bob)] == [0, 2]


# --- Rules that change under way ---


def test_delay_shortened__there_is_no_way(coop: Register) -> None:
    """Lowered thresholds revive what had failed (GHSA-xrc4-737v-9q75): cap and delay are in the code."""
    code = bytes(coop.web3.eth.get_code(coop.contract.address))
    assert CAP.to_bytes(32, "big") in code
    assert DELAY_S.to_bytes(32, "big") in code


def test_code_swapped__is_no_proxy_and_cannot_end(coop: Register) -> None:
    """Tornado Cash: what was approved was not what ran."""
    before = bytes(coop.web3.eth.get_code(coop.contract.address))
    require_no_code_of_others(before)
    coop.carry_out(Office.REGISTRAR, STRANGER)
    assert bytes(coop.web3.eth.get_code(coop.contract.address)) == before


def test_initialised_again__there_is_no_way(coop: Register) -> None:
    arguments = (REGISTRAR.address, [officer.address for officer in OFFICERS], CAP, DELAY_S)
    for name in ("initialize", "init", "setup"):
        selector = keccak(text=f"{name}(address,address[],uint256,uint48)")[:4]
        data = selector + coop.web3.codec.encode(["address", "address[]", "uint256", "uint48"], arguments)
        with pytest.raises(ContractLogicError):
            coop.web3.eth.call({**BY_REGISTRAR, "to": coop.contract.address, "data": data})
