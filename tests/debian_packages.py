"""Debian's packages without installing them: downloaded by apt, unpacked into a folder of ours. Needs no root."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

FETCH_S_MAX = 300


class NoPackages(Exception):
    """Debian's packages cannot be had here."""


def fetch(packages: Sequence[str], folder: Path, *, with_dependencies: bool = False) -> None:
    """Unpack the packages under `folder`, which is marked complete. Raises `NoPackages` with the reason.

    `with_dependencies`: along with whatever else they need and this machine has not installed.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NoPackages("apt-get and dpkg-deb are needed, and this is no Debian")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as downloads:
        path = Path(downloads)
        if not _download(packages, path, with_dependencies) and not (
            _refresh_lists() and _download(packages, path, with_dependencies)
        ):
            raise NoPackages(f"apt-get download {' '.join(packages)} failed")
        for package in sorted(path.glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", package, folder], check=True, timeout=FETCH_S_MAX)
    (folder / "complete").touch()


def is_complete(folder: Path) -> bool:
    """Whether `fetch` has ended well here."""
    return (folder / "complete").exists()


def _download(packages: Sequence[str], folder: Path, with_dependencies: bool) -> bool:
    # Root's downloads are handed to the unprivileged user `_apt`, who must be able to write here.
    folder.chmod(0o777)
    if with_dependencies:
        simulated = _apt("install", "--simulate", "--no-install-recommends", *packages)
        packages = re.findall(r"^Inst (\S+)", simulated.stdout, re.MULTILINE)
        if simulated.returncode != 0 or not packages:
            return False
    return _apt("download", "-qq", *packages, cwd=folder).returncode == 0


def _refresh_lists() -> bool:
    return os.geteuid() == 0 and _apt("update", "-qq").returncode == 0


def _apt(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = ["apt-get", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=FETCH_S_MAX, check=False)
