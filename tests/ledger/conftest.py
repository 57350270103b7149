"""A founded co-op for the tests of the books."""

from __future__ import annotations

import pytest

from ledger.store.terms import Founding
from tests.conftest import Database
from tests.ledger import factories


@pytest.fixture
def founded(database: Database) -> Founding:
    """The test's database with a co-op founded in it."""
    return factories.found(database.engine)
