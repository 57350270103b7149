"""Admissions on the chain: what the worker does, wherever it was killed and whatever the node does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from streamcoop.adapters.chain import CallRefused, NonceTaken
from streamcoop.adapters.members import MemberClass
from streamcoop.database import transaction
from streamcoop.membership import service
from streamcoop.settings import settings
from tests.membership.coop import Coop

WORKERS = 4


def stored(coop: Coop, member_id: UUID) -> Any:
    return coop.row("select * from coop.chain_transaction where purpose = 'admission' and subject = :id", id=member_id)


def held_up_by(coop: Coop, member_id: UUID) -> str | None:
    told: str | None = coop.row("select held_up_by from coop.member where id = :id", id=member_id).held_up_by
    return told


def address_of(coop: Coop, member_id: UUID) -> str:
    return str(coop.row("select address from coop.member where id = :id", id=member_id).address)


def assert_one_member(coop: Coop, member_id: UUID) -> None:
    """Here and in the contract, by one transaction."""
    assert coop.state(member_id) == "member"
    assert held_up_by(coop, member_id) is None
    assert coop.chain().is_member(address_of(coop, member_id))
    assert coop.supply() == 1
    assert stored(coop, member_id).state == "confirmed"


def test_an_applicant_becomes_a_member_of_the_contract(coop: Coop) -> None:
    person, member_id = coop.applicant("artist")

    answer = coop.post(f"/members/{member_id}/admit", coop.operator)
    assert (answer.status_code, answer.json()["state"]) == (202, "admitting")
    assert coop.supply() == 0
    coop.worker.sweep()

    own = coop.get("/membership", person)
    assert_one_member(coop, member_id)
    assert (own["state"], own["admitted_at"] is not None) == ("member", True)
    receipt = coop.chain().receipt(stored(coop, member_id).hash)
    assert receipt is not None
    assert (receipt.block_number, receipt.block_hash) == (
        stored(coop, member_id).block_number,
        stored(coop, member_id).block_hash,
    )


def test_the_task_admits_one(coop: Coop) -> None:
    _, member_id = coop.admitting()
    coop.worker.admit(str(member_id))
    assert_one_member(coop, member_id)


def test_admitting_again_changes_nothing(coop: Coop) -> None:
    _, member_id = coop.admitting()
    coop.worker.sweep()

    answer = coop.post(f"/members/{member_id}/admit", coop.operator)
    coop.worker.sweep()
    coop.worker.admit(str(member_id))

    assert (answer.status_code, answer.json()["state"]) == (202, "member")
    assert_one_member(coop, member_id)


def test_workers_at_once_admit_each_member_once(coop: Coop) -> None:
    ids = [coop.admitting()[1] for _ in range(5)]
    together = threading.Barrier(WORKERS)
    failures: list[Exception] = []

    def work() -> None:
        chain = coop.worker.registrar()
        together.wait()
        for member_id in ids:
            try:
                coop.worker.carry(chain, member_id)
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
    rows = [stored(coop, member_id) for member_id in ids]
    assert {row.state for row in rows} == {"confirmed"}
    assert len({row.nonce for row in rows}) == 5
    assert not [error for error in failures if not isinstance(error, coop.worker.ChainError)]


@pytest.mark.parametrize("steps", [["intend"], ["intend", "send"], ["intend", "send", "confirm"]])
def test_killed_after_a_step(coop: Coop, steps: list[str]) -> None:
    _, member_id = coop.admitting()
    chain = coop.worker.registrar()
    for step in steps:
        getattr(coop.worker, step)(chain, member_id)
    signed = stored(coop, member_id).hash

    coop.worker.sweep()

    assert_one_member(coop, member_id)
    assert stored(coop, member_id).hash == signed


def test_killed_after_the_broadcast_and_before_noting_it(coop: Coop) -> None:
    _, member_id = coop.admitting()
    chain = coop.worker.registrar()
    coop.worker.intend(chain, member_id)
    chain.broadcast(stored(coop, member_id).raw)
    assert (stored(coop, member_id).state, coop.supply()) == ("intended", 1)

    coop.worker.sweep()

    assert_one_member(coop, member_id)


def test_nothing_is_sent_that_is_not_stored(coop: Coop, monkeypatch: pytest.MonkeyPatch) -> None:
    coop.admitting()

    def killed(*_: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(service, "intend", killed)
    with pytest.raises(KeyboardInterrupt):
        coop.worker.sweep()

    assert "eth_sendRawTransaction" not in coop.node.asked


def test_a_node_that_is_down(coop: Coop) -> None:
    _, member_id = coop.admitting()
    coop.node.is_down = True
    coop.worker.sweep()

    assert coop.state(member_id) == "admitting"
    assert held_up_by(coop, member_id) == "The node does not answer, or not with sense: try again later."

    coop.node.be_honest()
    coop.worker.sweep()
    assert_one_member(coop, member_id)


def test_a_node_that_goes_down_between_the_steps(coop: Coop) -> None:
    _, member_id = coop.admitting()
    coop.worker.intend(coop.worker.registrar(), member_id)
    coop.node.is_down = True
    coop.worker.sweep()
    assert stored(coop, member_id).state == "intended"

    coop.node.be_honest()
    coop.worker.sweep()
    assert_one_member(coop, member_id)


def test_what_the_chain_has_lost_is_sent_again_as_it_was(coop: Coop) -> None:
    """As after a reorganisation: the node took the transaction, and then nobody knows it."""
    _, member_id = coop.admitting()
    coop.node.lie("eth_sendRawTransaction", "0x" + "00" * 32)
    coop.worker.sweep()
    sent = stored(coop, member_id)
    assert (sent.state, coop.supply()) == ("sent", 0)

    coop.node.be_honest()
    coop.worker.sweep()
    coop.worker.sweep()

    assert_one_member(coop, member_id)
    assert bytes(stored(coop, member_id).raw) == bytes(sent.raw)


def test_a_membership_begins_when_its_block_is_final(coop: Coop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMCOOP_CHAIN_FINALITY_DEPTH", "2")
    settings.cache_clear()
    _, member_id = coop.admitting()

    coop.worker.sweep()
    coop.mine()
    coop.worker.sweep()
    assert (coop.state(member_id), stored(coop, member_id).state, coop.supply()) == ("admitting", "sent", 1)

    coop.mine()
    coop.worker.sweep()
    assert_one_member(coop, member_id)
    assert coop.node.asked.count("eth_sendRawTransaction") == 1


def test_a_nonce_that_was_used_elsewhere(coop: Coop) -> None:
    _, member_id = coop.admitting()
    coop.worker.intend(coop.worker.registrar(), member_id)
    elsewhere = coop.chain()
    elsewhere.broadcast(elsewhere.build_admission(coop.registrar.address, MemberClass.WORKER).raw)

    with pytest.raises(NonceTaken):
        coop.worker.carry(coop.worker.registrar(), member_id)
    assert stored(coop, member_id).state == "failed"
    coop.worker.sweep()

    assert (coop.state(member_id), coop.supply()) == ("member", 2)


def test_admitted_elsewhere_with_the_same_key(coop: Coop) -> None:
    _, member_id = coop.admitting()
    elsewhere = coop.chain()
    elsewhere.broadcast(elsewhere.build_admission(address_of(coop, member_id), MemberClass.LISTENER).raw)

    coop.worker.sweep()

    assert (coop.state(member_id), coop.supply()) == ("member", 1)


def test_a_transaction_that_comes_second_to_another_for_the_same_member(coop: Coop) -> None:
    _, member_id = coop.admitting()
    elsewhere, address = coop.chain(), address_of(coop, member_id)
    nonce = elsewhere.next_nonce()
    first, second = (elsewhere.build_admission(address, MemberClass.LISTENER, each) for each in (nonce, nonce + 1))
    with transaction() as session:
        assert service.intend(session, member_id, second, coop.clock.now())
    elsewhere.broadcast(first.raw)

    coop.worker.sweep()

    assert (coop.state(member_id), stored(coop, member_id).state, coop.supply()) == ("member", "failed", 1)


def test_a_transaction_that_fails_waits_for_the_operator(coop: Coop) -> None:
    _, member_id = coop.admitting()
    coop.node.lie("eth_sendRawTransaction", "0x" + "00" * 32)
    coop.node.answers["eth_getTransactionReceipt"] = failed_receipt
    coop.worker.sweep()

    assert (coop.state(member_id), stored(coop, member_id).state) == ("applied", "failed")
    assert coop.get("/members", coop.operator)["items"][0]["held_up_by"] == "the contract refused it"

    coop.node.be_honest()
    coop.post(f"/members/{member_id}/admit", coop.operator)
    coop.worker.sweep()
    assert_one_member(coop, member_id)


def failed_receipt(params: list[Any], _: Callable[[], Any]) -> dict[str, Any]:
    nothing = "0x0"
    return {
        "transactionHash": params[0],
        "transactionIndex": nothing,
        "blockHash": "0x" + "11" * 32,
        "blockNumber": nothing,
        "from": "0x" + "11" * 20,
        "to": "0x" + "11" * 20,
        "cumulativeGasUsed": nothing,
        "gasUsed": nothing,
        "effectiveGasPrice": nothing,
        "contractAddress": None,
        "logs": [],
        "logsBloom": "0x" + "00" * 256,
        "status": nothing,
        "type": "0x2",
    }


def test_a_key_that_is_not_the_registrars(coop: Coop, monkeypatch: pytest.MonkeyPatch) -> None:
    _, member_id = coop.admitting()
    monkeypatch.setenv("STREAMCOOP_REGISTRAR_KEY", "0x" + "11" * 32)
    settings.cache_clear()

    with pytest.raises(CallRefused, match="NotRegistrar"):
        coop.worker.carry(coop.worker.registrar(), member_id)
    coop.worker.sweep()

    assert coop.state(member_id) == "admitting"
    assert "NotRegistrar" in (held_up_by(coop, member_id) or "")


def test_a_wrong_chain_is_sent_nothing(coop: Coop) -> None:
    _, member_id = coop.admitting()
    coop.node.lie("eth_chainId", "0x1")
    coop.worker.sweep()

    assert "expected 31337" in (held_up_by(coop, member_id) or "")
    assert "eth_sendRawTransaction" not in coop.node.asked


def test_a_key_taken_away_while_admissions_are_under_way(coop: Coop, monkeypatch: pytest.MonkeyPatch) -> None:
    _, member_id = coop.admitting()
    monkeypatch.delenv("STREAMCOOP_REGISTRAR_KEY")
    settings.cache_clear()
    coop.worker.sweep()

    assert coop.state(member_id) == "admitting"
    assert "No registrar's key" in (held_up_by(coop, member_id) or "")


def test_of_sweeps_at_the_same_time_one_works(coop: Coop) -> None:
    _, member_id = coop.admitting()
    with coop.worker._alone() as alone:
        assert alone
        coop.worker.sweep()
        assert coop.state(member_id) == "admitting"
    coop.worker.sweep()
    assert_one_member(coop, member_id)
