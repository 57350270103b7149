"""The operator's desk for tests: `streamcoop log` as it is typed, founders and officers with keys, a founded log."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ledger.note import Checkpoint, Note, VerifierKey, parse_verifier_key
from streamcoop.adapters.objects import ObjectStore, ObjectStoreUnavailable
from streamcoop.cli import main
from streamcoop.settings import settings
from streamcoop.transparency import files
from tests.transparency.press import Press


@dataclass
class Desk:
    """A terminal in a folder of its own."""

    press: Press
    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def log(self, *words: object) -> Result:
        return CliRunner().invoke(main, ["log", *map(str, words)])

    def must(self, *words: object) -> Result:
        """The same of what has to succeed."""
        result = self.log(*words)
        assert result.exit_code == 0, (result.output, result.exception)
        return result

    def refused(self, *words: object) -> str:
        """Why a command is refused; it is told in a sentence."""
        result = self.log(*words)
        assert result.exit_code == 1, result.output
        assert isinstance(result.exception, SystemExit)
        return result.stderr

    def person(self, name: str) -> VerifierKey:
        """Somebody who has made a key in the file of this name."""
        return parse_verifier_key(
            self.must("new-key", f"{name}@coop.example", "-o", self.key_file(name)).stdout.strip()
        )

    def key_file(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def set(self, name: str, value: str) -> None:
        """Another setting, as after a new start."""
        self.monkeypatch.setenv(f"STREAMCOOP_{name}", value)
        settings.cache_clear()

    def take_key(self, file: Path) -> None:
        """The log's key is what this file holds."""
        self.set("LOG_KEY", file.read_text(encoding="utf-8").strip())

    def founded(self, officers: Sequence[VerifierKey], *founders: str) -> Path:
        """A founding note, signed and published."""
        note = self.folder / "founding.note"
        named = [word for key in officers for word in ("--officer", key)]
        for name in founders:
            named += ["--founder", self.person(name)]
        self.must("founding", *named, "-o", note)
        for name in founders:
            self.must("sign-founding", note, "--key-file", self.key_file(name))
        self.must("publish-founding", note)
        return note

    def head(self, batch: int, keys: Sequence[VerifierKey]) -> tuple[Note, Checkpoint]:
        return files.read_note(self.press.store, files.head_path(batch), [*keys])


@dataclass
class Faltering:
    """A store that takes `left` writes and then no more: each is done, or not done, and reported to have failed."""

    store: ObjectStore
    left: int
    is_done: bool = False
    wrote: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        act = getattr(self.store, name)
        if not name.startswith(("put", "replace")):
            return act

        def write(key: str, *what: Any) -> None:
            if self.left:
                self.left -= 1
                act(key, *what)
                self.wrote.append(key)
                return
            if self.is_done:
                act(key, *what)
            raise ObjectStoreUnavailable(key)

        return write


def secret(byte: int) -> str:
    """A log's secret, as the setting has it."""
    return base64.b64encode(bytes([byte]) * 32).decode()


@pytest.fixture
def desk(press: Press, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    folder = tmp_path / "desk"
    folder.mkdir()
    yield Desk(press, folder, monkeypatch)
    settings.cache_clear()
