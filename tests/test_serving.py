"""An API process that is told to stop answers what was already sent to it, and refuses the rest at once."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import pytest

from streamcoop.embedded import ports, process
from streamcoop.embedded.ports import LOOPBACK

DEADLINE_S = 30.0
POLL_S = 0.02
CONNECTIONS = 20
REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
# Holds the loop while connections pile up, so that some wait to be accepted when the signal comes.
PROGRAM = """
    import sys, time, uvicorn
    from streamcoop.serving import Server
    async def application(scope, receive, send):
        if scope["type"] != "http":
            return
        if scope["path"] == "/busy":
            time.sleep(1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"whole"})
    Server(uvicorn.Config(application, port=int(sys.argv[1]), lifespan="off")).run()
"""


@dataclass(frozen=True)
class Running:
    process: subprocess.Popen[bytes]
    port: int

    def connect(self) -> socket.socket:
        return socket.create_connection((LOOPBACK, self.port), DEADLINE_S)

    def listens(self) -> bool:
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return False
        return True


@pytest.fixture
def server() -> Iterator[Running]:
    port = ports.any_free()
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as child:
        running = Running(child, port)
        try:
            assert process.until(running.listens, DEADLINE_S, POLL_S)
            yield running
        finally:
            child.kill()


def require_answers(connections: list[socket.socket]) -> None:
    for connection in connections:
        connection.sendall(REQUEST)
    for connection in connections:
        assert b"whole" in b"".join(iter(partial(connection.recv, 1 << 16), b""))


def test_requests_on_connections_made_before_the_signal_are_answered(server: Running) -> None:
    with ExitStack() as open_ones:
        connections = [open_ones.enter_context(server.connect()) for _ in range(CONNECTIONS)]
        server.process.send_signal(signal.SIGTERM)
        assert process.until(lambda: not server.listens(), DEADLINE_S, POLL_S)
        require_answers(connections)
    assert server.process.wait(DEADLINE_S) == -signal.SIGTERM


def test_connections_that_wait_to_be_accepted_are_answered(server: Running) -> None:
    with ExitStack() as open_ones:
        busy = open_ones.enter_context(server.connect())
        busy.sendall(REQUEST.replace(b"GET /", b"GET /busy"))
        # The loop sleeps by now or is about to: what connects from here on waits in the kernel's queue.
        connections = [open_ones.enter_context(server.connect()) for _ in range(CONNECTIONS)]
        server.process.send_signal(signal.SIGTERM)
        require_answers(connections)
    assert server.process.wait(DEADLINE_S) == -signal.SIGTERM
