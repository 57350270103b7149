"""An object store whose calls are timed, counted and traced."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamcoop import metrics, tracing
from streamcoop.adapters.objects import ObjectStore, ObjectStoreUnavailable


@contextmanager
def _watched(operation: str) -> Iterator[None]:
    begun = time.perf_counter()
    try:
        with tracing.span(f"object store: {operation}"):
            yield
    except ObjectStoreUnavailable:
        metrics.OBJECT_ERRORS.labels(operation).inc()
        raise
    finally:
        metrics.OBJECT_SECONDS.labels(operation).observe(time.perf_counter() - begun)


class WatchedStore:
    """The store given, with every promise it makes; see `ObjectStore`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def put_file(self, key: str, path: Path, content_type: str) -> None:
        with _watched("put"):
            self._store.put_file(key, path, content_type)

    def put_bytes(self, key: str, data: bytes, content_type: str) -> None:
        with _watched("put"):
            self._store.put_bytes(key, data, content_type)

    def replace_bytes(self, key: str, data: bytes, content_type: str) -> None:
        with _watched("replace"):
            self._store.replace_bytes(key, data, content_type)

    def open_range(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Timed until the first chunk may be read: how long the rest takes is the reader's doing."""
        with _watched("open"):
            chunks = self._store.open_range(key, start, end)
        return _counting_errors(chunks)

    def size(self, key: str) -> int:
        with _watched("size"):
            return self._store.size(key)

    def exists(self, key: str) -> bool:
        with _watched("exists"):
            return self._store.exists(key)

    def delete(self, key: str) -> None:
        with _watched("delete"):
            self._store.delete(key)

    def fetch_to(self, key: str, path: Path) -> None:
        with _watched("fetch"):
            self._store.fetch_to(key, path)

    def local_path(self, key: str) -> Path | None:
        return self._store.local_path(key)

    def presigned_path(self, key: str) -> str:
        return self._store.presigned_path(key)


def _counting_errors(chunks: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from chunks
    except ObjectStoreUnavailable:
        metrics.OBJECT_ERRORS.labels("read").inc()
        raise
