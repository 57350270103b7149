"""Where audio and pictures are kept: a folder, or a bucket of any S3. Objects are written once and never changed."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol
from urllib.parse import unquote, urlsplit

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

if TYPE_CHECKING:
    from streamcoop.settings import Settings

CHUNK_BYTES = 64 << 10
COPY_BYTES = 1 << 20
KEY_CHARS_MAX = 512
# Every part begins with a letter, a digit or "_": no "..", no hidden file, no absolute path, nothing to quote.
KEY: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
INCOMING = ".incoming"
"""Folder of half-written files; no key can name it."""
S3_CONNECT_S_MAX = 5
S3_READ_S_MAX = 30
S3_ATTEMPTS_MAX = 3
S3_CONNECTIONS_MAX = 64
# A proxy asks at once; the rest is for clocks that disagree.
S3_PRESIGNED_S = 300
S3_DIGEST = "sha256"
"""Name of the metadata that tells whether two objects are the same."""
S3_MISSING: Final = frozenset({"404", "NoSuchKey", "NotFound"})
S3_RANGE_PAST_END: Final = frozenset({"416", "InvalidRange"})
S3_TAKEN: Final = frozenset({"412", "PreconditionFailed"})


class ObjectMissing(Exception):
    """There is no object of this key."""


class ObjectConflict(Exception):
    """Another object is already kept under this key, and objects are never changed."""


class ObjectStoreUnavailable(Exception):
    """The object store cannot be reached or does not do as asked."""


class InvalidKey(ValueError):
    """The text cannot be the key of an object."""


class InvalidStoreUrl(ValueError):
    """The setting objects_url is neither file:///folder nor s3://bucket."""


