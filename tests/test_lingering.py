"""A refusal arrives although its request is still being sent, and nobody can send for ever because of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from streamcoop import lingering
from streamcoop.lingering import Lingering

READ_S_MAX = 20.0
# More than the sockets of both sides hold.
LONG = 32 << 20
PIECE = bytes(64 << 10)
PROTOCOLS = ["httptools", "h11"]


async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads a piece of the body where it is asked for one, and refuses."""
    if scope["path"] == "/begun":
        await receive()
    headers = [(b"content-length", b"7"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": b"refused"})


async def echoing(_: Scope, receive: Receive, send: Send) -> None:
    body, message = b"", await receive()
    while True:
        body += message["body"]
        if not message["more_body"]:
            break
        message = await receive()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def served(app: ASGIApp, protocol: str) -> Iterator[int]:
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=protocol, lifespan="off", log_level="critical")  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def request(path: str, length: int, *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: here", "Connection: close", f"Content-Length: {length}", *more, "", ""]
    return "\r\n".join(lines).encode()


def answered(port: int, head: bytes, pieces: int) -> bytes:
    """The answer to whoever reads nothing before all is sent."""
    with socket.create_connection(("127.0.0.1", port), READ_S_MAX) as connection:
        connection.sendall(head)
        for _ in range(pieces):
            connection.sendall(PIECE)
        return read(connection)


def read(connection: socket.socket) -> bytes:
    found = b""
    while piece := connection.recv(1 << 16):
        found += piece
    return found


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("path", ["/", "/begun"])
def test_a_refusal_arrives_while_the_body_is_still_being_sent(protocol: str, path: str) -> None:
    head = request(path, LONG)
    with served(Lingering(refusing), protocol) as port:
        assert answered(port, head, LONG // len(PIECE)).endswith(b"\r\n\r\nrefused")
    with served(refusing, protocol) as port, pytest.raises(ConnectionError):
        answered(port, head, LONG // len(PIECE))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("end", [request("/", 4) + b"body", request("/", 0)])
def test_what_is_read_whole_is_answered_as_before(protocol: str, end: bytes) -> None:
    with served(Lingering(echoing), protocol) as port:
        assert answered(port, end, 0).partition(b"\r\n\r\n")[2] == end.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nobody_sends_for_ever(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering, "LINGER_BYTES_MAX", 1 << 20)
    with served(Lingering(refusing), protocol) as port, pytest.raises(ConnectionError):
        answered(port, request("/", LONG), LONG // len(PIECE))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nobody_is_waited_for_for_ever(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering, "LINGER_S_MAX", 0.1)
    with served(Lingering(refusing), protocol) as port:
        assert answered(port, request("/", LONG), 1).endswith(b"refused")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_who_waits_to_be_told_to_send_is_not_waited_for(protocol: str) -> None:
    with served(Lingering(refusing), protocol) as port:
        told = answered(port, request("/", LONG, "Expect: 100-continue"), 0)
    assert told.startswith(b"HTTP/1.1 413")
