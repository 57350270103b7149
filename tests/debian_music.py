"""Real music for the tests: Debian's packages `asc-music` (MP3) and `singularity-music` (Ogg Vorbis).

`python -m tests.debian_music FOLDER` fetches and unpacks them without installing anything. Where that
cannot be done it says so and the tests that need real music are skipped; in CI it is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = ("asc-music", "singularity-music")
FETCH_S_MAX = 300
SUFFIXES = frozenset({".mp3", ".ogg"})


class NoMusic(Exception):
    """Debian's music packages cannot be had here."""


def fetch(folder: Path) -> None:
    """Unpack both packages under `folder`. Raises NoMusic with the reason."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NoMusic("apt-get and dpkg-deb are needed, and this is no Debian")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as downloads:
        if not _download(Path(downloads)) and not (_refresh_lists() and _download(Path(downloads))):
            raise NoMusic(f"apt-get download {' '.join(PACKAGES)} failed")
        for package in sorted(Path(downloads).glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", package, folder], check=True, timeout=FETCH_S_MAX)
    (folder / "complete").touch()


def _download(folder: Path) -> bool:
    # Root's downloads are handed to the unprivileged user `_apt`, who must be able to write here.
    folder.chmod(0o777)
    command = ["apt-get", "download", "-qq", *PACKAGES]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=FETCH_S_MAX, check=False)
    return done.returncode == 0


def _refresh_lists() -> bool:
    if os.geteuid() != 0:
        return False
    command = ["apt-get", "update", "-qq"]
    return subprocess.run(command, capture_output=True, timeout=FETCH_S_MAX, check=False).returncode == 0


def files() -> list[Path]:
    """The music that was fetched; empty where it was not."""
    folder = Path(os.environ.get("STREAMCOOP_TEST_MUSIC", ""))
    if not (folder / "complete").exists():
        return []
    return sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())


def main() -> int:
    """Fetch unless it is there. Exit status 1 only in CI."""
    folder = Path(sys.argv[1])
    if (folder / "complete").exists():
        return 0
    try:
        fetch(folder)
    except (NoMusic, OSError, subprocess.SubprocessError) as reason:
        print(f"Real music could not be fetched ({reason}): the tests that need it are skipped.", file=sys.stderr)
        return 1 if os.environ.get("CI") else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