class ObjectStore(Protocol):
    """What both stores promise. Every method raises `InvalidKey`, and `ObjectStoreUnavailable` on failure."""

    def put_file(self, key: str, path: Path, content_type: str) -> None:
        """Keep a copy of the file at `path`, durably once this returns. Readers see all of it or nothing.

        The same content again is fine; other content raises `ObjectConflict`. A folder does not keep `content_type`.
        """

    def put_bytes(self, key: str, data: bytes, content_type: str) -> None:
        """The same of bytes at hand."""

    def replace_bytes(self, key: str, data: bytes, content_type: str) -> None:
        """Keep these bytes, durably, in place of what there may be: for the one object that changes, a log's head."""

    def open_range(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` to `end` (exclusive) in chunks of at most `CHUNK_BYTES`; less where the object ends.

        Raises `ObjectMissing` at the call, not at the first chunk, and `ValueError` unless 0 <= start <= end.
        """

    def size(self, key: str) -> int:
        """Length in bytes. Raises `ObjectMissing`."""

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""

    def delete(self, key: str) -> None:
        """Remove the object; that there is none is fine."""

    def fetch_to(self, key: str, path: Path) -> None:
        """Copy the object to `path`, whole or not at all, replacing what is there. Raises `ObjectMissing`."""

    def local_path(self, key: str) -> Path | None:
        """The object as a file that the server may send by itself, None where objects are not files.

        Does not look whether it exists.
        """

    def presigned_path(self, key: str) -> str:
        """Path and query, without a leading slash, at which whoever reaches the store may GET the object for a while.

        Of a folder it is the key. Does not look whether it exists; may reach out for credentials.
        """


def read_whole(store: ObjectStore, key: str, bytes_max: int) -> bytes:
    """All of a small object. Raises `ObjectMissing`, and `ObjectConflict` for one that is larger than may be."""
    data = b"".join(store.open_range(key, 0, bytes_max + 1))
    if len(data) > bytes_max:
        raise ObjectConflict(key)
    return data


def check_key(key: str) -> str:
    """`key` itself. Raises `InvalidKey`."""
    if len(key) > KEY_CHARS_MAX or not KEY.fullmatch(key):
        raise InvalidKey(repr(key[:KEY_CHARS_MAX]))
    return key


def check_range(start: int, end: int) -> None:
    """Raises `ValueError` unless 0 <= start <= end."""
    if not 0 <= start <= end:
        raise ValueError(f"no such range: {start} to {end}")


def open_store(settings: Settings) -> ObjectStore:
    """The store named by `objects_url`. Raises `InvalidStoreUrl`; does not yet reach out to it."""
    url = urlsplit(settings.objects_url)
    if url.scheme == "file" and not url.netloc and url.path.startswith("/"):
        return FolderStore(Path(unquote(url.path)))
    if url.scheme == "s3" and url.netloc and url.path in ("", "/"):
        key_id, secret = settings.s3_access_key_id, settings.s3_secret_access_key
        return S3Store(
            url.netloc,
            endpoint_url=settings.s3_endpoint_url,
            access_key_id=key_id.get_secret_value() if key_id else None,
            secret_access_key=secret.get_secret_value() if secret else None,
        )
    raise InvalidStoreUrl(f"{url.scheme}://{url.netloc}{url.path}")


class FolderStore:
    """Objects as files below one folder, which this store alone writes. The folder is made at the first write."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put_file(self, key: str, path: Path, content_type: str) -> None:  # noqa: ARG002  # files have no type
        with path.open("rb") as source, self._staged(key, source) as staged:
            self._publish(staged, self.local_path(key))

    def put_bytes(self, key: str, data: bytes, content_type: str) -> None:  # noqa: ARG002
        with self._staged(key, io.BytesIO(data)) as staged:
            self._publish(staged, self.local_path(key))

    def replace_bytes(self, key: str, data: bytes, content_type: str) -> None:  # noqa: ARG002
        with self._staged(key, io.BytesIO(data)) as staged:
            target = self.local_path(key)
            _make_folders(target.parent)
            staged.replace(target)
            _sync_folder(target.parent)

    @contextmanager
    def _staged(self, key: str, source: BinaryIO) -> Iterator[Path]:
        """A durable copy of the source beside the objects, gone at the end unless it was given another name."""
        check_key(key)
        with _disk_errors(key):
            incoming = self._root / INCOMING
            _make_folders(incoming)
            with tempfile.NamedTemporaryFile(dir=incoming, delete=False) as copy:
                staged = Path(copy.name)
            try:
                _write_durably(source, staged)
                staged.chmod(0o644)
                yield staged
            finally:
                staged.unlink(missing_ok=True)

    def _publish(self, staged: Path, target: Path) -> None:
        """Give the staged file its name unless that is taken, and make the name durable."""
        name = target.relative_to(self._root).as_posix()
        try:
            _make_folders(target.parent)
        except (FileExistsError, NotADirectoryError):
            raise ObjectConflict(name) from None
        try:
            # A link, unlike a rename, never replaces what another writer has put there meanwhile.
            os.link(staged, target)
        except FileExistsError:
            if not (target.is_file() and _same_content(staged, target)):
                raise ObjectConflict(name) from None
        _sync_folder(target.parent)

    def open_range(self, key: str, start: int, end: int) -> Iterator[bytes]:
        check_range(start, end)
        with _disk_errors(key):
            return _file_chunks(key, self.local_path(key).open("rb"), start, end)

    def size(self, key: str) -> int:
        with _disk_errors(key):
            return self.local_path(key).stat().st_size

    def exists(self, key: str) -> bool:
        return self.local_path(key).is_file()

    def delete(self, key: str) -> None:
        path = self.local_path(key)
        try:
            with _disk_errors(key):
                path.unlink()
                _sync_folder(path.parent)
        except ObjectMissing:
            pass

    def fetch_to(self, key: str, path: Path) -> None:
        chunks = self.open_range(key, 0, self.size(key))
        with _replacing(path) as staged, staged.open("wb") as out:
            out.writelines(chunks)

    def local_path(self, key: str) -> Path:
        return self._root / check_key(key)

    def presigned_path(self, key: str) -> str:
        return check_key(key)


@contextmanager
def _disk_errors(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ObjectMissing(key) from error
    except OSError as error:
        raise ObjectStoreUnavailable(f"{key}: {error.strerror}") from error


def _file_chunks(key: str, file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """The bytes of an open file in chunks; closes it."""
    with file:
        left = end - start
        file.seek(start)
        while left > 0:
            with _disk_errors(key):
                chunk = file.read(min(left, CHUNK_BYTES))
            if not chunk:
                return
            left -= len(chunk)
            yield chunk


def _write_durably(source: BinaryIO, path: Path) -> None:
    with path.open("wb") as out:
        shutil.copyfileobj(source, out, COPY_BYTES)
        out.flush()
        os.fsync(out.fileno())


def _make_folders(folder: Path) -> None:
    """Create `folder` and its parents, durably."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _same_content(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and _digest(one) == _digest(other)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, S3_DIGEST).hexdigest()


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A fresh file beside `path` that takes its place if the body succeeds."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        staged = Path(file.name)
    try:
        yield staged
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)


class S3Store:
    """Objects in one bucket, which must exist. Without keys, boto3 looks for credentials where it always does."""

    def __init__(
        self, bucket: str, *, endpoint_url: str | None, access_key_id: str | None, secret_access_key: str | None
    ) -> None:
        # boto3 takes a third of a second to import: installations with a folder do without it.
        import boto3
        from botocore.config import Config

        self._bucket = bucket
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint_url,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            # A self-hosted S3 ignores the region, but the signature needs one.
            region_name="us-east-1" if endpoint_url else None,
            config=Config(
                signature_version="s3v4",
                connect_timeout=S3_CONNECT_S_MAX,
                read_timeout=S3_READ_S_MAX,
                retries={"mode": "standard", "total_max_attempts": S3_ATTEMPTS_MAX},
                max_pool_connections=S3_CONNECTIONS_MAX,
                s3={"addressing_style": "path" if endpoint_url else "auto"},
            ),
        )

    def put_file(self, key: str, path: Path, content_type: str) -> None:
        """As promised by `ObjectStore`, of at most 5 GiB, and where the server knows `If-None-Match`: AWS, SeaweedFS 4.

        Elsewhere, of two writers of other contents at the same instant the later one stays.
        """
        with path.open("rb") as body:
            self._put(key, body, path.stat().st_size, _digest(path), content_type)

    def put_bytes(self, key: str, data: bytes, content_type: str) -> None:
        self._put(key, io.BytesIO(data), len(data), hashlib.sha256(data).hexdigest(), content_type)

    def _put(self, key: str, body: BinaryIO, size: int, digest: str, content_type: str) -> None:
        check_key(key)
        if not self.exists(key):
            # In one request: the end of a multipart upload is not atomic everywhere, and a killed one leaves its parts.
            with suppress(_KeyTaken), _s3_errors(key):
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=key,
                    Body=body,
                    ContentType=content_type,
                    Metadata={S3_DIGEST: digest},
                    IfNoneMatch="*",
                )
                return
        # Another's, or our own that was put without our being told.
        there = self._head(key)
        if there["ContentLength"] != size or there.get("Metadata", {}).get(S3_DIGEST) != digest:
            raise ObjectConflict(key)

    def replace_bytes(self, key: str, data: bytes, content_type: str) -> None:
        with _s3_errors(check_key(key)):
            self._client.put_object(Bucket=self._bucket, Key=key, Body=data, ContentType=content_type)

    def open_range(self, key: str, start: int, end: int) -> Iterator[bytes]:
        check_range(start, end)
        if start == end:
            self.size(key)
            return iter(())
        try:
            with _s3_errors(check_key(key)):
                wanted = f"bytes={start}-{end - 1}"
                body = self._client.get_object(Bucket=self._bucket, Key=key, Range=wanted)["Body"]
        except _RangePastEnd:
            return iter(())
        return _s3_chunks(key, body, end - start)

    def size(self, key: str) -> int:
        return int(self._head(key)["ContentLength"])

    def exists(self, key: str) -> bool:
        try:
            self._head(key)
        except ObjectMissing:
            return False
        return True

    def delete(self, key: str) -> None:
        with _s3_errors(check_key(key)):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def fetch_to(self, key: str, path: Path) -> None:
        check_key(key)
        with _replacing(path) as staged, _s3_errors(key):
            self._client.download_file(self._bucket, key, str(staged))

    def local_path(self, key: str) -> Path | None:
        check_key(key)
        return None

    def presigned_path(self, key: str) -> str:
        with _s3_errors(check_key(key)):
            wanted = {"Bucket": self._bucket, "Key": key}
            address: str = self._client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=S3_PRESIGNED_S)
        at = urlsplit(address)
        return f"{at.path.removeprefix('/')}?{at.query}"

    def _head(self, key: str) -> dict[str, Any]:
        with _s3_errors(check_key(key)):
            head: dict[str, Any] = self._client.head_object(Bucket=self._bucket, Key=key)
        return head


class _RangePastEnd(Exception):
    """The object ends before the range begins."""


class _KeyTaken(Exception):
    """There is an object of this key by now."""


@contextmanager
def _s3_errors(key: str) -> Iterator[None]:
    from boto3.exceptions import Boto3Error  # imported before, by the store itself

    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in S3_MISSING:
            raise ObjectMissing(key) from error
        if code in S3_RANGE_PAST_END:
            raise _RangePastEnd from error
        if code in S3_TAKEN:
            raise _KeyTaken from error
        raise ObjectStoreUnavailable(f"{key}: {code}") from error
    except (BotoCoreError, Boto3Error, HTTPClientError, OSError) as error:
        raise ObjectStoreUnavailable(f"{key}: {type(error).__name__}") from error


def _s3_chunks(key: str, body: Any, length: int) -> Iterator[bytes]:
    """Read a response in chunks, never more than was asked for; closes it."""
    left = length
    try:
        while left > 0:
            with _s3_errors(key):
                chunk = body.read(min(left, CHUNK_BYTES))
            if not chunk:
                return
            left -= len(chunk)
            yield chunk
    finally:
        body.close()
