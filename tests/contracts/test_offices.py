"""CoopMembership on py-evm and on anvil: who may act for the co-op, and what their signatures are worth."""

from __future__ import annotations

import pytest
from eth_account.signers.local import LocalAccount
from web3 import Web3

from streamcoop.adapters.typed_data import Office
from tests import anvil
from tests.contracts.register import CHANGE_LIFETIME_S, DELAY_S, LISTENER, Register, deploy, new_person
from tests.contracts.stand import REGISTRAR, STRANGER, ZERO, fund, now, own_anvil, pass_time, refused
from tests.contracts.stand import web3 as web3
from tests.officers import OFFICERS

__all__ = ["own_anvil"]

BY_REGISTRAR = {"from": REGISTRAR.address}
NO_CHANGE = (0, ZERO, False, 0, 0)


@pytest.fixture
def coop(web3: Web3) -> Register:
    return deploy(web3)


@pytest.fixture
def third(coop: Register) -> LocalAccount:
    """An officer who was made one."""
    account = new_person()
    coop.carry_out(Office.OFFICER, account.address)
    return account


# --- Changing offices ---


def test_offices__as_founded(coop: Register) -> None:
    assert coop.ask.registrar().call() == REGISTRAR.address
    assert set(coop.ask.officers().call()) == {officer.address for officer in OFFICERS}
    assert all(coop.ask.isOfficer(officer.address).call() for officer in OFFICERS)
    assert not coop.ask.isOfficer(REGISTRAR.address).call()
    assert (coop.ask.officeDelay().call(), coop.ask.lastChange().call()) == (DELAY_S, 0)


def test_change__is_announced_waits_and_is_carried_out_by_anybody(coop: Register) -> None:
    new, anybody = new_person(), new_person()
    fund(coop.web3, anybody)
    receipt = coop.send(coop.announcement(Office.OFFICER, new.address), anybody)
    ready_at = now(coop.web3) + DELAY_S
    lapses_at = ready_at + CHANGE_LIFETIME_S
    told = coop.contract.events.ChangeAnnounced().process_log(receipt["logs"][-1])["args"]
    assert dict(told) == {
        "change": 1,
        "office": Office.OFFICER,
        "account": new.address,
        "holds": True,
        "readyAt": ready_at,
        "lapsesAt": lapses_at,
    }
    assert tuple(coop.ask.announcedChange(1).call()) == (Office.OFFICER, new.address, True, ready_at, lapses_at)
    assert not coop.ask.isOfficer(new.address).call()

    pass_time(coop.web3, ready_at)
    receipt = coop.send(coop.ask.carryOutChange(1), anybody)
    told = coop.contract.events.OfficeChanged().process_log(receipt["logs"][-1])["args"]
    assert dict(told) == {"office": Office.OFFICER, "account": new.address, "holds": True}
    assert coop.ask.isOfficer(new.address).call()
    assert tuple(coop.ask.announcedChange(1).call()) == NO_CHANGE
    with refused("ChangeUnknown(uint256)", 1):
        coop.ask.carryOutChange(1).call()


def test_change__before_its_time__refused(coop: Register) -> None:
    coop.send(coop.announcement(Office.REGISTRAR, STRANGER))
    ready_at = now(coop.web3) + DELAY_S
    coop.second()
    with refused("ChangeNotReady(uint256,uint48)", 1, ready_at):
        coop.ask.carryOutChange(1).call(block_identifier=coop.web3.eth.block_number)
    assert coop.ask.registrar().call() == REGISTRAR.address


@anvil.needed
def test_change__that_everybody_forgot__lapses(own_anvil: Web3) -> None:
    coop = deploy(own_anvil)
    for _ in range(2):
        coop.send(coop.announcement(Office.REGISTRAR, STRANGER))
    earlier, later = (coop.ask.announcedChange(change).call()[4] for change in (1, 2))
    assert earlier + 1 == later
    anvil.ask(own_anvil, "evm_setNextBlockTimestamp", later)
    anvil.ask(own_anvil, "evm_mine")
    coop.ask.carryOutChange(2).call(block_identifier=own_anvil.eth.block_number)
    with refused("ChangeLapsed(uint256,uint48)", 1, earlier):
        coop.ask.carryOutChange(1).call(block_identifier=own_anvil.eth.block_number)


def test_change__withdrawn__never_comes(coop: Register) -> None:
    coop.send(coop.announcement(Office.REGISTRAR, STRANGER))
    receipt = coop.send(coop.withdrawal(1))
    assert coop.contract.events.ChangeWithdrawn().process_log(receipt["logs"][-1])["args"]["change"] == 1
    pass_time(coop.web3, now(coop.web3) + DELAY_S)
    for call in (coop.ask.carryOutChange(1), coop.withdrawal(1), coop.withdrawal(2)):
        with refused("ChangeUnknown(uint256)", call.args[0]):
            call.call()


def test_registrar__is_replaced_and_has_no_power_from_then_on(coop: Register) -> None:
    new = new_person()
    fund(coop.web3, new)
    member = coop.admit()
    coop.carry_out(Office.REGISTRAR, new.address)
    assert coop.ask.registrar().call() == new.address
    for call in (coop.ask.remove(member), coop.admission(STRANGER)):
        with refused("NotRegistrar(address)", REGISTRAR.address):
            call.call(BY_REGISTRAR)
    coop.send(coop.admission(new_person().address), new)


