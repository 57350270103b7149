"""Answers of the JSON-RPC interface that are errors."""

from __future__ import annotations

from typing import Any

# Error codes: JSON-RPC 2.0, section 5.1, and what Ethereum nodes add to them.
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
REFUSED = -32000
REVERTED = 3


class RpcError(Exception):
    """An answer that is an error: its code, its message, and the data a reverted call left."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def as_json(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        return error if self.data is None else {**error, "data": self.data}
