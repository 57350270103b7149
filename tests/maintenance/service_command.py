"""The `streamcoop` command as an operator runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from streamcoop.embedded.plan import source_root
from streamcoop.settings import PREFIX

COMMAND_S_MAX = 180.0


def streamcoop(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it with nothing in its environment but the data folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return subprocess.run(
        [sys.executable, "-m", "streamcoop.cli", *arguments],
        env=environment | {f"{PREFIX}DATA_DIR": str(data_dir)},
        cwd=source_root(),
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
    )
