"""A running service, its OpenAPI document, and people whose every answer is held against that document."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatch

import httpx
import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.schemas import OpenApiSchema

from streamcoop.accounts.principals import SCOPES
from streamcoop.demo.client import Person
from streamcoop.embedded.temporary import Service
from tests.whole_service import PASSWORD, service

__all__ = ["service"]

ROLES = ["artist", "listener", "operator", "treasurer"]
# The same requests in every run; with_security_parameters would replace the token that a test sends.
CONFIGURATION = {"seed": 2026, "generation": {"deterministic": True, "with-security-parameters": False}}


@dataclass(frozen=True)
class Everybody:
    """An account with all roles, signed in, and a personal API token of it with all scopes."""

    person: Person
    token: str


@pytest.fixture(scope="session")
def document(service: Service) -> OpenApiSchema:
    """The OpenAPI document as the running service gives it, ready to make requests and judge answers by."""
    with httpx.Client(trust_env=False) as client:
        plain = client.get(f"{service.address}/openapi.json").json()
    loaded = schemathesis.openapi.from_dict(plain, config=SchemathesisConfig.from_dict(CONFIGURATION))
    loaded.config.update(base_url=service.address)
    return loaded


@pytest.fixture(scope="session")
def person(service: Service, document: OpenApiSchema) -> Iterator[Callable[..., Person]]:
    """Makes people; every answer to one of them must be as documented, or the test fails there."""
    made: list[Person] = []

    def as_documented(answer: httpx.Response) -> None:
        answer.read()
        operation = document.find_operation_by_path(answer.request.method, answer.request.url.path)
        assert operation is not None, f"{answer.request.method} {answer.request.url.path} is not documented"
        documented = operation.definition.raw["responses"]
        assert str(answer.status_code) in documented, f"{operation.label} answered {answer.status_code}: {answer.text}"
        content = documented[str(answer.status_code)].get("content", {})
        if answer.content:
            media_type = answer.headers["content-type"].split(";")[0]
            assert any(fnmatch(media_type, documented_type) for documented_type in content), (
                f"{operation.label} {media_type}"
            )
        # An upload's body is gone by now; the answer alone is judged.
        told = httpx.Request(answer.request.method, answer.request.url)
        judged = httpx.Response(answer.status_code, headers=answer.headers, content=answer.content, request=told)
        judged.elapsed = timedelta()
        operation.validate_response(judged)

    def make(name: str, email: str = "", password: str = PASSWORD) -> Person:
        someone = Person(service.address, name, email or f"{secrets.token_hex(8)}@streamcoop.example", password)
        someone.http.event_hooks["response"] = [as_documented]
        made.append(someone)
        return someone

    yield make
    for someone in made:
        someone.http.close()


@pytest.fixture(scope="session")
def operator(service: Service, person: Callable[..., Person]) -> Person:
    """The first operator, who is treasurer too."""
    return person("Operator", service.operator_email, service.operator_password).sign_in()


@pytest.fixture(scope="session")
def everybody(operator: Person, person: Callable[..., Person]) -> Everybody:
    someone = person("Everybody")
    user = someone.post("/api/v1/users", {"email": someone.email, "password": PASSWORD, "name": "Everybody"})
    operator.put(f"/api/v1/users/{user['id']}/roles", {"roles": ROLES})
    someone.sign_in()
    token = someone.post("/api/v1/me/tokens", {"name": "tests", "scopes": list(SCOPES)})["secret"]
    return Everybody(someone, token)
