"""What callers send, read from JSON: quantities, data, addresses and calls. Refuses with `INVALID_PARAMS`."""

from __future__ import annotations

from typing import Any

from streamcoop.embedded.chain.errors import INVALID_PARAMS, RpcError
from streamcoop.embedded.chain.evm import Call

CALL_GAS_MAX = 10_000_000


def data_from(value: Any, length: int | None = None) -> bytes:
    try:
        if not value.startswith("0x"):
            raise ValueError("no 0x")
        decoded = bytes.fromhex(value[2:])
    except (AttributeError, ValueError) as error:
        raise RpcError(INVALID_PARAMS, f"not hexadecimal data: {value!r:.80}") from error
    if length is not None and len(decoded) != length:
        raise RpcError(INVALID_PARAMS, f"expected {length} bytes, not {len(decoded)}")
    return decoded


def quantity_from(value: Any) -> int:
    try:
        number = int(value, 16)
    except (TypeError, ValueError) as error:
        raise RpcError(INVALID_PARAMS, f"not a hexadecimal number: {value!r:.80}") from error
    if not 0 <= number < 1 << 256:
        raise RpcError(INVALID_PARAMS, "number out of range")
    return number


def address_from(value: Any) -> bytes:
    return data_from(value, 20)


def call_from(call: Any) -> Call:
    if not isinstance(call, dict):
        raise RpcError(INVALID_PARAMS, "expected a call")
    gas = quantity_from(call["gas"]) if call.get("gas") else CALL_GAS_MAX
    return Call(
        sender=address_from(call["from"]) if call.get("from") else bytes(20),
        to=address_from(call["to"]) if call.get("to") else b"",
        value=quantity_from(call.get("value") or "0x0"),
        data=data_from(call.get("input") or call.get("data") or "0x"),
        gas=min(gas, CALL_GAS_MAX),
    )
