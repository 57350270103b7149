"""What is checked of our dependencies anywhere, without asking anybody: `python -m tests.dependencies`.

Both lock files must pin each requirement to one version and its hashes, and each package of requirements.lock, which is
what we ship, must have a licence that a work under AGPL-3.0-or-later may be combined with. A licence that is not known
here fails: somebody has to read it first. Known weaknesses are another matter: `make audit` asks for those.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "requirements.lock"
LOCKS = (SHIPPED, ROOT / "requirements-dev.lock")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}(?=\s|$)")

COMPATIBLE = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Unlicense"),
    *("AGPL-3.0-or-later", "GPL-2.0-or-later", "GPL-3.0-or-later", "LGPL-2.1-or-later", "LGPL-3.0-only", "MPL-2.0"),
}
# What packages say that do not use SPDX's names: in a classifier, or in a line of their own.
SAID = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.1-or-later",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Public Domain": "0BSD",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
# Read by a person. regex: all of it is offered under Apache-2.0; CNRI-Python is of the code it began with, which Python
# itself ships under its compatible successor.
READ = {"regex": "Apache-2.0 AND CNRI-Python"}


def requirements(lock: str) -> list[str]:
    """The requirements of a lock file, each with its hashes."""
    joined = lock.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def unpinned(lock: str) -> list[str]:
    """Requirements that are not pinned to one version, or that no hash vouches for."""
    return [
        line.split()[0]
        for line in requirements(lock)
        if not re.match(r"[A-Za-z0-9][\w.\-\[\],]*==[^\s*]+(\s|$)", line) or not HASH.search(line)
    ]


def is_compatible(expression: str) -> bool:
    """Whether an SPDX expression leaves a choice of compatible licences. Parentheses may only enclose a choice."""
    return all(
        any(choice.strip(" ()") in COMPATIBLE for choice in part.split(" OR ")) for part in expression.split(" AND ")
    )


def licence(package: Distribution) -> str:
    """What a package says of itself, as an SPDX expression where it can be told; otherwise in its own words."""
    about = package.metadata
    if about.get("License-Expression"):
        return str(about["License-Expression"])
    classifiers = [c.rpartition(" :: ")[2] for c in about.get_all("Classifier") or [] if c.startswith("License ::")]
    # Several classifiers: all of them hold.
    said = classifiers or (about.get("License") or "nothing").splitlines()[:1]
    return " AND ".join(SAID.get(words, words) for words in said)


def incompatible(lock: str) -> list[str]:
    """Packages of a lock file, as far as they are for this machine, that we may not ship or have not read."""
    found = []
    for line in requirements(lock):
        wanted = Requirement(HASH.sub("", line).strip())
        if wanted.marker and not wanted.marker.evaluate():
            continue
        try:
            told = licence(distribution(wanted.name))
        except PackageNotFoundError:
            found.append(f"{wanted.name}: is not installed")
            continue
        if READ.get(wanted.name) != told and not is_compatible(told):
            found.append(f"{wanted.name}: {told}")
    return found


def main() -> int:
    """Say what is wrong. Returns 1 if anything is."""
    wrong = [
        f"{lock.name}: {name} is not pinned by a version and hashes"
        for lock in LOCKS
        for name in unpinned(lock.read_text(encoding="utf-8"))
    ]
    wrong += incompatible(SHIPPED.read_text(encoding="utf-8"))
    print("\n".join(wrong) or "Dependencies: all are pinned by hashes, all licences fit.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
