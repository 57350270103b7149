"""A chain of one machine: py-evm behind JSON-RPC on the loopback interface, kept in one SQLite file.

For development, tests and small co-ops that do not use a public chain yet. It is what a node is to the rest of the
service and nothing more: an address that answers JSON-RPC, chosen by settings.

What it promises:

- Every transaction is mined at once, alone in its block, and is final: there are no reorganisations, so `latest`,
  `safe`, `finalized` and `pending` name the same block. A transaction whose nonce is too high is refused, not queued.
- What was answered is on disk (`synchronous=FULL`). The file is py-evm's own database, so opening it again replays
  nothing and finds the same blocks, whatever happened to the process before.
- A block's time is that of the clock or one second after its parent's, whichever is later. A burst of transactions
  therefore runs ahead of the clock: nothing may compare the two.
- Calls see the block they name, its time included, as on any other node: a contract that refuses to look at the
  present second (ERC-5805) refuses it here too. `evm_mine` adds an empty block.

Run: `python -m streamcoop.embedded.chain --data DIR --port PORT --registrar-key-file FILE`. When it is ready it writes
one line of JSON to standard output: `rpc_url`, `chain_id`, `membership_contract`. SIGTERM and SIGINT end it.
"""

from __future__ import annotations

import argparse
import inspect
import json
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import rlp  # type: ignore[import-untyped]
from eth.abc import BlockAPI, BlockHeaderAPI, ComputationAPI, SignedTransactionAPI
from eth.chains.base import MiningChain
from eth.consensus.applier import ConsensusApplier
from eth.consensus.noproof import NoProofConsensus
from eth.db.atomic import AtomicDB
from eth.db.backends.base import BaseDB
from eth.exceptions import HeaderNotFound, PyEVMError, Revert, TransactionNotFound, VMError
from eth.typing import AccountDetails, HeaderParams
from eth.vm.forks.cancun import CancunVM
from eth.vm.spoof import SpoofTransaction
from eth_keys.datatypes import PrivateKey
from eth_typing import Address, BlockNumber, Hash32
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

log = logging.getLogger(__name__)

CHAIN_ID = 31_337
"""The number that development chains use by custom, and that wallets know as such."""

HOST = "127.0.0.1"
CHAIN_FILE = "chain.sqlite3"
CHAIN_FORMAT = 1
LOCK_WAIT_S_MAX = 2.0
"""How long to wait for a process that is still letting go of the chain file."""

CONTRACT_FILE = Path(__file__).resolve().parents[2] / "contracts" / "abi" / "CoopMembership.json"

REGISTRAR_BALANCE_WEI = 1_000_000 * 10**18
BLOCK_GAS_MAX = 30_000_000
CALL_GAS_MAX = 10_000_000
DEPLOYMENT_GAS_MAX = 5_000_000
DYNAMIC_FEE_TYPE = 2
PRIORITY_FEE_WEI = 10**9
FIRST_GAS_PRICE_WEI = 10 * 10**9
"""Of the founding transaction; above the first block's base fee, which is 1 gwei."""

BODY_BYTES_MAX = 1 << 20
BATCH_CALLS_MAX = 200
CONNECTIONS_MAX = 256
IDLE_S_MAX = 60
STOP_POLL_S = 0.05
"""How often the listening thread looks whether it should stop."""
LOG_BLOCKS_MAX = 10_000
LOG_ENTRIES_MAX = 10_000
FEE_HISTORY_BLOCKS_MAX = 1_024

# Error codes: JSON-RPC 2.0, section 5.1, and what Ethereum nodes add to them.
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
REFUSED = -32000
REVERTED = 3

Json = dict[str, Any]


class ChainFileInUse(Exception):
    """Another process keeps this chain."""


class ChainFileUnknown(Exception):
    """The chain file was written by another version and cannot be read by this one."""


class RegistrarKeyInvalid(Exception):
    """The registrar's key file does not hold one 32-byte key in hexadecimal."""


class RegistrarChanged(Exception):
    """The chain was founded with another registrar's key than the one given now."""


