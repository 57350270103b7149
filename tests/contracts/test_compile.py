"""The committed ABI and bytecode are what the committed sources compile to."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
SOURCES = ("package.json", "package-lock.json", ".npmrc", "compile.mjs")
INSTALL_S_MAX = 120
COMPILE_S_MAX = 120

pytestmark = pytest.mark.skipif(
    shutil.which("npm") is None and "CI" not in os.environ,
    reason="npm is not installed, so the contracts cannot be compiled again",
)


def test_committed_artifacts__are_what_the_sources_compile_to(tmp_path: Path) -> None:
    # In a copy: what is tested is the lock file's compiler, not whatever is installed beside the sources.
    for name in SOURCES:
        shutil.copy(CONTRACTS / name, tmp_path)
    shutil.copytree(CONTRACTS / "src", tmp_path / "src")

    subprocess.run(["npm", "ci", "--prefer-offline"], cwd=tmp_path, check=True, timeout=INSTALL_S_MAX)
    subprocess.run(["node", "compile.mjs", "again"], cwd=tmp_path, check=True, timeout=COMPILE_S_MAX)

    committed = {path.name: path.read_bytes() for path in (CONTRACTS / "abi").iterdir()}
    compiled = {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert compiled.keys() == committed.keys()
    drifted = [name for name in committed if compiled[name] != committed[name]]
    assert not drifted, f"run `npm ci && npm run compile` in contracts/ and commit: {drifted}"


def test_lock_file__names_no_registry() -> None:
    assert '"resolved"' not in (CONTRACTS / "package-lock.json").read_text(encoding="utf-8")
