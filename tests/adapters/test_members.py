"""The membership contract through its adapter, on the embedded chain and on anvil: the roll, and every order."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from web3 import Web3

from streamcoop.adapters import chain, members, typed_data
from streamcoop.adapters.members import MemberClass, Membership, Roll, RollTotals, Seat, Standing, add_up
from streamcoop.adapters.typed_data import Office
from tests import anvil
from tests.adapters.contracts import DELAY_S, QUICK, Site, admit, anvil_site, carry, delegate, fresh
from tests.adapters.contracts import own_anvil as own_anvil
from tests.adapters.contracts import site as site
from tests.officers import FAR_OFF, OFFICERS, approvals, approved, founded_with, signature

CONSENTS = bytes.fromhex("631626ba7e60e01b5f5260205ff3")
DISSENTS = bytes.fromhex("60205ff3")
REVERTS = bytes.fromhex("5f5ffd")
STOPS = bytes(1)


@pytest.fixture
def membership(site: Site) -> Membership:
    """An empty contract."""
    return fresh(site).membership()


def new_person() -> LocalAccount:
    person: LocalAccount = Account.create()
    return person


def roll_now(membership: Membership) -> Roll:
    return membership.roll_at(membership.snapshot_block(finality_depth=0))


# --- The roll ---


def test_roll__of_nobody(membership: Membership) -> None:
    roll = roll_now(membership)
    assert roll.seats == ()
    assert roll.census == dict.fromkeys(MemberClass, 0)


def test_roll__has_every_seat_as_it_was_and_stays(membership: Membership) -> None:
    people = [admit(membership, member_class) for member_class in (*MemberClass, *MemberClass)]
    delegate(membership, people[1], people[0].address)
    delegate(membership, people[2], people[1].address)
    carry(membership, membership.build_removal(people[5].address))
    block = membership.snapshot_block(finality_depth=0)
    seats = [membership.seat_of(person.address) for person in people]
    roll = membership.roll_at(block)

    assert list(roll.seats) == seats[:5]
    assert seats[5] is None
    assert [seat.token_id for seat in roll.seats] == [1, 2, 3, 4, 5]
    assert [seat.delegate for seat in roll.seats] == [people[number].address for number in (0, 0, 1, 3, 4)]
    assert roll.census == {MemberClass.LISTENER: 2, MemberClass.ARTIST: 2, MemberClass.WORKER: 1}
    assert (roll.block, roll.contract) == (block, membership.address)
    assert (roll.chain_id, roll.code_hash) == membership.check()

    delegate(membership, people[1], people[1].address)
    carry(membership, membership.build_class_change(people[0].address, MemberClass.WORKER))
    carry(membership, membership.build_removal(people[3].address))
    admit(membership)
    assert membership.roll_at(block) == roll


def test_roll__with_a_delegate_who_left__adds_up(membership: Membership) -> None:
    ada, bob = (admit(membership) for _ in range(2))
    delegate(membership, ada, bob.address)
    carry(membership, membership.build_removal(bob.address))
    (seat,) = roll_now(membership).seats
    assert (seat.address, seat.delegate) == (ada.address, bob.address)


def test_roll__in_pages_and_after_a_crash__is_the_roll_at_once(
    membership: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        admit(membership)
    block = membership.snapshot_block(finality_depth=0)
    whole = membership.roll_at(block)
    monkeypatch.setattr(members, "SEATS_PER_PAGE", 2)
    monkeypatch.setattr(members, "ADDRESSES_PER_QUESTION", 2)
    assert membership.roll_at(block) == whole

    extent = membership.roll_extent(block)
    pages = [membership.roll_page(block, extent.read_at, 1, 2)]
    admit(membership)  # and the worker that stored the first page is gone
    again = membership.roll_extent(block)
    pages += [membership.roll_page(block, again.read_at, first, 2) for first in (3, 5)]
    seats = [seat for page in pages for seat in page]
    add_up(seats, membership.roll_totals(block, again.read_at, members.voters_of(seats)))
    assert tuple(seats) == whole.seats
    assert (extent.last_token_id, again.last_token_id) == (5, 6)


@pytest.mark.parametrize(("first", "count"), [(0, 1), (1, 0), (1, members.SEATS_PER_PAGE + 1)])
def test_page__out_of_bounds__refused(membership: Membership, first: int, count: int) -> None:
    extent = membership.roll_extent(membership.snapshot_block(finality_depth=0))
    with pytest.raises(ValueError, match="page"):
        membership.roll_page(extent.block, extent.read_at, first, count)


def test_roll__of_the_newest_block__too_fresh(membership: Membership) -> None:
    membership.snapshot_block(finality_depth=0)
    with pytest.raises(members.SnapshotTooFresh):
        membership.roll_at(membership._stamp("latest"))


def test_roll__of_a_block_of_another_history__refused(membership: Membership) -> None:
    block = replace(membership.snapshot_block(finality_depth=0), hash="0x" + "ab" * 32)
    with pytest.raises(chain.ChainForked):
        membership.roll_at(block)


def test_roll__of_more_seats_than_are_ever_read__refused(
    membership: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    admit(membership)
    monkeypatch.setattr(members, "SEATS_MAX", 0)
    with pytest.raises(members.TooManySeats):
        roll_now(membership)


def test_roll__by_other_code__refused(membership: Membership, site: Site) -> None:
    membership._code_hash = "0x" + "ab" * 32
    with pytest.raises(chain.ContractChanged):
        roll_now(membership)


@anvil.needed
def test_snapshot__of_many_blocks_in_one_second_is_the_newest_of_the_second_before(
    own_anvil: Web3, monkeypatch: pytest.MonkeyPatch
) -> None:
    membership = anvil_site(own_anvil).membership()
    admit(membership)
    before = membership._stamp("latest")
    for _ in range(5):
        anvil.ask(own_anvil, "evm_setNextBlockTimestamp", before.timestamp + 1)
        anvil.ask(own_anvil, "evm_mine")
    head = membership._stamp("latest")
    assert (head.number, head.timestamp) == (before.number + 5, before.timestamp + 1)
    monkeypatch.setattr(membership, "_mine", lambda: None)
    for depth in (0, 2):
        assert membership.snapshot_block(depth) == before
    assert len(membership.roll_at(before).seats) == 1
    monkeypatch.setattr(members, "BLOCKS_A_SECOND_MAX", 4)
    with pytest.raises(members.SnapshotTooFresh):
        membership.snapshot_block(0)


@anvil.needed
def test_roll__code_swapped_under_a_running_worker__refused(own_anvil: Web3) -> None:
    membership = anvil_site(own_anvil).membership()
    _, membership._code_hash = membership.check()
    admit(membership)
    block = membership.snapshot_block(finality_depth=0)
    membership.roll_at(block)
    code = own_anvil.eth.get_code(membership.address)
    anvil.ask(own_anvil, "anvil_setCode", membership.address, f"0x{code.hex()}00")
    anvil.ask(own_anvil, "evm_mine")
    with pytest.raises(chain.ContractChanged):
        membership.roll_at(block)


@anvil.needed
@pytest.mark.parametrize("while_reading", [False, True])
def test_roll__of_a_block_that_is_reorganised_away__refused(own_anvil: Web3, while_reading: bool) -> None:
    membership = anvil_site(own_anvil).membership()
    admit(membership)
    kept = anvil.ask(own_anvil, "evm_snapshot")
    admit(membership)
    block = membership.snapshot_block(finality_depth=0)
    extent = membership.roll_extent(block)
    if while_reading:
        assert len(membership.roll_page(block, extent.read_at, 1, 1)) == 1
    anvil.ask(own_anvil, "evm_revert", kept)
    with pytest.raises(chain.ChainForked):
        membership.roll_page(block, extent.read_at, 1, 1)
    admit(membership, MemberClass.WORKER)
    for _ in range(3):
        anvil.ask(own_anvil, "evm_mine")
    for attempt in (
        lambda: membership.roll_page(block, extent.read_at, 1, 1),
        lambda: membership.roll_totals(block, extent.read_at, []),
        lambda: membership.roll_at(block),
    ):
        with pytest.raises(chain.ChainForked):
            attempt()
    assert [seat.member_class for seat in roll_now(membership).seats] == [MemberClass.LISTENER, MemberClass.WORKER]


STRANGER = Account.create().address
Lie = Callable[[Seat], Seat]
LIES: dict[str, Lie] = {
    "class": lambda seat: replace(seat, member_class=MemberClass.WORKER),
    "since": lambda seat: replace(seat, since=seat.since - 1),
    "delegate": lambda seat: replace(seat, delegate=Account.create().address),
    "member": lambda seat: replace(seat, address=Account.create().address),
    "member and delegate": lambda seat: replace(
        seat, **dict.fromkeys(("address", "delegate"), Account.create().address)
    ),
}


@pytest.mark.parametrize("lie", [*LIES, "left out", "told twice", "told as another's"])
def test_roll__of_a_node_that_lies_about_one_seat__does_not_add_up(
    membership: Membership, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    for _ in range(3):
        admit(membership)
    read = membership.roll_page

    def lying(*arguments: Any) -> tuple[Seat, ...]:
        first, second, third = read(*arguments)
        spoilt: dict[str, tuple[Seat, ...]] = {
            "left out": (first, third),
            "told twice": (first, second, third, replace(second, token_id=4)),
            "told as another's": (first, replace(third, token_id=2), third),
        }
        return spoilt[lie] if lie in spoilt else (first, LIES[lie](second), third)

    monkeypatch.setattr(membership, "roll_page", lying)
    with pytest.raises(members.RollDoesNotAddUp):
        roll_now(membership)


def test_add_up__of_anything_missing_or_beyond__refused() -> None:
    seats = [Seat(number, f"0x{number}", MemberClass.ARTIST, "0x1", 5) for number in (1, 2)]
    first, second = (Standing(votes, MemberClass.ARTIST, 5) for votes in (2, 0))
    right = RollTotals(2, {MemberClass.ARTIST: 2}, {"0x1": first, "0x2": second})
    add_up(seats, right)
    add_up([], RollTotals(0, {}, {}))
    for wrong in (
        replace(right, total=3),
        replace(right, census={MemberClass.ARTIST: 1, MemberClass.LISTENER: 1}),
        replace(right, standings={"0x1": first}),
        *(
            replace(right, standings={"0x1": first, "0x2": second} | other)
            for other in (
                {"0x1": replace(first, votes=1)},
                {"0x2": replace(second, votes=1)},
                {"0x2": replace(second, member_class=MemberClass.WORKER)},
                {"0x2": replace(second, since=4)},
                {"0x2": members.NO_STANDING},
                {"0x3": replace(second, votes=1)},
            )
        ),
    ):
        with pytest.raises(members.RollDoesNotAddUp):
            add_up(seats, wrong)


# --- Orders ---


def test_admission__needs_two_approvals(membership: Membership) -> None:
    member = new_person().address
    data = typed_data.admission(membership.domain(), member, MemberClass.ARTIST, 0, FAR_OFF)
    given = approvals(data)
    with pytest.raises(ValueError, match="2 approvals"):
        membership.build_admission(member, MemberClass.ARTIST, FAR_OFF, given[:1])
    for wrong, error in (
        ([given[0], given[0]], "SameOfficer"),
        (approvals(data, [new_person(), OFFICERS[0]]), "NotOfficer"),
        ([given[0], replace(given[1], signature=given[0].signature)], "InvalidSignature"),
    ):
        with pytest.raises(chain.CallRefused, match=error):
            membership.build_admission(member, MemberClass.ARTIST, FAR_OFF, wrong)
    with pytest.raises(chain.CallRefused, match="SignatureExpired"):
        membership.build_admission(member, MemberClass.ARTIST, 1, given)
    carry(membership, membership.build_admission(member, MemberClass.ARTIST, FAR_OFF, given))
    seat = membership.seat_of(member)
    assert seat is not None
    assert (seat.token_id, seat.member_class, seat.delegate) == (1, MemberClass.ARTIST, member)
    assert membership.admissions_of(member) == 1


def test_class_change(membership: Membership) -> None:
    member = admit(membership).address
    with pytest.raises(chain.CallRefused, match="ClassUnchanged"):
        membership.build_class_change(member, MemberClass.LISTENER)
    carry(membership, membership.build_class_change(member, MemberClass.WORKER))
    seat = membership.seat_of(member)
    assert seat is not None
    assert seat.member_class == MemberClass.WORKER


def test_rekey(membership: Membership) -> None:
    old, new = admit(membership), new_person()
    before = membership.seat_of(old.address)
    data = typed_data.rekey(membership.domain(), old.address, new.address, 1, FAR_OFF)
    by_old, by_new = signature(data, old), signature(data, new)
    with pytest.raises(chain.CallRefused, match="InvalidSignature"):
        membership.build_rekey(old.address, new.address, FAR_OFF, by_old, by_old)
    carry(membership, membership.build_rekey(old.address, new.address, FAR_OFF, by_old, by_new))
    after = membership.seat_of(new.address)
    assert membership.seat_of(old.address) is None
    assert before is not None
    assert after == replace(before, token_id=2, address=new.address, delegate=new.address)


def test_delegation(membership: Membership) -> None:
    ada, bob = (admit(membership) for _ in range(2))
    delegate(membership, ada, bob.address)
    assert membership.nonce_of(ada.address) == 1
    seat = membership.seat_of(ada.address)
    assert seat is not None
    assert seat.delegate == bob.address
    stranger = new_person()
    data = typed_data.delegation(membership.domain(), bob.address, 0, FAR_OFF)
    with pytest.raises(chain.CallRefused, match="NotMember"):
        membership.build_delegation(bob.address, 0, FAR_OFF, signature(data, stranger))
    with pytest.raises(chain.CallRefused, match="InvalidAccountNonce"):
        membership.build_delegation(bob.address, 0, FAR_OFF, signature(data, ada))
    with pytest.raises(ValueError, match="65"):
        membership.build_delegation(bob.address, 0, FAR_OFF, b"")
    assert membership.delegation_cap() == 10


def test_offices(membership: Membership) -> None:
    assert set(membership.officers()) == {officer.address for officer in OFFICERS}
    assert membership.registrar() == membership._signer().address
    assert membership.office_delay() == DELAY_S
    new = new_person().address
    data = typed_data.office_change(
        membership.domain(), Office.OFFICER, new, holds=True, nonce=membership.last_change(), deadline=FAR_OFF
    )
    for _ in range(2):
        nonce = membership.last_change()
        data = typed_data.office_change(
            membership.domain(), Office.OFFICER, new, holds=True, nonce=nonce, deadline=FAR_OFF
        )
        carry(
            membership,
            membership.build_office_change(
                Office.OFFICER, new, holds=True, deadline=FAR_OFF, approvals=approvals(data)
            ),
        )
    change = membership.announced_change(1)
    assert change is not None
    assert (change.office, change.account, change.holds) == (Office.OFFICER, new, True)
    with pytest.raises(chain.CallRefused, match="ChangeNotReady"):
        membership.build_carrying_out(1)

    withdrawing = typed_data.office_withdrawal(membership.domain(), 2, FAR_OFF)
    carry(membership, membership.build_withdrawal(2, FAR_OFF, approvals(withdrawing)))
    assert membership.announced_change(2) is None
    while membership._stamp("latest").timestamp < change.ready_at:
        membership._mine()
    carry(membership, membership.build_carrying_out(1))
    assert new in membership.officers()
    with pytest.raises(chain.CallRefused, match="ChangeUnknown"):
        membership.build_carrying_out(1)


# --- Signatures of contracts ---


def test_is_signed__by_key(membership: Membership) -> None:
    ada, digest = new_person(), bytes(range(32))
    made = typed_data.sign(digest, bytes(ada.key))
    assert membership.is_signed(ada.address, digest, made)
    assert not membership.is_signed(new_person().address, digest, made)
    assert not membership.is_signed(ada.address, bytes(32), made)
    assert not membership.is_signed(ada.address, digest, b"")


@anvil.needed
def test_is_signed__by_a_contract__as_it_says(own_anvil: Web3) -> None:
    membership = anvil_site(own_anvil).membership()
    for code, told in ((CONSENTS, True), (DISSENTS, False), (REVERTS, False), (STOPS, False)):
        wallet = new_person().address
        anvil.ask(own_anvil, "anvil_setCode", wallet, f"0x{code.hex()}")
        assert membership.is_signed(wallet, bytes(32), b"whatever") is told
    # It is not asked: whoever is a contract can be a member.
    carry(membership, approved(membership, wallet, MemberClass.LISTENER))
    assert membership.is_member(wallet)


# --- Size ---

LARGE = members.SEATS_PER_PAGE + 100
LARGE_S_MAX = 20.0
PER_BLOCK = 50


@anvil.needed
def test_roll__of_more_than_a_page__in_seconds(own_anvil: Web3) -> None:
    # Officers that consent to everything, and a registrar for whom the node signs: hundreds are admitted in no time.
    registrar = own_anvil.eth.accounts[0]
    consenting = [Account.create().address for _ in OFFICERS]
    for officer in consenting:
        anvil.ask(own_anvil, "anvil_setCode", officer, f"0x{CONSENTS.hex()}")
    site = anvil_site(own_anvil, replace(founded_with(QUICK), officers=tuple(consenting)), registrar)
    membership = site.membership(registrar_key=None)
    given = [(officer, b"") for officer in consenting]
    anvil.ask(own_anvil, "evm_setAutomine", False)
    try:
        for number in range(LARGE):
            member = to_checksum_address(f"0x{number + 1_000:040x}")
            data = membership._contract.encode_abi("admit", [member, 1 + number % 3, FAR_OFF, *given])
            order = {"from": registrar, "to": membership.address, "data": data, "gas": hex(600_000)}
            anvil.ask(own_anvil, "eth_sendTransaction", order)
            if number % PER_BLOCK == PER_BLOCK - 1:
                anvil.ask(own_anvil, "evm_mine")
    finally:
        anvil.ask(own_anvil, "evm_setAutomine", True)
    begun = time.monotonic()
    assert len(roll_now(membership).seats) == LARGE
    assert time.monotonic() - begun < LARGE_S_MAX
