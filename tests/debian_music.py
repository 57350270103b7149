"""Real music for the tests: Debian's packages `asc-music` (MP3) and `singularity-music` (Ogg Vorbis).

`python -m tests.debian_music FOLDER` fetches and unpacks them without installing anything. Where that
cannot be done it says so and the tests that need real music are skipped; in CI it is a failure.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import debian_packages

PACKAGES = ("asc-music", "singularity-music")
SUFFIXES = frozenset({".mp3", ".ogg"})


def files() -> list[Path]:
    """The music that was fetched; empty where it was not."""
    folder = Path(os.environ.get("TEST_MUSIC", ""))
    if not debian_packages.is_complete(folder):
        return []
    return sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())


def main() -> int:
    """Fetch unless it is there. Exit status 1 only in CI."""
    folder = Path(sys.argv[1])
    if debian_packages.is_complete(folder):
        return 0
    try:
        debian_packages.fetch(PACKAGES, folder)
    except (debian_packages.NoPackages, OSError, subprocess.SubprocessError) as reason:
        print(f"Real music could not be fetched ({reason}): the tests that need it are skipped.", file=sys.stderr)
        return 1 if os.environ.get("CI") else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
