"""A witness that the tests of a file share; each has logs of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.conftest import Database
from tests.witness.stand import Log, Service, running


@pytest.fixture(scope="module")
def witness(
    cloned_database: Callable[[], AbstractContextManager[Database]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    with cloned_database() as database, running(database, tmp_path_factory.mktemp("witness")) as service:
        yield service


@pytest.fixture
def log(witness: Service) -> Log:
    """A log that the witness knows and has seen nothing of."""
    made = Log()
    witness.knows(made)
    return made
