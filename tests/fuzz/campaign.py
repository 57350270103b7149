"""A run of generated cases: replayable by its seed, counting what came out and keeping each case that failed."""

from __future__ import annotations

import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

KEPT = Path("build/fuzz")
TOLD_MAX = 20
TOLD_CHARS_MAX = 500


class CaseFailed(AssertionError):
    """The product did not do as it promises."""


def require(holds: bool, otherwise: str) -> None:
    """Raise CaseFailed unless it holds."""
    if not holds:
        raise CaseFailed(otherwise)


@dataclass
class Campaign:
    """Cases of one seed. Threads may share it."""

    seed: int
    failures: list[str] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def rng(self, kind: str, number: int) -> Random:
        """The chances of one case, whichever cases run besides it."""
        return Random(f"{self.seed}:{kind}:{number}")

    def count(self, what: str, times: int = 1) -> None:
        with self._lock:
            self.figures[what] += times

    @contextmanager
    def case(self, kind: str, number: int, content: bytes, story: str = "") -> Iterator[None]:
        """One case: whatever it raises is a failure, noted and kept under build/fuzz; the campaign goes on."""
        self.count(f"{kind} cases")
        try:
            yield
        except Exception as error:
            name = f"{kind}-{self.seed}-{number}"
            KEPT.mkdir(parents=True, exist_ok=True)
            (KEPT / f"{name}.bin").write_bytes(content)
            how = f"{self._replay(kind, number, name)}\n{story}\n\n{traceback.format_exc()}"
            (KEPT / f"{name}.txt").write_text(how, encoding="utf-8")
            with self._lock:
                self.failures.append(f"{name}: {type(error).__name__}: {error} ({story}); see {KEPT / name}.txt")

    def _replay(self, kind: str, number: int, name: str) -> str:
        if kind in {"upload", "http", "rendered"}:
            return f"Replay: .venv/bin/python -m tests.fuzz --file {KEPT / name}.bin"
        return f"Replay: make fuzz SEED={self.seed}, which comes to {kind} case {number} again"

    def require_no_failure(self) -> None:
        """Raise CaseFailed, with all failures, if there were any."""
        require(not self.failures, self.summary())

    def summary(self) -> str:
        """The figures, a line each."""
        lines = [f"{number:>8}  {what}" for what, number in sorted(self.figures.items())]
        more = [f"and {len(self.failures) - TOLD_MAX} more"] if len(self.failures) > TOLD_MAX else []
        told = [failure[:TOLD_CHARS_MAX] for failure in self.failures[:TOLD_MAX]]
        return "\n".join([f"seed {self.seed}", *lines, *told, *more])
