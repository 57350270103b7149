"""nginx before the API, as in production: it sends what the service allows (X-Accel-Redirect)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.stage import BUILD, STOP_STEPS, wait_until_answers
from streamcoop.embedded import ports, process

# Debian's, installed or unpacked by `python -m tests.debian_parts`.
PROGRAMS = (Path("/usr/sbin/nginx"), BUILD / "debian-parts/usr/sbin/nginx")

_CONFIGURATION = """
worker_processes 1;
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream api {{ server 127.0.0.1:{api_port}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://api;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_buffering off;
        }}
        location {location} {{ internal; {objects} }}
        location /alone/ {{ {objects} }}
    }}
}}
"""


def program() -> Path | None:
    """Where nginx is, if it is here."""
    found = shutil.which("nginx")
    return Path(found) if found else next((path.resolve() for path in PROGRAMS if path.exists()), None)


@contextmanager
def running(binary: Path, folder: Path, api_port: int, location: str, objects: str) -> Iterator[int]:
    """nginx with one worker; yields its port. `objects` are the lines that reach them; `/alone/` does so unasked."""
    folder.mkdir()
    port = ports.any_free()
    written = _CONFIGURATION.format(folder=folder, port=port, api_port=api_port, location=location, objects=objects)
    (folder / "nginx.conf").write_text(written, "utf-8")
    log = folder / "output"
    with process.open_log(log) as output:
        child = process.spawn([binary, "-p", folder, "-c", folder / "nginx.conf"], output=output)
    try:
        wait_until_answers(port, child, log)
        yield port
    finally:
        process.stop(child, STOP_STEPS)
