"""The folder on this machine's disk for files that are being received or rendered, and nothing that must last."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path

from streamcoop.settings import settings

FOLDER = "scratch"
FOLDER_MODE = 0o700
# Longer than any upload or rendering lasts: whoever wrote it has died.
AGE_MAX = timedelta(hours=6)


def folder() -> Path:
    """The folder. Not the system's temporary one, which may be memory: uploads are large."""
    made = settings().data_dir / FOLDER
    made.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    return made


def sweep(now: datetime) -> int:
    """Remove what killed processes left here; returns how much."""
    left_over = [entry for entry in folder().iterdir() if entry.lstat().st_mtime < (now - AGE_MAX).timestamp()]
    for entry in left_over:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    return len(left_over)
