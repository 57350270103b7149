"""Reading a published log, from a folder or over HTTP, within bounds of bytes and time.

Whatever answers may be hostile: it stalls, sends without end, leads elsewhere. Threads of their own do the fetching and
are left behind when the time for a file is over, since nothing else bounds a name's look-up, a handshake or a byte a
second.
"""

from __future__ import annotations

import http.client
import stat
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
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
        except FileNotFoundError:
            raise
        except OSError as failed:
            raise Unreadable(reason=failed.strerror or "it cannot be read", at=path) from failed
        if len(data) > bytes_max:
            raise Unreadable(reason="longer than such a file can be", at=path, bytes_max=bytes_max)
        return data

    def read_all(self, paths: Iterable[str]) -> Iterator[bytes]:
        """See Log."""
        return map(self.read, paths)


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
        self._asked: SimpleQueue[tuple[str, _Answer]] = SimpleQueue()
        self._connections: dict[tuple[str, str], http.client.HTTPConnection] = {}
        threading.Thread(target=self._work, name="log-reading", daemon=True).start()

    def ask(self, path: str) -> _Answer:
        answer: _Answer = SimpleQueue()
        self._asked.put((path, answer))
        return answer

    def _work(self) -> None:
        while True:
            path, answer = self._asked.get()
            answer.put(self._fetched(path))

    def _fetched(self, path: str) -> bytes | Exception:
        """A file, or why there is none: nothing raised here would be seen."""
        try:
            return self._fetch(path)
        except (Unreadable, FileNotFoundError) as refused:
            return refused
        except TimeoutError:
            self._connections.clear()
            return Unreadable(reason="the server does not answer", at=path)
        except (OSError, http.client.HTTPException, ValueError) as failed:
            self._connections.clear()
            return Unreadable(reason=f"{type(failed).__name__}: {failed}"[:REASON_MAX], at=path)

    def _fetch(self, path: str) -> bytes:
        scheme = urlsplit(self._address).scheme
        address = f"{self._address}/{path}"
        for _ in range(REDIRECTS_MAX + 1):
            response = self._ask_server(address)
            if response.status not in REDIRECTS:
                return _body(response, path)
            response.close()
            self._connections.clear()
            address = urljoin(address, response.headers.get("Location", ""))
            if urlsplit(address).scheme != scheme:
                raise Unreadable(reason="led to an address of another scheme", at=path)
        raise Unreadable(reason="led on from address to address", at=path)

    def _ask_server(self, address: str) -> http.client.HTTPResponse:
        parts = urlsplit(address)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        was_open = (parts.scheme, parts.netloc) in self._connections
        try:
            return self._asked_on(self._connection(parts.scheme, parts.netloc), target)
        except TimeoutError:
            raise
        except (ConnectionError, http.client.BadStatusLine):
            # A server may close a connection that waited; a new one that fails too is a failure.
            if not was_open:
                raise
            self._connections.clear()
            return self._asked_on(self._connection(parts.scheme, parts.netloc), target)

    def _asked_on(self, connection: http.client.HTTPConnection, target: str) -> http.client.HTTPResponse:
        connection.request("GET", target or "/", headers={"Accept-Encoding": "identity", "User-Agent": AGENT})
        return connection.getresponse()

    def _connection(self, scheme: str, server: str) -> http.client.HTTPConnection:
        if (scheme, server) not in self._connections:
            secure = scheme == "https"
            made = http.client.HTTPSConnection if secure else http.client.HTTPConnection
            # What stands before an @ is for logging in: nothing here does.
            self._connections = {(scheme, server): made(server.rpartition("@")[2], timeout=self._read_s)}
        return self._connections[scheme, server]


def _body(response: http.client.HTTPResponse, path: str) -> bytes:
    """The answer's bytes, as many as such a file can have, and all of them where the answer says how many."""
    if response.status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        response.read(CHUNK_BYTES)
        raise FileNotFoundError(path)
    if response.status != HTTPStatus.OK:
        response.close()
        raise Unreadable(reason=f"the server answers {response.status}", at=path)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        response.close()
        raise Unreadable(reason="the server sends it in another coding than was asked for", at=path)
    bytes_max = bytes_max_of(path)
    data = bytearray()
    while chunk := response.read1(CHUNK_BYTES):
        data += chunk
        if len(data) > bytes_max:
            response.close()
            raise Unreadable(reason="longer than such a file can be", at=path, bytes_max=bytes_max)
    if response.length:
        raise Unreadable(reason="the answer ended early", at=path)
    return bytes(data)
