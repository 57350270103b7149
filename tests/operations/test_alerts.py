"""The alert rules: valid, firing when they should, and each explained to whoever is woken."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamcoop.operations import terminal
from tests import debian_packages
from tests.reference_pages import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "alerts.yml"
UNIT_TESTS = Path(__file__).with_name("alerts_test.yml")
RUNBOOK = ROOT / "docs" / "operations.md"
UNPACKED = ROOT / "build" / "debian-prometheus"
PROMTOOL_S_MAX = 60


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def promtool() -> str:
    """Prometheus' own checker, of Debian's package where it is not installed."""
    installed = shutil.which("promtool")
    if installed:
        return installed
    if not debian_packages.is_complete(UNPACKED):
        try:
            debian_packages.fetch(["prometheus"], UNPACKED)
        except (debian_packages.NoPackages, OSError, subprocess.SubprocessError) as reason:
            if os.environ.get("CI"):
                pytest.fail(f"promtool cannot be had: {reason}")
            pytest.skip(f"promtool cannot be had: {reason}")
    return str(UNPACKED / "usr" / "bin" / "promtool")


def _run(promtool: str, folder: Path, *arguments: str) -> None:
    command = [promtool, *arguments]
    told = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PROMTOOL_S_MAX)
    assert told.returncode == 0, told.stdout + told.stderr


def test_prometheus_takes_the_rules_and_the_example(promtool: str, tmp_path: Path) -> None:
    for file in PROMETHEUS.iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "streamcoop-token").write_text("a token", encoding="utf-8")
    _run(promtool, tmp_path, "check", "rules", RULES.name)
    _run(promtool, tmp_path, "check", "config", "prometheus.yml")


def test_the_rules_fire_when_they_should_and_only_then(promtool: str, tmp_path: Path) -> None:
    shutil.copy(RULES, tmp_path)
    shutil.copy(UNIT_TESTS, tmp_path)
    _run(promtool, tmp_path, "test", "rules", UNIT_TESTS.name)


def test_every_alert_is_unit_tested(rules: list[dict[str, Any]]) -> None:
    text = UNIT_TESTS.read_text(encoding="utf-8")
    assert {rule["alert"] for rule in rules} == set(re.findall(r'(?:alertname: |alertname=")(\w+)', text))


def test_every_alert_has_its_section_and_every_section_its_alert(rules: list[dict[str, Any]]) -> None:
    page = RUNBOOK.read_text(encoding="utf-8")
    sections = re.findall(r"^### (\w+)$", page, re.MULTILINE)
    assert sections == [rule["alert"] for rule in rules]
    for rule in rules:
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]


def test_every_anchor_within_the_page_exists() -> None:
    page = RUNBOOK.read_text(encoding="utf-8")
    sections = {section.lower() for section in re.findall(r"^### (\w+)$", page, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", page)) <= sections


def test_the_terminal_draws_the_line_where_the_rules_do(rules: list[dict[str, Any]]) -> None:
    limits = {
        "SettlingBehind": terminal.SETTLING_LAG_MAX.total_seconds(),
        "EpochCloseOverdue": terminal.CLOSE_OVERDUE_MAX.total_seconds(),
        "QueueStuck": terminal.QUEUE_AGE_MAX.total_seconds(),
        "RenderingFails": terminal.RECORDING_AGE_MAX.total_seconds(),
        "BooksNotChecked": terminal.BOOKS_CHECK_AGE_MAX.total_seconds(),
        "AnchorsBehind": terminal.ANCHOR_AGE_MAX.total_seconds(),
        "PayoutsOld": terminal.PAYOUT_AGE_MAX.total_seconds(),
    }
    for rule in rules:
        if rule["alert"] in limits:
            products = re.findall(r"> (\d+)(?: \* (\d+))?", rule["expr"])
            assert limits[rule["alert"]] in {int(one) * int(other or 1) for one, other in products}, rule["alert"]
