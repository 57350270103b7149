"""Both object stores keep the same promises. The S3 one is tested against a real SeaweedFS where there is one."""

from __future__ import annotations

import os
import stat
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from streamcoop.adapters import objects
from tests.adapters.s3_server import BUCKET, KEY_ID, SECRET, S3Server, free_ports, own_bucket, running_s3

WRITERS_S_MAX = 60
RANGES = [(0, 256_000), (0, 1), (1, 70_000), (255_999, 256_000), (200_000, 999_999), (5, 5), (256_000, 300_000)]
LARGE_BYTES = 20 << 20
WRITERS = 6


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("weed")) as running:
        yield running


def _s3(server: S3Server, secret: str = SECRET) -> objects.ObjectStore:
    return objects.open_store(_settings(f"s3://{BUCKET}", server.endpoint_url, secret))


def _settings(url: str, endpoint_url: str | None = None, secret: str = SECRET) -> Any:
    """The part of the settings that the stores read."""
    return SimpleNamespace(
        objects_url=url,
        s3_endpoint_url=endpoint_url,
        s3_access_key_id=SecretStr(KEY_ID),
        s3_secret_access_key=SecretStr(secret),
    )


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> objects.ObjectStore:
    if request.param == "folder":
        return objects.open_store(_settings(f"file://{tmp_path}/kept objects".replace(" ", "%20")))
    return _s3(request.getfixturevalue("server"))


@pytest.fixture
def key() -> str:
    """A key of the test's own: the tests of one server share its bucket."""
    return f"audio/{uuid.uuid4()}/piece.mp3"


def _file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "upload"
    path.write_bytes(content)
    return path


def test_put_file__kept__can_be_read_in_any_range(store: objects.ObjectStore, key: str, tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    store.put_file(key, _file(tmp_path, content), "audio/mpeg")

    assert store.exists(key)
    assert store.size(key) == len(content)
    for start, end in RANGES:
        chunks = list(store.open_range(key, start, end))
        assert b"".join(chunks) == content[start:end]
        assert all(0 < len(chunk) <= objects.CHUNK_BYTES for chunk in chunks)


def test_put_file__empty_file__is_kept(store: objects.ObjectStore, key: str, tmp_path: Path) -> None:
    store.put_file(key, _file(tmp_path, b""), "audio/mpeg")
    assert store.size(key) == 0
    assert list(store.open_range(key, 0, 10)) == []


def test_put_file__again__same_is_fine_and_other_is_a_conflict(
    store: objects.ObjectStore, key: str, tmp_path: Path
) -> None:
    store.put_file(key, _file(tmp_path, b"first"), "audio/mpeg")
    store.put_file(key, _file(tmp_path, b"first"), "audio/mpeg")
    for other in (b"other", b"longer than the first"):
        with pytest.raises(objects.ObjectConflict):
            store.put_file(key, _file(tmp_path, other), "audio/mpeg")
    assert b"".join(store.open_range(key, 0, 100)) == b"first"


def test_put_file__large__comes_back_whole(store: objects.ObjectStore, key: str, tmp_path: Path) -> None:
    content = os.urandom(LARGE_BYTES)
    store.put_file(key, _file(tmp_path, content), "audio/flac")
    target = tmp_path / "fetched"
    target.write_bytes(b"replaced")
    store.fetch_to(key, target)
    assert target.read_bytes() == content
    assert b"".join(store.open_range(key, 9 << 20, 12 << 20)) == content[9 << 20 : 12 << 20]
    store.put_file(key, _file(tmp_path, content), "audio/flac")


@pytest.mark.parametrize("length", [1_000, LARGE_BYTES])
def test_put_file__several_at_the_same_instant__the_first_stays_and_the_others_are_told(
    store: objects.ObjectStore, key: str, tmp_path: Path, length: int
) -> None:
    start = threading.Barrier(WRITERS)

    def write(number: int) -> int | None:
        path = tmp_path / f"upload {number}"
        path.write_bytes(bytes([number]) * length)
        start.wait(WRITERS_S_MAX)
        try:
            store.put_file(key, path, "audio/mpeg")
        except objects.ObjectConflict:
            return None
        return number

    with ThreadPoolExecutor(WRITERS) as threads:
        kept = [number for number in threads.map(write, range(WRITERS)) if number is not None]
    assert [b"".join(store.open_range(key, 0, length))] == [bytes([number]) * length for number in kept]


def test_open_range__reader_that_leaves_early__harms_nobody(
    store: objects.ObjectStore, key: str, tmp_path: Path
) -> None:
    content = os.urandom(1 << 20)
    store.put_file(key, _file(tmp_path, content), "audio/flac")
    for _ in range(objects.S3_CONNECTIONS_MAX * 2):
        chunks = store.open_range(key, 0, len(content))
        assert next(chunks) == content[: objects.CHUNK_BYTES]
        chunks.close()  # type: ignore[attr-defined]  # as a server does to a generator whose client went away


def test_missing_object__every_reader_says_so_at_once(store: objects.ObjectStore, key: str, tmp_path: Path) -> None:
    assert not store.exists(key)
    for read in (
        lambda: store.size(key),
        lambda: store.open_range(key, 0, 1),
        lambda: store.open_range(key, 0, 0),
        lambda: store.fetch_to(key, tmp_path / "target"),
    ):
        with pytest.raises(objects.ObjectMissing):
            read()
    assert not (tmp_path / "target").exists()
    store.delete(key)


def test_delete__then_gone_and_may_be_written_anew(store: objects.ObjectStore, key: str, tmp_path: Path) -> None:
    store.put_file(key, _file(tmp_path, b"first"), "audio/mpeg")
    store.delete(key)
    assert not store.exists(key)
    store.put_file(key, _file(tmp_path, b"second"), "audio/mpeg")
    assert store.size(key) == 6


BAD_KEYS = ["", "/a", "a/", "a//b", "..", "a/../b", "../a", ".hidden", "a/.b", "a b", "a\\b", "a\x00", "ä", "a\n"]
BAD_KEYS.append("x" * (objects.KEY_CHARS_MAX + 1))


@pytest.mark.parametrize("bad", BAD_KEYS)
def test_bad_key__every_method_refuses_it(tmp_path: Path, bad: str) -> None:
    folder = objects.open_store(_settings(f"file://{tmp_path}/objects"))
    bucket = objects.open_store(_settings("s3://bucket", "http://127.0.0.1:1"))
    source = _file(tmp_path, b"content")
    for store in (folder, bucket):
        for call in (
            lambda store: store.put_file(bad, source, "audio/mpeg"),
            lambda store: store.open_range(bad, 0, 1),
            lambda store: store.size(bad),
            lambda store: store.exists(bad),
            lambda store: store.delete(bad),
            lambda store: store.fetch_to(bad, tmp_path / "target"),
            lambda store: store.local_path(bad),
        ):
            with pytest.raises(objects.InvalidKey):
                call(store)


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 4)])
def test_open_range__impossible_range__is_a_value_error(
    store: objects.ObjectStore, key: str, start: int, end: int
) -> None:
    with pytest.raises(ValueError, match="no such range"):
        store.open_range(key, start, end)


