"""What a backup holds, so that a damaged or unfinished one is known before anything is restored from it.

A backup is a folder:

    manifest.json      when, of what schema, how much; the digest of SHA256SUMS. Written last
    SHA256SUMS         a line for every other file, as sha256sum(1) writes and checks them
    database.dump      pg_dump's custom format
    objects/           audio and art by their keys
    secrets/           what reads it: mode 0600
    chain/             the test chain, where the service runs one
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from streamcoop.embedded.private import sync_folder, write_private

FORMAT = 1
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
DUMP = "database.dump"
OBJECTS = "objects"
SECRETS = "secrets"
CHAIN = "chain"


class NotWhole(Exception):
    """This is not a whole backup."""


@dataclass(frozen=True)
class Contents:
    """What is in the database's dump, of one instant; and where the objects are, if not beside it."""

    taken_at: str
    coop_name: str
    version: str
    schema_revision: str
    server_major: int
    dumped_with_major: int
    plays: int
    unsettled_plays: int
    transfers: int
    objects_at: str | None
    objects_missing: list[str]


@dataclass(frozen=True)
class Manifest:
    """A backup's contents, and how many files of how many bytes SHA256SUMS lists."""

    format: int
    contents: Contents
    files: int
    size_bytes: int
    sums_sha256: str


def seal(folder: Path, contents: Contents) -> Manifest:
    """Add up a folder that is complete, make it durable, and write its manifest."""
    lines, size_bytes = [], 0
    for path in _files(folder):
        lines.append(f"{_sha256(path)}  {path.relative_to(folder).as_posix()}\n")
        size_bytes += path.stat().st_size
    text = "".join(lines)
    write_private(folder / SUMS, text)
    for parent, _, _ in os.walk(folder):
        sync_folder(Path(parent))
    manifest = Manifest(FORMAT, contents, len(lines), size_bytes, hashlib.sha256(text.encode()).hexdigest())
    write_private(folder / MANIFEST, json.dumps(asdict(manifest), indent=2) + "\n")
    return manifest


def verified(folder: Path) -> Manifest:
    """The manifest of a backup of which every byte is as it was written. Raises NotWhole with what is wrong."""
    manifest = _read(folder)
    sums = folder / SUMS
    if not sums.is_file():
        raise NotWhole(f"{sums} is missing")
    if _sha256(sums) != manifest.sums_sha256:
        raise NotWhole(f"{sums} is not the one that {MANIFEST} was written for")
    for line in sums.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        path = folder / name
        if not path.is_file():
            raise NotWhole(f"{path} is missing")
        if _sha256(path) != digest:
            raise NotWhole(f"{path} is damaged: it is not what was backed up")
    return manifest


def _read(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise NotWhole(f"{folder} holds no {MANIFEST}: it is no backup, or one that was never finished")
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if said["format"] != FORMAT:
            raise NotWhole(f"{path} is of format {said['format']}, and this version reads format {FORMAT}")
        return Manifest(**said | {"contents": Contents(**said["contents"])})
    except (ValueError, TypeError, KeyError) as error:
        raise NotWhole(f"{path} is damaged: it cannot be read") from error


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names))


def _sha256(path: Path) -> str:
    """The digest of a file, which is on the disk once this returns."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return digest
