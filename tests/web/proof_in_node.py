"""The browser's verifier, run by node: jobs in, what came of each out (proof_runner.mjs)."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

MODULES = Path(__file__).parents[2] / "streamcoop" / "web" / "static" / "proof"
RUNNER = Path(__file__).with_name("proof_runner.mjs")
RUN_S_MAX = 300

Outcome = dict[str, Any]


def run(*jobs: dict[str, Any]) -> list[Outcome]:
    """`held`, `refused` or `unknown` of each job, with `facts`. Skips where no node is installed."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node is installed: nothing here can run the browser's modules")
    done = subprocess.run(
        [node, RUNNER, MODULES], input=json.dumps(jobs), capture_output=True, text=True, timeout=RUN_S_MAX
    )
    assert done.returncode == 0, done.stderr
    outcomes: list[Outcome] = json.loads(done.stdout)
    crashed = [outcome["crashed"] for outcome in outcomes if "crashed" in outcome]
    assert not crashed, crashed[0]
    return outcomes


class Browser:
    """One browser's memory, kept from visit to visit; `address` is where it pins the log."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.storage: dict[str, str] = {}

    def do(self, op: str, shown: Any = None, meanwhile: dict[str, str] | None = None, **options: Any) -> Outcome:
        """What came of one call; `meanwhile` is what another page of this browser remembers during it."""
        where = {"address": self.address} if op == "pin" else {}
        job = {"op": op, "storage": self.storage, "options": {**where, **options}, "shown": shown}
        job["meanwhile"] = meanwhile or {}
        (outcome,) = run(job)
        self.storage = outcome.pop("storage")
        return outcome
