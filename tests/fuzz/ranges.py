"""Range headers of every kind against what RFC 9110 and `streamcoop.playback.ranges` say the answer is, to the byte."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from urllib.parse import urlsplit

from tests.fuzz.campaign import Campaign, require

ANSWER_S_MAX = 60.0
READ_BYTES = 64 << 10
DIGITS_MAX = 19
"""Numbers of more digits are documented to be ignored, with their header."""
CLIENT_ERRORS_OF_THE_SERVER = (400, 431)
"""For what is no header at all; the connection is then closed."""


@dataclass(frozen=True)
class Resource:
    """Something to ask ranges of, and all its bytes."""

    name: str
    path: str
    secret: str | None
    content: bytes
    etag: str | None = None
    share: int = 10


@dataclass(frozen=True)
class Answer:
    """What the service sent; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Line:
    """A connection, kept as long as both sides like it. A plain socket: clients will not send some of this."""

    address: str
    _socket: socket.socket | None = None
    _left: bytes = b""

    def ask(self, method: str, resource: Resource, headers: Sequence[tuple[bytes, bytes]]) -> Answer:
        secret = [(b"Authorization", f"Bearer {resource.secret}".encode())] if resource.secret else []
        lines = [f"{method} {resource.path} HTTP/1.1".encode(), b"Host: service"]
        lines += [name + b": " + value for name, value in (*secret, *headers)]
        request = b"\r\n".join(lines) + b"\r\n\r\n"
        try:
            return self._ask(request, method)
        except ConnectionError:
            # Closed between two requests, as a server may; a fresh one must do.
            self.close()
            return self._ask(request, method)

    def _ask(self, request: bytes, method: str) -> Answer:
        if self._socket is None:
            parts = urlsplit(self.address)
            self._socket = socket.create_connection((parts.hostname, parts.port), ANSWER_S_MAX)
        self._socket.sendall(request)
        head = self._until(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split()[1])
        has_body = method != "HEAD" and status != 204
        body = self._take(int(headers["content-length"])) if has_body and "content-length" in headers else b""
        if headers.get("connection") == "close" or status in CLIENT_ERRORS_OF_THE_SERVER:
            self.close()
        return Answer(status, headers, body)

    def _until(self, end: bytes) -> bytes:
        while end not in self._left:
            self._receive()
        head, _, self._left = self._left.partition(end)
        return head

    def _take(self, length: int) -> bytes:
        while len(self._left) < length:
            self._receive()
        body, self._left = self._left[:length], self._left[length:]
        return body

    def _receive(self) -> None:
        assert self._socket is not None
        data = self._socket.recv(READ_BYTES)
        if not data:
            raise ConnectionResetError("the service closed the connection")
        self._left += data

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._left = None, b""


@contextmanager
def line_to(address: str) -> Iterator[Line]:
    """A connection for as long as the block lasts."""
    line = Line(address)
    try:
        yield line
    finally:
        line.close()


@dataclass(frozen=True)
class Asked:
    """One request: its method and its headers, of which Range may stand there often or not at all."""

    method: str
    ranges: tuple[bytes, ...]
    if_range: bytes | None = None

    def headers(self) -> list[tuple[bytes, bytes]]:
        conditional = [(b"If-Range", self.if_range)] if self.if_range is not None else []
        return [*((b"Range", value) for value in self.ranges), *conditional]


@dataclass(frozen=True)
class Expected:
    """Answers that are right. `parts` are the ranges any of which may be sent; None among them is the whole."""

    parts: set[tuple[int, int] | None] = field(default_factory=set)
    unsatisfiable: bool = False
    refused_by_server: bool = False


_SPEC = re.compile(rb"[ \t]*[bB][yY][tT][eE][sS][ \t]*=[ \t]*([0-9]*)[ \t]*-[ \t]*([0-9]*)[ \t]*")
_NO_FIELD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def part_of(value: bytes, size: int) -> tuple[int, int] | str | None:
    """The oracle for one header: (start, end) of a 206, None for the whole, or "unsatisfiable"."""
    spec = _SPEC.fullmatch(value)
    if spec is None or not any(spec.groups()):
        return None
    first, last = spec.groups()
    if max(len(first), len(last)) > DIGITS_MAX:
        return None
    if not first:
        return "unsatisfiable" if int(last) == 0 else (max(0, size - int(last)), size)
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        return "unsatisfiable"
    return start, min(int(last) + 1, size) if last else size


def expected(asked: Asked, resource: Resource) -> Expected:
    """What may be answered. Ranges are for GET alone; If-Range keeps them only for the very file that it names."""
    hostile = any(_NO_FIELD_VALUE.search(value) for _, value in asked.headers())
    named = asked.if_range is None or (resource.etag is not None and asked.if_range.decode("latin-1") == resource.etag)
    if asked.method != "GET" or not named or not asked.ranges:
        return Expected({None}, refused_by_server=hostile)
    found = {part_of(value, len(resource.content)) for value in asked.ranges}
    if len(asked.ranges) > 1:  # no valid request: to ignore it is right, to heed one of them is tolerable
        found.add(None)
    parts = {part for part in found if part is None or isinstance(part, tuple)}
    return Expected(parts, unsatisfiable="unsatisfiable" in found, refused_by_server=hostile)


