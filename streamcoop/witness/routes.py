"""The witness over HTTP (C2SP tlog-witness). It speaks plain text to machines, so it is in no OpenAPI document."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from ledger.witness import REQUEST_BYTES_MAX, Verdict
from streamcoop.clock import Now
from streamcoop.database import Transaction
from streamcoop.errors import NotFound
from streamcoop.settings import settings
from streamcoop.witness import service

router = APIRouter(prefix="/witness", include_in_schema=False)

TEXT = "text/plain; charset=utf-8"
SIZE = "text/x.tlog.size"
_REASONS = {
    Verdict.MALFORMED: "this is no request that could be answered",
    Verdict.UNSIGNED: "no signature by a key of this log, or one that does not hold",
    Verdict.UNKNOWN_LOG: "this log is not witnessed here",
    Verdict.INCONSISTENT: "the proof does not show that this tree continues the one that was cosigned last",
}


def _text(status: int, text: str, media_type: str = TEXT) -> Response:
    # As a header, since the specification's type has no charset and one would be added.
    return Response(text, status, headers={"Content-Type": media_type})


async def _body(request: Request) -> bytes | None:
    """The body. None if it is longer than any request."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > REQUEST_BYTES_MAX:
            return None
    return bytes(body)


@router.post("/add-checkpoint")
def add_checkpoint(body: Annotated[bytes | None, Depends(_body)], session: Transaction, now: Now) -> Response:
    """Cosign a log's head if it continues the last one that was cosigned."""
    keys = service.own_keys(settings())
    if not keys:
        return _text(HTTPStatus.NOT_FOUND, "no log is witnessed here\n")
    if body is None:
        return _text(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request is too long\n")
    answer = service.add_checkpoint(session, body, keys, now)
    if answer.verdict is Verdict.COSIGNED:
        return _text(HTTPStatus.OK, answer.cosignatures)
    if answer.verdict is Verdict.STALE:
        return _text(HTTPStatus.CONFLICT, f"{answer.size}\n", SIZE)
    return _text(answer.verdict, f"{_REASONS[answer.verdict]}\n")


@router.get("/{origin_hash}/checkpoint")
def checkpoint(origin_hash: str, session: Transaction) -> Response:
    """The last head of a log that was cosigned, for whoever watches logs."""
    try:
        return _text(HTTPStatus.OK, service.last_head(session, origin_hash))
    except NotFound:
        return _text(HTTPStatus.NOT_FOUND, "of this log nothing was cosigned here\n")
