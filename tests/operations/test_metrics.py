"""What Prometheus is told by a running service, and what nobody is told."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from streamcoop.demo.client import DemoFailed, until
from streamcoop.metrics import FILE_BYTES
from tests.operations.conftest import SCRAPE_S_MAX, Seen
from tests.reference_pages import ROOT
from tests.whole_service import play_at_once, published_track, somebody

SETTLED_S_MAX = 30.0
RUN_S_MAX = 60
DASHBOARD = ROOT / "deploy" / "grafana" / "streamcoop.json"
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-")


def test_only_a_token_with_the_scope_may_read_the_metrics_and_it_may_nothing_else(seen: Seen) -> None:
    listener = somebody(seen.service, "Listener").join()
    theirs = listener.post("/api/v1/me/tokens", {"name": "mine", "scopes": ["listen", "wallet"]})["secret"]
    operates = seen.operator.post("/api/v1/me/tokens", {"name": "other", "scopes": ["operate"]})["secret"]
    statuses = [seen.scrape(token).status_code for token in (None, "wrong", theirs, operates, seen.observer_token)]
    assert statuses == [401, 401, 403, 403, 200]
    bearer = {"Authorization": f"Bearer {seen.observer_token}"}
    for path in ("/api/v1/books/check", "/api/v1/members", "/api/v1/royalties/payouts"):
        answer = httpx.get(seen.service.address + path, headers=bearer, timeout=SCRAPE_S_MAX, trust_env=False)
        assert answer.status_code == 403, path


def test_plays_recorded_refused_and_settled_are_counted_across_processes(seen: Seen, tmp_path: Path) -> None:
    recorded, settled = seen.value("streamcoop_plays_recorded_total"), seen.value("streamcoop_plays_settled_total")
    refused = seen.value("streamcoop_plays_refused_total", reason="insufficient-credit")
    rendered = seen.value("streamcoop_renderings_total", outcome="rendered")
    track = published_track(somebody(seen.service, "Artist").join(artist=True), tmp_path)
    listener = somebody(seen.service, "Listener").join()
    with pytest.raises(DemoFailed, match="insufficient-credit"):
        play_at_once(listener, track)
    seen.operator.top_up(listener, 1_000)
    for _ in range(2):
        play_at_once(listener, track)
    until(lambda: seen.value("streamcoop_plays_settled_total") == settled + 2 or None, "settling", SETTLED_S_MAX)
    assert seen.value("streamcoop_plays_recorded_total") == recorded + 2
    assert seen.value("streamcoop_plays_refused_total", reason="insufficient-credit") == refused + 1
    assert seen.value("streamcoop_renderings_total", outcome="rendered") == rendered + 1
    assert seen.value("streamcoop_problems_total", type="insufficient-credit") >= 1
    assert seen.value("streamcoop_unsettled_plays") == 0


def test_every_part_answers_and_every_process_is_told_of(seen: Seen) -> None:
    for part in ("database", "broker", "chain", "objects"):
        assert seen.value("streamcoop_part_answers", part=part) == 1, part
    for part, processes in {"api": 1, "credits": 1, "worker": 2, "media": 1, "beat": 1}.items():
        until(lambda p=part, n=processes: seen.value("streamcoop_processes", part=p) == n or None, part, SETTLED_S_MAX)
        assert seen.value("streamcoop_process_resident_memory_bytes", part=part) > 1 << 20


def test_the_books_are_checked_by_themselves(seen: Seen) -> None:
    def checked_at() -> float:
        return seen.value("streamcoop_books_checked_timestamp_seconds")

    first = until(lambda: checked_at() or None, "the first check", SETTLED_S_MAX)
    until(lambda: checked_at() > first or None, "the next check", SETTLED_S_MAX)
    assert seen.value("streamcoop_books_balanced") == 1
    assert seen.value("streamcoop_books_findings") == 0


def test_routes_are_patterns_and_no_label_holds_an_id_or_an_address(seen: Seen) -> None:
    listener = somebody(seen.service, "Listener").join()
    for nowhere in ("/nowhere", f"/nowhere/{listener.email}", "/api/v1/tracks/../../etc/passwd"):
        listener.http.get(nowhere)
    listener.http.request("TRACE", "/healthz")
    listener.http.get("/api/v1/tracks/00000000-0000-7000-8000-000000000000")
    documented = set(httpx.get(f"{seen.service.address}/openapi.json", trust_env=False).json()["paths"])
    routes, text = set(), seen.metrics()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            routes |= {sample.labels["route"]} if "route" in sample.labels else set()
            assert not any(UUID.search(value) or "@" in value for value in sample.labels.values()), sample
    assert "/api/v1/tracks/{track_id}" in routes
    assert routes <= documented | {"unknown", "/openapi.json", "/docs"}
    assert listener.email not in text


def _named(expressions: list[str]) -> set[str]:
    return {name for expression in expressions for name in re.findall(r"\bstreamcoop_\w+", expression)}


def _exposed(text: str) -> set[str]:
    names = set()
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE):
        names |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if kind == "histogram" else {name}
    return names


def _expressions(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in panel.get("targets", [])]


def test_every_metric_of_the_dashboard_and_of_the_rules_is_exposed(seen: Seen) -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    shown = _named([expression for panel in panels for expression in _expressions(panel)])
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]
    watched = _named([rule["expr"] for rule in rules])
    # A worker tells the same without a token.
    by_worker = httpx.get(f"{seen.workers_address}/metrics", timeout=SCRAPE_S_MAX, trust_env=False).text
    for text in (seen.metrics(), by_worker):
        assert len(shown) > 30
        assert shown | watched <= _exposed(text)


def test_every_metric_has_a_panel(seen: Seen) -> None:
    shown = _named(re.findall(r'"expr": "(.*?[^\\])"', DASHBOARD.read_text(encoding="utf-8")))
    families = {name for name, _ in re.findall(r"^# TYPE (\w+) (\w+)$", seen.metrics(), re.MULTILINE)}
    assert {name for name in families if not any(of.startswith(name) for of in shown)} == set()


def test_the_dashboard_is_one(seen: Seen) -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or _expressions(panel)


_COUNT_AND_HANG = """
import signal, sys
from streamcoop import metrics
metrics.PLAYS_RECORDED.inc(3)
metrics.STREAMS.inc(2)
metrics.count_request("GET", "/stream/{play_token}", 200, 0.01)
print("counted", flush=True)
signal.pause()
"""
_READ = """
from prometheus_client.exposition import generate_latest
from prometheus_client import CollectorRegistry
from streamcoop.metrics import Instruments
registry = CollectorRegistry(auto_describe=False)
registry.register(Instruments())
print(generate_latest(registry).decode())
"""


def test_the_room_on_the_disk_is_taken_before_it_is_needed(seen: Seen) -> None:
    # A full disk must not kill whoever counts.
    files = sorted((seen.service.data_dir / "metrics").glob("*.db"))
    assert len(files) > 12
    assert all(file.stat().st_blocks * 512 >= FILE_BYTES for file in files)
    used = [int.from_bytes(file.read_bytes()[:4], sys.byteorder) for file in files]
    assert max(used) < FILE_BYTES / 2


def test_what_a_killed_process_counted_stays_and_what_it_had_under_way_does_not(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")}

    def read() -> str:
        command = [sys.executable, "-c", _READ]
        told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=RUN_S_MAX)
        return told.stdout

    processes = [
        subprocess.Popen([sys.executable, "-c", _COUNT_AND_HANG], env=environment, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"counted\n"
        both = read()
        assert "streamcoop_plays_recorded_total 6.0" in both
        assert "streamcoop_streams 4.0" in both
        processes[0].send_signal(signal.SIGKILL)
        processes[0].wait(RUN_S_MAX)
        one = read()
        assert "streamcoop_plays_recorded_total 6.0" in one
        assert "streamcoop_streams 2.0" in one
        assert 'streamcoop_requests_total{method="GET",route="/stream/{play_token}",status="200"} 2.0' in one
    finally:
        for process in processes:
            process.kill()
            process.communicate(timeout=RUN_S_MAX)