@pytest.mark.parametrize(
    "url", ["", "file://relative/path", "file:relative", "s3://", "s3://bucket/prefix", "http://x"]
)
def test_open_store__other_addresses__are_refused(url: str) -> None:
    with pytest.raises(objects.InvalidStoreUrl):
        objects.open_store(_settings(url))


def test_folder__files_can_be_sent_and_nothing_half_written_stays(tmp_path: Path) -> None:
    root = tmp_path / "objects"
    store = objects.open_store(_settings(f"file://{root}"))
    store.put_file("a/b.mp3", _file(tmp_path, b"content"), "audio/mpeg")

    path = store.local_path("a/b.mp3")
    assert path is not None
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list((root / objects.INCOMING).iterdir()) == []
    assert path.stat().st_nlink == 1


def test_folder__key_that_is_another_keys_folder__is_a_conflict(tmp_path: Path) -> None:
    store = objects.open_store(_settings(f"file://{tmp_path}/objects"))
    store.put_file("a/b", _file(tmp_path, b"content"), "audio/mpeg")
    for other in ("a", "a/b/c"):
        with pytest.raises(objects.ObjectConflict):
            store.put_file(other, _file(tmp_path, b"content"), "audio/mpeg")
        assert not store.exists(other)


def test_put_file__source_that_is_missing__is_the_callers_error(store: objects.ObjectStore, key: str) -> None:
    with pytest.raises(FileNotFoundError):
        store.put_file(key, Path("no-such-file"), "audio/mpeg")
    assert not store.exists(key)


def test_folder__disk_that_fails__leaves_no_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = objects.open_store(_settings(f"file://{tmp_path}/objects"))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(objects.ObjectStoreUnavailable):
        store.put_file("a/b.mp3", _file(tmp_path, b"content"), "audio/mpeg")
    monkeypatch.undo()
    assert not store.exists("a/b.mp3")
    assert list((tmp_path / "objects" / objects.INCOMING).iterdir()) == []


def test_folder__every_write_is_synced_before_it_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = objects.open_store(_settings(f"file://{tmp_path}/objects"))
    target = tmp_path / "objects" / "a" / "b.mp3"
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def record(fd: int) -> None:
        synced.append(("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "content", target.exists()))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", record)
    store.put_file("a/b.mp3", _file(tmp_path, b"content"), "audio/mpeg")
    assert ("content", False) in synced
    assert ("content", True) not in synced
    assert synced[-1] == ("folder", True)


def test_s3__server_that_is_not_there__is_unavailable(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    store = objects.open_store(_settings("s3://bucket", f"http://127.0.0.1:{port}"))
    for call in (
        lambda: store.put_file("a", _file(tmp_path, b"content"), "audio/mpeg"),
        lambda: store.size("a"),
        lambda: store.open_range("a", 0, 1),
        lambda: store.fetch_to("a", tmp_path / "target"),
    ):
        with pytest.raises(objects.ObjectStoreUnavailable):
            call()


def test_s3__wrong_secret__is_unavailable_not_missing(server: S3Server, tmp_path: Path) -> None:
    store = _s3(server, secret="wrong")
    with pytest.raises(objects.ObjectStoreUnavailable):
        store.size("probe")
    with pytest.raises(objects.ObjectStoreUnavailable):
        store.put_file("never", _file(tmp_path, b"content"), "audio/mpeg")
    assert not _s3(server).exists("never")


def test_s3__content_type__is_kept(server: S3Server, key: str, tmp_path: Path) -> None:
    store = _s3(server)
    store.put_file(key, _file(tmp_path, b"content"), "audio/webm")
    assert store.local_path(key) is None
    assert store._head(key)["ContentType"] == "audio/webm"  # type: ignore[attr-defined]


def test_s3__bucket_of_a_tests_own__is_gone_with_all_that_is_in_it(server: S3Server) -> None:
    with own_bucket(server) as bucket:
        for number in range(3):
            bucket.put_object(Key=f"audio/{number}/piece.mp3", Body=b"kept")
    told = bucket.meta.client.list_buckets()
    assert [each["Name"] for each in told["Buckets"]] == [BUCKET]
