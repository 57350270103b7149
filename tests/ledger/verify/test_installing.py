"""The auditor installs on a member's machine without the service, and runs there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from ledger.verify.command import verify_command
from tests.ledger.log_factory import publish, story

ROOT = Path(__file__).resolve().parents[3]
LEDGER = ROOT / "ledger"
PIP = ("pip", "--quiet", "--disable-pip-version-check")
PIP_S_MAX = 300
# What the distribution needs, and what that needs.
REQUIREMENTS = (
    *("cffi", "click", "coincurve", "cryptography", "markdown-it-py", "mdurl", "pycparser", "pycryptodome", "pygments"),
    "rich",
)
UNREACHABLE = ("No matching distribution found", "Connection", "connection")


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    # Whatever is on this process's path is no matter there.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=PIP_S_MAX, cwd="/", env=environment
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distribution, built."""
    folder = tmp_path_factory.mktemp("wheel")
    built = _run(
        sys.executable, "-m", *PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, LEDGER
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("streamcoop_verify-*.whl")
    return wheel


def test_the_distribution_holds_the_auditor_and_nothing_of_the_service(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = [*LEDGER.glob("*.py"), *LEDGER.glob("verify/*.py")]
    assert names == {str(module.relative_to(ROOT)) for module in modules}


def test_both_distributions_have_one_version_and_the_same_requirements() -> None:
    whole, part = (
        tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"] for folder in (ROOT, LEDGER)
    )
    assert part["version"] == whole["version"]
    assert set(part["dependencies"]) <= set(whole["dependencies"])
    assert part["requires-python"] == whole["requires-python"]
    assert part["scripts"] == {"streamcoop-verify": f"{verify_command.callback.__module__}:verify_command"}


def _locked() -> str:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    blocks = re.findall(r"^(\S+?)==[^\n]*\\\n(?:    [^\n]*\n)+", lock, re.MULTILINE)
    assert set(REQUIREMENTS) <= set(blocks)
    return "".join(
        match[0]
        for match in re.finditer(r"^(\S+?)==[^\n]*\\\n(?:    [^\n]*\n)+", lock, re.MULTILINE)
        if match[1] in REQUIREMENTS
    )


def test_it_is_installed_into_an_empty_environment_and_audits_a_log(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    venv.create(home, with_pip=True)
    (tmp_path / "lock").write_text(_locked(), encoding="utf-8")
    python = home / "bin" / "python"
    fetched = _run(python, "-m", *PIP, "install", "--require-hashes", "-r", tmp_path / "lock")
    if fetched.returncode and any(word in fetched.stderr for word in UNREACHABLE):
        pytest.skip("no registry of packages can be reached")
    assert fetched.returncode == 0, fetched.stderr
    # Its requirements are there: nothing more is asked for.
    installed = _run(python, "-m", *PIP, "install", "--no-index", wheel)
    assert installed.returncode == 0, installed.stderr
    assert "No broken requirements" in _run(python, "-m", "pip", "check").stdout
    publish(tmp_path / "log", story().entries)
    state = ("--state", tmp_path / "state")
    for command in ((home / "bin" / "streamcoop-verify",), (python, "-m", "ledger.verify")):
        audited = _run(*command, tmp_path / "log", *state)
        assert (audited.returncode, audited.stderr) == (0, "")
        assert "ALL OF IT HOLDS." in audited.stdout
    # The log has ballots: their signatures were recovered without anything of a chain's clients.
    for absent in ("web3", "eth_account", "eth_keys", "ledger.store"):
        assert _run(python, "-c", f"import {absent}").returncode
    assert _run(python, "-c", "import streamcoop").returncode
