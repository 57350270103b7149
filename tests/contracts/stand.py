"""The chains on which the contracts are tested, py-evm in this process and anvil, and how they are called there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from eth._utils import headers
from eth_abi.abi import encode
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_keys.datatypes import PrivateKey
from eth_utils import keccak
from web3 import Web3
from web3.contract import Contract
from web3.exceptions import ContractCustomError
from web3.providers import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from streamcoop.embedded.chain.evm import LocalChain
from streamcoop.embedded.chain.rpc import Rpc
from tests import anvil
from tests.officers import founded_with

ZERO = "0x" + "0" * 40
REGISTRAR: LocalAccount = Account.create()
STRANGER: str = Account.create().address
GAS_MIN = 1_000_000
SECONDS_MAX = 100
"""How far `pass_time` goes, block by block."""


class InProcess(JSONBaseProvider):
    """web3.py straight to the chain's JSON-RPC, without HTTP."""

    def __init__(self, rpc: Rpc) -> None:
        super().__init__()
        self._rpc = rpc

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        return self.decode_rpc_response(self._rpc.answer(self.encode_rpc_request(method, params)))


@pytest.fixture(scope="module", params=["py-evm", pytest.param("anvil", marks=anvil.needed)])
def web3(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web3]:
    """A chain whose every block is a second after the one before; the registrar has money."""
    if request.param == "anvil":
        with anvil.running_anvil() as node:
            anvil.ask(node, "anvil_setBalance", REGISTRAR.address, hex(10**24))
            yield node
        return
    path = tmp_path_factory.mktemp("chain") / "chain.sqlite3"
    with pytest.MonkeyPatch.context() as patched:
        # The clock stands still, so that each block is exactly a second after its parent, as on the other chain.
        patched.setattr(headers, "eth_now", lambda: 0)
        chain = LocalChain(path, PrivateKey(bytes(REGISTRAR.key)), "log.example/coop", founded_with())
        yield Web3(InProcess(Rpc(chain)))
        chain.close()


@pytest.fixture(scope="module")
def own_anvil() -> Iterator[Web3]:
    """anvil, for what only a chain can show whose time and history are changed."""
    with anvil.running_anvil() as node:
        anvil.ask(node, "anvil_setBalance", REGISTRAR.address, hex(10**24))
        yield node


def artifact_of(file: Path) -> dict[str, Any]:
    artifact: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return artifact


def deployed(web3: Web3, artifact: dict[str, Any], *arguments: Any) -> Contract:
    """A new contract, put there by the registrar."""
    constructor = web3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"]).constructor(*arguments)
    receipt = sent(web3, REGISTRAR, constructor)
    assert receipt["status"] == 1
    return web3.eth.contract(receipt["contractAddress"], abi=artifact["abi"])


def deployed_code(web3: Web3, runtime: bytes) -> str:
    """Where a contract of exactly this code stands now."""
    # PUSH2 length, DUP1, PUSH1 where it begins, PUSH0, CODECOPY, PUSH0, RETURN.
    creation = b"\x61" + len(runtime).to_bytes(2, "big") + bytes.fromhex("80600a5f395ff3") + runtime
    signed = REGISTRAR.sign_transaction(
        {
            "data": creation,
            "gas": 1_000_000,
            "gasPrice": 2 * web3.eth.gas_price,
            "nonce": web3.eth.get_transaction_count(REGISTRAR.address),
            "chainId": web3.eth.chain_id,
        }
    )
    receipt = web3.eth.wait_for_transaction_receipt(web3.eth.send_raw_transaction(signed.raw_transaction))
    address = receipt["contractAddress"]
    assert address is not None
    assert bytes(web3.eth.get_code(address)) == runtime
    return address


def sent(web3: Web3, sender: LocalAccount, call: Any) -> Any:
    # Some nodes estimate in the newest block's second, where to write again is cheaper than it will be in the next.
    gas = max(2 * call.estimate_gas({"from": sender.address}), GAS_MIN)
    transaction = call.build_transaction(
        {"from": sender.address, "nonce": web3.eth.get_transaction_count(sender.address), "gas": gas}
    )
    return web3.eth.wait_for_transaction_receipt(
        web3.eth.send_raw_transaction(sender.sign_transaction(transaction).raw_transaction)
    )


def fund(web3: Web3, account: LocalAccount) -> None:
    transaction = {
        "to": account.address,
        "value": 10**18,
        "gas": 21_000,
        "gasPrice": 2 * web3.eth.gas_price,
        "nonce": web3.eth.get_transaction_count(REGISTRAR.address),
        "chainId": web3.eth.chain_id,
    }
    web3.eth.wait_for_transaction_receipt(
        web3.eth.send_raw_transaction(REGISTRAR.sign_transaction(transaction).raw_transaction)
    )


def mine(web3: Web3) -> None:
    web3.provider.make_request(RPCEndpoint("evm_mine"), [])


def now(web3: Web3) -> int:
    return web3.eth.get_block("latest")["timestamp"]


def pass_time(web3: Web3, until: int) -> None:
    """Blocks until the newest is of the second `until` or a later one: calls are made in its second."""
    for _ in range(SECONDS_MAX):
        if now(web3) >= until:
            return
        mine(web3)
    raise AssertionError(f"{until} is more than {SECONDS_MAX} blocks away")


@contextmanager
def refused(error: str, *arguments: Any) -> Iterator[None]:
    """The contract reverts with exactly this custom error, written as its signature, and these arguments."""
    types = [kind for kind in error.partition("(")[2].rstrip(")").split(",") if kind]
    expected = keccak(text=error)[:4] + encode(types, arguments)
    with pytest.raises(ContractCustomError) as caught:
        yield
    assert caught.value.data == f"0x{expected.hex()}"


def changing_functions(abi: list[dict[str, Any]]) -> list[str]:
    """What can be called to change anything."""
    return sorted(
        entry["name"]
        for entry in abi
        if entry["type"] == "function" and entry["stateMutability"] not in ("view", "pure")
    )


def require_no_code_of_others(code: bytes) -> None:
    """Nothing in the deployed code runs code that stands elsewhere in its own name, or ends the contract."""
    # The compiler's note on itself stands behind the code, its length in the last two bytes.
    end = len(code) - 2 - int.from_bytes(code[-2:], "big")
    opcodes = set()
    position = 0
    while position < end:
        opcode = code[position]
        opcodes.add(opcode)
        position += 1 + (opcode - 0x5F if 0x60 <= opcode <= 0x7F else 0)
    create, call, callcode, delegatecall, create2, selfdestruct = 0xF0, 0xF1, 0xF2, 0xF4, 0xF5, 0xFF
    assert not opcodes & {create, call, callcode, delegatecall, create2, selfdestruct}
