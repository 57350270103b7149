"""A log from a folder or a server that is hostile: a verdict within its time, never a traceback, never a pass."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from ledger import entries, tiles
from ledger.merkle import leaf_hash
from ledger.note import NOTE_BYTES_MAX, Checkpoint, signed
from ledger.tiles import ENTRIES, WIDTH
from ledger.verify import run
from ledger.verify.reading import HttpLog, Unreadable, open_log
from ledger.verify.report import Report
from tests.ledger import log_factory as factory
from tests.ledger.log_factory import publish, story
from tests.ledger.verify.auditing import NOW_S, audit, said
from tests.ledger.verify.servers import Misbehaviour, serving

LAST_BUNDLE = tiles.path(ENTRIES, 0, 51)
LAST_TILE = tiles.path(0, 0, 51)
# Far below what a stalling server or a log of absurd size would take, far above what a slow machine needs.
WAIT_S_MAX = 20


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The story's log. It is only read."""
    folder = tmp_path_factory.mktemp("log")
    publish(folder, story().entries)
    return folder


def long_log(folder: Path, size: int) -> factory.Published:
    """A log of that many entries, of which all but the first are batches."""
    founding = story().entries[0]
    batch = {"opened_at": 1, "closed_at": 2}
    return publish(folder, [founding, *((entries.BATCH, {**batch, "batch": n}) for n in range(1, size))])


# --- Over HTTP ---


def over_http(
    log: Path, misbehave: Misbehaviour = lambda _: False, *, file_s: float = 60, read_s: float = 60
) -> Report:
    """The audit of a log that a server gives out; the report says in how many seconds."""
    with (
        serving(log, misbehave) as address,
        closing(HttpLog(address, time.monotonic() + 120, read_s, file_s)) as found,
    ):
        return run.verify(found, run.Asked(founding=factory.NOTE.encode()), NOW_S)


def test_a_log_over_http_is_the_same_as_in_a_folder(tmp_path: Path) -> None:
    long_log(tmp_path, 2 * WIDTH + 3)
    report = over_http(tmp_path)
    assert (said(report), report.entries) == ([], 2 * WIDTH + 3)


def _redirecting(to: str) -> Misbehaviour:
    def misbehave(request: BaseHTTPRequestHandler) -> bool:
        request.send_response(302)
        request.send_header("Location", to)
        request.send_header("Content-Length", "0")
        request.end_headers()
        return True

    return misbehave


def _once_redirected(request: BaseHTTPRequestHandler) -> bool:
    if request.path.startswith("/old"):
        return False
    if request.path == "/checkpoint":
        return _redirecting("/moved/checkpoint")(request)
    request.path = request.path.removeprefix("/moved")
    return False


def _stalling(request: BaseHTTPRequestHandler) -> bool:
    request.wfile.flush()
    time.sleep(WAIT_S_MAX)
    return True


def _dripping(request: BaseHTTPRequestHandler) -> bool:
    """A byte of the header now and then: no read of it takes long."""
    try:
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 10_000:
            request.wfile.write(bytes([byte]))
            request.wfile.flush()
            time.sleep(0.05)
    except OSError:
        pass
    return True


def _endless(request: BaseHTTPRequestHandler) -> bool:
    request.send_response(200)
    request.end_headers()
    try:
        while True:
            request.wfile.write(b"x" * NOTE_BYTES_MAX)
    except OSError:
        return True


def _cut_short(request: BaseHTTPRequestHandler) -> bool:
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b"coop.example/log\n")
    return True


def _failing(request: BaseHTTPRequestHandler) -> bool:
    request.send_error(503)
    return True


def _nonsense(request: BaseHTTPRequestHandler) -> bool:
    request.wfile.write(b"\x00\xff nonsense\r\n\r\n" * 100)
    return True


def _packed(request: BaseHTTPRequestHandler) -> bool:
    request.send_response(200)
    request.send_header("Content-Encoding", "gzip")
    request.send_header("Content-Length", "3")
    request.end_headers()
    request.wfile.write(b"abc")
    return True


def _many_headers(request: BaseHTTPRequestHandler) -> bool:
    request.send_response(200)
    for number in range(500):
        request.send_header(f"X-{number}", "x")
    request.end_headers()
    return True


def _hanging_up(_: BaseHTTPRequestHandler) -> bool:
    return True


def _at(path: str, misbehave: Misbehaviour) -> Misbehaviour:
    return lambda request: request.path == f"/{path}" and misbehave(request)


