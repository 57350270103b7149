"""The contract of anchors through web3, against the embedded chain in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from streamcoop.adapters import anchors, chain
from streamcoop.adapters.anchors import AnchorRecord, Anchors, read_anchors
from tests.embedded.chain_process import LOG_ORIGIN, ChainProcess, running_chain, write_key

ROOT, OTHER_ROOT = b"\x01" * 32, b"\x02" * 32
U64_MAX = 2**64 - 1


@dataclass(frozen=True)
class Stand:
    process: ChainProcess
    key: str

    def connect(self, **overrides: Any) -> Anchors:
        arguments: dict[str, Any] = {
            "rpc_url": self.process.rpc_url,
            "contract": self.process.anchor_contract,
            "chain_id": self.process.chain_id,
            "registrar_key": self.key,
        }
        return Anchors.connect(**{**arguments, **overrides})

    def read(self, **pinned: Any) -> list[AnchorRecord]:
        return read_anchors(self.process.rpc_url, self.process.anchor_contract, **pinned)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """One contract for the module: its tests anchor later and later epochs."""
    folder = tmp_path_factory.mktemp("chain")
    registrar = write_key(folder / "key")
    with running_chain(folder / "data", folder / "key") as process:
        yield Stand(process, f"0x{registrar.key.hex()}")


@pytest.fixture(scope="module")
def contract(stand: Stand) -> Anchors:
    return stand.connect()


def write(contract: Anchors, epoch: int, size: int, root: bytes = ROOT) -> None:
    built = contract.build_anchor(epoch, size, root, 7, 5)
    contract.broadcast(built.raw)
    receipt = contract.receipt(built.hash)
    assert receipt is not None
    assert receipt.succeeded


def test_nothing_anchored(stand: Stand, contract: Anchors) -> None:
    assert stand.read() == []
    assert contract.anchor_of(0) is None


def test_anchored__is_read_back(stand: Stand, contract: Anchors) -> None:
    write(contract, 3, 10)
    write(contract, 5, 20, OTHER_ROOT)
    first, second = stand.read(origin=LOG_ORIGIN)
    assert (first.epoch, first.size, first.root, first.gross_micro, first.royalties_micro) == (3, 10, ROOT, 7, 5)
    assert (second.epoch, second.size, second.root) == (5, 20, OTHER_ROOT)
    assert 0 < first.anchored_at <= second.anchored_at
    assert [contract.anchor_of(epoch) for epoch in (3, 4, 5)] == [first, None, second]


def test_build__refused_by_the_contract(stand: Stand, contract: Anchors) -> None:
    write(contract, 6, 20, OTHER_ROOT)
    refusals = {
        "AnchoredOtherwise": (6, 21, OTHER_ROOT),
        "EpochNotAscending": (4, 20, OTHER_ROOT),
        "LogShrunk": (7, 19, OTHER_ROOT),
        "LogForked": (7, 20, ROOT),
        "LogEmpty": (7, 0, ROOT),
    }
    for name, (epoch, size, root) in refusals.items():
        with pytest.raises(chain.CallRefused, match=name):
            contract.build_anchor(epoch, size, root, 7, 5)
    with pytest.raises(chain.CallRefused, match="AccessControlUnauthorizedAccount"):
        stand.connect(registrar_key=f"0x{Account.create().key.hex()}").build_anchor(7, 30, ROOT, 7, 5)
    with pytest.raises(chain.ReadOnly):
        stand.connect(registrar_key=None).build_anchor(7, 30, ROOT, 7, 5)


def test_read__more_than_one_request(stand: Stand, contract: Anchors, monkeypatch: pytest.MonkeyPatch) -> None:
    for epoch in range(10, 14):
        write(contract, epoch, 100 + epoch)
    whole = stand.read()
    monkeypatch.setattr(chain, "QUESTIONS_PER_REQUEST", 2)
    assert stand.read() == whole
    assert len(whole) > 4


def test_read__only_what_is_final(stand: Stand, contract: Anchors) -> None:
    write(contract, 20, 200)
    before = stand.read(finality_depth=1)
    assert stand.read()[:-1] == before
    with pytest.raises(ValueError, match="finality_depth"):
        stand.read(finality_depth=chain.FINALITY_DEPTH_MAX + 1)


def test_read__anything_but_what_is_pinned__refused(stand: Stand, contract: Anchors) -> None:
    _, code_hash = contract.check()
    stand.read(origin=LOG_ORIGIN, chain_id=stand.process.chain_id, code_hash=code_hash)
    with pytest.raises(anchors.AnchorsOfAnotherLog):
        stand.read(origin="log.example/other")
    with pytest.raises(chain.WrongChain):
        stand.read(chain_id=1)
    with pytest.raises(chain.ContractChanged):
        stand.read(code_hash="0x" + "ab" * 32)
    with pytest.raises(chain.ContractMissing):
        read_anchors(stand.process.rpc_url, Account.create().address)


def test_read__not_the_contract_of_anchors__refused(stand: Stand) -> None:
    with pytest.raises(chain.ChainError):
        read_anchors(stand.process.rpc_url, stand.process.membership_contract)


def test_read__a_number_without_bounds__refused(
    stand: Stand, contract: Anchors, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(contract, 30, 300)
    monkeypatch.setattr(anchors, "ANCHORS_MAX", 0)
    with pytest.raises(anchors.TooManyAnchors):
        stand.read()


def test_read__history_changes_meanwhile__refused(contract: Anchors, monkeypatch: pytest.MonkeyPatch) -> None:
    def forked(*_: Any) -> None:
        raise chain.ChainForked

    monkeypatch.setattr(contract, "_check_stands", forked)
    with pytest.raises(chain.ChainForked):
        contract.records()


def test_node_killed__unavailable_then_recovered(tmp_path: Path) -> None:
    registrar = write_key(tmp_path / "key")
    with running_chain(tmp_path / "data", tmp_path / "key") as process:
        stand = Stand(process, f"0x{registrar.key.hex()}")
        contract = stand.connect()
        write(contract, 1, 1)
        pending = contract.build_anchor(U64_MAX, U64_MAX, ROOT, U64_MAX, U64_MAX)
        known = stand.read()
        process.kill()
        for call in (contract.records, lambda: contract.anchor_of(1), lambda: contract.broadcast(pending.raw)):
            with pytest.raises(chain.ChainUnavailable):
                call()  # type: ignore[operator]
    with running_chain(tmp_path / "data", tmp_path / "key") as process:
        stand = Stand(process, f"0x{registrar.key.hex()}")
        assert stand.read() == known
        stand.connect().broadcast(pending.raw)
        assert stand.read()[-1].epoch == U64_MAX