class RpcError(Exception):
    """An answer that is an error: its code, its message, and the data a reverted call left."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def as_json(self) -> Json:
        error: Json = {"code": self.code, "message": self.message}
        return error if self.data is None else {**error, "data": self.data}


# --- The file ---------------------------------------------------------------------------------------------------------


class ChainFile(BaseDB):
    """py-evm's key-value database in one SQLite table, held by one process at a time. Not thread-safe.

    Raises `ChainFileInUse` and `ChainFileUnknown`.
    """

    def __init__(self, path: Path) -> None:
        self._sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=LOCK_WAIT_S_MAX)
        try:
            self._open()
            _sync_folder(path.parent)
        except BaseException:
            self._sql.close()
            raise

    def _open(self) -> None:
        # Exclusive: two processes that each add blocks would each overwrite the other's.
        self._sql.execute("PRAGMA locking_mode = EXCLUSIVE")
        try:
            self._sql.execute("PRAGMA journal_mode = WAL")
            self._sql.execute("PRAGMA synchronous = FULL")
            self._sql.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise ChainFileInUse(str(error)) from error
        (version,) = self._sql.execute("PRAGMA user_version").fetchone()
        if version not in (0, CHAIN_FORMAT):
            raise ChainFileUnknown(f"format {version}, expected {CHAIN_FORMAT}")
        self._sql.execute("CREATE TABLE IF NOT EXISTS node (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
        self._sql.execute(f"PRAGMA user_version = {CHAIN_FORMAT}")
        self._sql.execute("COMMIT")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside is on disk at the end, or nothing of it is."""
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._sql.execute("COMMIT")
        except BaseException:
            # A full disk may have ended the transaction already.
            if self._sql.in_transaction:
                self._sql.execute("ROLLBACK")
            raise

    def is_empty(self) -> bool:
        return self._sql.execute("SELECT 1 FROM node LIMIT 1").fetchone() is None

    def close(self) -> None:
        self._sql.close()

    def __getitem__(self, key: bytes) -> bytes:
        row = self._sql.execute("SELECT value FROM node WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        value: bytes = row[0]
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._sql.execute("INSERT OR REPLACE INTO node VALUES (?, ?)", (key, value))

    def __delitem__(self, key: bytes) -> None:
        if self._sql.execute("DELETE FROM node WHERE key = ?", (key,)).rowcount == 0:
            raise KeyError(key)

    def _exists(self, key: bytes) -> bool:
        return self._sql.execute("SELECT 1 FROM node WHERE key = ?", (key,)).fetchone() is not None


def _sync_folder(folder: Path) -> None:
    """The folder's entries are on disk when this returns: a synced file under a lost name would be lost too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- The chain --------------------------------------------------------------------------------------------------------


class _Blocks(MiningChain):
    chain_id = CHAIN_ID
    vm_configuration = ConsensusApplier(NoProofConsensus).amend_vm_configuration(((BlockNumber(0), CancunVM),))

    def create_header_from_parent(self, parent_header: BlockHeaderAPI, **header_params: Any) -> BlockHeaderAPI:
        # py-evm would let the gas limit drift towards a target of its own.
        return super().create_header_from_parent(
            parent_header, **{**header_params, "gas_limit": parent_header.gas_limit}
        )


@dataclass(frozen=True)
class Account:
    """An address at the end of a block."""

    balance_wei: int
    nonce: int
    code: bytes


@dataclass(frozen=True)
class Call:
    """A message to the chain that nobody signed. `to` is empty for a contract's creation."""

    sender: bytes
    to: bytes
    value: int
    data: bytes
    gas: int


def _spoofed(call: Call, state: Any) -> Any:
    unsigned = CancunVM.create_unsigned_transaction(
        nonce=state.get_nonce(call.sender),
        gas_price=0,
        gas=call.gas,
        to=Address(call.to),
        value=call.value,
        data=call.data,
    )
    return SpoofTransaction(unsigned, from_=call.sender)


def _type(transaction: SignedTransactionAPI) -> int:
    """The EIP-2718 type: 0 is legacy, 1 has an access list, 2 a dynamic fee; this chain carries no others."""
    return int(getattr(transaction, "type_id", None) or 0)


def _created_address(transaction: SignedTransactionAPI) -> bytes:
    """Where a contract that `transaction` creates comes to stand."""
    return keccak(rlp.encode([transaction.sender, transaction.nonce]))[12:]


class LocalChain:
    """The blocks and their state. Every public method may be called from any thread; one at a time is served."""

    def __init__(self, path: Path, registrar_key: PrivateKey) -> None:
        """Opens the chain kept at `path`, or founds it: the registrar's money and the contract, in one transaction.

        Raises `RegistrarChanged`, `ChainFileInUse` and `ChainFileUnknown`.
        """
        self._lock = threading.Lock()
        self._file = ChainFile(path)
        self._db = AtomicDB(self._file)
        registrar = Address(registrar_key.public_key.to_canonical_address())
        try:
            if self._file.is_empty():
                with self._file.transaction():
                    self._found(registrar_key)
            self._blocks = _Blocks(self._db)
            founding = self._transactions(self._blocks.get_canonical_block_header_by_number(BlockNumber(1)))[0]
            if founding.sender != registrar:
                raise RegistrarChanged(f"the chain's registrar is {to_checksum_address(founding.sender)}")
        except BaseException:
            self._file.close()
            raise
        self.membership_contract = to_checksum_address(_created_address(founding))

    def _found(self, registrar_key: PrivateKey) -> None:
        registrar = registrar_key.public_key.to_canonical_address()
        account: AccountDetails = {"balance": REGISTRAR_BALANCE_WEI, "nonce": 0, "code": b"", "storage": {}}
        header: dict[str, HeaderParams] = {"difficulty": 0, "gas_limit": BLOCK_GAS_MAX, "timestamp": int(time.time())}
        _Blocks.from_genesis(self._db, header, {Address(registrar): account})
        blocks = _Blocks(self._db)
        bytecode = _hex_bytes(json.loads(CONTRACT_FILE.read_text(encoding="utf-8"))["bytecode"])
        unsigned = blocks.create_unsigned_transaction(
            nonce=0,
            gas_price=FIRST_GAS_PRICE_WEI,
            gas=DEPLOYMENT_GAS_MAX,
            to=Address(b""),
            value=0,
            data=bytecode + registrar.rjust(32, b"\0"),
        )
        deployment = unsigned.as_signed_transaction(registrar_key, chain_id=CHAIN_ID)
        _, _, (computation,) = blocks.mine_all([deployment], parent_header=blocks.get_canonical_head())
        computation.raise_if_error()

    def close(self) -> None:
        """Waits for the call under way and lets go of the file."""
        with self._lock:
            self._file.close()

    def mine(self, transactions: tuple[SignedTransactionAPI, ...] = ()) -> None:
        """Adds one block, on disk when this returns. Raises eth_utils' ValidationError and adds none."""
        with self._lock:
            try:
                with self._file.transaction():
                    self._blocks.mine_all(transactions, parent_header=self._blocks.get_canonical_head())
            except BaseException:
                # What the chain object remembers of a block that was rolled back must go too.
                self._blocks = _Blocks(self._db)
                raise

    def decode(self, raw: bytes) -> SignedTransactionAPI:
        """The signed transaction in `raw`. Raises eth_utils' ValidationError."""
        try:
            transaction = CancunVM.get_transaction_builder().decode(raw)
        except (rlp.exceptions.RLPException, PyEVMError, ValueError, TypeError, IndexError) as error:
            raise ValidationError(f"not a transaction: {error}") from error
        if transaction.chain_id != CHAIN_ID:
            raise ValidationError(f"signed for chain {transaction.chain_id}, this is chain {CHAIN_ID}")
        if _type(transaction) > DYNAMIC_FEE_TYPE:
            raise ValidationError(f"transactions of type {_type(transaction)} are not carried")
        if transaction.max_fee_per_gas < transaction.max_priority_fee_per_gas:
            raise ValidationError("max priority fee per gas is higher than max fee per gas")
        return transaction

    def header(self, number: int | None) -> BlockHeaderAPI:
        """The header of block `number`, or of the newest. Raises py-evm's HeaderNotFound."""
        with self._lock:
            if number is None:
                return self._blocks.get_canonical_head()
            return self._blocks.get_canonical_block_header_by_number(BlockNumber(number))

    def header_by_hash(self, block_hash: bytes) -> BlockHeaderAPI:
        """Raises py-evm's HeaderNotFound."""
        with self._lock:
            return self._blocks.get_block_header_by_hash(Hash32(block_hash))

    def block(self, header: BlockHeaderAPI) -> BlockAPI:
        with self._lock:
            return self._blocks.get_block_by_header(header)

    def block_of(self, transaction_hash: bytes) -> BlockAPI:
        """The block whose only transaction has this hash. Raises py-evm's TransactionNotFound."""
        with self._lock:
            number, _ = self._blocks.get_canonical_transaction_index(Hash32(transaction_hash))
            return self._blocks.get_canonical_block_by_number(number)

    def receipt(self, block: BlockAPI) -> Any:
        """The receipt of the block's only transaction."""
        with self._lock:
            return block.get_receipts(self._blocks.chaindb)[0]

    def account(self, address: bytes, header: BlockHeaderAPI) -> Account:
        """What stands at `address` at the end of the block."""
        with self._lock:
            state = self._blocks.get_vm(header).state
            key = Address(address)
            return Account(state.get_balance(key), state.get_nonce(key), state.get_code(key))

    def call(self, call: Call, header: BlockHeaderAPI) -> ComputationAPI:
        """What `call` does on the state and at the time of the block, for nothing. Changes nothing."""
        with self._lock:
            state = self._free_state(header)
            computation: ComputationAPI = state.costless_execute_transaction(_spoofed(call, state))
            return computation

    def estimate_gas(self, call: Call) -> int:
        """Gas that `call` needs in the next block. Raises py-evm's VMError when it fails with any amount."""
        with self._lock:
            # In the next block, not in the newest: writing to the same second twice is cheaper than it will be.
            state = self._free_state(self._blocks.create_header_from_parent(self._blocks.get_canonical_head()))
            return self._blocks.gas_estimator(state, _spoofed(call, state))

    def _free_state(self, header: BlockHeaderAPI) -> Any:
        return self._blocks.get_vm(header.copy(base_fee_per_gas=0)).state

    def _transactions(self, header: BlockHeaderAPI) -> tuple[SignedTransactionAPI, ...]:
        return tuple(self._blocks.get_block_by_header(header).transactions)


# --- JSON-RPC ---------------------------------------------------------------------------------------------------------
#
# Ethereum's execution API: quantities are hexadecimal without leading zeros, data are hexadecimal with all of them.


def _hex(value: int | bytes) -> str:
    return hex(value) if isinstance(value, int) else f"0x{value.hex()}"


def _hex_bytes(value: Any, length: int | None = None) -> bytes:
    try:
        if not value.startswith("0x"):
            raise ValueError("no 0x")
        decoded = bytes.fromhex(value[2:])
    except (AttributeError, ValueError) as error:
        raise RpcError(INVALID_PARAMS, f"not hexadecimal data: {value!r:.80}") from error
    if length is not None and len(decoded) != length:
        raise RpcError(INVALID_PARAMS, f"expected {length} bytes, not {len(decoded)}")
    return decoded


def _quantity(value: Any) -> int:
    try:
        number = int(value, 16)
    except (TypeError, ValueError) as error:
        raise RpcError(INVALID_PARAMS, f"not a hexadecimal number: {value!r:.80}") from error
    if not 0 <= number < 1 << 256:
        raise RpcError(INVALID_PARAMS, "number out of range")
    return number


def _address(value: Any) -> bytes:
    return _hex_bytes(value, 20)


def _block_json(block: BlockAPI, transactions_in_full: bool) -> Json:
    header: Any = block.header
    transactions = block.transactions
    return {
        "number": _hex(header.block_number),
        "hash": _hex(header.hash),
        "parentHash": _hex(header.parent_hash),
        "timestamp": _hex(header.timestamp),
        "stateRoot": _hex(header.state_root),
        "transactionsRoot": _hex(header.transaction_root),
        "receiptsRoot": _hex(header.receipt_root),
        "logsBloom": _hex(header.bloom.to_bytes(256, "big")),
        "sha3Uncles": _hex(header.uncles_hash),
        "uncles": [],
        "miner": _hex(header.coinbase),
        "difficulty": _hex(header.difficulty),
        "nonce": _hex(header.nonce),
        "mixHash": _hex(header.mix_hash),
        "extraData": _hex(header.extra_data),
        "gasLimit": _hex(header.gas_limit),
        "gasUsed": _hex(header.gas_used),
        "baseFeePerGas": _hex(header.base_fee_per_gas),
        "size": _hex(len(rlp.encode(block))),
        "transactions": [_transaction_json(block)]
        if transactions and transactions_in_full
        else [_hex(transaction.hash) for transaction in transactions],
    }


def _gas_price(transaction: SignedTransactionAPI, header: Any) -> int:
    price: int = min(transaction.max_fee_per_gas, transaction.max_priority_fee_per_gas + header.base_fee_per_gas)
    return price


def _place_json(block: BlockAPI) -> Json:
    return {"blockHash": _hex(block.hash), "blockNumber": _hex(block.number), "transactionIndex": "0x0"}


def _transaction_json(block: BlockAPI) -> Json:
    transaction: Any = block.transactions[0]
    kind = _type(transaction)
    signature = transaction.y_parity if kind else transaction.v
    fields = {
        **_place_json(block),
        "type": _hex(kind),
        "chainId": _hex(transaction.chain_id),
        "hash": _hex(transaction.hash),
        "from": to_checksum_address(transaction.sender),
        "to": to_checksum_address(transaction.to) if transaction.to else None,
        "nonce": _hex(transaction.nonce),
        "gas": _hex(transaction.gas),
        "gasPrice": _hex(_gas_price(transaction, block.header)),
        "value": _hex(transaction.value),
        "input": _hex(transaction.data),
        "v": _hex(signature),
        "r": _hex(transaction.r),
        "s": _hex(transaction.s),
    }
    if kind:
        fields["accessList"] = [
            {"address": _hex(address), "storageKeys": [_hex(slot.to_bytes(32, "big")) for slot in slots]}
            for address, slots in transaction.access_list
        ]
    if kind == DYNAMIC_FEE_TYPE:
        fields["maxFeePerGas"] = _hex(transaction.max_fee_per_gas)
        fields["maxPriorityFeePerGas"] = _hex(transaction.max_priority_fee_per_gas)
    return fields


def _logs_json(block: BlockAPI, receipt: Any) -> list[Json]:
    return [
        {
            **_place_json(block),
            "transactionHash": _hex(block.transactions[0].hash),
            "logIndex": _hex(index),
            "address": to_checksum_address(entry.address),
            "topics": [_hex(topic.to_bytes(32, "big")) for topic in entry.topics],
            "data": _hex(entry.data),
            "removed": False,
        }
        for index, entry in enumerate(receipt.logs)
    ]


def _receipt_json(block: BlockAPI, receipt: Any) -> Json:
    transaction: Any = block.transactions[0]
    return {
        **_place_json(block),
        "transactionHash": _hex(transaction.hash),
        "type": _hex(_type(transaction)),
        "from": to_checksum_address(transaction.sender),
        "to": to_checksum_address(transaction.to) if transaction.to else None,
        "contractAddress": None if transaction.to else to_checksum_address(_created_address(transaction)),
        "status": "0x1" if receipt.state_root == b"\x01" else "0x0",
        "gasUsed": _hex(receipt.gas_used),
        "cumulativeGasUsed": _hex(receipt.gas_used),
        "effectiveGasPrice": _hex(_gas_price(transaction, block.header)),
        "logs": _logs_json(block, receipt),
        "logsBloom": _hex(receipt.bloom.to_bytes(256, "big")),
    }


class Rpc:
    """The methods of the execution API that the service uses; each returns what JSON-RPC calls `result`."""

    def __init__(self, chain: LocalChain) -> None:
        self._chain = chain
        self._methods: dict[str, Callable[..., Any]] = {
            "web3_clientVersion": lambda: "StreamCoop/py-evm",
            "net_version": lambda: str(CHAIN_ID),
            "eth_chainId": lambda: _hex(CHAIN_ID),
            "eth_blockNumber": lambda: _hex(self._chain.header(None).block_number),
            "eth_getBlockByNumber": self.get_block_by_number,
            "eth_getBlockByHash": self.get_block_by_hash,
            "eth_getBalance": lambda address, block="latest": _hex(self._account(address, block).balance_wei),
            "eth_getTransactionCount": lambda address, block="latest": _hex(self._account(address, block).nonce),
            "eth_getCode": lambda address, block="latest": _hex(self._account(address, block).code),
            "eth_gasPrice": lambda: _hex(self._base_fee(None) + PRIORITY_FEE_WEI),
            "eth_maxPriorityFeePerGas": lambda: _hex(PRIORITY_FEE_WEI),
            "eth_feeHistory": self.fee_history,
            "eth_call": self.call,
            "eth_estimateGas": self.estimate_gas,
            "eth_sendRawTransaction": self.send_raw_transaction,
            "eth_getTransactionByHash": self.get_transaction_by_hash,
            "eth_getTransactionReceipt": self.get_transaction_receipt,
            "eth_getLogs": self.get_logs,
            "evm_mine": self.mine,
        }

    def answer(self, body: bytes) -> bytes:
        """The response to one JSON-RPC 2.0 request or to a batch of them. Never raises."""
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            response: Any = _error_response(None, RpcError(PARSE_ERROR, "not JSON"))
        else:
            response = self._answer_batch(request) if isinstance(request, list) else self._answer_one(request)
        return json.dumps(response, separators=(",", ":")).encode()

    def _answer_batch(self, requests: list[Any]) -> Any:
        if not 1 <= len(requests) <= BATCH_CALLS_MAX:
            return _error_response(None, RpcError(INVALID_REQUEST, f"a batch has 1 to {BATCH_CALLS_MAX} calls"))
        return [self._answer_one(request) for request in requests]

    def _answer_one(self, request: Any) -> Json:
        if not isinstance(request, dict):
            return _error_response(None, RpcError(INVALID_REQUEST, "not a request"))
        try:
            result = self._dispatch(request.get("method"), request.get("params", []))
        except RpcError as error:
            return _error_response(request.get("id"), error)
        except Exception:
            # One broken call must not end the chain for everybody else; its cause is in the log.
            log.exception("call of %r failed", request.get("method"))
            return _error_response(request.get("id"), RpcError(INTERNAL_ERROR, "internal error"))
        return {"jsonrpc": "2.0", "id": request.get("id"), "result": result}

    def _dispatch(self, name: Any, params: Any) -> Any:
        method = self._methods.get(name) if isinstance(name, str) else None
        if method is None:
            raise RpcError(METHOD_NOT_FOUND, f"the method {name!r:.80} does not exist")
        if not isinstance(params, list):
            raise RpcError(INVALID_PARAMS, "parameters go by position")
        try:
            arguments = inspect.signature(method).bind(*params)
        except TypeError as error:
            raise RpcError(INVALID_PARAMS, str(error)) from error
        try:
            return method(*arguments.args)
        except HeaderNotFound as error:
            raise RpcError(REFUSED, "header not found") from error
        except ValidationError as error:
            raise RpcError(REFUSED, str(error)) from error

    def _header(self, block: Any) -> BlockHeaderAPI:
        """The header that a tag, a number, or an EIP-1898 object names."""
        if block in ("latest", "pending", "safe", "finalized", None):
            return self._chain.header(None)
        if block == "earliest":
            return self._chain.header(0)
        if isinstance(block, dict):
            if "blockHash" in block:
                return self._chain.header_by_hash(_hex_bytes(block["blockHash"], 32))
            block = block.get("blockNumber")
        return self._chain.header(_quantity(block))

    def _account(self, address: Any, block: Any) -> Account:
        return self._chain.account(_address(address), self._header(block))

    def _base_fee(self, block: Any) -> int:
        header: Any = self._header(block)
        fee: int = header.base_fee_per_gas
        return fee

    def get_block_by_number(self, block: Any, transactions_in_full: bool = False) -> Json | None:
        try:
            return _block_json(self._chain.block(self._header(block)), transactions_in_full)
        except HeaderNotFound:
            return None

    def get_block_by_hash(self, block_hash: Any, transactions_in_full: bool = False) -> Json | None:
        return self.get_block_by_number({"blockHash": block_hash}, transactions_in_full)

    def get_transaction_by_hash(self, transaction_hash: Any) -> Json | None:
        try:
            return _transaction_json(self._chain.block_of(_hex_bytes(transaction_hash, 32)))
        except TransactionNotFound:
            return None

    def get_transaction_receipt(self, transaction_hash: Any) -> Json | None:
        try:
            block = self._chain.block_of(_hex_bytes(transaction_hash, 32))
        except TransactionNotFound:
            return None
        return _receipt_json(block, self._chain.receipt(block))

    def call(self, call: Any, block: Any = "latest") -> str:
        computation = self._chain.call(_call(call), self._header(block))
        if computation.is_error:
            raise _call_error(computation.error)
        return _hex(computation.output)

    def estimate_gas(self, call: Any, block: Any = "latest") -> str:
        # Whatever block is asked for: a transaction can only ever run in the next one.
        self._header(block)
        try:
            return _hex(self._chain.estimate_gas(_call(call)))
        except VMError as error:
            raise _call_error(error) from error

    def send_raw_transaction(self, raw: Any) -> str:
        transaction = self._chain.decode(_hex_bytes(raw))
        nonce = self._chain.account(transaction.sender, self._chain.header(None)).nonce
        if transaction.nonce < nonce:
            raise RpcError(REFUSED, f"nonce too low: next nonce {nonce}, tx nonce {transaction.nonce}")
        self._chain.mine((transaction,))
        return _hex(transaction.hash)

    def mine(self) -> str:
        self._chain.mine()
        return "0x0"

    def fee_history(self, count: Any, newest: Any, percentiles: Any = ()) -> Json:
        if not isinstance(percentiles, list | tuple | None):
            raise RpcError(INVALID_PARAMS, "expected a list of percentiles")
        newest_number = self._header(newest).block_number
        wanted = count if isinstance(count, int) else _quantity(count)
        first = max(0, newest_number + 1 - min(wanted, FEE_HISTORY_BLOCKS_MAX))
        headers: list[Any] = [self._chain.header(number) for number in range(first, newest_number + 1)]
        return {
            "oldestBlock": _hex(first),
            "baseFeePerGas": [_hex(header.base_fee_per_gas) for header in (*headers, headers[-1])],
            "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
            "reward": [[_hex(PRIORITY_FEE_WEI)] * len(percentiles or ()) for _ in headers],
        }

    def get_logs(self, wanted: Any) -> list[Json]:
        if not isinstance(wanted, dict) or not isinstance(wanted.get("topics"), list | None):
            raise RpcError(INVALID_PARAMS, "expected a filter")
        entries: list[Json] = []
        for header in self._headers(wanted):
            block = self._chain.block(header)
            if block.transactions:
                logs = _logs_json(block, self._chain.receipt(block))
                entries += [entry for entry in logs if _matches(entry, wanted)]
            if len(entries) > LOG_ENTRIES_MAX:
                raise RpcError(REFUSED, f"more than {LOG_ENTRIES_MAX} log entries: ask for fewer blocks")
        return entries

    def _headers(self, wanted: Json) -> Iterator[BlockHeaderAPI]:
        if "blockHash" in wanted:
            yield self._header({"blockHash": wanted["blockHash"]})
            return
        first = self._header(wanted.get("fromBlock")).block_number
        last = self._header(wanted.get("toBlock")).block_number
        if last - first >= LOG_BLOCKS_MAX:
            raise RpcError(REFUSED, f"more than {LOG_BLOCKS_MAX} blocks: ask for fewer")
        for number in range(first, last + 1):
            yield self._chain.header(number)


def _error_response(request_id: Any, error: RpcError) -> Json:
    return {"jsonrpc": "2.0", "id": request_id, "error": error.as_json()}


def _call(call: Any) -> Call:
    if not isinstance(call, dict):
        raise RpcError(INVALID_PARAMS, "expected a call")
    gas = _quantity(call["gas"]) if call.get("gas") else CALL_GAS_MAX
    return Call(
        sender=_address(call["from"]) if call.get("from") else bytes(20),
        to=_address(call["to"]) if call.get("to") else b"",
        value=_quantity(call.get("value") or "0x0"),
        data=_hex_bytes(call.get("input") or call.get("data") or "0x"),
        gas=min(gas, CALL_GAS_MAX),
    )


def _call_error(error: VMError) -> RpcError:
    """A revert keeps its data, so that the caller can tell custom errors apart."""
    if isinstance(error, Revert):
        data = error.args[0] if error.args else b""
        return RpcError(REVERTED, "execution reverted", _hex(bytes(data)))
    return RpcError(REFUSED, f"execution failed: {type(error).__name__}")


def _matches(entry: Json, wanted: Json) -> bool:
    """Whether a log entry has the wanted address and topics; a list is a choice, null is any."""
    choices = [(entry["address"], wanted.get("address"))]
    topics = wanted.get("topics") or []
    if len(topics) > len(entry["topics"]):
        return False
    choices += zip(entry["topics"], topics, strict=False)
    for value, choice in choices:
        allowed = choice if isinstance(choice, list) else [choice]
        if choice not in (None, []) and value.lower() not in (str(one).lower() for one in allowed):
            return False
    return True


# --- HTTP -------------------------------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S_MAX
    # Headers and body leave in two writes, and Nagle's algorithm would hold the second back for 40 ms.
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        # A web page may post text/plain to any address without asking; JSON it may not.
        if self.headers.get_content_type() != "application/json":
            self._refuse(415)
            return
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self._refuse(411)
        elif int(length) > BODY_BYTES_MAX:
            self._refuse(413)
        else:
            self._send(200, self.server.rpc.answer(self.rfile.read(int(length))))

    def _refuse(self, status: int) -> None:
        # The body was not read, so the connection cannot be used again.
        self.close_connection = True
        self._send(status, b"")

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


class Server(ThreadingHTTPServer):
    """JSON-RPC over HTTP on the loopback interface, one thread per connection, at most `CONNECTIONS_MAX` of them."""

    daemon_threads = True
    # Threads end with the process: an idle connection must not hold up the exit.
    block_on_close = False
    request_queue_size = CONNECTIONS_MAX
    url: str

    def __init__(self, rpc: Rpc, port: int) -> None:
        """Listens on `port`, or on a free one if it is 0. Raises OSError when the port is taken."""
        self.rpc = rpc
        self._slots = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__((HOST, port), _Handler)
        self.url = f"http://{HOST}:{self.server_address[1]}"

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # the base class's signature
        # A client that went away, or an idle one: nothing to do and nothing lost.
        log.debug("connection from %s ended", client_address, exc_info=True)


# --- The process ------------------------------------------------------------------------------------------------------


def read_key(path: Path) -> PrivateKey:
    """The key in `path`: 64 hexadecimal digits, after `0x` or not. Raises `RegistrarKeyInvalid`, never with the key."""
    try:
        key = PrivateKey(bytes.fromhex(path.read_text(encoding="ascii").strip().removeprefix("0x")))
        key.public_key  # noqa: B018  # fails here, not at the first use, for a number that is no key
    except (ValueError, ValidationError, OSError) as error:
        raise RegistrarKeyInvalid(str(path)) from (error if isinstance(error, OSError) else None)
    return key


def main(arguments: list[str] | None = None) -> int:
    """Serves the chain until SIGTERM or SIGINT. Returns the exit status: 0, or 1 with the cause on standard error."""
    parser = argparse.ArgumentParser(prog="python -m streamcoop.embedded.chain", description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder the chain is kept in")
    parser.add_argument("--port", type=int, default=0, help="port on the loopback interface; 0 takes a free one")
    parser.add_argument("--registrar-key-file", type=Path, required=True, metavar="FILE", help="key of the registrar")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    # Blocked here and taken below: a signal while the chain opens ends the process once it is open.
    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    try:
        options.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        chain = LocalChain(options.data / CHAIN_FILE, read_key(options.registrar_key_file))
        server = Server(Rpc(chain), options.port)
    except (ChainFileInUse, ChainFileUnknown, RegistrarKeyInvalid, RegistrarChanged) as error:
        print(f"{type(error).__doc__} {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    threading.Thread(target=server.serve_forever, args=(STOP_POLL_S,), name="serve", daemon=True).start()
    ready = {"rpc_url": server.url, "chain_id": CHAIN_ID, "membership_contract": chain.membership_contract}
    print(json.dumps(ready), flush=True)
    signal.sigwait(ending)
    server.shutdown()
    chain.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
