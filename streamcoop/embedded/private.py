"""Files nobody else may read: secrets, passwords, settings that carry them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

PRIVATE_FILE_MODE = 0o600
PRIVATE_FOLDER_MODE = 0o700


def write_private(path: Path, text: str) -> None:
    """Replace the file by `text`, mode 0600, durably: readers see the old content or the new, never a part."""
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE_MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the folder's own entries (creations, renames) durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def generated_once(path: Path, generate: Callable[[], str]) -> str:
    """The file's content; at the first call the file is made from `generate()`. The caller holds the folder's lock."""
    if not path.exists():
        write_private(path, generate() + "\n")
    return path.read_text(encoding="utf-8").strip()
