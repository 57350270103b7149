"""Traces of a running service, as a real collector receives them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamcoop.demo.client import until
from tests.operations.conftest import Seen
from tests.operations.receiver import Span
from tests.whole_service import play_at_once, published_track, somebody

# The exporter sends what it has every five seconds.
RECEIVED_S_MAX = 40.0
RUN_S_MAX = 60
UPLOAD = "POST /api/v1/releases/{release_id}/tracks"


def test_an_upload_and_its_rendering_are_one_trace(seen: Seen, tmp_path: Path) -> None:
    published_track(somebody(seen.service, "Artist").join(artist=True), tmp_path)

    def whole() -> tuple[Span, dict[str, Span]] | None:
        for upload in seen.traces.named(UPLOAD):
            rest = {span.name: span for span in seen.traces.spans if span.trace == upload.trace}
            if {"task workers.media.render", "render", "object store: put", "object store: fetch"} <= rest.keys():
                return upload, rest
        return None

    upload, rest = until(whole, "one trace of upload and rendering", RECEIVED_S_MAX)
    task, render = rest["task workers.media.render"], rest["render"]
    assert (upload.service, upload.parent) == ("streamcoop-api", b"")
    assert upload.attributes["http.response.status_code"] == "202"
    assert (task.service, task.parent) == ("streamcoop-media", upload.id)
    assert (render.parent, rest["object store: fetch"].parent) == (task.id, render.id)


def test_a_trace_tells_no_secret_and_nobodys_name(seen: Seen, tmp_path: Path) -> None:
    artist = somebody(seen.service, "Artist").join(artist=True)
    track = published_track(artist, tmp_path)
    listener = somebody(seen.service, "Listener").join()
    seen.operator.top_up(listener, 1_000)
    before = len(seen.traces.named("record plays"))
    play_at_once(listener, track)
    opened = listener.post("/api/v1/plays", {"track_id": track})
    listener.http.get(
        opened["stream_url"], headers={"Range": "bytes=0-99", "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    )
    listener.http.post("/api/v1/session", json={"email": listener.email, "password": "wrong"})
    names = ("GET /stream/{play_token}", "POST /api/v1/session", "settle plays")
    until(
        lambda: (len(seen.traces.named("record plays")) > before and all(map(seen.traces.named, names))) or None,
        "traces of a play",
        RECEIVED_S_MAX,
    )
    me = listener.get("/api/v1/me")
    told = "\n".join(span.text for span in seen.traces.spans)
    secrets = {opened["play_token"], listener.email, listener.password, artist.email, me["id"], seen.observer_token}
    secrets |= {cookie.value for cookie in listener.http.cookies.jar if cookie.value}
    assert len(secrets) >= 7
    assert [secret for secret in secrets if secret in told] == []
    # A client does not choose the trace it is seen in.
    assert bytes.fromhex("ab" * 16) not in {span.trace for span in seen.traces.spans}


def _run(folder: Path, code: str, **settings: str) -> subprocess.CompletedProcess[str]:
    values = {
        "DATA_DIR": str(folder),
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "BROKER_URL": "memory://",
        "OBJECTS_URL": folder.as_uri(),
        "CHAIN_RPC_URL": "http://127.0.0.1:1",
        "SECRET_KEY": "not used",
        **settings,
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STREAMCOOP_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=inherited | {f"STREAMCOOP_{name}": value for name, value in values.items()},
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
    )


def test_without_an_endpoint_nothing_that_could_send_a_trace_is_imported(tmp_path: Path) -> None:
    code = """
import sys
from streamcoop import tracing
from streamcoop.app import create_app
import workers.app
create_app()
with tracing.span("something", number=1):
    assert tracing.carrier() == {}
tracing.done("something", 0)
tracing.shut_down()
# FastAPI itself imports the interfaces, which do nothing.
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
"""
    told = _run(tmp_path, code)
    assert (told.returncode, told.stdout) == (0, "[]\n"), told.stderr


@pytest.mark.parametrize("part", ["opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter"])
def test_an_endpoint_without_the_extra_is_refused_in_words(tmp_path: Path, part: str) -> None:
    code = f"""
import sys
sys.modules[{part!r}] = None
from streamcoop import tracing
try:
    tracing.configure("api")
except tracing.TracingNotInstalled as refusal:
    print(refusal)
"""
    told = _run(tmp_path, code, OTLP_ENDPOINT="http://127.0.0.1:1")
    assert "streamcoop[tracing]" in told.stdout, told.stderr
