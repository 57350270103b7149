"""A running service, its OpenAPI document, and an account that may do everything."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.schemas import OpenApiSchema

from streamcoop.accounts.principals import SCOPES
from streamcoop.demo.client import Person
from streamcoop.embedded.temporary import Service, running_service

PASSWORD = "correct horse battery"
ROLES = ["artist", "listener", "operator", "treasurer"]
# Short, so that plays of a few seconds count, are settled and closed while the tests run.
SETTINGS = {
    "STREAMCOOP_EPOCH_SECONDS": "8",
    "STREAMCOOP_EPOCH_GRACE_SECONDS": "4",
    "STREAMCOOP_TOKEN_MS_MIN": "1000",
    "STREAMCOOP_LISTEN_MS_MAX": "100",
    "STREAMCOOP_FREE_EXTRA_MS": "100",
    "STREAMCOOP_UPLOAD_BYTES_MAX": str(4 << 20),
}
MAX_EXAMPLES = 15


@dataclass(frozen=True)
class Everybody:
    """An account with all roles, signed in, and a personal API token of it with all scopes."""

    person: Person
    user_id: str
    token: str


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    with running_service(SETTINGS) as running:
        yield running


@pytest.fixture(scope="session")
def everybody(service: Service) -> Everybody:
    operator = Person(service.address, "Operator", service.operator_email, service.operator_password).sign_in()
    person = Person(service.address, "Everybody", f"{secrets.token_hex(8)}@streamcoop.example", PASSWORD)
    user_id = person.post("/api/v1/users", {"email": person.email, "password": PASSWORD, "name": "Everybody"})["id"]
    operator.put(f"/api/v1/users/{user_id}/roles", {"roles": ROLES})
    person.sign_in()
    token = person.post("/api/v1/me/tokens", {"name": "tests", "scopes": list(SCOPES)})["secret"]
    return Everybody(person, user_id, token)


def _configuration() -> SchemathesisConfig:
    configuration = SchemathesisConfig.from_dict(
        {
            "seed": 2026,
            "generation": {"max-examples": MAX_EXAMPLES, "deterministic": True, "no-shrink": True},
            # One round of generated requests; the story in test_story.py sends what has to be just right.
            "phases": {"coverage": {"enabled": False}},
        }
    )
    return configuration


@pytest.fixture(scope="session")
def document(service: Service) -> OpenApiSchema:
    """The OpenAPI document as the running service gives it."""
    return schemathesis.openapi.from_url(f"{service.address}/openapi.json", config=_configuration())


@pytest.fixture(scope="session")
def raw(service: Service) -> dict:
    """The same as plain JSON."""
    return httpx.get(f"{service.address}/openapi.json", trust_env=False).json()
