"""`deploy/nginx.conf` as it is, in Debian's nginx, before servers that do as they are told."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamcoop.embedded import ports, process
from streamcoop.embedded.ports import LOOPBACK
from tests import debian_parts
from tests.production import compose, nginx
from tests.production.parts import needed

pytestmark = needed

READY_S_MAX = 10.0
POLL_S = 0.02
CONNECTIONS_MAX = 256
SIGNED = "/objects/streamcoop/renditions/one.mp3?X-Amz-Signature=a%2Fb&X-Amz-Expires=60"


@dataclass
class Upstream:
    """A server behind the proxy: it notes what it is asked and answers as it is told."""

    port: int = field(default_factory=ports.any_free)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    answer: dict[str, str] = field(default_factory=dict)
    hangs_up: bool = False
    may_answer: threading.Event = field(default_factory=threading.Event)
    server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                upstream.asked.append((self.command, self.path, dict(self.headers)))
                upstream.may_answer.wait(READY_S_MAX)
                if upstream.hangs_up:
                    self.close_connection = True
                    return
                self.send_response(200)
                for name, value in upstream.answer.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PATCH = do

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = CONNECTIONS_MAX

        self.may_answer.set()
        self.server = Server((LOOPBACK, self.port), Handler)
        threading.Thread(target=self.server.serve_forever, args=(POLL_S,), daemon=True).start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None


@dataclass
class Stand:
    """The proxy, two API processes and an S3 behind it."""

    address: str
    apis: tuple[Upstream, Upstream]
    s3: Upstream

    @property
    def asked(self) -> list[tuple[str, str, dict[str, str]]]:
        return [*self.apis[0].asked, *self.apis[1].asked]


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    apis, s3, port = (Upstream(), Upstream()), Upstream(), ports.any_free()
    words = {f"api-{n}:8000": f"{LOOPBACK}:{api.port}" for n, api in enumerate(apis, 1)}
    words["seaweedfs:8333"] = f"{LOOPBACK}:{s3.port}"
    command = nginx.command(nginx.write(tmp_path, port, words))
    with process.open_log(tmp_path / "log") as log:
        child = process.spawn(command, output=log, env=debian_parts.environment(), cwd=tmp_path)
    try:
        for upstream in (*apis, s3):
            upstream.start()
        assert process.until(lambda: not ports.is_free(LOOPBACK, port), READY_S_MAX, POLL_S), process.last_lines(
            tmp_path / "log"
        )
        yield Stand(f"http://{LOOPBACK}:{port}", apis, s3)
    finally:
        process.stop(child, nginx.STOP_STEPS)
        for upstream in (*apis, s3):
            upstream.stop()


def ask(stand: Stand, method: str, path: str, **about: Any) -> httpx.Response:
    with httpx.Client(trust_env=False) as client:
        return client.request(method, f"{stand.address}{path}", **about)


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_a_request_that_one_process_refuses_goes_to_the_other(stand: Stand, method: str) -> None:
    stand.apis[0].stop()
    for number in range(6):
        answer = ask(stand, method, "/api/v1/things", content=f"{number}")
        assert (answer.status_code, answer.text) == (200, f"{number}")
    assert len(stand.apis[1].asked) == 6


@pytest.mark.parametrize(
    ("method", "path", "times"),
    [
        ("POST", "/api/v1/treasury/topups", 1),
        ("PATCH", "/api/v1/artists/one", 1),
        ("GET", "/stream/token", 2),
        ("POST", "/api/v1/plays", 2),
        ("POST", "/api/v1/plays/record", 2),
    ],
)
def test_what_was_sent_is_sent_again_only_where_that_is_safe(stand: Stand, method: str, path: str, times: int) -> None:
    for api in stand.apis:
        api.hangs_up = True
    # What has passed through unbuffered cannot be sent again; a GET has no body.
    answer = ask(stand, method, path, content=None if method == "GET" else "{}")
    assert answer.status_code == httpx.codes.BAD_GATEWAY
    assert len(stand.asked) == times


def test_who_asks_is_whom_the_proxy_sees(stand: Stand) -> None:
    claimed = {"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "https", "X-Request-Id": "mine"}
    ask(stand, "GET", "/api/v1/me", headers={**claimed, "Host": "music.example", "Cookie": "session=1"})
    ((_, _, headers),) = stand.asked
    told = {name: headers[name] for name in ("Host", "X-Forwarded-For", "X-Forwarded-Proto", "Cookie")}
    assert told == {
        "Host": "music.example",
        "X-Forwarded-For": LOOPBACK,
        "X-Forwarded-Proto": "http",
        "Cookie": "session=1",
    }
    assert headers["X-Request-Id"] != "mine"


@pytest.mark.parametrize("path", ["/metrics", "/objects/streamcoop/renditions/one.mp3"])
def test_what_is_not_for_the_outside_is_not_there(stand: Stand, path: str) -> None:
    assert ask(stand, "GET", path).status_code == httpx.codes.NOT_FOUND
    assert stand.asked == stand.s3.asked == []


def test_the_proxys_own_refusals_are_problem_documents(stand: Stand) -> None:
    for api in stand.apis:
        api.stop()
    for method, path, status in (
        ("GET", "/", 502),
        ("GET", "/metrics", 404),
        ("TRACE", "/", 405),
        ("GET", "/%00", 400),
    ):
        answer = ask(stand, method, path)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
        assert answer.json()["status"] == status


def test_an_object_comes_from_the_s3_by_its_signed_address(stand: Stand) -> None:
    for api in stand.apis:
        api.answer = {"X-Accel-Redirect": SIGNED, "Cache-Control": "private, no-store", "Content-Type": "audio/mpeg"}
    stand.s3.answer = {"Cache-Control": "public", "X-Kept-By": "s3"}
    private = {"Cookie": "session=1", "Authorization": "Bearer secret", "Range": "bytes=0-9"}
    answer = ask(stand, "GET", "/stream/token", headers=private)
    assert answer.status_code == httpx.codes.OK
    assert answer.headers.get_list("Cache-Control") == ["private, no-store"]
    ((_, path, headers),) = stand.s3.asked
    assert f"/objects{path}" == SIGNED
    assert headers["Host"] == f"{LOOPBACK}:{stand.s3.port}"
    assert headers["Range"] == "bytes=0-9"
    assert not {"Cookie", "Authorization", "X-Forwarded-For"} & set(headers)


def test_an_address_has_so_many_connections_and_no_more(stand: Stand) -> None:
    for api in stand.apis:
        api.may_answer.clear()
    place = (LOOPBACK, int(stand.address.rpartition(":")[2]))
    with ExitStack() as open_ones:
        for _ in range(CONNECTIONS_MAX):
            one = open_ones.enter_context(socket.create_connection(place))
            one.sendall(b"GET /api/v1/me HTTP/1.1\r\nHost: x\r\n\r\n")
        assert process.until(lambda: len(stand.asked) == CONNECTIONS_MAX, READY_S_MAX, POLL_S), len(stand.asked)
        assert ask(stand, "GET", "/api/v1/me").status_code == httpx.codes.TOO_MANY_REQUESTS
        for api in stand.apis:
            api.may_answer.set()
        assert one.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_the_file_that_is_composed_is_the_one_tested() -> None:
    mounts = compose.services()["proxy"]["volumes"]
    assert f"./{os.path.relpath(compose.NGINX, compose.ROOT)}:/etc/nginx/conf.d/default.conf:ro" in mounts
