"""Orders to the registrar: what the worker does with each kind, wherever it was killed and whatever the node does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_keys.datatypes import PrivateKey

from streamcoop.adapters import typed_data
from streamcoop.adapters.chain import CallRefused, ChainError, NonceTaken
from streamcoop.adapters.members import MemberClass, Membership, Office
from streamcoop.database import transaction
from streamcoop.membership import officers, orders
from streamcoop.settings import settings
from tests.membership.authenticator import Authenticator
from tests.membership.coop import PASSWORD, Chain, Coop, Person, deploy
from tests.membership.node import failed_receipt, taken_and_denied
from tests.officers import approvals, approved

WORKERS = 4
KINDS = ["admission", "removal", "class-change", "rekey", "delegation"]


def stored(coop: Coop, order: UUID) -> Any:
    return coop.row("select * from coop.chain_transaction where subject = :id", id=order)


@dataclass
class Given:
    """An order nobody has carried yet, whose it is, and what the contract must be like once it is carried."""

    coop: Coop
    kind: str
    person: Person
    member_id: UUID
    stands: Callable[[Membership], bool]
    sent_before: int

    @property
    def id(self) -> UUID:
        return UUID(str(self.coop.order(self.member_id).id))

    def row(self) -> Any:
        return self.coop.order(self.member_id)

    def require_undone(self) -> None:
        assert self.row().done_at is None
        assert not self.stands(self.coop.chain())

    def require_done(self) -> None:
        """Here and in the contract, by one transaction."""
        row = self.row()
        assert (row.kind, row.done_at is not None, row.refused_because, row.held_up_by) == (self.kind, True, None, None)
        assert self.stands(self.coop.chain())
        assert stored(self.coop, row.id).state == "confirmed"
        assert self.sent() == 1

    def sent(self) -> int:
        """How many of the registrar's transactions stand in blocks since the order was given."""
        return self.coop.chain().next_nonce() - self.sent_before


def give(coop: Coop, kind: str) -> Given:
    if kind == "admission":
        person, member_id = coop.admitting()
        address = coop.address(member_id)
        return Given(coop, kind, person, member_id, lambda chain: chain.is_member(address), coop.chain().next_nonce())
    (person,) = coop.members(1)
    member_id = UUID(coop.get("/membership", person)["id"])
    address = coop.address(member_id)
    stands: Callable[[Membership], bool]
    if kind == "removal":
        answer = coop.in_session("POST", "/membership/leave", person)
        stands = lambda chain: not chain.is_member(address)  # noqa: E731
    elif kind == "class-change":
        answer = coop.post(f"/members/{member_id}/class", coop.operator, {"member_class": "worker"})
        stands = lambda chain: class_of(chain, address) == MemberClass.WORKER  # noqa: E731
    elif kind == "rekey":
        wallet = Account.create()
        answer = moved(coop, person, wallet)
        stands = lambda chain: chain.is_member(wallet.address) and not chain.is_member(address)  # noqa: E731
    else:
        (other,) = coop.members(1)
        to = str(coop.get("/membership", other)["address"])
        answer = delegated(coop, person, to)
        stands = lambda chain: delegate_of(chain, address) == to  # noqa: E731
    assert answer.status_code == 202, answer.text
    return Given(coop, kind, person, member_id, stands, coop.chain().next_nonce())


def class_of(chain: Membership, address: str) -> MemberClass | None:
    seat = chain.seat_of(address)
    return seat and seat.member_class


def delegate_of(chain: Membership, address: str) -> str | None:
    seat = chain.seat_of(address)
    return seat and seat.delegate


def moved(coop: Coop, person: Person, wallet: LocalAccount) -> Any:
    """Asked for: the membership's move to a wallet."""
    asked = coop.in_session("GET", f"/membership/wallet/typed-data?address={wallet.address}", person).json()
    signature = typed_data.sign(typed_data.digest(asked["typed_data"]), bytes(wallet.key))
    body = {
        "password": PASSWORD,
        "address": wallet.address,
        "nonce": asked["nonce"],
        "deadline": asked["deadline"],
        "signature": f"0x{signature.hex()}",
    }
    return coop.in_session("POST", "/membership/wallet", person, body)


def with_passkey(coop: Coop, person: Person) -> Authenticator:
    """Somebody's passkey, registered."""
    authenticator = Authenticator()
    options = coop.in_session("POST", "/passkeys/options", person, {"password": PASSWORD}).json()["options"]
    made = {"name": "phone", "credential": authenticator.made(options)}
    assert coop.in_session("POST", "/passkeys", person, made).status_code == 201
    return authenticator


