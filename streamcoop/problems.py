"""How refusals reach a client: RFC 9457 problem documents, from one table of errors and statuses.

An error's `type` is stable: a client may rely on it. Its title is the error's own sentence, and its
facts are the members beside it. 422 is for malformed payloads only.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg_pool import PoolTimeout as AsyncPoolTimeout
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from ledger.errors import DomainError
from streamcoop import malformed, metrics
from streamcoop.language import DEFAULT, Language, language, of_request

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
# Frames. Nested JSON beyond it is a RecursionError, which we can answer; where a library has raised Python's limit
# (py_ecc does, to 100,000) the decoder overflows the C stack first, and one request would end the process.
RECURSION_MAX = 1_000
_STATUS: dict[type[DomainError], HTTPStatus] = {}


class Problem(BaseModel):
    """A problem document (RFC 9457). Further members tell the facts of the case."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Stable address of the kind of problem.", examples=["/problems/not-found"])
    title: str = Field(description="What went wrong, in a sentence.")
    status: int
    detail: str | None = None


class FieldError(BaseModel):
    """One field at fault."""

    field: str
    message: str


class MalformedProblem(Problem):
    """A payload that does not have the documented form."""

    errors: list[FieldError]


def slug(error: type[DomainError]) -> str:
    """`InsufficientCredit` → `insufficient-credit`, `NotAMember` → `not-a-member`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", error.__name__).lower()


def register(statuses: dict[type[DomainError], HTTPStatus]) -> None:
    """Add a feature's errors to the table."""
    _STATUS.update(statuses)


def status_of(error: type[DomainError]) -> HTTPStatus:
    """An error's status. An error missing from the table is our own fault: 500."""
    for kind in error.__mro__:
        if kind in _STATUS:
            return _STATUS[kind]
    return HTTPStatus.INTERNAL_SERVER_ERROR


def problem(
    status: HTTPStatus | int, type_: str, title: str, headers: dict[str, str] | None = None, **facts: Any
) -> JSONResponse:
    """A problem document as a response."""
    metrics.PROBLEMS.labels(type_).inc()
    body = {"type": f"/problems/{type_}", "title": title, "status": int(status), **facts}
    return JSONResponse(body, status_code=int(status), media_type=MEDIA_TYPE, headers=headers)


def refusals() -> frozenset[type[DomainError]]:
    """All errors of the table: their sentences are what people read."""
    return frozenset(_STATUS)


def document(error: DomainError, spoken: Language | None = None) -> JSONResponse:
    """A domain error as a response, its title in the language that is spoken, English if none is told.

    `retry_after_s` among its facts also becomes the header.
    """
    facts = dict(error.facts)
    headers = {"Retry-After": str(facts["retry_after_s"])} if "retry_after_s" in facts else None
    status = status_of(type(error))
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        headers = {"Content-Range": f"bytes */{facts['size']}"}
    if status == HTTPStatus.UNAUTHORIZED:
        headers = {"WWW-Authenticate": 'Bearer realm="streamcoop"'}
    title = (spoken or language(DEFAULT)).said(type(error).__doc__ or "")
    return problem(status, slug(type(error)), title, headers, **facts)


def answers(*errors: type[DomainError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may refuse with these errors, for the OpenAPI document."""
    by_status: dict[int, list[type[DomainError]]] = {}
    for error in errors:
        by_status.setdefault(int(status_of(error)), []).append(error)
    return {
        status: {
            "model": Problem,
            "description": " ".join(f"`{slug(e)}`: {e.__doc__}" for e in of_status),
            "content": {MEDIA_TYPE: {}},
        }
        for status, of_status in by_status.items()
    }


def _document_problems(app: FastAPI) -> None:
    """FastAPI files every model under JSON; in the OpenAPI document a problem stands under its own media type."""
    made_by_fastapi = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            operations = (o for path in made_by_fastapi()["paths"].values() for o in path.values())
            for content in (r.get("content", {}) for o in operations for r in o["responses"].values()):
                if MEDIA_TYPE in content:
                    content[MEDIA_TYPE] = content.pop("application/json")
        return made_by_fastapi()

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to change the document


def _field(location: Iterable[str | int]) -> str:
    parts = [str(part) for part in location]
    return ".".join(parts[1:]) or parts[0]


def _field_error(error: dict[str, Any], spoken: Language) -> FieldError:
    # Of JSON that cannot be read FastAPI tells the place instead of a field.
    field = "body" if error["type"] == "json_invalid" else _field(error["loc"])
    return FieldError(field=field, message=malformed.said(error, spoken))


def _malformed(errors: list[FieldError]) -> JSONResponse:
    title = "The request does not have the documented form."
    facts = [error.model_dump() for error in errors]
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "malformed", title, errors=facts)


def install(app: FastAPI) -> None:
    """Answer every refusal with a problem document, and document it as one. Call it once all features are imported."""
    sys.setrecursionlimit(RECURSION_MAX)
    _document_problems(app)

    @app.exception_handler(DomainError)
    async def refuse(request: Request, error: DomainError) -> JSONResponse:
        return document(error, of_request(request))

    @app.exception_handler(RequestValidationError)
    async def unreadable(request: Request, error: RequestValidationError) -> JSONResponse:
        spoken = of_request(request)
        return _malformed([_field_error(e, spoken) for e in error.errors()])

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI's, for a body that is no text at all
            return _malformed([FieldError(field="body", message=str(error.detail))])
        phrase = HTTPStatus(error.status_code).phrase
        kind = phrase.lower().replace(" ", "-")
        return problem(error.status_code, kind, str(error.detail or phrase), dict(error.headers or {}) or None)

    @app.exception_handler(Exception)
    async def our_fault(_: Request, error: Exception) -> JSONResponse:
        metrics.EXCEPTIONS.labels(type(error).__name__).inc()
        # The server logs the exception; the client is told nothing of our insides.
        title = "Something went wrong on our side; it has been noted."
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal-error", title)

    @app.exception_handler(OperationalError)
    @app.exception_handler(PoolTimeout)
    @app.exception_handler(psycopg.OperationalError)
    @app.exception_handler(AsyncPoolTimeout)
    async def database_away(_: Request, error: Exception) -> JSONResponse:
        metrics.EXCEPTIONS.labels(type(error).__name__).inc()
        log.error("database unavailable", extra={"error": type(error).__name__})
        title = "The service cannot reach its database just now."
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "database-unavailable", title, {"Retry-After": "2"})