HOSTILE: dict[str, tuple[Misbehaviour, str]] = {
    "a redirect loop": (_redirecting("/checkpoint"), "led on from address to address"),
    "to another scheme": (_redirecting("file:///etc/passwd"), "another scheme"),
    "to an ftp server": (_redirecting("ftp://127.0.0.1/checkpoint"), "another scheme"),
    "to nowhere": (_redirecting("http://127.0.0.1:1/checkpoint"), "ConnectionRefusedError"),
    "to no address": (_redirecting("http://[/"), "ValueError"),
    "stalling": (_stalling, "the server does not answer"),
    "dripping": (_dripping, "reading it took too long"),
    "endless": (_endless, "longer than such a file can be"),
    "cut short": (_cut_short, "ended early|IncompleteRead"),
    "failing": (_failing, "the server answers 503"),
    "nonsense": (_nonsense, "BadStatusLine"),
    "packed": (_packed, "another coding than was asked for"),
    "many headers": (_many_headers, "got more than 100 headers"),
    "hanging up": (_hanging_up, "RemoteDisconnected"),
    "nothing there": (lambda request: bool(request.send_error(404)) or True, "a file is missing: checkpoint"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("path", ["checkpoint", LAST_BUNDLE])
def test_a_hostile_server_is_no_pass_and_no_wait(log: Path, case: str, path: str) -> None:
    misbehave, message = HOSTILE[case]
    if "loop" in case:
        misbehave = _redirecting(f"/{path}")
    # Bounds are short only where they are what ends it, so that a slow machine changes nothing.
    limits = {"stalling": {"read_s": 0.4}, "dripping": {"file_s": 0.4}}.get(case, {})
    report = over_http(log, _at(path, misbehave), **limits)
    assert report.verdict == 2
    message = message.replace("checkpoint", "tile/entries/000") if path != "checkpoint" else message
    assert any(part in report.unreadable for part in message.split("|")), report.unreadable
    assert report.seconds < WAIT_S_MAX


def test_a_few_redirects_within_a_scheme_are_followed(log: Path) -> None:
    assert over_http(log, _once_redirected).verdict == 0


def test_the_whole_reading_has_an_end_too(log: Path) -> None:
    begun = time.monotonic()
    with serving(log, _dripping) as address, closing(HttpLog(address, begun + 0.3)) as found:
        with pytest.raises(Unreadable, match="took too long"):
            found.read("checkpoint")
        assert time.monotonic() - begun < WAIT_S_MAX
    with pytest.raises(Unreadable, match="took too long"):
        open_log(str(log), 0).read("checkpoint")


def test_threads_are_left_behind_and_hold_up_nobody(log: Path) -> None:
    over_http(log, _at(LAST_BUNDLE, _stalling), file_s=0.1)
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "log-reading")


@pytest.mark.parametrize("where", ["ftp://example.com", "file:///etc", "no such folder", "http+unix://x"])
def test_what_is_no_log_at_all_is_refused(where: str) -> None:
    with pytest.raises(Unreadable):
        open_log(where)


def test_an_address_that_nobody_listens_at_is_unreadable() -> None:
    with closing(open_log("http://127.0.0.1:1")) as log:
        assert run.verify(log, run.Asked(), NOW_S).verdict == 2


# --- Files ---


def _spoil(log: Path, to: Path, path: str, data: bytes | Callable[[bytes], bytes]) -> Path:
    for file in log.rglob("*"):
        if file.is_file():
            copy = to / file.relative_to(log)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    target = to / path
    target.write_bytes(data(target.read_bytes()) if callable(data) else data)
    return to


@pytest.mark.parametrize("path", ["checkpoint", LAST_BUNDLE, LAST_TILE])
def test_any_byte_changed_anywhere_is_no_pass(log: Path, tmp_path: Path, path: str) -> None:
    size = (log / path).stat().st_size
    for place in range(0, size, max(1, size // 40)):

        def flip(data: bytes, place: int = place) -> bytes:
            return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

        assert audit(_spoil(log, tmp_path, path, flip)).verdict != 0


@pytest.mark.parametrize("path", ["checkpoint", LAST_BUNDLE, LAST_TILE])
@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"\xff" * 100, b"x" * 17_000_000, lambda data: data[:-1], lambda data: data + b"\n"],
    ids=["empty", "zero", "high", "oversized", "truncated", "one more"],
)
def test_a_file_of_another_length_is_no_pass(
    log: Path, tmp_path: Path, path: str, data: bytes | Callable[[bytes], bytes]
) -> None:
    assert audit(_spoil(log, tmp_path, path, data)).verdict != 0


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n\n", "\nextension\n\n"),
        lambda text: text.replace("\n51\n", "\n051\n"),
        lambda text: text.replace("\n51\n", "\n40\n"),
        lambda text: text.replace("\n51\n", f"\n{2**63}\n"),
        lambda text: text.replace("coop.example/log", "coop.example/other"),
        lambda text: text.partition("— ")[0],
        lambda text: text.partition("— ")[0] + "— " + text.split("— ")[1],
        lambda text: text.partition("— ")[0] + "— " + text.split("— ")[2],
        lambda text: text + "— " + text.split("— ")[1],
        lambda text: text.replace("— coop.example/log", "— else.example/log"),
    ],
)
def test_a_checkpoint_that_is_not_to_the_letter_is_no_pass(
    log: Path, tmp_path: Path, change: Callable[[str], str]
) -> None:
    report = audit(_spoil(log, tmp_path, "checkpoint", lambda data: change(data.decode()).encode()))
    assert report.verdict != 0
    assert said(report)