def test_registrar__cannot_be_taken_away(coop: Register) -> None:
    with refused("RegistrarRequired()"):
        coop.announcement(Office.REGISTRAR, REGISTRAR.address, holds=False).call()
    coop.send(coop.announcement(Office.REGISTRAR, ZERO))
    pass_time(coop.web3, now(coop.web3) + DELAY_S)
    with refused("RegistrarMissing()"):
        coop.ask.carryOutChange(1).call()


def test_officers__never_fewer_than_two(coop: Register) -> None:
    coop.send(coop.announcement(Office.OFFICER, OFFICERS[0].address, holds=False))
    coop.send(coop.announcement(Office.OFFICER, ZERO))
    coop.send(coop.announcement(Office.OFFICER, OFFICERS[0].address))
    coop.send(coop.announcement(Office.OFFICER, STRANGER, holds=False))
    pass_time(coop.web3, now(coop.web3) + DELAY_S)
    for change, error in (
        (1, ("OfficersMissing()",)),
        (2, ("OfficersMissing()",)),
        (3, ("AlreadyOfficer(address)", OFFICERS[0].address)),
        (4, ("NotOfficer(address)", STRANGER)),
    ):
        with refused(*error):
            coop.ask.carryOutChange(change).call()


def test_officer__removed__has_no_power_from_then_on(coop: Register, third: LocalAccount) -> None:
    member = new_person().address
    signed_before = coop.admission(member, officers=(third, OFFICERS[0]))
    signed_before.call(BY_REGISTRAR)
    announced_before = coop.announcement(Office.REGISTRAR, STRANGER, officers=(third, OFFICERS[0]))
    coop.carry_out(Office.OFFICER, third.address, holds=False)
    with refused("NotOfficer(address)", third.address):
        signed_before.call(BY_REGISTRAR)
    with refused("NotOfficer(address)", third.address):
        announced_before.call()
    coop.send(coop.announcement(Office.REGISTRAR, STRANGER))
    with refused("NotOfficer(address)", third.address):
        coop.withdrawal(coop.ask.lastChange().call(), officers=(third, OFFICERS[0])).call()


# --- What signatures are worth ---


def test_approvals__of_any_two_officers_in_any_order(coop: Register, third: LocalAccount) -> None:
    for officers in ((OFFICERS[1], OFFICERS[0]), (third, OFFICERS[0]), (OFFICERS[1], third)):
        coop.send(coop.admission(new_person().address, officers=officers))


@pytest.mark.parametrize("of", ["admission", "announcement", "withdrawal"])
def test_approvals__not_of_two_officers__refused(coop: Register, of: str) -> None:
    coop.send(coop.announcement(Office.OFFICER, STRANGER))
    stranger, member = new_person(), new_person().address

    def by(*officers: LocalAccount) -> object:
        return {
            "admission": lambda: coop.admission(member, officers=officers),
            "announcement": lambda: coop.announcement(Office.OFFICER, member, officers=officers),
            "withdrawal": lambda: coop.withdrawal(1, officers=officers),
        }[of]().call(BY_REGISTRAR)

    with refused("SameOfficer(address)", OFFICERS[0].address):
        by(OFFICERS[0], OFFICERS[0])
    for officers in ((stranger, OFFICERS[0]), (OFFICERS[0], stranger)):
        with refused("NotOfficer(address)", stranger.address):
            by(*officers)
    with refused("NotOfficer(address)", REGISTRAR.address):
        by(REGISTRAR, OFFICERS[0])


def test_approvals__are_good_to_the_deadline_and_no_longer(coop: Register) -> None:
    coop.send(coop.announcement(Office.OFFICER, STRANGER))
    member, block = new_person().address, coop.web3.eth.block_number
    deadline = now(coop.web3)
    for call in (
        coop.admission(member, deadline=deadline),
        coop.announcement(Office.OFFICER, member, deadline=deadline),
        coop.withdrawal(1, deadline=deadline),
    ):
        call.call(BY_REGISTRAR, block_identifier=block)
    coop.second()
    for call in (
        coop.admission(member, deadline=deadline),
        coop.announcement(Office.OFFICER, member, deadline=deadline),
        coop.withdrawal(1, deadline=deadline),
    ):
        with refused("SignatureExpired(uint256)", deadline):
            call.call(BY_REGISTRAR)


def test_approvals__of_anything_else__refused(coop: Register) -> None:
    member = new_person().address
    for signed in ({"member": STRANGER}, {"member_class": LISTENER + 1}, {"nonce": 1}, {"deadline": 2**41}):
        with refused("InvalidSignature(address)", OFFICERS[0].address):
            coop.admission(member, signed=signed).call(BY_REGISTRAR)
    for signed in ({"office": Office.REGISTRAR}, {"account": STRANGER}, {"holds": False}, {"nonce": 1}):
        with refused("InvalidSignature(address)", OFFICERS[0].address):
            coop.announcement(Office.OFFICER, member, signed=signed).call()
