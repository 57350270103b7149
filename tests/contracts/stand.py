"""The chain in this process, on which the contracts are tested, and how they are called there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
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

ZERO = "0x" + "0" * 40
REGISTRAR: LocalAccount = Account.create()
STRANGER: str = Account.create().address


class InProcess(JSONBaseProvider):
    """web3.py straight to the chain's JSON-RPC, without HTTP."""

    def __init__(self, rpc: Rpc) -> None:
        super().__init__()
        self._rpc = rpc

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        return self.decode_rpc_response(self._rpc.answer(self.encode_rpc_request(method, params)))


@pytest.fixture(scope="module")
def web3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web3]:
    path = tmp_path_factory.mktemp("chain") / "chain.sqlite3"
    chain = LocalChain(path, PrivateKey(REGISTRAR.key), "log.example/coop")
    yield Web3(InProcess(Rpc(chain)))
    chain.close()


def deployed(web3: Web3, artifact: dict[str, Any], *arguments: Any) -> Contract:
    """A new contract, put there by the registrar."""
    constructor = web3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"]).constructor(*arguments)
    receipt = sent(web3, REGISTRAR, constructor)
    assert receipt["status"] == 1
    return web3.eth.contract(receipt["contractAddress"], abi=artifact["abi"])


def sent(web3: Web3, sender: LocalAccount, call: Any) -> Any:
    transaction = call.build_transaction(
        {"from": sender.address, "nonce": web3.eth.get_transaction_count(sender.address)}
    )
    return web3.eth.get_transaction_receipt(
        web3.eth.send_raw_transaction(sender.sign_transaction(transaction).raw_transaction)
    )


def fund(web3: Web3, account: LocalAccount) -> None:
    transaction = {
        "to": account.address,
        "value": 10**18,
        "gas": 21_000,
        "gasPrice": web3.eth.gas_price,
        "nonce": web3.eth.get_transaction_count(REGISTRAR.address),
        "chainId": web3.eth.chain_id,
    }
    web3.eth.send_raw_transaction(REGISTRAR.sign_transaction(transaction).raw_transaction)


def mine(web3: Web3) -> None:
    web3.provider.make_request(RPCEndpoint("evm_mine"), [])


def now(web3: Web3) -> int:
    return web3.eth.get_block("latest")["timestamp"]


@contextmanager
def refused(error: str, *arguments: Any) -> Iterator[None]:
    """The contract reverts with exactly this custom error, written as its signature, and these arguments."""
    types = [kind for kind in error.partition("(")[2].rstrip(")").split(",") if kind]
    expected = keccak(text=error)[:4] + encode(types, arguments)
    with pytest.raises(ContractCustomError) as caught:
        yield
    assert caught.value.data == f"0x{expected.hex()}"


def require_no_code_of_others(code: bytes) -> None:
    """Nothing in the deployed code runs code that stands elsewhere, or ends the contract."""
    # The compiler's note on itself stands behind the code, its length in the last two bytes.
    end = len(code) - 2 - int.from_bytes(code[-2:], "big")
    opcodes = set()
    position = 0
    while position < end:
        opcode = code[position]
        opcodes.add(opcode)
        position += 1 + (opcode - 0x5F if 0x60 <= opcode <= 0x7F else 0)
    callcode, delegatecall, selfdestruct = 0xF2, 0xF4, 0xFF
    assert not opcodes & {callcode, delegatecall, selfdestruct}
