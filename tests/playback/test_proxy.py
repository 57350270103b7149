"""Whole files sent by a proxy, as we tell it to: real nginx before our own delivery, on a folder and on a real S3."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request
from pydantic import SecretStr
from starlette.responses import Response

from streamcoop import problems
from streamcoop.adapters import objects
from streamcoop.demo.client import until
from streamcoop.embedded import ports, process
from streamcoop.playback import delivery
from tests import debian_parts
from tests.adapters.s3_server import BUCKET, KEY_ID, SECRET, running_s3

CONTENT = random.Random(9).randbytes(300_000)
KEY = "tracks/0190/original.flac"
TYPE = "audio/flac"
NAME = 'Suite "Gong"\r\nX-Accel-Redirect: /objects/other; ü.flac'
READY_S_MAX = 30.0
FOLDER = "alias {folder}/; max_ranges 1;"
S3 = """
    proxy_pass {address}/;
    proxy_set_header Host {host};
    proxy_set_header Authorization "";
    proxy_set_header Cookie "";
    proxy_hide_header Cache-Control;
    proxy_hide_header Content-Disposition;
"""
NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{api_port}; }}
        location /objects/ {{ internal; {objects} }}
    }}
}}
"""


@dataclass(frozen=True)
class Site:
    """A proxy, what is behind it, and both as clients see them."""

    store: objects.ObjectStore
    front: httpx.Client
    api: httpx.Client


@pytest.fixture(scope="module", params=["folder", "s3"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    try:
        program = debian_parts.place("usr/sbin/nginx")
    except FileNotFoundError as missing:
        if "CI" in os.environ:
            raise
        pytest.skip(str(missing))
    folder = tmp_path_factory.mktemp("proxy")
    if request.param == "folder":
        with _site(program, folder, f"file://{folder}/kept", FOLDER.format(folder=folder / "kept")) as made:
            yield made
    else:
        with running_s3(tmp_path_factory.mktemp("weed")) as server:
            address = server.endpoint_url
            lines = S3.format(address=address, host=urlsplit(address).netloc)
            with _site(program, folder, f"s3://{BUCKET}", lines, address) as made:
                yield made


@contextmanager
def _site(program: Path, folder: Path, url: str, lines: str, endpoint_url: str | None = None) -> Iterator[Site]:
    settings = SimpleNamespace(
        objects_url=url,
        s3_endpoint_url=endpoint_url,
        s3_access_key_id=SecretStr(KEY_ID),
        s3_secret_access_key=SecretStr(SECRET),
        accel_location="/objects/",
    )
    store = objects.open_store(settings)  # type: ignore[arg-type]  # the part of the settings that is read
    (folder / "upload").write_bytes(CONTENT)
    store.put_file(KEY, folder / "upload", TYPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delivery, "settings", lambda: settings)
        with (
            _api(store) as api_port,
            _nginx(program, folder, api_port, lines) as port,
            _client(port) as front,
            _client(api_port) as api,
        ):
            yield Site(store, front, api)


def _client(port: int) -> httpx.Client:
    # What a browser sends along must not reach the S3, which would take it for a second signature.
    headers = {"Authorization": "Bearer scs_secret", "Cookie": "streamcoop_session=secret"}
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False)


@contextmanager
def _api(store: objects.ObjectStore) -> Iterator[int]:
    """Our delivery and our problem documents, over HTTP."""
    app = FastAPI()
    app.state.objects = store
    problems.install(app)

    @app.api_route("/file", methods=["GET", "HEAD"])
    async def file(request: Request, key: str = KEY) -> Response:
        return await delivery.whole(request, key, len(CONTENT), TYPE, request.headers.get("range"), NAME)

    port = ports.any_free()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started or None, "the API", READY_S_MAX)
        yield port
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def _nginx(program: Path, folder: Path, api_port: int, lines: str) -> Iterator[int]:
    port = ports.any_free()
    written = NGINX.format(folder=folder, port=port, api_port=api_port, objects=lines)
    (folder / "nginx.conf").write_text(written, encoding="utf-8")
    command = [program, "-p", folder, "-e", "stderr", "-c", folder / "nginx.conf"]
    with process.open_log(folder / "log") as log:
        child = process.spawn(command, output=log, env=debian_parts.environment())
    try:
        until(lambda: None if ports.is_free("127.0.0.1", port) else True, "nginx", READY_S_MAX)
        yield port
    finally:
        process.stop(child, process.KILL_STEPS)


