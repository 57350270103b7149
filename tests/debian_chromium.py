"""Debian's Chromium for the tests in a real browser.

`python -m tests.debian_chromium` fetches it where it is not installed and unpacks it in build/, without installing
anything. Exit status 1, and why, where that cannot be done.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import debian_packages

# A browser needs at least one typeface.
PACKAGES = ("chromium", "fonts-dejavu-core")
PROGRAM = "usr/lib/chromium/chromium"
ROOT = Path("/")
FOLDER = Path(__file__).resolve().parents[1] / "build" / "debian-chromium"
TYPEFACES = FOLDER / "typefaces.conf"


def program() -> Path:
    """Installed or unpacked. Raises FileNotFoundError."""
    for root in (ROOT, FOLDER):
        if (root / PROGRAM).exists():
            return root / PROGRAM
    raise FileNotFoundError(f"Chromium is neither installed nor unpacked in {FOLDER}: see `make test`")


def is_here() -> bool:
    """Whether there is one."""
    return any((root / PROGRAM).exists() for root in (ROOT, FOLDER))


def environment() -> dict[str, str | float | bool]:
    """What it runs with: where it is unpacked, its libraries and typefaces are there as well."""
    own: dict[str, str | float | bool] = {**os.environ}
    if not (ROOT / PROGRAM).exists():
        # Some packages keep what only their own libraries need in a folder of its own.
        libraries = {
            str(library.parent)
            for top in ("lib", "usr/lib")
            for depth in ("*", "*/*")
            for library in (FOLDER / top).glob(f"*-linux-gnu*/{depth}")
            if ".so" in library.name
        }
        own |= {
            "LD_LIBRARY_PATH": ":".join(sorted(libraries)),
            "FONTCONFIG_FILE": str(TYPEFACES),
        }
    return own


def main() -> int:
    """Fetch it unless it is there. Exit status 1 where that cannot be done."""
    if (ROOT / PROGRAM).exists() or debian_packages.is_complete(FOLDER):
        return 0
    try:
        debian_packages.fetch(PACKAGES, FOLDER, with_dependencies=True)
        # Debian's own configuration is made when a package is installed.
        places = "".join(f"<dir>{root / 'usr/share/fonts'}</dir>" for root in (ROOT, FOLDER))
        faces = {"sans-serif": "Sans", "system-ui": "Sans", "serif": "Serif", "monospace": "Sans Mono"}
        named = "".join(
            f"<alias><family>{name}</family><prefer><family>DejaVu {face}</family></prefer></alias>"
            for name, face in faces.items()
        )
        kept = f"<cachedir>{FOLDER / 'cache'}</cachedir>"
        TYPEFACES.write_text(f"<fontconfig>{places}{kept}{named}</fontconfig>", encoding="utf-8")
    except (debian_packages.NoPackages, OSError, subprocess.SubprocessError) as reason:
        print(f"The web app cannot be tested in a browser: {', '.join(PACKAGES)} missing ({reason}).", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
