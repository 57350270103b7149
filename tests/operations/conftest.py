"""One service for all of these tests, seen in every way it can be: metrics, traces, status."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamcoop.demo.client import Person
from streamcoop.embedded import ports
from streamcoop.embedded.temporary import Service, running_service
from tests.operations.receiver import Receiver, receiving
from tests.whole_service import SETTINGS, operator_of

SCRAPE_S_MAX = 30.0


@dataclass(frozen=True)
class Seen:
    """A running service and whoever looks at it."""

    service: Service
    operator: Person
    observer_token: str
    workers_address: str
    traces: Receiver

    def scrape(self, token: str | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        address = f"{self.service.address}/metrics"
        return httpx.get(address, headers=headers, timeout=SCRAPE_S_MAX, trust_env=False)

    def metrics(self) -> str:
        answer = self.scrape(self.observer_token)
        assert answer.status_code == 200, answer.text
        return answer.text

    def value(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.metrics())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@pytest.fixture(scope="session")
def seen() -> Iterator[Seen]:
    port = ports.any_free("127.0.0.1")
    with receiving() as traces:
        settings = {
            "STREAMCOOP_OTLP_ENDPOINT": traces.address,
            "STREAMCOOP_METRICS_PORT": str(port),
            "STREAMCOOP_BOOKS_CHECK_INTERVAL_S": "2",
        }
        with running_service({**SETTINGS, **settings}) as service:
            operator = operator_of(service)
            token = operator.post("/api/v1/me/tokens", {"name": "Prometheus", "scopes": ["observe"]})["secret"]
            yield Seen(service, operator, token, f"http://127.0.0.1:{port}", traces)