RANGES = [None, "bytes=0-", "bytes=0-0", "bytes=70000-199999", "bytes=-7", "bytes=299999-999999999"]
IGNORED = ["bytes=9-5", "bytes=a-b", "bytes=0-1,5-6", "items=0-5"]


@pytest.mark.parametrize("range_", RANGES + IGNORED)
def test_the_proxy_sends_what_python_would_byte_for_byte(site: Site, range_: str | None) -> None:
    headers = {"Range": range_} if range_ else {}
    told = site.front.get("/file", headers=headers)
    assert told.status_code == (206 if range_ in RANGES[1:] else 200)
    whole = delivery.parse(range_, len(CONTENT))
    assert told.content == CONTENT[whole.start : whole.end]
    assert told.headers["content-type"] == TYPE
    assert told.headers.get_list("cache-control") == ["private, no-store"]
    if not whole.partial:
        assert told.headers.get_list("accept-ranges") == ["bytes"]
    else:
        assert told.headers["content-range"] == whole.content_range(len(CONTENT))


def test_python_sends_no_byte_of_a_file_that_the_proxy_sends(site: Site) -> None:
    told = site.api.get("/file", headers={"Range": "bytes=5-9"})
    assert told.headers["x-accel-redirect"].startswith("/objects/")
    assert told.content == b""
    assert "x-accel-redirect" not in site.front.get("/file").headers


def test_nobody_reaches_an_object_from_outside(site: Site) -> None:
    inside = site.api.get("/file").headers["x-accel-redirect"]
    assert site.front.get(inside).status_code == 404
    assert site.front.get(f"/objects/{KEY}").status_code == 404


def test_a_name_that_looks_like_a_header_stays_a_name(site: Site) -> None:
    told = site.front.get("/file")
    assert told.content == CONTENT
    disposition = told.headers["content-disposition"]
    assert disposition.startswith("attachment; filename*=UTF-8''Suite%20%22Gong%22%0D%0AX-Accel-Redirect%3A%20")
    assert disposition.isascii()


def test_a_key_that_leads_elsewhere_is_no_key(site: Site) -> None:
    with pytest.raises(objects.InvalidKey):
        site.store.presigned_path("../secrets/secret_key")


def test_a_file_that_is_asked_about_has_its_length_and_type(site: Site) -> None:
    told = site.front.head("/file")
    assert (told.status_code, told.headers["content-length"]) == (200, str(len(CONTENT)))
    assert told.headers["content-type"] == TYPE


def test_a_range_past_the_end_is_a_problem(site: Site) -> None:
    told = site.front.get("/file", headers={"Range": "bytes=300000-"})
    assert (told.status_code, told.json()["type"]) == (416, "/problems/range-not-satisfiable")


@pytest.mark.parametrize("key", ["tracks/none.flac", "tracks/0190/short.flac"])
def test_a_file_that_is_missing_or_cut_off_is_storage_that_is_unavailable(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    (tmp_path / "short").write_bytes(CONTENT[:100])
    site.store.put_file("tracks/0190/short.flac", tmp_path / "short", TYPE)
    monkeypatch.setattr(delivery, "settings", lambda: SimpleNamespace(accel_location=None))
    told = site.api.get("/file", params={"key": key})
    assert (told.status_code, told.json()["type"]) == (503, "/problems/storage-unavailable")
    assert told.headers["retry-after"]


def test_a_file_that_the_proxy_does_not_find_is_never_another(site: Site) -> None:
    assert site.front.get("/file", params={"key": "tracks/none.flac"}).status_code == 404


def test_what_was_begun_is_resumed_only_of_the_same_file(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "settings", lambda: SimpleNamespace(accel_location=None))
    tag = site.api.head("/file").headers["etag"]
    resumed = site.api.get("/file", headers={"Range": "bytes=100-", "If-Range": tag})
    assert (resumed.status_code, resumed.content) == (206, CONTENT[100:])
    again = site.api.get("/file", headers={"Range": "bytes=100-", "If-Range": '"another"'})
    assert (again.status_code, again.content) == (200, CONTENT)
