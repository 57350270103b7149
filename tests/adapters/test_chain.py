"""The web3 adapter, and the membership contract through it, against the embedded chain in a process of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from streamcoop.adapters import anchors, chain, members
from streamcoop.adapters.chain import BlockStamp, SignedTransaction
from streamcoop.adapters.members import MemberClass, Membership, MemberWeight
from tests.embedded.chain_process import ChainProcess, running_chain, write_key

SHORT_TIMEOUT_S = 0.2
WRONG_HASH = "0x" + "ab" * 32


@dataclass(frozen=True)
class Coop:
    process: ChainProcess
    registrar: LocalAccount

    def connect(self, **overrides: Any) -> Membership:
        arguments: dict[str, Any] = {
            "rpc_url": self.process.rpc_url,
            "contract": self.process.membership_contract,
            "chain_id": self.process.chain_id,
            "registrar_key": f"0x{self.registrar.key.hex()}",
        }
        return Membership.connect(**{**arguments, **overrides})


@pytest.fixture(scope="module")
def coop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coop]:
    folder = tmp_path_factory.mktemp("chain")
    registrar = write_key(folder / "key")
    with running_chain(folder / "data", folder / "key") as process:
        yield Coop(process, registrar)


@pytest.fixture(scope="module")
def membership(coop: Coop) -> Membership:
    return coop.connect()


@pytest.fixture(scope="module")
def everybody() -> list[str]:
    """Who was admitted by any test of this module."""
    return []


def new_address() -> str:
    address: str = Account.create().address
    return address


def admit(membership: Membership, everybody: list[str]) -> str:
    member = new_address()
    membership.broadcast(membership.build_admission(member, MemberClass.LISTENER).raw)
    everybody.append(member)
    return member


# --- Connecting ---


def test_connect__wrong_chain_id(coop: Coop) -> None:
    with pytest.raises(chain.WrongChain, match="expected 1"):
        coop.connect(chain_id=1)


def test_connect__no_contract_there(coop: Coop) -> None:
    with pytest.raises(chain.ContractMissing):
        coop.connect(contract=new_address())


def test_connect__code_hash(coop: Coop, membership: Membership) -> None:
    _, code_hash = membership.check()
    coop.connect(code_hash=code_hash)
    with pytest.raises(chain.ContractChanged):
        coop.connect(code_hash=WRONG_HASH)


def test_connect__no_address(coop: Coop) -> None:
    with pytest.raises(ValueError, match="0x12"):
        coop.connect(contract="0x12")


@pytest.fixture
def closed_port() -> int:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


def test_connect__node_down(coop: Coop, closed_port: int) -> None:
    with pytest.raises(chain.ChainUnavailable):
        coop.connect(rpc_url=f"http://127.0.0.1:{closed_port}")


def test_connect__node_never_answers(coop: Coop) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent, pytest.raises(chain.ChainUnavailable):
        coop.connect(rpc_url=f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=SHORT_TIMEOUT_S)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (200, b"{}"),
        (200, b'{"jsonrpc":"2.0","id":0,"error":"busy"}'),
        (200, b'{"jsonrpc":"2.0","id":0,"error":{"code":-32005,"message":"limit exceeded"}}'),
        (429, b""),
        (502, b""),
    ],
)
def test_connect__node_talks_nonsense(coop: Coop, status: int, body: bytes) -> None:
    class Nonsense(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Nonsense) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with pytest.raises(chain.ChainUnavailable):
                coop.connect(rpc_url=f"http://127.0.0.1:{server.server_address[1]}")
        finally:
            server.shutdown()
            thread.join()


# --- Admitting ---


def test_admission__stored_then_sent_then_confirmed(membership: Membership, everybody: list[str]) -> None:
    member = new_address()
    built = membership.build_admission(member, MemberClass.ARTIST)
    assert not membership.is_member(member)
    assert membership.receipt(built.hash) is None

    assert membership.broadcast(built.raw) == built.hash
    everybody.append(member)
    receipt = membership.receipt(built.hash)
    assert receipt is not None
    assert receipt.succeeded
    assert receipt.hash == built.hash
    assert membership.is_member(member)
    assert membership.receipt(built.hash, finality_depth=1) is None


def test_removal(membership: Membership, everybody: list[str]) -> None:
    member = admit(membership, everybody)
    membership.broadcast(membership.build_removal(member).raw)
    assert not membership.is_member(member)


def test_broadcast__again__changes_nothing(membership: Membership, everybody: list[str]) -> None:
    member = new_address()
    built = membership.build_admission(member, MemberClass.WORKER)
    everybody.append(member)
    assert [membership.broadcast(built.raw) for _ in range(3)] == [built.hash] * 3
    assert membership.next_nonce() == built.nonce + 1
    admit(membership, everybody)
    assert membership.broadcast(built.raw) == built.hash


def test_broadcast__nonce_used_by_another(membership: Membership, everybody: list[str]) -> None:
    loser = membership.build_admission(new_address(), MemberClass.WORKER)
    admit(membership, everybody)
    with pytest.raises(chain.NonceTaken):
        membership.broadcast(loser.raw)
    assert membership.receipt(loser.hash) is None


def test_broadcast__refused_by_the_node(membership: Membership) -> None:
    too_early = membership.build_admission(new_address(), MemberClass.WORKER, membership.next_nonce() + 5)
    with pytest.raises(chain.TransactionRefused, match="nonce"):
        membership.broadcast(too_early.raw)


def test_build__refused_by_the_contract(coop: Coop, membership: Membership, everybody: list[str]) -> None:
    member = admit(membership, everybody)
    with pytest.raises(chain.CallRefused, match="AlreadyMember"):
        membership.build_admission(member, MemberClass.ARTIST)
    with pytest.raises(chain.CallRefused, match="NotMember"):
        membership.build_removal(new_address())
    stranger = coop.connect(registrar_key=f"0x{Account.create().key.hex()}")
    with pytest.raises(chain.CallRefused, match="NotRegistrar"):
        stranger.build_admission(new_address(), MemberClass.ARTIST)


def test_build__without_a_key(coop: Coop) -> None:
    reader = coop.connect(registrar_key=None)
    assert not reader.is_member(new_address())
    with pytest.raises(chain.ReadOnly):
        reader.build_admission(new_address(), MemberClass.LISTENER)


def test_build__fee_beyond_reason(membership: Membership, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "FEE_PER_GAS_WEI_MAX", 1)
    with pytest.raises(chain.FeeTooHigh):
        membership.build_admission(new_address(), MemberClass.LISTENER)


def test_signed_transaction__is_for_this_chain_alone(coop: Coop, membership: Membership) -> None:
    built: SignedTransaction = membership.build_admission(new_address(), MemberClass.LISTENER, nonce=10**6)
    assert built.nonce == 10**6
    assert Account.recover_transaction(built.raw) == coop.registrar.address


# --- Weights ---


def test_weights__add_up_and_stay(membership: Membership, everybody: list[str]) -> None:
    members = [admit(membership, everybody) for _ in range(3)]
    outsider = new_address()
    block = membership.snapshot_block(finality_depth=0)
    asked = [*everybody, outsider]

    weights = membership.weights_at(block, asked)
    assert weights.block == block
    assert weights.contract == membership.address
    assert (weights.chain_id, weights.code_hash) == membership.check()
    assert [member.address for member in weights.members] == asked
    assert weights.total == sum(member.weight for member in weights.members) >= len(members)
    assert MemberWeight(members[0], 1) in weights.members
    assert weights.members[-1] == MemberWeight(outsider, 0)

    membership.broadcast(membership.build_removal(members[0]).raw)
    admit(membership, everybody)
    assert membership.weights_at(block, asked) == weights


def test_weights__more_than_one_request(
    membership: Membership, everybody: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    admit(membership, everybody)
    block = membership.snapshot_block(finality_depth=0)
    whole = membership.weights_at(block, everybody)
    monkeypatch.setattr(chain, "QUESTIONS_PER_REQUEST", 2)
    assert membership.weights_at(block, everybody) == whole


def test_weights__somebody_missing_or_twice(membership: Membership, everybody: list[str]) -> None:
    admit(membership, everybody)
    block = membership.snapshot_block(finality_depth=0)
    with pytest.raises(members.WeightsDoNotAddUp):
        membership.weights_at(block, everybody[:-1])
    with pytest.raises(members.WeightsDoNotAddUp):
        membership.weights_at(block, [*everybody, everybody[-1]])


def test_weights__block_of_another_history(membership: Membership, everybody: list[str]) -> None:
    block = membership.snapshot_block(finality_depth=0)
    with pytest.raises(chain.ChainForked):
        membership.weights_at(replace(block, hash=WRONG_HASH), everybody)


def test_weights__history_changes_while_reading(
    membership: Membership, everybody: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    block = membership.snapshot_block(finality_depth=0)
    read = membership._past_votes

    def fork_after_reading(*arguments: Any) -> list[int]:
        votes = read(*arguments)
        stamp = membership._stamp
        monkeypatch.setattr(membership, "_stamp", lambda number: replace(stamp(number), hash=WRONG_HASH))
        return votes

    monkeypatch.setattr(membership, "_past_votes", fork_after_reading)
    with pytest.raises(chain.ChainForked):
        membership.weights_at(block, everybody)


def test_weights__of_the_newest_block(membership: Membership, everybody: list[str]) -> None:
    membership.snapshot_block(finality_depth=0)
    newest: BlockStamp = membership._stamp("latest")
    with pytest.raises(members.SnapshotTooFresh):
        membership.weights_at(newest, everybody)


def test_snapshot__a_final_block_with_a_later_one(membership: Membership, everybody: list[str]) -> None:
    for _ in range(3):
        admit(membership, everybody)
    head = membership._stamp("latest")
    deep = membership.snapshot_block(finality_depth=2)
    assert deep.number == head.number - 2
    assert membership._stamp("latest") == head

    newest = membership.snapshot_block(finality_depth=0)
    assert newest == head
    assert membership._stamp("latest").timestamp > newest.timestamp


def test_snapshot__chain_too_short_or_idle(membership: Membership, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(members.SnapshotTooFresh):
        membership.snapshot_block(finality_depth=chain.FINALITY_DEPTH_MAX)
    monkeypatch.setattr(membership, "_mine", lambda: None)
    with pytest.raises(members.SnapshotTooFresh):
        membership.snapshot_block(finality_depth=0)


def test_errors__say_what_they_mean() -> None:
    named = [*vars(chain).values(), *vars(members).values(), *vars(anchors).values()]
    errors = {error for error in named if isinstance(error, type) and issubclass(error, chain.ChainError)}
    assert len(errors) > 10
    for error in errors:
        assert error.__doc__
        assert str(error("the detail")) == f"{error.__doc__} (the detail)"


# --- A node that goes away ---


def test_node_killed__unavailable_then_recovered(tmp_path: Path) -> None:
    registrar = write_key(tmp_path / "key")
    with running_chain(tmp_path / "data", tmp_path / "key") as process:
        coop = Coop(process, registrar)
        membership = coop.connect()
        member = admit(membership, [])
        block = membership.snapshot_block(finality_depth=0)
        weights = membership.weights_at(block, [member])
        pending = membership.build_admission(new_address(), MemberClass.WORKER)
        process.kill()
        for call in (
            lambda: membership.is_member(member),
            lambda: membership.snapshot_block(finality_depth=0),
            lambda: membership.weights_at(block, [member]),
            lambda: membership.broadcast(pending.raw),
        ):
            with pytest.raises(chain.ChainUnavailable):
                call()
    with running_chain(tmp_path / "data", tmp_path / "key") as process:
        membership = Coop(process, registrar).connect()
        assert membership.weights_at(block, [member]) == weights
        membership.broadcast(pending.raw)
        receipt = membership.receipt(pending.hash)
        assert receipt is not None
        assert receipt.succeeded
