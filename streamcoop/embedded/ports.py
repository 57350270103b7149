"""TCP ports on this machine: which are free, and which one a part had the last time."""

from __future__ import annotations

import socket
from pathlib import Path

from streamcoop.embedded.private import write_private

LOOPBACK = "127.0.0.1"
PORT_MAX = 65_535


def try_listening(host: str, port: int) -> None:
    """Return if a server could listen there now. Raises OSError: the port is taken or not ours to use, no such host."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # Connections of a server that has just stopped linger in TIME_WAIT; servers ignore them, so do we.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    try:
        try_listening(host, port)
    except OSError:
        return False
    return True


def any_free(host: str = LOOPBACK) -> int:
    """A port nobody listens on at this moment."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.bind(address)
        return int(probe.getsockname()[1])


def stable(record: Path, host: str = LOOPBACK) -> int:
    """The port written in `record` if it is still free, else another one, which is then recorded."""
    if record.exists():
        last = int(record.read_text(encoding="utf-8"))
        if is_free(host, last):
            return last
    port = any_free(host)
    write_private(record, f"{port}\n")
    return port
