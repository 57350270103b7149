"""What an auditor remembers of a log: whom she believes, the last head she saw, and what she can hold against it.

A folder for each log, told by its origin. Every file appears whole under its name.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ledger.note import NOTE_BYTES_MAX, VerifierKey, parse_verifier_key

HEAD = "checkpoint"
FOUNDING = "founding"
KEYS = "keys"
ORIGIN = "origin"
"""Kept by the log's address: what it is to be the log of."""
EVIDENCE_BYTES_MAX = 3 * NOTE_BYTES_MAX
_NAME_DIGITS = 32


def default_folder() -> Path:
    """Where states are kept that programs remember of themselves (XDG base directories)."""
    home = os.environ.get("XDG_STATE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "state") / "streamcoop" / "verify"


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered below a folder."""

    folder: Path

    def recall(self, origin: str, name: str) -> bytes | None:
        """A file of a log's, if it was kept. Raises OSError."""
        try:
            with (self._of(origin) / name).open("rb") as kept:
                return kept.read(NOTE_BYTES_MAX + 1)
        except FileNotFoundError:
            return None

    def keep(self, origin: str, name: str, data: bytes) -> Path:
        """Keep a file of a log's in place of the one before. Raises OSError."""
        folder = self._of(origin)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as unfinished:
            unfinished.write(data)
            unfinished.flush()
            os.fsync(unfinished.fileno())
        path = folder / name
        Path(unfinished.name).replace(path)
        return path

    def keys(self, origin: str) -> tuple[VerifierKey, ...]:
        """The log's keys as far as they were kept. Raises OSError, NoteRefused and UnicodeDecodeError."""
        kept = self.recall(origin, KEYS)
        return () if kept is None else tuple(map(parse_verifier_key, kept.decode().splitlines()))

    def keep_evidence(self, origin: str, text: str) -> Path:
        """Keep what can be held against a log. Raises OSError."""
        data = text.encode()
        return self.keep(origin, f"evidence-{sha256(data).hexdigest()[:_NAME_DIGITS]}.txt", data)

    def _of(self, origin: str) -> Path:
        return self.folder / sha256(origin.encode()).hexdigest()[:_NAME_DIGITS]
