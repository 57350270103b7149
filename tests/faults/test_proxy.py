"""The proxy fails exactly where it is told to, and nowhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import httpx
import psycopg
import pytest

from tests.conftest import Database
from tests.faults.proxy import LOOPBACK, PG_COMMIT, FaultyProxy

TRAP_S_MAX = 10.0
BODY = b"x" * (1 << 20)


@contextmanager
def _counting_server() -> Iterator[tuple[int, list[int]]]:
    """An HTTP server that keeps the length of every body it was sent."""
    bodies: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            bodies.append(len(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"kept")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1], bodies
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _put(proxy: FaultyProxy) -> str:
    with httpx.Client(trust_env=False, timeout=TRAP_S_MAX) as client:
        return client.put(f"http://{LOOPBACK}:{proxy.port}/object", content=BODY).text


def test_what_is_cut_before_never_arrives_and_what_is_cut_after_arrives_whole() -> None:
    with _counting_server() as (port, bodies), FaultyProxy(port) as proxy:
        assert _put(proxy) == "kept"
        before = proxy.cut_before(b"PUT /")
        with pytest.raises(httpx.TransportError):
            _put(proxy)
        assert before.wait(TRAP_S_MAX)
        assert bodies == [len(BODY)]

        after = proxy.cut_after(b"PUT /")
        with pytest.raises(httpx.TransportError):
            _put(proxy)
        assert after.wait(TRAP_S_MAX)
        assert bodies == [len(BODY)] * 2
        assert _put(proxy) == "kept"


def test_a_trap_lets_pass_what_it_is_told_to_and_cuts_as_often_as_it_is_told_to() -> None:
    with _counting_server() as (port, bodies), FaultyProxy(port) as proxy:
        trap = proxy.cut_before(b"PUT /", skip=1, cuts=2)
        assert _put(proxy) == "kept"
        for _ in range(2):
            with pytest.raises(httpx.TransportError):
                _put(proxy)
        assert _put(proxy) == "kept"
        assert trap.wait(0, cuts=2)
        assert len(bodies) == 2


def test_refused_cut_and_delayed_as_told_and_all_is_well_again_afterwards() -> None:
    with _counting_server() as (port, bodies), FaultyProxy(port) as proxy:
        proxy.refuse()
        with pytest.raises(httpx.ConnectError):
            _put(proxy)
        proxy.pass_on()
        with httpx.Client(trust_env=False) as client:
            address = f"http://{LOOPBACK}:{proxy.port}/object"
            assert client.put(address, content=b"").text == "kept"
            assert proxy.cut_now() == 1
            assert client.put(address, content=b"").text == "kept"
        proxy.delay(0.2)
        began = time.monotonic()
        with httpx.Client(trust_env=False) as client:
            assert client.put(address, content=b"").text == "kept"
        assert time.monotonic() - began >= 0.2
        assert len(bodies) == 3


def test_a_commit_cut_before_is_rolled_back_and_one_cut_after_is_durable(database: Database) -> None:
    names = count(1)
    with FaultyProxy.before(database.owner_url) as proxy:
        url = proxy.instead_in(database.owner_url)
        with psycopg.connect(url) as conn:
            conn.execute("create table kept (name integer)")

        def write() -> None:
            with psycopg.connect(url) as conn:
                conn.execute("insert into kept values (%s)", (next(names),))

        write()
        for trap in (proxy.cut_before(PG_COMMIT), proxy.cut_after(PG_COMMIT, answer=PG_COMMIT)):
            with pytest.raises(psycopg.OperationalError):
                write()
            assert trap.wait(TRAP_S_MAX)
        write()
        with psycopg.connect(url) as conn:
            assert conn.execute("select name from kept order by name").fetchall() == [(1,), (3,), (4,)]
