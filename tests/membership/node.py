"""A node between the service and the real chain process: it passes everything on, and can be away, forget or lie."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

UPSTREAM_TIMEOUT_S = 30

Answer = Callable[[list[Any], Callable[[], Any]], Any]


class Node:
    """The node's behaviour. `answers` maps a method to what is answered instead, given its parameters and the truth."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.url = ""
        self.is_down = False
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []

    def be_honest(self) -> None:
        self.is_down = False
        self.answers.clear()

    def lie(self, method: str, result: Any) -> None:
        self.answers[method] = lambda _params, _truth: result

    def respond(self, request: dict[str, Any]) -> dict[str, Any]:
        method = request["method"]
        self.asked.append(method)

        def truth() -> Any:
            answer = requests.post(self.upstream, json=request, timeout=UPSTREAM_TIMEOUT_S).json()
            if "error" in answer:
                raise _Refused(answer["error"])
            return answer["result"]

        try:
            result = self.answers[method](request["params"], truth) if method in self.answers else truth()
        except _Refused as refused:
            return {"jsonrpc": "2.0", "id": request["id"], "error": refused.args[0]}
        return {"jsonrpc": "2.0", "id": request["id"], "result": result}


def failed_receipt(params: list[Any], _: Callable[[], Any]) -> dict[str, Any]:
    """A receipt of a transaction that stands in block 0 and has failed."""
    nothing = "0x0"
    return {
        "transactionHash": params[0],
        "transactionIndex": nothing,
        "blockHash": "0x" + "11" * 32,
        "blockNumber": nothing,
        "from": "0x" + "11" * 20,
        "to": "0x" + "11" * 20,
        "cumulativeGasUsed": nothing,
        "gasUsed": nothing,
        "effectiveGasPrice": nothing,
        "contractAddress": None,
        "logs": [],
        "logsBloom": "0x" + "00" * 256,
        "status": nothing,
        "type": "0x2",
    }


def taken_and_denied(_: list[Any], truth: Callable[[], Any]) -> Any:
    """The node does what it is asked and says that it failed."""
    truth()
    raise _Refused({"code": -32000, "message": "internal error"})


class _Refused(Exception):
    """The chain answered with an error, which is passed on."""


@contextmanager
def standing_before(upstream: str) -> Iterator[Node]:
    """A node in front of the one at `upstream`."""
    node = Node(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.close_connection = node.is_down
            if node.is_down:
                return
            answer = [node.respond(one) for one in body] if isinstance(body, list) else node.respond(body)
            encoded = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    node.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield node
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
