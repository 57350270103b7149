"""The methods of Ethereum's execution API that the service and wallets use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from eth.abc import BlockAPI, BlockHeaderAPI
from eth.exceptions import HeaderNotFound, Revert, TransactionNotFound, VMError

from streamcoop.embedded.chain.errors import INVALID_PARAMS, REFUSED, REVERTED, RpcError
from streamcoop.embedded.chain.evm import CHAIN_ID, Account, LocalChain
from streamcoop.embedded.chain.forms import Json, block_json, hexadecimal, logs_json, receipt_json, transaction_json
from streamcoop.embedded.chain.parameters import address_from, call_from, data_from, quantity_from

PRIORITY_FEE_WEI = 10**9
LOG_BLOCKS_MAX = 10_000
LOG_ENTRIES_MAX = 10_000
FEE_HISTORY_BLOCKS_MAX = 1_024


class Methods:
    """Each method takes its parameters by position and returns what JSON-RPC calls `result`.

    Raises `RpcError`, py-evm's HeaderNotFound for a block that is not there, and eth_utils' ValidationError for what
    the chain refuses.
    """

    def __init__(self, chain: LocalChain) -> None:
        self._chain = chain

    def by_name(self) -> dict[str, Callable[..., Any]]:
        return {
            "web3_clientVersion": lambda: "StreamCoop/py-evm",
            "net_version": lambda: str(CHAIN_ID),
            "eth_chainId": lambda: hexadecimal(CHAIN_ID),
            "eth_blockNumber": lambda: hexadecimal(self._chain.header(None).block_number),
            "eth_getBlockByNumber": self.get_block_by_number,
            "eth_getBlockByHash": self.get_block_by_hash,
            "eth_getBalance": lambda address, block="latest": hexadecimal(self._account(address, block).balance_wei),
            "eth_getTransactionCount": lambda address, block="latest": hexadecimal(self._account(address, block).nonce),
            "eth_getCode": lambda address, block="latest": hexadecimal(self._account(address, block).code),
            "eth_gasPrice": self.gas_price,
            "eth_maxPriorityFeePerGas": lambda: hexadecimal(PRIORITY_FEE_WEI),
            "eth_feeHistory": self.fee_history,
            "eth_call": self.call,
            "eth_estimateGas": self.estimate_gas,
            "eth_sendRawTransaction": self.send_raw_transaction,
            "eth_getTransactionByHash": self.get_transaction_by_hash,
            "eth_getTransactionReceipt": self.get_transaction_receipt,
            "eth_getLogs": self.get_logs,
            "evm_mine": self.mine,
        }

    def _header(self, block: Any) -> BlockHeaderAPI:
        """The header that a tag, a number, or an EIP-1898 object names."""
        if block in ("latest", "pending", "safe", "finalized", None):
            return self._chain.header(None)
        if block == "earliest":
            return self._chain.header(0)
        if isinstance(block, dict):
            if "blockHash" in block:
                return self._chain.header_by_hash(data_from(block["blockHash"], 32))
            block = block.get("blockNumber")
        return self._chain.header(quantity_from(block))

    def _account(self, address: Any, block: Any) -> Account:
        return self._chain.account(address_from(address), self._header(block))

    def _block_of(self, transaction_hash: Any) -> BlockAPI | None:
        try:
            return self._chain.block_of(data_from(transaction_hash, 32))
        except TransactionNotFound:
            return None

    def get_block_by_number(self, block: Any, transactions_in_full: bool = False) -> Json | None:
        try:
            return block_json(self._chain.block(self._header(block)), transactions_in_full)
        except HeaderNotFound:
            return None

    def get_block_by_hash(self, block_hash: Any, transactions_in_full: bool = False) -> Json | None:
        return self.get_block_by_number({"blockHash": block_hash}, transactions_in_full)

    def get_transaction_by_hash(self, transaction_hash: Any) -> Json | None:
        block = self._block_of(transaction_hash)
        return None if block is None else transaction_json(block)

    def get_transaction_receipt(self, transaction_hash: Any) -> Json | None:
        block = self._block_of(transaction_hash)
        return None if block is None else receipt_json(block, self._chain.receipt(block))

    def call(self, call: Any, block: Any = "latest") -> str:
        computation = self._chain.call(call_from(call), self._header(block))
        if computation.is_error:
            raise _call_error(computation.error)
        return hexadecimal(computation.output)

    def estimate_gas(self, call: Any, block: Any = "latest") -> str:
        # Whatever block is asked for: a transaction can only ever run in the next one.
        self._header(block)
        try:
            return hexadecimal(self._chain.estimate_gas(call_from(call)))
        except VMError as error:
            raise _call_error(error) from error

    def send_raw_transaction(self, raw: Any) -> str:
        transaction = self._chain.decode(data_from(raw))
        nonce = self._chain.account(transaction.sender, self._chain.header(None)).nonce
        if transaction.nonce < nonce:
            raise RpcError(REFUSED, f"nonce too low: next nonce {nonce}, tx nonce {transaction.nonce}")
        self._chain.mine((transaction,))
        return hexadecimal(transaction.hash)

    def mine(self) -> str:
        self._chain.mine()
        return "0x0"

    def gas_price(self) -> str:
        newest: Any = self._chain.header(None)
        return hexadecimal(newest.base_fee_per_gas + PRIORITY_FEE_WEI)

    def fee_history(self, count: Any, newest: Any, percentiles: Any = ()) -> Json:
        if not isinstance(percentiles, list | tuple | None):
            raise RpcError(INVALID_PARAMS, "expected a list of percentiles")
        newest_number = self._header(newest).block_number
        wanted = count if isinstance(count, int) else quantity_from(count)
        if wanted < 1:
            raise RpcError(INVALID_PARAMS, "expected one block or more")
        first = max(0, newest_number + 1 - min(wanted, FEE_HISTORY_BLOCKS_MAX))
        headers: list[Any] = [self._chain.header(number) for number in range(first, newest_number + 1)]
        return {
            "oldestBlock": hexadecimal(first),
            "baseFeePerGas": [hexadecimal(header.base_fee_per_gas) for header in (*headers, headers[-1])],
            "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
            "reward": [[hexadecimal(PRIORITY_FEE_WEI)] * len(percentiles or ()) for _ in headers],
        }

    def get_logs(self, wanted: Any) -> list[Json]:
        if not isinstance(wanted, dict) or not isinstance(wanted.get("topics"), list | None):
            raise RpcError(INVALID_PARAMS, "expected a filter")
        entries: list[Json] = []
        for header in self._headers(wanted):
            block = self._chain.block(header)
            if block.transactions:
                logs = logs_json(block, self._chain.receipt(block))
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


def _call_error(error: VMError) -> RpcError:
    """A revert keeps its data, so that the caller can tell custom errors apart."""
    if isinstance(error, Revert):
        data = error.args[0] if error.args else b""
        return RpcError(REVERTED, "execution reverted", hexadecimal(bytes(data)))
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
