"""Every answer is as the OpenAPI document says, to anybody and to any request; and the document says enough."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case
from schemathesis.generation.modes import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi import checks
from schemathesis.specs.openapi.schemas import OpenApiSchema

from streamcoop.demo.client import Person
from streamcoop.embedded.temporary import Service
from tests.api.conftest import ROLES, Everybody

EXAMPLES_ACCOUNT = 10
EXAMPLES_VISITOR = 3
REQUEST_S_MAX = 30

EXCLUDED = [
    # Well-formed requests are refused for what they ask for (no such track, no credit): a documented 4xx.
    checks.positive_data_acceptance,
]
NOT_SENT = {
    # They end the very token or session that the run is made with.
    "DELETE /api/v1/session",
    "DELETE /api/v1/me/tokens/{token_id}",
    # There is one ballot at a time, and a generated one is open for weeks: the story calls one.
    "POST /api/v1/ballots",
}


@pytest.fixture(scope="module")
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def operations(document: OpenApiSchema) -> list[APIOperation[Any, Any, Any, Any]]:
    return [result.ok() for result in document.get_all_operations()]


def is_for_anybody(operation: APIOperation[Any, Any, Any, Any]) -> bool:
    """Whether a visitor is served: a route that anybody may ask refuses nobody for want of a scope."""
    return "403" not in operation.definition.raw["responses"]


def requested(
    operation: APIOperation[Any, Any, Any, Any], examples: int, http: requests.Session, headers: dict[str, str]
) -> None:
    """Send requests of the documented form, and of others, and hold every answer against the document."""
    # Of what anybody may ask the document names the ways to sign in, which nobody has to use.
    excluded = [*EXCLUDED, checks.ignored_auth] if is_for_anybody(operation) else EXCLUDED

    def call(case: Case) -> None:
        case.call_and_validate(session=http, headers=headers, excluded_checks=excluded, timeout=REQUEST_S_MAX)

    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        run = settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )(given(operation.as_strategy(generation_mode=mode))(call))
        try:
            run()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE, "requests of the documented form can always be made"


def test_every_answer_to_a_member_with_all_roles_is_as_documented(
    document: OpenApiSchema, everybody: Everybody, http: requests.Session, subtests: pytest.Subtests
) -> None:
    headers = {"Authorization": f"Bearer {everybody.token}"}
    for operation in operations(document):
        if operation.label not in NOT_SENT:
            with subtests.test(operation.label):
                requested(operation, EXAMPLES_ACCOUNT, http, headers)
    assert everybody.person.http.get("/api/v1/me", headers=headers).json()["roles"] == ROLES, "the run lost its roles"


def test_every_answer_to_a_visitor_is_as_documented(
    document: OpenApiSchema, http: requests.Session, subtests: pytest.Subtests
) -> None:
    for operation in operations(document):
        with subtests.test(operation.label):
            requested(operation, EXAMPLES_VISITOR, http, {})


def test_signing_out_and_revoking_a_token_are_as_documented(person: Callable[..., Person]) -> None:
    someone = person("Passing").join()
    token = someone.post("/api/v1/me/tokens", {"name": "short-lived", "scopes": ["listen"]})
    assert someone.http.delete(f"/api/v1/me/tokens/{token['id']}").status_code == 204
    assert someone.http.delete(f"/api/v1/me/tokens/{token['id']}").status_code == 404
    assert someone.http.delete("/api/v1/session").status_code == 204
    assert someone.http.get("/api/v1/me").status_code == 401


def test_a_body_that_is_no_text_is_malformed(person: Callable[..., Person]) -> None:
    json = {"Content-Type": "application/json"}
    for body in (b"\xff\xfe{", b"{", b"[]", b"null", b""):
        answer = person("Nobody").http.post("/api/v1/session", content=body, headers=json)
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/malformed"), body


def test_every_operation_says_what_it_does(document: OpenApiSchema) -> None:
    for operation in operations(document):
        told = operation.definition.raw
        assert told.get("summary"), operation.label
        assert told.get("description", "").rstrip().endswith((".", "!")), operation.label
        assert told.get("tags"), operation.label


def test_every_refusal_is_documented_as_a_problem(document: OpenApiSchema) -> None:
    for operation in operations(document):
        for status, answer in operation.definition.raw["responses"].items():
            if status.startswith("4"):
                content = answer.get("content", {})
                assert list(content) == ["application/problem+json"], f"{operation.label} {status}"
                assert content["application/problem+json"].get("schema"), f"{operation.label} {status}"


def test_the_page_to_try_the_api_at_needs_no_other_host(service: Service) -> None:
    own = urlsplit(service.address).netloc
    with httpx.Client(base_url=service.address, trust_env=False) as client:
        page = client.get("/docs")
        assert page.status_code == 200
        loaded = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page.text)
        named = loaded + re.findall(r"https?://[^\s\"'<>)]+", page.text)
        assert named, "the page loads something"
        for address in named:
            assert urlsplit(address).netloc in {"", own}, address
            assert client.get(address).status_code == 200, address