def require_answer(answer: Answer, asked: Asked, resource: Resource) -> str:
    """Raise CaseFailed unless the answer is an expected one; returns what it was, in a word."""
    right, size = expected(asked, resource), len(resource.content)
    require(answer.status < 500, f"{answer.status}: {answer.body[:300]!r}")
    if answer.status in CLIENT_ERRORS_OF_THE_SERVER:
        require(right.refused_by_server, f"{answer.status} for {asked}")
        return "no HTTP"
    if answer.status == 416:
        require(right.unsatisfiable, f"416 for {asked}, right were {right.parts}")
        require(answer.headers["content-range"] == f"bytes */{size}", answer.headers["content-range"])
        require(answer.headers["content-type"] == "application/problem+json", answer.headers["content-type"])
        return "unsatisfiable"
    require(answer.status in {200, 206}, f"{answer.status} for {asked}: {answer.body[:200]!r}")
    part: tuple[int, int] | None = None
    if answer.status == 206:
        said = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers["content-range"])
        require(said is not None and int(said[3]) == size, answer.headers["content-range"])
        assert said is not None
        part = int(said[1]), int(said[2]) + 1
    else:
        require("content-range" not in answer.headers, "a whole with a Content-Range")
    require(part in right.parts, f"{part or 'the whole'} for {asked}, right were {right.parts}")
    start, end = part or (0, size)
    require(int(answer.headers["content-length"]) == end - start, answer.headers["content-length"])
    require(answer.headers["accept-ranges"] == "bytes", "no Accept-Ranges")
    if asked.method == "GET":
        require(answer.body == resource.content[start:end], f"other bytes than {part or 'the whole'}")
    return "a part" if part else "the whole"


# --- What is asked ---


def asked_by(rng: Random, resource: Resource) -> Asked:
    """A request of the kind clients send, mistake or forge."""
    method = "HEAD" if rng.random() < 0.1 else "GET"
    count = rng.choices((0, 1, 2, 5), (1, 30, 3, 1))[0]
    if_range = None
    if rng.random() < 0.12:
        etag = (resource.etag or '"none"').encode()
        others = (b'"0"', b"W/" + etag, b"*", b"Wed, 21 Oct 2015 07:28:00 GMT", b"", rng.randbytes(6).hex().encode())
        if_range = rng.choice((etag, etag, *others))
    return Asked(method, tuple(_value(rng, len(resource.content)) for _ in range(count)), if_range)


def _value(rng: Random, size: int) -> bytes:
    kind = rng.random()
    if kind < 0.45:
        return b"bytes=" + _spec(rng, size)
    if kind < 0.6:
        specs = [_spec(rng, size) for _ in range(rng.choice((2, 3, 20, 400)))]
        return b"bytes=" + rng.choice((b",", b", ", b" ,", b",,")).join(specs)
    if kind < 0.7:
        unit = rng.choice(
            (b"Bytes", b"BYTES", b"byte", b"items", b"seconds", b"", b"bytes ", b" bytes", b"none", b"b\xc3\xbf")
        )
        return unit + rng.choice((b"=", b" = ", b":", b"", b"==")) + _spec(rng, size)
    if kind < 0.8:
        return b"bytes=" + rng.choice((b" ", b"\t", b"\xa0", b"\x0b")).join(
            (_number(rng, size), b"-", _number(rng, size))
        )
    if kind < 0.9:
        value = bytearray(b"bytes=" + _spec(rng, size))
        for _ in range(rng.choice((1, 2, 5))):
            value[rng.randrange(len(value))] = rng.randrange(32, 256)
        return bytes(value)
    return rng.choice(
        (
            b"",
            b"bytes",
            b"bytes=",
            b"bytes=-",
            b"bytes=--1",
            b"bytes=1",
            b"bytes=+1-2",
            b"bytes=0x0-0x5",
            b"bytes=1.5-3",
            b"bytes=1e2-",
            "bytes=１-２".encode(),
            "bytes=٣-٤".encode(),
            "bytes=0–9".encode(),
            b"bytes=0-9;q=1",
            b"bytes=*",
            b"bytes 0-9/100",
            b"bytes=0-" + b"9" * 6_000,
            b"bytes=" + b"0-1," * 1_500,
            b"=" * 300,
            b"bytes=0-9\x00",
            b"bytes=\x7f-",
            rng.randbytes(12).replace(b"\r", b"").replace(b"\n", b""),
        )
    )


def _spec(rng: Random, size: int) -> bytes:
    form = rng.randrange(4)
    first, last = _number(rng, size), _number(rng, size)
    return (first + b"-" + last, first + b"-", b"-" + last, last + b"-" + first)[form]


def _number(rng: Random, size: int) -> bytes:
    edges = (
        0,
        1,
        size // 2,
        size - 2,
        size - 1,
        size,
        size + 1,
        2**31 - 1,
        2**31,
        2**32,
        2**63 - 1,
        2**63,
        2**64,
        10**19,
    )
    number = rng.choice(edges) if rng.random() < 0.4 else rng.randrange(size)
    return rng.choice((b"", b"", b"", b"0", b"000")) + str(number).encode()


def ask_many(campaign: Campaign, address: str, resources: Sequence[Resource], count: int) -> None:
    """So many requests, on one connection as long as it lasts."""
    with line_to(address) as line:
        for number in range(count):
            rng = campaign.rng("range", number)
            (resource,) = rng.choices(resources, [one.share for one in resources])
            asked = asked_by(rng, resource)
            with campaign.case("range", number, b"\n".join(asked.ranges), f"{resource.name}: {asked}"):
                try:
                    answer = line.ask(asked.method, resource, asked.headers())
                except BaseException:
                    line.close()
                    raise
                campaign.count(f"range: {resource.name}: {require_answer(answer, asked, resource)}")
