"""The chain's JSON-RPC over HTTP, on the loopback interface."""

from __future__ import annotations

import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from streamcoop.embedded.chain.rpc import Rpc

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
BODY_BYTES_MAX = 1 << 20
CONNECTIONS_MAX = 256
IDLE_S_MAX = 60


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