def delegated(coop: Coop, person: Person, to: str) -> Any:
    """Asked for: a delegation by somebody whose key the co-op keeps."""
    authenticator = with_passkey(coop, person)
    asked = coop.get(f"/membership/delegation/typed-data?to={to}", person)
    body = {"to": to, "nonce": asked["nonce"], "expiry": asked["expiry"]}
    return coop.post("/membership/delegation", person, {**body, "passkey": authenticator.signed(asked["passkey"])})


@pytest.fixture(params=KINDS)
def given(request: pytest.FixtureRequest, coop: Coop) -> Given:
    """One order of each kind."""
    return give(coop, request.param)


def test_an_order_is_carried_out(given: Given) -> None:
    given.require_undone()
    given.coop.worker.sweep()

    given.require_done()
    receipt = given.coop.chain().receipt(stored(given.coop, given.id).hash)
    assert receipt is not None
    assert (receipt.block_number, receipt.block_hash) == (
        stored(given.coop, given.id).block_number,
        stored(given.coop, given.id).block_hash,
    )


def test_the_task_carries_one_order_and_the_same_again_changes_nothing(given: Given) -> None:
    order = given.id
    given.coop.worker.carry_order(str(order))
    given.require_done()
    given.coop.worker.carry_order(str(order))
    given.coop.worker.sweep()
    given.require_done()


@pytest.mark.parametrize("steps", [["intend"], ["intend", "send"], ["intend", "send", "confirm"]])
def test_killed_after_a_step(given: Given, steps: list[str]) -> None:
    chain, order = given.coop.register.registrar(), given.id
    for step in steps:
        getattr(given.coop.register, step)(chain, order)
    signed = stored(given.coop, order).hash

    given.coop.worker.sweep()

    given.require_done()
    assert stored(given.coop, order).hash == signed


def test_killed_after_the_broadcast_and_before_noting_it(given: Given) -> None:
    chain, order = given.coop.register.registrar(), given.id
    given.coop.register.intend(chain, order)
    chain.broadcast(stored(given.coop, order).raw)
    assert stored(given.coop, order).state == "intended"

    given.coop.worker.sweep()

    given.require_done()


def test_what_the_node_never_took_is_sent_again_as_it_was(given: Given) -> None:
    """As after a reorganisation: the node took the transaction, and then nobody knows it."""
    given.coop.node.lie("eth_sendRawTransaction", "0x" + "00" * 32)
    given.coop.worker.sweep()
    sent = stored(given.coop, given.id)
    assert (sent.state, given.sent()) == ("sent", 0)

    given.coop.node.be_honest()
    given.coop.worker.sweep()
    given.coop.worker.sweep()

    given.require_done()
    assert bytes(stored(given.coop, given.id).raw) == bytes(sent.raw)


def test_what_the_node_took_and_said_it_had_not_counts_once(given: Given) -> None:
    given.coop.node.answers["eth_sendRawTransaction"] = taken_and_denied
    given.coop.worker.sweep()
    given.coop.node.be_honest()
    given.coop.worker.sweep()

    given.require_done()


