"""Metrics over HTTP."""

from __future__ import annotations

from fastapi import APIRouter, Response

from streamcoop.accounts.principals import Observer
from streamcoop.errors import NotPermitted, NotSignedIn
from streamcoop.operations import exposition
from streamcoop.problems import answers

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    response_class=Response,
    responses=answers(NotSignedIn, NotPermitted)
    | {200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."}},
)
def metrics(_: Observer) -> Response:
    """What Prometheus reads, with a personal API token of the scope `observe`. Tells nothing of any person."""
    return Response(exposition.text(), media_type=exposition.CONTENT_TYPE_LATEST)
