"""Reading a published log, from a folder or over HTTP, within bounds of bytes and time.

Whatever answers may be hostile: it stalls, sends without end, leads elsewhere. Threads of their own do the fetching and
are left behind when the time for a file is over, since nothing else bounds a name's look-up, a handshake or a byte a
second.
"""

from __future__ import annotations

import http.client
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol
from urllib.parse import urljoin, urlsplit

from ledger.errors import DomainError
from ledger.merkle import HASH_BYTES
from ledger.note import NOTE_BYTES_MAX
from ledger.tiles import ENTRIES, ENTRY_BYTES_MAX, WIDTH

CHECKPOINT = "checkpoint"
TILE_BYTES_MAX = WIDTH * HASH_BYTES
BUNDLE_BYTES_MAX = WIDTH * (ENTRY_BYTES_MAX + 2)

READ_S_MAX = 10
"""Without a byte."""
FILE_S_MAX = 60
WHOLE_S_MAX = 6 * 3_600
REDIRECTS_MAX = 3
AHEAD_MAX = 16
"""Files asked for before they are needed, by so many threads at most."""
THREADS_MAX = 4
REDIRECTS = (301, 302, 303, 307, 308)
CHUNK_BYTES = 1 << 16
REASON_MAX = 200
AGENT = "streamcoop-verify"


class Unreadable(DomainError):
    """A file of the log could not be read."""


class Log(Protocol):
    """A published log. What is read is never more than `bytes_max_of` allows."""

    @property
    def address(self) -> str:
        """Where it is, as people are told."""

    def read(self, path: str) -> bytes:
        """The bytes of a file. Raises FileNotFoundError where there is none, else Unreadable."""

    def read_all(self, paths: Iterable[str]) -> Iterator[bytes]:
        """The same of many files, in their order; some are read ahead."""

    def close(self) -> None:
        """Nothing more is read."""


def bytes_max_of(path: str) -> int:
    """How long a file of the log can be."""
    if path.startswith(f"tile/{ENTRIES}/"):
        return BUNDLE_BYTES_MAX
    return TILE_BYTES_MAX if path.startswith("tile/") else NOTE_BYTES_MAX


def open_log(where: str, whole_s: float = WHOLE_S_MAX) -> Log:
    """The log at an http(s) address or in a folder. Raises Unreadable for anything else."""
    scheme = urlsplit(where).scheme if "://" in where else ""
    if scheme in ("http", "https"):
        return HttpLog(where.rstrip("/"), time.monotonic() + whole_s)
    if scheme:
        raise Unreadable(reason="neither a folder nor an http(s) address", at=where)
    if not Path(where).is_dir():
        raise Unreadable(reason="there is no such folder", at=where)
    return FolderLog(Path(where), time.monotonic() + whole_s)


