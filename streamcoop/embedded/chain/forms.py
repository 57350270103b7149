"""The JSON forms of blocks, transactions, receipts and log entries.

Ethereum's execution API: quantities are hexadecimal without leading zeros, data are hexadecimal with all of them.
"""

from __future__ import annotations

from typing import Any

import rlp  # type: ignore[import-untyped]
from eth.abc import BlockAPI, SignedTransactionAPI
from eth_utils.address import to_checksum_address

from streamcoop.embedded.chain.evm import DYNAMIC_FEE_TYPE, created_address, transaction_type

Json = dict[str, Any]


def hexadecimal(value: int | bytes) -> str:
    return hex(value) if isinstance(value, int) else f"0x{value.hex()}"


def block_json(block: BlockAPI, transactions_in_full: bool) -> Json:
    header: Any = block.header
    transactions = block.transactions
    return {
        "number": hexadecimal(header.block_number),
        "hash": hexadecimal(header.hash),
        "parentHash": hexadecimal(header.parent_hash),
        "timestamp": hexadecimal(header.timestamp),
        "stateRoot": hexadecimal(header.state_root),
        "transactionsRoot": hexadecimal(header.transaction_root),
        "receiptsRoot": hexadecimal(header.receipt_root),
        "logsBloom": hexadecimal(header.bloom.to_bytes(256, "big")),
        "sha3Uncles": hexadecimal(header.uncles_hash),
        "uncles": [],
        "miner": hexadecimal(header.coinbase),
        "difficulty": hexadecimal(header.difficulty),
        "nonce": hexadecimal(header.nonce),
        "mixHash": hexadecimal(header.mix_hash),
        "extraData": hexadecimal(header.extra_data),
        "gasLimit": hexadecimal(header.gas_limit),
        "gasUsed": hexadecimal(header.gas_used),
        "baseFeePerGas": hexadecimal(header.base_fee_per_gas),
        "size": hexadecimal(len(rlp.encode(block))),
        "transactions": [transaction_json(block)]
        if transactions and transactions_in_full
        else [hexadecimal(transaction.hash) for transaction in transactions],
    }


def _gas_price(transaction: SignedTransactionAPI, header: Any) -> int:
    price: int = min(transaction.max_fee_per_gas, transaction.max_priority_fee_per_gas + header.base_fee_per_gas)
    return price


def _place_json(block: BlockAPI) -> Json:
    return {"blockHash": hexadecimal(block.hash), "blockNumber": hexadecimal(block.number), "transactionIndex": "0x0"}


def _parties_json(transaction: Any) -> Json:
    return {
        "from": to_checksum_address(transaction.sender),
        "to": to_checksum_address(transaction.to) if transaction.to else None,
    }


def transaction_json(block: BlockAPI) -> Json:
    transaction: Any = block.transactions[0]
    kind = transaction_type(transaction)
    signature = transaction.y_parity if kind else transaction.v
    fields = {
        **_place_json(block),
        **_parties_json(transaction),
        "hash": hexadecimal(transaction.hash),
        "type": hexadecimal(kind),
        "chainId": hexadecimal(transaction.chain_id),
        "nonce": hexadecimal(transaction.nonce),
        "gas": hexadecimal(transaction.gas),
        "gasPrice": hexadecimal(_gas_price(transaction, block.header)),
        "value": hexadecimal(transaction.value),
        "input": hexadecimal(transaction.data),
        "v": hexadecimal(signature),
        "r": hexadecimal(transaction.r),
        "s": hexadecimal(transaction.s),
    }
    if kind:
        fields["accessList"] = [
            {"address": hexadecimal(address), "storageKeys": [hexadecimal(slot.to_bytes(32, "big")) for slot in slots]}
            for address, slots in transaction.access_list
        ]
    if kind == DYNAMIC_FEE_TYPE:
        fields["maxFeePerGas"] = hexadecimal(transaction.max_fee_per_gas)
        fields["maxPriorityFeePerGas"] = hexadecimal(transaction.max_priority_fee_per_gas)
    return fields


def logs_json(block: BlockAPI, receipt: Any) -> list[Json]:
    return [
        {
            **_place_json(block),
            "transactionHash": hexadecimal(block.transactions[0].hash),
            "logIndex": hexadecimal(index),
            "address": to_checksum_address(entry.address),
            "topics": [hexadecimal(topic.to_bytes(32, "big")) for topic in entry.topics],
            "data": hexadecimal(entry.data),
            "removed": False,
        }
        for index, entry in enumerate(receipt.logs)
    ]


def receipt_json(block: BlockAPI, receipt: Any) -> Json:
    transaction: Any = block.transactions[0]
    return {
        **_place_json(block),
        **_parties_json(transaction),
        "transactionHash": hexadecimal(transaction.hash),
        "type": hexadecimal(transaction_type(transaction)),
        "contractAddress": None if transaction.to else to_checksum_address(created_address(transaction)),
        "status": "0x1" if receipt.state_root == b"\x01" else "0x0",
        "gasUsed": hexadecimal(receipt.gas_used),
        "cumulativeGasUsed": hexadecimal(receipt.gas_used),
        "effectiveGasPrice": hexadecimal(_gas_price(transaction, block.header)),
        "logs": logs_json(block, receipt),
        "logsBloom": hexadecimal(receipt.bloom.to_bytes(256, "big")),
    }
