"""The web3 adapter, and the membership contract through it, against the embedded chain in a process of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from streamcoop.adapters import anchors, chain, members, rate_registry
from streamcoop.adapters.chain import SignedTransaction
from streamcoop.adapters.members import MemberClass, Membership
from tests.embedded.chain_process import ChainProcess, running_chain, write_key
from tests.officers import approved

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


def new_address() -> str:
    address: str = Account.create().address
    return address


def admit(membership: Membership) -> str:
    member = new_address()
    membership.broadcast(approved(membership, member, MemberClass.LISTENER).raw)
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


def test_admission__stored_then_sent_then_confirmed(membership: Membership) -> None:
    member = new_address()
    built = approved(membership, member, MemberClass.ARTIST)
    assert not membership.is_member(member)
    assert membership.receipt(built.hash) is None

    assert membership.broadcast(built.raw) == built.hash
    receipt = membership.receipt(built.hash)
    assert receipt is not None
    assert receipt.succeeded
    assert receipt.hash == built.hash
    assert membership.is_member(member)
    assert membership.receipt(built.hash, finality_depth=1) is None


def test_removal(membership: Membership) -> None:
    member = admit(membership)
    membership.broadcast(membership.build_removal(member).raw)
    assert not membership.is_member(member)


def test_broadcast__again__changes_nothing(membership: Membership) -> None:
    member = new_address()
    built = approved(membership, member, MemberClass.WORKER)
    assert [membership.broadcast(built.raw) for _ in range(3)] == [built.hash] * 3
    assert membership.next_nonce() == built.nonce + 1
    admit(membership)
    assert membership.broadcast(built.raw) == built.hash


def test_broadcast__nonce_used_by_another(membership: Membership) -> None:
    loser = approved(membership, new_address(), MemberClass.WORKER)
    admit(membership)
    with pytest.raises(chain.NonceTaken):
        membership.broadcast(loser.raw)
    assert membership.receipt(loser.hash) is None


def test_broadcast__refused_by_the_node(membership: Membership) -> None:
    too_early = approved(membership, new_address(), MemberClass.WORKER, nonce=membership.next_nonce() + 5)
    with pytest.raises(chain.TransactionRefused, match="nonce"):
        membership.broadcast(too_early.raw)


def test_build__refused_by_the_contract(coop: Coop, membership: Membership) -> None:
    member = admit(membership)
    with pytest.raises(chain.CallRefused, match="AlreadyMember"):
        approved(membership, member, MemberClass.ARTIST)
    with pytest.raises(chain.CallRefused, match="NotMember"):
        membership.build_removal(new_address())
    stranger = coop.connect(registrar_key=f"0x{Account.create().key.hex()}")
    with pytest.raises(chain.CallRefused, match="NotRegistrar"):
        approved(stranger, new_address(), MemberClass.ARTIST)


def test_build__without_a_key(coop: Coop) -> None:
    reader = coop.connect(registrar_key=None)
    assert not reader.is_member(new_address())
    with pytest.raises(chain.ReadOnly):
        approved(reader, new_address(), MemberClass.LISTENER)


def test_build__fee_beyond_reason(membership: Membership, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "FEE_PER_GAS_WEI_MAX", 1)
    with pytest.raises(chain.FeeTooHigh):
        approved(membership, new_address(), MemberClass.LISTENER)


def test_signed_transaction__is_for_this_chain_alone(coop: Coop, membership: Membership) -> None:
    built: SignedTransaction = approved(membership, new_address(), MemberClass.LISTENER, nonce=10**6)
    assert built.nonce == 10**6
    assert Account.recover_transaction(built.raw) == coop.registrar.address


# --- Snapshots ---


def test_snapshot__a_final_block_with_a_later_one(membership: Membership) -> None:
    for _ in range(3):
        admit(membership)
    head = membership._stamp("latest")
    deep = membership.snapshot_block(finality_depth=2)
    assert deep.number == head.number - 2
    assert membership._stamp("latest") == head

    newest = membership.snapshot_block(finality_depth=0)
    assert newest == head
    assert membership._stamp("latest").timestamp > newest.timestamp


def test_snapshot__of_a_chain_that_mines_by_itself_is_of_the_last_second_that_is_over(
    membership: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        admit(membership)
    monkeypatch.setattr(membership, "_mine", lambda: None)
    head = membership._stamp("latest")
    block = membership.snapshot_block(finality_depth=0)
    assert (block.number, block.timestamp) == (head.number - 1, head.timestamp - 1)
    assert membership.roll_at(block).block == block


def test_snapshot__chain_too_short(membership: Membership) -> None:
    with pytest.raises(members.SnapshotTooFresh):
        membership.snapshot_block(finality_depth=chain.FINALITY_DEPTH_MAX)


def test_errors__say_what_they_mean() -> None:
    named = [each for module in (chain, members, anchors, rate_registry) for each in vars(module).values()]
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
        member = admit(membership)
        block = membership.snapshot_block(finality_depth=0)
        roll = membership.roll_at(block)
        pending = approved(membership, new_address(), MemberClass.WORKER)
        process.kill()
        for call in (
            lambda: membership.is_member(member),
            lambda: membership.snapshot_block(finality_depth=0),
            lambda: membership.roll_at(block),
            lambda: membership.broadcast(pending.raw),
        ):
            with pytest.raises(chain.ChainUnavailable):
                call()
    with running_chain(tmp_path / "data", tmp_path / "key") as process:
        membership = Coop(process, registrar).connect()
        assert membership.roll_at(block) == roll
        membership.broadcast(pending.raw)
        receipt = membership.receipt(pending.hash)
        assert receipt is not None
        assert receipt.succeeded
