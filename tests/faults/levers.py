"""What the harness tells the parts while they run: small files in one folder, read at every use.

A part that is started again finds them as they are, as it would find a clock that was set or a store that fails.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FOLDER = "FAULTS_LEVERS"
"""The variable that tells a part where its levers are."""


@dataclass(frozen=True)
class Levers:
    """The folder, seen by both sides."""

    folder: Path

    def set_clocks(self, offset_s: float) -> None:
        """Set the clocks of all parts off by so much."""
        self._write("clock-all", str(offset_s))

    def skew_clock(self, part: str, skew_s: float) -> None:
        """Set the clock of a part off by so much from where all are set."""
        self._write(f"clock-{part}", str(skew_s))

    def clock_offset_s(self, part: str) -> float:
        """By how much this part's clock is off."""
        return sum(float(self._read(f"clock-{of}") or 0) for of in ("all", part))

    def reset_clocks(self) -> None:
        """All clocks are right again."""
        self._remove("clock-*")

    def arm(self, step: str, whole_part: bool) -> None:
        """Whoever comes to this step next dies there: its whole part, or only the process that got there."""
        self._write(f"step-{_slug(step)}", "part" if whole_part else "process")

    def disarm(self) -> None:
        """Let everybody pass."""
        self._remove("step-*")

    def is_armed(self, step: str) -> bool:
        """Whether nobody has come to the step yet."""
        return self._path(f"step-{_slug(step)}").exists()

    def at_step(self, step: str, die: Callable[[bool], None]) -> None:
        """For the parts: die here if the step is armed. Of several that come at once one does."""
        path = self._path(f"step-{_slug(step)}")
        with suppress(FileNotFoundError):
            whole_part = path.read_text(encoding="utf-8") == "part"
            path.unlink()
            die(whole_part)

    def spoil_store(self, how: str) -> None:
        """`fails-before` or `fails-after` each write is done, or `slow <seconds>`; empty: all is well."""
        self._write("store", how)

    def store_fault(self) -> str:
        """What the object store suffers from."""
        return self._read("store")

    def _path(self, name: str) -> Path:
        return self.folder / name

    def _read(self, name: str) -> str:
        try:
            return self._path(name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def _write(self, name: str, text: str) -> None:
        half_written = self._path(f".{name}")
        half_written.write_text(text, encoding="utf-8")
        half_written.replace(self._path(name))

    def _remove(self, names: str) -> None:
        for path in self.folder.glob(names):
            path.unlink(missing_ok=True)


def _slug(step: str) -> str:
    return re.sub(r"\W+", "-", step)


def of_environment() -> Levers:
    """The levers of the part that we are."""
    return Levers(Path(os.environ[FOLDER]))