@dataclass
class FolderLog:
    """A log as files below a folder."""

    folder: Path
    deadline_s: float

    @property
    def address(self) -> str:
        """The folder."""
        return str(self.folder)

    def read(self, path: str) -> bytes:
        """See Log."""
        if time.monotonic() > self.deadline_s:
            raise Unreadable(reason="reading the whole log took too long", at=path)
        bytes_max = bytes_max_of(path)
        file = self.folder / path
        try:
            if not stat.S_ISREG(file.stat().st_mode):
                raise Unreadable(reason="not a file", at=path)
            with file.open("rb") as opened:
                data = opened.read(bytes_max + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(path) from None
        except OSError as failed:
            raise Unreadable(reason=failed.strerror or "it cannot be read", at=path) from failed
        if len(data) > bytes_max:
            raise Unreadable(reason="longer than such a file can be", at=path, bytes_max=bytes_max)
        return data

    def read_all(self, paths: Iterable[str]) -> Iterator[bytes]:
        """See Log."""
        return map(self.read, paths)

    def close(self) -> None:
        """See Log."""


@dataclass
class HttpLog:
    """A log behind an http(s) address. `deadline_s` is of the monotonic clock."""

    address: str
    deadline_s: float
    read_s: float = READ_S_MAX
    file_s: float = FILE_S_MAX
    _fetchers: list[_Fetcher] = field(default_factory=list)

    def read(self, path: str) -> bytes:
        """See Log."""
        return self._take(path, self._ask(path, 0))

    def read_all(self, paths: Iterable[str]) -> Iterator[bytes]:
        """See Log."""
        asked: deque[tuple[str, _Answer]] = deque()
        for number, path in enumerate(paths):
            asked.append((path, self._ask(path, number % THREADS_MAX)))
            if len(asked) == AHEAD_MAX:
                yield self._take(*asked.popleft())
        while asked:
            yield self._take(*asked.popleft())

    def close(self) -> None:
        """See Log."""
        for fetcher in self._fetchers:
            fetcher.end()
        self._fetchers.clear()

    def _ask(self, path: str, thread: int) -> _Answer:
        while len(self._fetchers) <= thread:
            self._fetchers.append(_Fetcher(self.address, self.read_s))
        return self._fetchers[thread].ask(path)

    def _take(self, path: str, answer: _Answer) -> bytes:
        left_s = min(self.deadline_s - time.monotonic(), self.file_s)
        try:
            found = answer.get(timeout=max(left_s, 0))
        except Empty:
            raise Unreadable(reason="reading it took too long", at=path) from None
        if isinstance(found, Exception):
            raise found
        return found


_Answer = SimpleQueue[bytes | Exception]


class _Fetcher:
    """A thread with a connection of its own, which it keeps open from file to file."""

    def __init__(self, address: str, read_s: float) -> None:
        self._address, self._read_s = address, read_s
        self._asked: SimpleQueue[tuple[str, _Answer] | None] = SimpleQueue()
        self._connection: http.client.HTTPConnection | None = None
        self._server = ("", "")
        threading.Thread(target=self._work, name="log-reading", daemon=True).start()

    def ask(self, path: str) -> _Answer:
        answer: _Answer = SimpleQueue()
        self._asked.put((path, answer))
        return answer

    def end(self) -> None:
        """The thread ends, also one that waits for a server."""
        self._asked.put(None)
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None:
            path, answer = asked
            answer.put(self._fetched(path))
        self._hang_up()

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _fetched(self, path: str) -> bytes | Exception:
        """A file, or why there is none: nothing raised here would be seen."""
        try:
            return self._fetch(path)
        except FileNotFoundError as missing:
            return missing
        except Unreadable as refused:
            self._hang_up()
            return refused
        except TimeoutError:
            self._hang_up()
            return Unreadable(reason="the server does not answer", at=path)
        except (OSError, http.client.HTTPException, ValueError) as failed:
            self._hang_up()
            return Unreadable(reason=f"{type(failed).__name__}: {failed}"[:REASON_MAX], at=path)

    def _fetch(self, path: str) -> bytes:
        scheme = urlsplit(self._address).scheme
        address = f"{self._address}/{path}"
        for _ in range(REDIRECTS_MAX + 1):
            response = self._ask_server(address)
            if response.status not in REDIRECTS:
                with response:
                    return _body(response, path)
            response.close()
            self._hang_up()
            address = urljoin(address, response.headers.get("Location", ""))
            if urlsplit(address).scheme != scheme:
                raise Unreadable(reason="led to an address of another scheme", at=path)
        raise Unreadable(reason="led on from address to address", at=path)

    def _ask_server(self, address: str) -> http.client.HTTPResponse:
        was_open = self._connection is not None
        try:
            return self._ask_once(address)
        except (ConnectionError, http.client.BadStatusLine):
            # A server may close a connection that waited; where a new one fails too, it is a failure.
            self._hang_up()
            if not was_open:
                raise
            return self._ask_once(address)

    def _ask_once(self, address: str) -> http.client.HTTPResponse:
        parts = urlsplit(address)
        server = parts.scheme, parts.netloc.rpartition("@")[2]
        if self._connection is None or self._server != server:
            self._hang_up()
            kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
            self._connection, self._server = kind(server[1], timeout=self._read_s), server
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._connection.request("GET", target, headers={"Accept-Encoding": "identity", "User-Agent": AGENT})
        return self._connection.getresponse()


def _body(response: http.client.HTTPResponse, path: str) -> bytes:
    """The answer's bytes, as many as such a file can have, and all of them where the answer says how many."""
    is_there = response.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
    if is_there and response.status != HTTPStatus.OK:
        raise Unreadable(reason=f"the server answers {response.status}", at=path)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Unreadable(reason="the server sends it in another coding than was asked for", at=path)
    bytes_max = bytes_max_of(path)
    data = bytearray()
    # At most one read of the connection at a time: each is bounded by the connection's own time.
    while chunk := response.read1(CHUNK_BYTES):
        data += chunk
        if len(data) > bytes_max:
            raise Unreadable(reason="longer than such a file can be", at=path, bytes_max=bytes_max)
    if response.length:
        raise Unreadable(reason="the answer ended early", at=path)
    if not is_there:
        raise FileNotFoundError(path)
    return bytes(data)
