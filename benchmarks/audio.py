"""Whole files: an owned track through Python beside a bare file response, and behind nginx beside nginx alone."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from benchmarks import bare, nginx
from benchmarks.figures import Bench, Figure, alternating, at_least
from benchmarks.load import HEAD_END, WrongAnswers, content_length, written
from benchmarks.stage import METER, RENDITION_BYTES, Stage, server, stage
from ledger.ids import uuid7
from streamcoop.catalogue.storage import rendition_key
from streamcoop.playback.tokens import PlayToken, seal

CONNECTIONS = 8
FILES, FILES_QUICK = 400, 80
PYTHON_BAR = 0.7
NGINX_BAR = 0.8
LOCATION = "/objects/"
RECEIVE_BYTES = 1 << 20
TIMEOUT_S = 60.0
TOKEN_MS = 3_600_000
MEGABYTE = 1e6


def run(bench: Bench) -> Iterator[Figure]:
    """Fetch a rendition of four minutes again and again over several connections."""
    files = bench.size(FILES, FILES_QUICK)
    with stage(bench.seed, listeners=1, tracks=1) as made:
        request = written("GET", f"/stream/{_owned(made)}", made.artist.headers)
        expected = made.audio.read_bytes()
        bench.say(f"{files} files of {RENDITION_BYTES / MEGABYTE:.1f} MB a run on {CONNECTIONS} connections")
        with (
            server(made) as (_, port),
            server(made, "benchmarks.bare:create_app", {bare.FILE: str(made.audio)}) as (_, bare_port),
        ):
            plain = written("GET", "/file", {})
            for at, asked in ((port, request), (bare_port, plain)):
                _verify(at, asked, expected)
            served, control = alternating(
                bench.runs, lambda: _served(port, request, files), lambda: _served(bare_port, plain, files)
            )
        yield Figure(
            "serve an owned track through Python",
            served,
            "MB/s",
            "bare FileResponse",
            control,
            at_least(PYTHON_BAR, "ratio"),
        )
        yield from _behind_nginx(bench, made, request, expected, files)


def _behind_nginx(bench: Bench, made: Stage, request: bytes, expected: bytes, files: int) -> Iterator[Figure]:
    binary = nginx.program()
    if binary is None:
        bench.say("no nginx here: `python -m tests.debian_parts` fetches Debian's; X-Accel-Redirect is left out")
        return
    objects = f"alias {made.setup.places.objects}/;"
    with (
        server(made, environment={"STREAMCOOP_ACCEL_LOCATION": LOCATION}) as (_, port),
        nginx.running(binary, made.setup.places.root / "nginx", port, LOCATION, objects) as front,
    ):
        alone = written("GET", f"/alone/{rendition_key(made.tracks[0], 'mp3')}", {})
        for asked in (request, alone):
            _verify(front, asked, expected)
        served, control = alternating(
            bench.runs, lambda: _served(front, request, files), lambda: _served(front, alone, files)
        )
    yield Figure(
        "serve an owned track behind nginx (X-Accel-Redirect)",
        served,
        "MB/s",
        "nginx alone",
        control,
        at_least(NGINX_BAR, "ratio"),
    )


def _owned(made: Stage) -> str:
    """A token of the artist for a track of her own: free, hence sent without pacing."""
    opened_ms = int(datetime.now(UTC).timestamp() * 1000)
    token = PlayToken(
        kind="play",
        codec="mp3",
        ordinal=1,
        play_id=uuid7(opened_ms, 0),
        listener_id=made.artist.user_id,
        session_id=made.artist.session_id,
        track_id=made.tracks[0],
        price_micro=0,
        expires_ms=opened_ms + TOKEN_MS,
        meter=METER,
    )
    return seal(token, made.secret_key)


def _verify(port: int, request: bytes, expected: bytes) -> None:
    """Raises WrongAnswers unless the answer is the file, byte for byte."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
        connection.sendall(request)
        kept = bytearray()
        _receive(connection, bytearray(RECEIVE_BYTES), kept)
        if kept != expected:
            raise WrongAnswers(f"{len(kept)} bytes that are not the file's {len(expected)}")


def _served(port: int, request: bytes, files: int) -> float:
    """Megabytes a second. The threads spend their time in the kernel, where Python's lock is not held."""

    def connection(count: int) -> None:
        buffer = bytearray(RECEIVE_BYTES)
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as opened:
            for _ in range(count):
                opened.sendall(request)
                if (received := _receive(opened, buffer)) != RENDITION_BYTES:
                    raise WrongAnswers(f"{received} bytes instead of {RENDITION_BYTES}")

    begun = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        list(threads.map(connection, [files // CONNECTIONS] * CONNECTIONS))
    return files // CONNECTIONS * CONNECTIONS * RENDITION_BYTES / MEGABYTE / (time.perf_counter() - begun)


def _receive(connection: socket.socket, buffer: bytearray, kept: bytearray | None = None) -> int:
    """Take one answer with status 200 from a connection; the length of its body, which `kept` is given too."""
    head = b""
    while HEAD_END not in head:
        if not (block := connection.recv(RECEIVE_BYTES)):
            raise ConnectionError("the server hung up")
        head += block
    head, _, body = head.partition(HEAD_END)
    if head[9:12] != b"200":
        raise WrongAnswers(head.decode("latin-1"))
    length, received = content_length(head), len(body)
    if kept is not None:
        kept += body
    while received < length:
        count = connection.recv_into(buffer, min(len(buffer), length - received))
        if not count:
            raise ConnectionError("the server hung up")
        if kept is not None:
            kept += buffer[:count]
        received += count
    return received