def test_a_head_signed_by_a_stranger_is_no_pass(tmp_path: Path) -> None:
    publish(
        tmp_path,
        story().entries,
        keys=[factory.SigningKey(factory.ORIGIN, key.type, b"x" * 32) for key in factory.KEYS],
    )
    report = audit(tmp_path)
    assert "the head is not signed by a key of the log" in said(report)[0]


def test_a_log_of_no_key_is_not_believed(tmp_path: Path) -> None:
    publish(tmp_path, story().entries, note=None)
    report = audit(tmp_path, founding=None)
    assert (report.verdict, report.findings.count) == (2, 0)
    assert "no key of the log is known" in report.unreadable


@pytest.mark.parametrize("size", [2**62, 2**63 - 1, 10**6])
def test_an_absurd_size_ends_at_the_first_missing_file(log: Path, tmp_path: Path, size: int) -> None:
    head = Checkpoint(factory.ORIGIN, size, leaf_hash(b""))
    note = str(signed(str(head), factory.KEYS, 1)).encode()
    report = audit(_spoil(log, tmp_path, "checkpoint", note))
    assert (report.verdict, report.unreadable) == (2, "a file is missing: tile/entries/000")
    assert report.seconds < WAIT_S_MAX


def test_an_empty_log_is_read_and_has_no_founding(tmp_path: Path) -> None:
    publish(tmp_path, [])
    assert audit(tmp_path).verdict == 1


def test_a_full_tile_that_took_the_place_of_a_partial_one_is_read(tmp_path: Path) -> None:
    before = long_log(tmp_path, WIDTH + 5)
    long_log(tmp_path, 2 * WIDTH)
    for kind in (ENTRIES, 0):
        (tmp_path / tiles.path(kind, 1, 5)).unlink()
    (tmp_path / "checkpoint").write_text(before.checkpoint, encoding="utf-8")
    assert said(audit(tmp_path)) == []


def test_upper_tiles_are_those_of_the_entries(tmp_path: Path) -> None:
    long_log(tmp_path, 2 * WIDTH + 1)
    assert audit(tmp_path).verdict == 0
    (tmp_path / tiles.path(1, 0, 2)).write_bytes(bytes(64))
    assert said(audit(tmp_path)) == ["tile/1/000.p/2: not the tile that the entries give"]


def test_what_is_no_file_is_not_waited_for(log: Path, tmp_path: Path) -> None:
    spoiled = _spoil(log, tmp_path, LAST_TILE, b"")
    (spoiled / LAST_TILE).unlink()
    os.mkfifo(spoiled / LAST_TILE)
    report = audit(spoiled)
    assert (report.verdict, report.seconds < WAIT_S_MAX) == (2, True)


ODD = {
    "no JSON": b"{",
    "another order": b'{"v":1,"type":"batch","batch":1,"opened_at":1,"closed_at":1}',
    "a space": b'{"batch": 1,"closed_at":1,"opened_at":1,"type":"batch","v":1}',
    "a key twice": b'{"batch":1,"batch":1,"closed_at":1,"opened_at":1,"type":"batch","v":1}',
    "a fraction": b'{"batch":1.0,"closed_at":1,"opened_at":1,"type":"batch","v":1}',
    "a field more": b'{"batch":1,"closed_at":1,"note":"","opened_at":1,"type":"batch","v":1}',
    "a field less": b'{"batch":1,"closed_at":1,"type":"batch","v":1}',
    "another version": b'{"batch":1,"closed_at":1,"opened_at":1,"type":"batch","v":2}',
    "another kind": b'{"type":"gift","v":1}',
    "a truth": b'{"batch":true,"closed_at":1,"opened_at":1,"type":"batch","v":1}',
    "too large": b'{"batch":99999999999999999999,"closed_at":1,"opened_at":1,"type":"batch","v":1}',
    "deep": b"[" * 20_000 + b"]" * 20_000,
    "empty": b"",
    "a list": b"[]",
    "not UTF-8": b'{"type":"\xff"}',
}


@pytest.mark.parametrize("case", ODD)
def test_an_entry_that_is_none_is_told_and_the_rest_is_read(tmp_path: Path, case: str) -> None:
    data = [entries.encode(*named) for named in story().entries]
    publish(tmp_path, [*data, ODD[case]])
    report = audit(tmp_path)
    assert report.verdict == 1
    assert [(finding.check, finding.at) for finding in report.findings.first] == [("forms", 51)]


def test_of_very_many_findings_the_first_are_kept(tmp_path: Path) -> None:
    publish(tmp_path, [entries.encode(*story().entries[0]), *[b"{}"] * 1_000])
    report = audit(tmp_path)
    assert (report.findings.count, len(report.findings.first)) == (1_000, 100)
