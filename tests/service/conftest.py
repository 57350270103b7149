"""One real service for all of these tests: supervisor, PostgreSQL, chain, workers and API in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.production import running_on_chosen_parts
from tests.service.coop import SETTINGS, Coop


@pytest.fixture(scope="session")
def coop() -> Iterator[Coop]:
    """The service, with a listening rule short enough to be waited for."""
    with running_on_chosen_parts(SETTINGS) as service:
        running = Coop(service)
        try:
            yield running
        finally:
            running.close()
