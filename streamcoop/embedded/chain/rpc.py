"""JSON-RPC 2.0: requests and batches of them, each given to its method."""

from __future__ import annotations

import inspect
import json
import logging
from typing import Any

from eth.exceptions import HeaderNotFound
from eth_utils.exceptions import ValidationError

from streamcoop.embedded.chain.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    REFUSED,
    RpcError,
)
from streamcoop.embedded.chain.evm import LocalChain
from streamcoop.embedded.chain.forms import Json
from streamcoop.embedded.chain.methods import Methods

log = logging.getLogger(__name__)

BATCH_CALLS_MAX = 200


class Rpc:
    """A chain behind JSON-RPC. May be called from any thread."""

    def __init__(self, chain: LocalChain) -> None:
        self._methods = Methods(chain).by_name()

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


def _error_response(request_id: Any, error: RpcError) -> Json:
    return {"jsonrpc": "2.0", "id": request_id, "error": error.as_json()}
