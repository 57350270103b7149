"""One real service for all of these tests: supervisor, PostgreSQL, chain, workers and API in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamcoop.embedded.temporary import running_service
from tests.service.coop import SETTINGS, Coop


@pytest.fixture(scope="session")
def coop() -> Iterator[Coop]:
    """The service, with a listening rule short enough to be waited for."""
    with running_service(SETTINGS) as service:
        running = Coop(service)
        try:
            yield running
        finally:
            running.close()
