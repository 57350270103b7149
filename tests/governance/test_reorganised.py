"""Ballots on a chain that is reorganised under them: the blocks that stay decide, and once."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest
from eth_account import Account
from eth_utils import keccak
from web3 import HTTPProvider, Web3

from streamcoop.settings import settings
from tests import anvil
from tests.governance.chamber import (
    UNCHANGED,
    assert_stopped,
    ballot,
    decided,
    let_close,
    let_take_effect,
    opened,
    registry,
    versions,
    voted,
    voters,
)
from tests.membership.coop import FOUNDED_AT, Chain, Coop

pytestmark = anvil.needed
BLOCKS_INSTEAD = 3


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    """anvil, from the day on which the co-op is founded."""
    with anvil.running_anvil("--timestamp", str(int(FOUNDED_AT.timestamp()))) as web3:
        registrar = Account.create()
        anvil.ask(web3, "anvil_setBalance", registrar.address, hex(10**24))
        assert isinstance(web3.provider, HTTPProvider)
        yield Chain(str(web3.provider.endpoint_uri), web3.eth.chain_id, registrar)


def final_after(monkeypatch: pytest.MonkeyPatch, blocks: int) -> None:
    monkeypatch.setenv("STREAMCOOP_CHAIN_FINALITY_DEPTH", str(blocks))
    settings.cache_clear()


def ask(coop: Coop, method: str, *parameters: object) -> object:
    """The node itself."""
    return anvil.ask(Web3(HTTPProvider(coop.node.upstream)), method, *parameters)


def forget(coop: Coop, raw: bytes) -> None:
    """No node knows the transaction any more: a block that gave way leaves its own with them."""
    ask(coop, "anvil_dropTransaction", f"0x{keccak(raw).hex()}")


def sent(coop: Coop, ballot_id: UUID) -> tuple[str, bytes]:
    """What became of the decision's transaction, and the transaction."""
    row = coop.row("select state, raw from coop.chain_transaction where subject = :id", id=ballot_id)
    return row.state, bytes(row.raw)


@pytest.mark.parametrize("is_forgotten", [True, False])
def test_a_decision_whose_block_goes_before_it_is_final_is_sent_again_as_it_was(
    coop: Coop, monkeypatch: pytest.MonkeyPatch, is_forgotten: bool
) -> None:
    ballot_id = decided(coop)
    final_after(monkeypatch, 3)
    coop.worker.sweep()
    state, raw = sent(coop, ballot_id)
    assert (state, registry().decision_of(ballot_id) is not None) == ("sent", True)

    ask(coop, "anvil_reorg", 1, [])
    if is_forgotten:
        forget(coop, raw)
    assert registry().decision_of(ballot_id) is None
    coop.worker.sweep()
    assert (ballot(coop, ballot_id)["state"], versions()) == ("closed", UNCHANGED)

    let_take_effect(coop)
    assert ballot(coop, ballot_id)["state"] == "effective"
    assert versions() == {**UNCHANGED, "rates": 2}
    assert [one.ballot_id for one in registry().decisions()] == [ballot_id]
    assert sent(coop, ballot_id) == ("confirmed", raw)


def test_a_decision_that_goes_with_blocks_held_for_final_is_written_again_before_it_changes_a_rate(
    coop: Coop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ballot_id = decided(coop)
    final_after(monkeypatch, 1)
    before = ask(coop, "evm_snapshot")
    coop.worker.sweep()
    coop.mine()
    coop.worker.sweep()
    assert (sent(coop, ballot_id)[0], versions()) == ("confirmed", UNCHANGED)

    ask(coop, "evm_revert", before)
    for _ in range(BLOCKS_INSTEAD):
        coop.mine()
    assert registry().decision_of(ballot_id) is None
    coop.worker.sweep()
    assert (ballot(coop, ballot_id)["state"], versions()) == ("closed", UNCHANGED)
    assert "has lost the decision" in ballot(coop, ballot_id)["tally"]["held_up_by"]

    let_take_effect(coop)
    assert (ballot(coop, ballot_id)["state"], versions()) == ("effective", {**UNCHANGED, "rates": 2})
    assert [one.ballot_id for one in registry().decisions()] == [ballot_id]


def test_an_open_ballot_whose_snapshot_is_reorganised_away_is_stopped(coop: Coop) -> None:
    (voter,) = voters(coop, 1)
    ballot_id = opened(coop, voter.person)
    voted(coop, ballot_id, voter, 7_200)

    # The admission's own block and the one after it: empty ones of the same second would be the same blocks.
    ask(coop, "anvil_reorg", 2, [])
    let_close(coop)
    assert_stopped(coop, ballot_id, "no longer part of the chain")
