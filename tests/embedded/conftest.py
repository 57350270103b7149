"""Folders that make the launcher choose each of its ways, and the means to watch processes die."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamcoop.embedded import postgres, process

DEADLINE_S = 30.0
POLL_S = 0.02


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Poll until the condition holds; the test fails if it does not before the deadline."""

    def poll(condition: Callable[[], bool]) -> None:
        assert process.until(condition, DEADLINE_S, POLL_S), "did not happen in time"

    return poll


def _account_obstacle() -> str | None:
    """Why no other account can run the binaries here; None if one can."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        accounts = [way for way in postgres._candidates(Path(folder) / "data") if not way.namespaced]
        return postgres._obstacle(accounts[0], Path(folder) / "postgres") if accounts else "there is no such account"


def _namespace_obstacle() -> str | None:
    spaces = [way for way in postgres._candidates(Path("data")) if way.namespaced]
    return postgres._obstacle(spaces[0], Path.cwd()) if spaces else "there is no account to be called by"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account may pass through to."""
    parent = Path(tempfile.mkdtemp(prefix="pg-"))
    parent.chmod(0o711)
    yield parent / "postgres"
    shutil.rmtree(parent)


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    """A folder that only we may pass through to. Its path is short, as a unix socket needs it."""
    parent = Path(tempfile.mkdtemp(prefix="pg-"))
    yield parent / "postgres"
    shutil.rmtree(parent)


@pytest.fixture(params=["account", "namespace"] if os.geteuid() == 0 else ["user"])
def folder(request: pytest.FixtureRequest) -> Path:
    """A fresh folder for each way to run the server that this user has and this machine allows."""
    if request.param == "user":
        path = request.getfixturevalue("closed_folder")
    elif request.param == "account":
        if obstacle := _account_obstacle():
            pytest.skip(obstacle)
        path = request.getfixturevalue("open_folder")
    else:
        if obstacle := _namespace_obstacle():
            pytest.skip(obstacle)
        path = request.getfixturevalue("closed_folder")
    assert isinstance(path, Path)
    return path


def finish(child: subprocess.Popen[str]) -> None:
    """End a process of a test, whatever state the test left it in."""
    child.kill()
    child.communicate()
