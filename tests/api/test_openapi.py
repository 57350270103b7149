"""Every answer is as the OpenAPI document says: to anybody, to any request."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from tests.api.conftest import MAX_EXAMPLES, Everybody

schema = schemathesis.pytest.from_fixture("document")

@pytest.mark.timeout(300)
@schema.parametrize()
@settings(max_examples=MAX_EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_account(case: schemathesis.Case, everybody: Everybody) -> None:
    case.call_and_validate(headers={"Authorization": f"Bearer {everybody.token}"})
