"""Debian's nginx with `deploy/nginx.conf`, as a process of ours."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from streamcoop.embedded import process
from streamcoop.embedded.ports import LOOPBACK
from streamcoop.embedded.process import StopSteps
from tests import debian_parts
from tests.production import compose

STOP_STEPS: StopSteps = ((signal.SIGTERM, 5.0), *process.KILL_STEPS)

# What the image's own nginx.conf is around ours.
FRAME = """
daemon off;
pid {folder}/nginx.pid;
worker_processes 2;
{user}
events {{ worker_connections 2048; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/default.conf;
}}
"""


def write(folder: Path, port: int, words: Mapping[str, str]) -> Path:
    """The configuration with `words` (addresses) replaced, listening on a loopback port; returns its file."""
    composed = compose.NGINX.read_text(encoding="utf-8").replace("listen 80;", f"listen {LOOPBACK}:{port};")
    (folder / "default.conf").write_text(compose.replaced(composed, words), encoding="utf-8")
    # Root's workers would be somebody else, who may not pass through our folders.
    user = "user root root;" if os.geteuid() == 0 else ""
    file = folder / "nginx.conf"
    file.write_text(FRAME.format(folder=folder, user=user), encoding="utf-8")
    return file


def command(file: Path) -> list[str]:
    """How nginx is run with such a configuration."""
    return [str(debian_parts.place("usr/sbin/nginx")), "-p", str(file.parent), "-e", "stderr", "-c", str(file)]