def test_nothing_is_sent_that_is_not_stored(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    given.coop.node.asked.clear()

    def killed(*_: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(orders, "intend", killed)
    with pytest.raises(KeyboardInterrupt):
        given.coop.worker.sweep()

    assert "eth_sendRawTransaction" not in given.coop.node.asked


def test_an_order_is_done_when_its_block_is_final(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    coop = given.coop
    monkeypatch.setenv("STREAMCOOP_CHAIN_FINALITY_DEPTH", "2")
    settings.cache_clear()
    coop.node.asked.clear()

    coop.worker.sweep()
    coop.mine()
    coop.worker.sweep()
    assert (given.row().done_at, stored(coop, given.id).state, given.sent()) == (None, "sent", 1)

    coop.mine()
    coop.worker.sweep()
    given.require_done()
    assert coop.node.asked.count("eth_sendRawTransaction") == 1


def test_a_node_that_is_down_holds_an_order_up_and_no_longer(given: Given) -> None:
    given.coop.node.is_down = True
    given.coop.worker.sweep()
    assert given.row().held_up_by == "The node does not answer, or not with sense: try again later."

    given.coop.node.be_honest()
    given.coop.worker.sweep()
    given.require_done()


def test_a_node_that_goes_down_between_the_steps(given: Given) -> None:
    order = given.id
    given.coop.register.intend(given.coop.register.registrar(), order)
    given.coop.node.is_down = True
    given.coop.worker.sweep()
    assert stored(given.coop, order).state == "intended"

    given.coop.node.be_honest()
    given.coop.worker.sweep()
    given.require_done()


def test_what_failed_on_the_chain_is_told_and_costs_no_second_fee_but_who_leaves_leaves(given: Given) -> None:
    coop = given.coop
    coop.node.lie("eth_sendRawTransaction", "0x" + "00" * 32)
    coop.node.answers["eth_getTransactionReceipt"] = failed_receipt
    coop.worker.sweep()

    assert stored(coop, given.id).state == "failed"
    coop.node.be_honest()
    if given.kind == "removal":
        assert given.row().held_up_by == "the contract refused it when it was carried out"
        coop.worker.sweep()
        given.require_undone()
        coop.clock.advance(orders.RETRY_AFTER)
        coop.worker.sweep()
        given.require_done()
        return
    assert given.row().refused_because == "the contract refused it when it was carried out"
    coop.worker.sweep()
    assert given.sent() == 0
    assert not given.stands(coop.chain())
    # It can be asked for anew.
    if given.kind == "admission":
        assert coop.state(given.member_id) == "applied"
        coop.approve(given.member_id)
        coop.worker.sweep()
        given.require_done()


def test_a_nonce_that_was_used_elsewhere(given: Given) -> None:
    coop, order = given.coop, given.id
    coop.register.intend(coop.register.registrar(), order)
    elsewhere = coop.chain()
    elsewhere.broadcast(approved(elsewhere, coop.registrar.address, MemberClass.WORKER).raw)

    with pytest.raises(NonceTaken):
        coop.register.carry(coop.register.registrar(), order)
    assert stored(coop, order).state == "failed"
    coop.worker.sweep()

    assert given.row().done_at is not None
    assert given.stands(coop.chain())


def test_carried_out_elsewhere_with_the_same_key(given: Given) -> None:
    """As after a database was put back: the order is there, the transaction is not, and the contract has it."""
    coop, order = given.coop, given.id
    chain = coop.register.registrar()
    with transaction() as session:
        asked = orders.under_way(session, order)
    assert asked is not None
    chain.broadcast(coop.register._builder(chain, asked)(chain.next_nonce()).raw)

    coop.worker.sweep()

    assert given.row().done_at is not None
    assert given.row().refused_because is None
    assert given.sent() == 1


def test_a_transaction_that_comes_second_to_another_for_the_same_order(given: Given) -> None:
    coop, order = given.coop, given.id
    chain = coop.register.registrar()
    with transaction() as session:
        asked = orders.under_way(session, order)
    assert asked is not None
    nonce = chain.next_nonce()
    first, second = (coop.register._builder(chain, asked)(each) for each in (nonce, nonce + 1))
    with transaction() as session:
        assert orders.intend(session, order, second, coop.clock.now())
    chain.broadcast(first.raw)

    coop.worker.sweep()

    row = given.row()
    assert (row.done_at is not None, row.refused_because, given.stands(coop.chain())) == (True, None, True)
    assert stored(coop, order).state == "failed"


def test_a_key_that_is_not_the_registrars(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    coop, order = given.coop, given.id
    monkeypatch.setenv("STREAMCOOP_REGISTRAR_KEY", "0x" + "11" * 32)
    settings.cache_clear()
    if given.kind == "delegation":
        # Anybody may carry it. Nobody pays for it though.
        with pytest.raises(ChainError):
            coop.register.carry(coop.register.registrar(), order)
        return

    with pytest.raises(CallRefused, match="NotRegistrar"):
        coop.register.carry(coop.register.registrar(), order)
    coop.worker.sweep()

    assert given.row().done_at is None
    assert "NotRegistrar" in (given.row().held_up_by or "")


def test_a_wrong_chain_is_sent_nothing(given: Given) -> None:
    given.coop.node.asked.clear()
    given.coop.node.lie("eth_chainId", "0x1")
    given.coop.worker.sweep()

    assert "expected 31337" in (given.row().held_up_by or "")
    assert "eth_sendRawTransaction" not in given.coop.node.asked


def test_another_contract_than_the_first_is_sent_nothing(
    coop: Coop, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    coop.members(1)
    _, member_id = coop.admitting()
    monkeypatch.setenv("STREAMCOOP_MEMBERSHIP_CONTRACT", deploy(chain))
    settings.cache_clear()
    coop.node.asked.clear()
    coop.worker.sweep()

    assert "founded with" in coop.order(member_id).held_up_by
    assert "eth_sendRawTransaction" not in coop.node.asked


def test_a_key_taken_away_while_orders_are_under_way(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMCOOP_REGISTRAR_KEY")
    settings.cache_clear()
    given.coop.worker.sweep()

    assert given.row().done_at is None
    assert "No registrar's key" in (given.row().held_up_by or "")


def test_workers_at_once_carry_each_order_once(coop: Coop) -> None:
    ids = [coop.admitting()[1] for _ in range(5)]
    given = [coop.order(member_id).id for member_id in ids]
    together = threading.Barrier(WORKERS)
    failures: list[Exception] = []

    def work() -> None:
        together.wait()
        chain = coop.register.registrar()
        for order in given:
            try:
                coop.register.carry(chain, order)
            except Exception as error:
                failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(WORKERS)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    # A nonce that was stored and not yet sent makes the next one too high for this chain: it is tried again.
    coop.worker.sweep()
    coop.worker.sweep()

    assert [coop.state(member_id) for member_id in ids] == ["member"] * 5
    assert coop.supply() == 5
    rows = [stored(coop, order) for order in given]
    assert {row.state for row in rows} == {"confirmed"}
    assert len({row.nonce for row in rows}) == 5
    assert not [error for error in failures if not isinstance(error, ChainError)]


@pytest.mark.parametrize("gone", ["removed", "another key"])
def test_an_admission_whose_officer_is_none_any_more_is_decided_anew_and_holds_nobody_up(coop: Coop, gone: str) -> None:
    (leaving,) = coop.members(1)
    _, member_id = coop.admitting()
    assert coop.in_session("POST", "/membership/leave", leaving).status_code == 202
    with transaction() as session:
        if gone == "removed":
            officers.remove(session, coop.second_officer.user_id)
        else:
            officers.bring_wallet(session, coop.second_officer.user_id, Account.create().address, coop.clock.now())
    coop.worker.sweep()
    assert coop.state(member_id) == "applied"
    order = coop.row("select * from coop.register_order where member_id = :id", id=member_id)
    assert "an officer who approved it" in order.refused_because
    assert coop.supply() == 0, "who left has left"


def test_of_sweeps_at_the_same_time_one_works(coop: Coop) -> None:
    _, member_id = coop.admitting()
    with coop.worker.alone(coop.worker._SWEEP_LOCK) as is_alone:
        assert is_alone
        coop.worker.sweep()
        assert coop.state(member_id) == "admitting"
    coop.worker.sweep()
    assert coop.state(member_id) == "member"


# --- What the contract refuses for good ---


def test_an_admission_whose_approvals_are_too_old_asks_the_officers_anew(coop: Coop) -> None:
    _, member_id = coop.admitting()
    coop.execute("update coop.approval set deadline = 1, signature = signature where member_id = :id", id=member_id)
    coop.worker.sweep()

    assert coop.state(member_id) == "applied"
    assert "SignatureExpired" in coop.order(member_id).refused_because
    coop.approve(member_id)
    coop.worker.sweep()
    assert coop.state(member_id) == "member"


def test_an_officer_who_is_none_any_more_approves_nothing_by_what_she_signed_before(coop: Coop) -> None:
    _, member_id = coop.admitting()
    stranger = Account.create()
    statement = "update coop.approval set officer = :other where member_id = :id and user_id = :user"
    coop.execute(statement, other=stranger.address, id=member_id, user=coop.second_officer.user_id)
    coop.worker.sweep()

    assert coop.state(member_id) == "applied"
    assert "NotOfficer" in coop.order(member_id).refused_because
    assert coop.supply() == 0


def test_a_class_changed_back_elsewhere_meanwhile_does_not_wait_for_ever(coop: Coop) -> None:
    given = give(coop, "class-change")
    elsewhere = coop.chain()
    elsewhere.broadcast(elsewhere.build_removal(coop.address(given.member_id)).raw)
    coop.worker.sweep()

    assert "NotMember" in given.row().refused_because


def test_a_move_to_an_address_that_became_a_member_meanwhile_is_told(coop: Coop) -> None:
    (person,) = coop.members(1)
    wallet = Account.create()
    assert moved(coop, person, wallet).status_code == 202
    elsewhere = coop.chain()
    elsewhere.broadcast(approved(elsewhere, wallet.address, MemberClass.LISTENER).raw)
    coop.worker.sweep()

    own = coop.get("/membership", person)
    assert (own["state"], own["key_kept_by_coop"]) == ("member", True)
    assert "AlreadyMember" in own["last_order"]["refused_because"]


def test_offices_of_the_tests_are_those_of_the_contract(coop: Coop) -> None:
    chain = coop.chain()
    assert chain.registrar() == coop.registrar.address
    officers = coop.row("select array_agg(address order by address) as found from coop.officer").found
    assert sorted(chain.officers()) == officers
    data = typed_data.office_change(
        chain.domain(), Office.OFFICER, Account.create().address, holds=True, nonce=chain.last_change(), deadline=2**40
    )
    assert {each.officer for each in approvals(data)} == set(officers)
    assert PrivateKey(bytes(coop.registrar.key)).public_key.to_checksum_address() not in officers
