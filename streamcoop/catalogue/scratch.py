"""The folder on this machine's disk for files that are being received or rendered, and nothing that must last."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from streamcoop.settings import settings

FOLDER = "scratch"
FOLDER_MODE = 0o700
# Longer than any upload or rendering lasts.
AGE_MAX = timedelta(hours=6)


def folder() -> Path:
    """The folder. Not the system's temporary one, which may be memory: uploads are large."""
    made = settings().data_dir / FOLDER
    made.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    return made


@contextmanager
def own_folder(prefix: str) -> Iterator[Path]:
    """A folder in it, held, which is removed with all that is in it when the block ends."""
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder()) as name, held(Path(name)):
        yield Path(name)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """For the length of the block no sweep takes this file or folder for something that was left here.

    By a lock, which ends with the process that holds it: age alone says nothing once the clock has been set.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def sweep(now: datetime) -> int:
    """Remove what killed processes left here: old by this clock, and held by nobody. Returns how much."""
    old = [entry for entry in folder().iterdir() if entry.lstat().st_mtime < (now - AGE_MAX).timestamp()]
    left_over = [entry for entry in old if not _is_held(entry)]
    for entry in left_over:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    return len(left_over)


def _is_held(entry: Path) -> bool:
    try:
        descriptor = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False  # gone already, or nothing that we made
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
