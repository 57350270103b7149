"""What the repository promises of itself: pages that follow from the code, commands that exist, no machine's own."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from streamcoop import cli
from streamcoop.settings import PREFIX, Settings
from tests.reference_pages import CONFIGURATION, PROBLEMS, ROOT, TABLES, table_in

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LOCKS = [ROOT / "requirements.lock", ROOT / "requirements-dev.lock"]
COMPOSE = ROOT / "docker-compose.yml"
GIT_S_MAX = 30

# Put together from halves, so that this file does not name them either.
REGISTRIES = [
    "py" + "pi.org",
    "pythonhosted" + ".org",
    "registry.npmjs" + ".org",
    "registry.yarnpkg" + ".com",
    "proxy.golang" + ".org",
    "artifact" + "ory",
    "index" + "-url =",
]
# Folders of somebody's home or build machine.
MACHINE_PATHS = re.compile(r"(?<![\w.$}])/(?:ro" + r"ot|wo" + r"rk|ho" + r"me/\w+|Use" + r"rs/\w+|builds)/[\w.]")
NOT_TEXT = {".png", ".jpg", ".jpeg", ".ico", ".gz", ".mp3", ".ogg", ".flac", ".woff2"}


@pytest.fixture(scope="module")
def tracked() -> dict[Path, str]:
    """Every text file that is committed, or would be."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=GIT_S_MAX)
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return {p: p.read_text(encoding="utf-8") for p in paths if p.is_file() and p.suffix not in NOT_TEXT}


@pytest.mark.parametrize("page", TABLES, ids=lambda page: page.name)
def test_the_reference_pages_say_what_the_code_says(page: Path) -> None:
    assert table_in(page) == TABLES[page](), "python -m tests.reference_pages writes it anew"


def test_every_setting_is_documented_and_nothing_else() -> None:
    documented = set(re.findall(rf"^\| `({PREFIX}\w+)`", CONFIGURATION.read_text(encoding="utf-8"), re.MULTILINE))
    assert documented == {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(rf"`({PREFIX}[A-Z_]+[A-Z])", page.read_text(encoding="utf-8")))
    # Of the tests alone: where `make test` has put Debian's music, and on which parts they run.
    of_tests = {f"{PREFIX}TEST_MUSIC", f"{PREFIX}TEST_PARTS"}
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | of_tests
    assert named <= known


def test_no_problem_is_documented_twice() -> None:
    types = re.findall(r"^\| `(/problems/[\w-]+)`", PROBLEMS.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(types) == len(set(types)) > 50


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    code = " \n".join(re.findall(r"`[^`\n]+`|```.*?```", text, re.DOTALL))
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][a-z-]*)", code)) <= targets
    assert set(re.findall(r"(?:`|/bin/)streamcoop ([a-z][a-z-]*)", code)) <= set(cli.main.commands)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    linked = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in linked if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_every_make_target_that_is_listed_is_phony_and_explained() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    explained = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert explained == set(phony.group(1).split())


def test_every_command_explains_itself() -> None:
    runner = CliRunner()
    for name, command in cli.main.commands.items():
        told = runner.invoke(cli.main, [name, "--help"])
        assert told.exit_code == 0, told.output
        assert command.help


def test_no_tracked_file_names_a_registry_or_a_place_on_one_machine(tracked: dict[Path, str]) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {words}"
        for path, text in tracked.items()
        for words in [*(r for r in REGISTRIES if r in text), *MACHINE_PATHS.findall(text)]
    ]
    assert not found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_the_locks_carry_hashes_and_name_no_index(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*(?:-i|-f|--index|--extra-index|--find-links|--trusted)", text, re.MULTILINE)
    requirements = [block for block in re.split(r"\n(?=\S)", text) if re.match(r"[A-Za-z0-9]", block)]
    assert len(requirements) > 50
    without = [r.split()[0] for r in requirements if not re.search(r"--hash=sha256:[0-9a-f]{64}", r)]
    assert not without
    unpinned = [r.split()[0] for r in requirements if "==" not in r.split("\\")[0]]
    assert not unpinned


def test_what_one_lock_pins_the_other_pins_alike() -> None:
    pins = [
        dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock.read_text(encoding="utf-8"), re.MULTILINE)) for lock in LOCKS
    ]
    service, development = pins
    assert service.items() <= development.items()


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    """The services of docker-compose.yml by name."""
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    return services


def test_the_composed_services_use_only_settings_that_exist(composed: dict[str, Any]) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    required = {f"{PREFIX}{name.upper()}" for name, field in Settings.model_fields.items() if field.is_required()}
    ours = {name: service for name, service in composed.items() if "build" in service}
    assert set(ours) >= {"api-1", "worker", "media", "beat", "migrate"}
    for name, service in ours.items():
        used = {variable for variable in service["environment"] if variable.startswith(PREFIX)}
        assert required <= used <= known, name


def test_no_secret_of_the_composed_services_has_a_default() -> None:
    text = COMPOSE.read_text(encoding="utf-8")
    assert not re.findall(r"\$\{\w+:?-", text)
    assert all(variable.endswith(":?}") for variable in re.findall(r"(?<!\$)\$\{[^}]+\}", text))


def test_the_composed_services_depend_on_services_and_volumes_that_exist(composed: dict[str, Any]) -> None:
    volumes = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["volumes"]
    for name, service in composed.items():
        assert set(service.get("depends_on", {})) <= set(composed), name
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert (COMPOSE.parent / source).exists() if source.startswith(".") else source in volumes, name


def test_the_composed_commands_exist(composed: dict[str, Any]) -> None:
    named = {
        command
        for service in composed.values()
        for command in re.findall(r"\bstreamcoop ([a-z-]+)", str(service.get("command", "")))
    }
    assert named
    assert named <= set(cli.main.commands)
