"""Anchors on the chain: what the worker does, wherever it was killed and whatever the node does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from streamcoop.adapters.anchors import read_anchors
from streamcoop.adapters.chain import ContractChanged
from streamcoop.adapters.members import MemberClass
from streamcoop.anchoring import service
from streamcoop.anchoring.service import RETRY_AFTER
from streamcoop.settings import settings
from tests.anchoring.conftest import FIRST, Anchorage, Head
from tests.embedded.chain_process import LOG_ORIGIN
from tests.membership.node import failed_receipt
from tests.officers import approved

WORKERS = 4
HEAD = Head()


def configure(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"STREAMCOOP_{name}", value)
    settings.cache_clear()


def test_an_epoch_is_anchored(anchorage: Anchorage) -> None:
    anchorage.intend(HEAD)
    assert anchorage.told() == []
    anchorage.sweep()

    anchorage.require_anchored(HEAD)
    chain_id, code_hash = anchorage.elsewhere().check()
    row = anchorage.row()
    assert (row.chain_id, row.contract, row.code_hash) == (chain_id, anchorage.contract, code_hash)
    receipt = anchorage.elsewhere().receipt(anchorage.stored().hash)
    assert receipt is not None
    assert (receipt.block_number, receipt.block_hash) == (
        anchorage.stored().block_number,
        anchorage.stored().block_hash,
    )


def test_an_auditor_reads_what_was_anchored(anchorage: Anchorage) -> None:
    heads = [HEAD, HEAD.next, HEAD.next.next]
    for head in heads:
        anchorage.intend(head)
    anchorage.sweep()
    anchorage.require_anchored(*heads)

    row = anchorage.row()
    pinned = {"origin": LOG_ORIGIN, "chain_id": row.chain_id, "code_hash": row.code_hash}
    records = read_anchors(anchorage.coop.node.upstream, row.contract, **pinned)
    assert [(record.epoch, record.size, record.root) for record in records] == [
        (head.epoch, head.size, head.root) for head in heads
    ]


def test_sweeping_again_changes_nothing(anchorage: Anchorage) -> None:
    anchorage.intend(HEAD)
    for _ in range(3):
        anchorage.sweep()
    anchorage.require_anchored(HEAD)
    assert anchorage.coop.node.asked.count("eth_sendRawTransaction") == 1


@pytest.mark.parametrize("steps", [["intend"], ["intend", "send"], ["intend", "send", "confirm"]])
def test_killed_after_a_step(anchorage: Anchorage, steps: list[str]) -> None:
    anchorage.intend(HEAD)
    chain = anchorage.connected()
    for step in steps:
        getattr(anchorage.worker, step)(chain, FIRST)
    signed = anchorage.stored().hash

    anchorage.sweep()

    anchorage.require_anchored(HEAD)
    assert anchorage.stored().hash == signed


def test_killed_after_the_broadcast_and_before_noting_it(anchorage: Anchorage) -> None:
    anchorage.intend(HEAD)
    chain = anchorage.connected()
    anchorage.worker.intend(chain, FIRST)
    chain.broadcast(anchorage.stored().raw)
    assert (anchorage.stored().state, anchorage.told()) == ("intended", [HEAD])

    anchorage.sweep()

    anchorage.require_anchored(HEAD)


def test_nothing_is_sent_that_is_not_stored(anchorage: Anchorage, monkeypatch: pytest.MonkeyPatch) -> None:
    anchorage.intend(HEAD)

    def killed(*_: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(service, "intend", killed)
    with pytest.raises(KeyboardInterrupt):
        anchorage.sweep()

    assert "eth_sendRawTransaction" not in anchorage.coop.node.asked


@pytest.mark.parametrize("stored", [False, True], ids=["before the first step", "between the steps"])
def test_a_node_that_is_down_is_waited_out(anchorage: Anchorage, stored: bool) -> None:
    anchorage.intend(HEAD)
    if stored:
        anchorage.worker.intend(anchorage.connected(), FIRST)
        signed = anchorage.stored().hash
    anchorage.coop.node.is_down = True
    anchorage.sweep()
    assert anchorage.row().held_up_by == "The node does not answer, or not with sense: try again later."

    anchorage.coop.node.be_honest()
    anchorage.sweep()
    anchorage.require_anchored(HEAD)
    assert not stored or anchorage.stored().hash == signed


def test_a_reorganisation_takes_the_block_away_and_it_is_sent_again_as_it_was(
    anchorage: Anchorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, CHAIN_FINALITY_DEPTH="1")
    anchorage.intend(HEAD)
    node = anchorage.coop.node
    node.lie("eth_sendRawTransaction", "0x" + "00" * 32)
    node.answers["eth_getTransactionReceipt"] = in_the_newest_block(anchorage)
    anchorage.sweep()
    sent = anchorage.stored()
    assert (sent.state, anchorage.told()) == ("sent", [])

    node.be_honest()
    for _ in range(2):
        anchorage.sweep()
        anchorage.coop.mine()
    anchorage.sweep()

    anchorage.require_anchored(HEAD)
    assert bytes(anchorage.stored().raw) == bytes(sent.raw)


def in_the_newest_block(anchorage: Anchorage) -> Callable[[list[Any], Callable[[], Any]], Any]:
    number = anchorage.coop.chain().snapshot_block(0).number + 1
    return lambda params, truth: failed_receipt(params, truth) | {"blockNumber": hex(number), "status": "0x1"}


def test_it_is_confirmed_once_its_block_is_final_and_the_next_waits(
    anchorage: Anchorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, CHAIN_FINALITY_DEPTH="2")
    anchorage.intend(HEAD)
    anchorage.intend(HEAD.next)

    anchorage.sweep()
    anchorage.coop.mine()
    anchorage.sweep()
    assert (anchorage.stored().state, anchorage.row().confirmed_at, anchorage.told()) == ("sent", None, [HEAD])

    anchorage.coop.mine()
    anchorage.sweep()
    assert anchorage.told() == [HEAD, HEAD.next]
    for _ in range(2):
        anchorage.coop.mine()
    anchorage.sweep()
    anchorage.require_anchored(HEAD, HEAD.next)


def test_workers_at_once_anchor_each_epoch_once(anchorage: Anchorage) -> None:
    heads = [HEAD, HEAD.next, HEAD.next.next]
    for head in heads:
        anchorage.intend(head)
    together = threading.Barrier(WORKERS)
    failures: list[Exception] = []

    def work() -> None:
        together.wait()
        try:
            anchorage.worker.carry_due()
        except Exception as error:
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(WORKERS)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    anchorage.sweep()

    assert failures == []
    anchorage.require_anchored(*heads)
    assert len({anchorage.stored(head.epoch).nonce for head in heads}) == len(heads)


def test_admissions_and_anchors_share_the_registrars_nonces(anchorage: Anchorage) -> None:
    coop = anchorage.coop
    admissions = [coop.admitting()[1] for _ in range(2)]
    anchorage.intend(HEAD)
    # All are signed before any is sent.
    registrar = coop.register.registrar()
    coop.register.intend(registrar, coop.order(admissions[0]).id)
    anchorage.worker.intend(anchorage.connected(), FIRST)
    coop.register.intend(registrar, coop.order(admissions[1]).id)
    statement = "select count(distinct nonce) as nonces, max(nonce) - min(nonce) as apart from coop.chain_transaction"
    assert tuple(coop.row(statement)) == (3, 2)

    # This chain refuses a nonce that is too high: what is behind another's is signed anew.
    for _ in range(3):
        coop.worker.sweep()

    anchorage.require_anchored(HEAD)
    assert [coop.state(member_id) for member_id in admissions] == ["member"] * 2
    assert coop.supply() == 2


def test_a_nonce_that_an_admission_elsewhere_has_used(anchorage: Anchorage) -> None:
    anchorage.intend(HEAD)
    anchorage.worker.intend(anchorage.connected(), FIRST)
    elsewhere = anchorage.coop.chain()
    elsewhere.broadcast(approved(elsewhere, anchorage.coop.registrar.address, MemberClass.WORKER).raw)

    anchorage.sweep()
    assert anchorage.stored().state == "failed"
    anchorage.sweep()

    anchorage.require_anchored(HEAD)


def test_anchored_by_a_transaction_that_nobody_here_knows(anchorage: Anchorage) -> None:
    """As after restoring a database of before it was signed."""
    anchorage.intend(HEAD)
    elsewhere = anchorage.elsewhere()
    values = HEAD.size, HEAD.root, HEAD.gross_micro, HEAD.royalties_micro
    elsewhere.broadcast(elsewhere.build_anchor(FIRST, *values).raw)

    anchorage.sweep()

    anchorage.require_anchored(HEAD)


def test_anchored_otherwise_holds_up_all_that_follows(anchorage: Anchorage) -> None:
    elsewhere = anchorage.elsewhere()
    elsewhere.broadcast(elsewhere.build_anchor(FIRST, HEAD.size, b"\x66" * 32, 1, 1).raw)
    anchorage.intend(HEAD)
    anchorage.intend(HEAD.next)
    for _ in range(2):
        anchorage.sweep()

    assert "AnchoredOtherwise" in anchorage.row().held_up_by
    assert len(anchorage.told()) == 1
    assert "eth_sendRawTransaction" not in anchorage.coop.node.asked


def test_a_transaction_that_fails_is_signed_anew_after_a_while(anchorage: Anchorage) -> None:
    anchorage.intend(HEAD)
    anchorage.coop.node.lie("eth_sendRawTransaction", "0x" + "00" * 32)
    anchorage.coop.node.answers["eth_getTransactionReceipt"] = failed_receipt
    anchorage.sweep()
    anchorage.coop.node.be_honest()
    anchorage.sweep()
    assert (anchorage.stored().state, anchorage.told()) == ("failed", [])
    assert anchorage.row().held_up_by == "the contract does not have it"

    anchorage.coop.clock.advance(RETRY_AFTER)
    anchorage.sweep()
    anchorage.require_anchored(HEAD)


def test_a_success_that_the_contract_does_not_know_of_is_none(anchorage: Anchorage) -> None:
    anchorage.intend(HEAD)
    node = anchorage.coop.node
    node.lie("eth_sendRawTransaction", "0x" + "00" * 32)
    node.answers["eth_getTransactionReceipt"] = lambda params, truth: failed_receipt(params, truth) | {"status": "0x1"}
    anchorage.sweep()
    assert (anchorage.stored().state, anchorage.row().confirmed_at) == ("failed", None)


def test_without_a_contract_nothing_is_anchored_and_no_nonce_kept(
    anchorage: Anchorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    anchorage.intend(HEAD)
    anchorage.worker.intend(anchorage.connected(), FIRST)
    monkeypatch.delenv("STREAMCOOP_ANCHOR_CONTRACT")
    settings.cache_clear()
    _, member_id = anchorage.coop.admitting()
    for _ in range(2):
        anchorage.sweep()
    assert (anchorage.stored().state, anchorage.told()) == ("failed", [])
    assert anchorage.coop.state(member_id) == "member"

    configure(monkeypatch, ANCHOR_CONTRACT=anchorage.contract)
    anchorage.sweep()
    anchorage.require_anchored(HEAD)


def test_a_contract_that_is_none_keeps_no_nonce(anchorage: Anchorage, monkeypatch: pytest.MonkeyPatch) -> None:
    anchorage.intend(HEAD)
    anchorage.worker.intend(anchorage.connected(), FIRST)
    configure(monkeypatch, ANCHOR_CONTRACT=anchorage.coop.registrar.address)
    anchorage.sweep()
    assert anchorage.stored().state == "failed"
    assert "There is no contract" in anchorage.row().held_up_by


def test_other_code_at_the_same_address_is_sent_nothing(anchorage: Anchorage) -> None:
    anchorage.intend(HEAD)
    anchorage.sweep()
    anchorage.intend(HEAD.next)
    anchorage.coop.node.answers["eth_getCode"] = lambda _params, code: code() + "00"
    with pytest.raises(ContractChanged):
        anchorage.connected()
    anchorage.sweep()

    assert "not the code" in anchorage.row(FIRST + 1).held_up_by
    assert anchorage.told() == [HEAD]


def test_the_anchors_of_another_log_are_left_alone(anchorage: Anchorage, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, LOG_ORIGIN="log.example/other")
    anchorage.intend(HEAD)
    anchorage.sweep()
    assert "another origin" in anchorage.row().held_up_by
    assert anchorage.told() == []


def test_without_the_registrars_key_it_waits(anchorage: Anchorage, monkeypatch: pytest.MonkeyPatch) -> None:
    anchorage.intend(HEAD)
    monkeypatch.delenv("STREAMCOOP_REGISTRAR_KEY")
    settings.cache_clear()
    anchorage.sweep()
    assert "No registrar's key" in anchorage.row().held_up_by


def test_no_transaction_of_the_database_is_open_while_the_node_is_asked(
    anchorage: Anchorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    anchorage.intend(HEAD)
    open_ones: list[int] = []

    def count(_params: list[Any], truth: Callable[[], Any]) -> Any:
        found = anchorage.coop.row(
            "select count(*) as open from pg_stat_activity"
            " where datname = current_database() and state = 'idle in transaction'"
        )
        open_ones.append(found.open)
        return truth()

    for method in ("eth_getTransactionCount", "eth_estimateGas", "eth_sendRawTransaction", "eth_getTransactionReceipt"):
        anchorage.coop.node.answers[method] = count
    anchorage.sweep()
    anchorage.require_anchored(HEAD)
    assert open_ones
    assert not any(open_ones)


def test_a_wrong_chain_is_sent_nothing(anchorage: Anchorage) -> None:
    anchorage.intend(HEAD)
    anchorage.coop.node.lie("eth_chainId", "0x1")
    anchorage.sweep()
    assert "expected 31337" in anchorage.row().held_up_by
    assert "eth_sendRawTransaction" not in anchorage.coop.node.asked
