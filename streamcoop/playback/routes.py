"""Playback over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from inspect import signature
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from ledger.recording import Recorded
from ledger.store.recording import Outcome
from streamcoop.accounts.principals import SIGNED_IN_SOMEHOW, Listener, Operator, hot_listener
from streamcoop.catalogue.lookup import playable, preview_of_whatever_was_public, rendition_object
from streamcoop.catalogue.storage import StorageUnavailable
from streamcoop.clock import now
from streamcoop.errors import NotFound, NotPermitted, NotSignedIn
from streamcoop.gathering import Overloaded
from streamcoop.playback import delivery, service
from streamcoop.playback.desk import PlaybackDesk
from streamcoop.playback.ranges import RangeNotSatisfiable, parse
from streamcoop.playback.schemas import RANGE, OpenPlay, PlayOut, RecordedOut, RecordPlay, StreamAsked
from streamcoop.playback.tokens import PlayToken, PlayTokenExpired, PlayTokenRefused
from streamcoop.problems import answers, slug


class HotRoute(APIRoute):
    """A route that hands the request as it comes to an endpoint that takes nothing else.

    FastAPI's way to a stream's parameters cost as much as all that its endpoint does.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint itself, or FastAPI's way to it."""
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler if list(signature(handler).parameters) == ["request"] else super().get_route_handler()


router = APIRouter(tags=["playback"], route_class=HotRoute)
JSON = "application/json"

_DECIDED = (
    service.InsufficientCredit,
    service.OverBudget,
    service.StoppedBefore,
    service.PriceMoved,
    service.AlreadyOwned,
    service.PlayIdReused,
    service.TooEarly,
)
_BY_TOKEN = (NotSignedIn, NotPermitted, PlayTokenRefused, PlayTokenExpired, Overloaded)
_AUDIO: dict[str, dict[str, str]] = {"audio/mpeg": {}, "audio/webm": {}}


# Called rather than depended on: on the hot path a dependency costs more than what it does.
def _desk(request: Request) -> PlaybackDesk:
    desk: PlaybackDesk = request.app.state.desk
    return desk


RangeHeader = Annotated[str | None, Header(alias="Range", description=RANGE)]


Body = TypeVar("Body", bound=BaseModel)


# Likewise: FastAPI goes through JSON several times, of a body and of an answer.
async def _body(request: Request, form: type[Body]) -> Body:
    """The request's JSON in its documented form. Raises RequestValidationError, as FastAPI does."""
    if not request.headers.get("content-type", "").startswith(JSON):
        raise RequestValidationError([{"type": "media_type", "loc": ("body",), "msg": f"This has to be {JSON}."}])
    try:
        return form.model_validate_json(await request.body())
    except ValidationError as malformed:
        raise _as_fastapi_tells("body", malformed) from malformed


def _stream_asked(request: Request) -> StreamAsked:
    """The parameters of a stream. Raises RequestValidationError, as FastAPI does."""
    told = {**request.query_params, "Range": request.headers.get("range"), **request.path_params}
    try:
        return StreamAsked.model_validate(told)
    except ValidationError as malformed:
        raise _as_fastapi_tells("parameters", malformed) from malformed


def _as_fastapi_tells(place: str, malformed: ValidationError) -> RequestValidationError:
    errors = malformed.errors(include_url=False, include_context=False, include_input=False)
    return RequestValidationError([error | {"loc": (place, *error["loc"])} for error in errors])


def _documented(form: type[BaseModel]) -> dict[str, Any]:
    """What FastAPI would have written of a body and of who may send it."""
    content = {JSON: {"schema": form.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}, **SIGNED_IN_SOMEHOW}


def _documented_parameters(form: type[BaseModel], places: dict[str, str]) -> dict[str, Any]:
    """What FastAPI would have written of parameters, which are each in its place, and of who may send them."""
    schemas = form.model_json_schema()["properties"]
    parameters = [
        {"name": name, "in": place, "required": place == "path", "schema": schemas[name]}
        | {key: value for key, value in schemas[name].items() if key == "description"}
        for name, place in places.items()
    ]
    return {"parameters": parameters, **SIGNED_IN_SOMEHOW}


@router.post(
    "/api/v1/plays",
    status_code=201,
    response_model=PlayOut,
    responses=answers(NotSignedIn, NotPermitted, NotFound, service.NoRendition, service.AlreadyOwned),
    openapi_extra=_documented(OpenPlay),
)
async def open_play(request: Request) -> Response:
    """Open a play: what it will cost, what is left until you own the track, and where its audio is. Charges nothing."""
    listener, desk = await hot_listener(request), _desk(request)
    wanted = await _body(request, OpenPlay)
    opened = await service.open_play(desk, listener, wanted.track_id, wanted.kind, wanted.codec, now())
    token, track, rule = opened.token, opened.track, opened.rule
    told = PlayOut(
        play_id=token.play_id,
        play_token=opened.sealed,
        stream_url=f"/stream/{opened.sealed}" if token.kind == "play" else None,
        kind=token.kind,
        free=not token.metered,
        ordinal=token.ordinal,
        plays_to_own=opened.tariff.plays,
        price_micro=token.price_micro,
        price_money_micro=desk.credit_price.value_micro(token.price_micro),
        left_to_own_micro=opened.left_micro,
        left_to_own_money_micro=desk.credit_price.value_micro(opened.left_micro),
        currency=desk.currency,
        duration_ms=track.duration_ms,
        counts_after_ms=rule.listen_ms(track.duration_ms) if token.kind == "play" else 0,
        free_ms=rule.free_ms(track.duration_ms),
        expires_at=datetime.fromtimestamp(token.expires_ms / 1000, UTC),
        refusal=f"/problems/{slug(service.REFUSALS[opened.refused.reason])}" if opened.refused else None,
        missing_micro=opened.refused.missing_micro if opened.refused else 0,
    )
    return Response(told.model_dump_json(), HTTPStatus.CREATED, media_type=JSON)


@router.post(
    "/api/v1/plays/record",
    response_model=RecordedOut,
    responses=answers(*_BY_TOKEN, *_DECIDED, service.NotMetered),
    openapi_extra=_documented(RecordPlay),
)
async def record_play(request: Request) -> Response:
    """Make a play count: from T after its opening, or at once when skipping ahead; a buy-out at once.

    Safe to repeat: the same play is counted once and answered alike.
    """
    listener, desk = await hot_listener(request), _desk(request)
    wanted, at = await _body(request, RecordPlay), now()
    token = service.read_token(desk, wanted.play_token, listener, at)
    told = _recorded(desk, await service.record_play(desk, token, wanted.skip_ahead, at))
    return Response(told.model_dump_json(), media_type=JSON)


def _recorded(desk: PlaybackDesk, outcome: Outcome) -> RecordedOut:
    decision, recorded_at = outcome.decision, outcome.recorded_at
    if not isinstance(decision, Recorded) or recorded_at is None:
        raise TypeError("only a recorded play has this answer")
    claim = decision.claim
    return RecordedOut(
        play_id=claim.play_id,
        track_id=claim.track_id,
        kind=claim.kind,
        ordinal=claim.ordinal,
        price_micro=claim.price_micro,
        price_money_micro=desk.credit_price.value_micro(claim.price_micro),
        currency=desk.currency,
        recorded_at=recorded_at,
        owned=decision.completes,
    )


@router.head("/stream/{play_token}", include_in_schema=False)
@router.get(
    "/stream/{play_token}",
    response_class=Response,
    responses=answers(*_BY_TOKEN, *_DECIDED, RangeNotSatisfiable, StorageUnavailable)
    | {
        200: {"content": _AUDIO, "description": "The whole rendition."},
        206: {"content": _AUDIO, "description": "A range of it."},
    },
    openapi_extra=_documented_parameters(StreamAsked, {"play_token": "path", "skip_ahead": "query", "Range": "header"}),
)
async def stream(request: Request) -> Response:
    """The audio of an opened play. The free part is always sent; what lies beyond it once the play is recorded.

    Asking for bytes beyond the free part records the play; before T that is refused with 425.
    """
    wanted = _stream_asked(request)
    listener, desk, at = await hot_listener(request), _desk(request), now()
    token = service.read_token(desk, wanted.play_token, listener, at)
    if token.kind == "buyout":  # listening must never buy a track by itself
        raise PlayTokenRefused
    store, meter = request.app.state.objects, token.meter
    key, content_type = rendition_object(token.track_id, token.codec)
    if not token.metered:
        return await delivery.whole(request, key, meter.size, content_type, wanted.range_header)
    # No ETag goes with a metered play, so there is none that If-Range could name.
    range_header = None if "if-range" in request.headers else wanted.range_header
    asked = parse(range_header, meter.size, request.method)
    recorded = desk.is_recorded(token.play_id)
    if not recorded and request.method == "GET" and (asked.start >= meter.free_bytes or wanted.skip_ahead):
        await service.record_play(desk, token, wanted.skip_ahead, at)
        recorded = True
    play = delivery.Play(
        meter=meter,
        opened_ms=token.opened_ms,
        counts_from_ms=token.counts_from_ms,
        record=partial(_record_in_mid_stream, desk, token),
    )
    return delivery.PacedResponse(store, key, content_type, asked, play, recorded)


async def _record_in_mid_stream(desk: PlaybackDesk, token: PlayToken) -> None:
    # Whoever has come to own the track meanwhile, on another device, may hear it to the end.
    with suppress(service.AlreadyOwned):
        await service.record_play(desk, token, False, now())


@router.head("/api/v1/tracks/{track_id}/preview", include_in_schema=False)
@router.get(
    "/api/v1/tracks/{track_id}/preview",
    response_class=Response,
    responses=answers(NotFound, RangeNotSatisfiable, StorageUnavailable)
    | {200: {"content": {"audio/mpeg": {}}, "description": "The preview."}, 206: {"content": {"audio/mpeg": {}}}},
)
async def preview(track_id: UUID, request: Request, range_header: RangeHeader = None) -> Response:
    """The beginning of a published track, for anybody."""
    async with _desk(request).pool.connection() as conn:
        track = service.found_track((await playable(conn, [track_id])).get(track_id), None)
    clip = track.renditions.get("preview")
    if clip is None or track.release_state != "published":
        raise NotFound
    return await delivery.whole(request, clip.object_key, clip.size, clip.content_type, range_header)


@router.get(
    "/api/v1/moderation/tracks/{track_id}/preview",
    response_class=Response,
    responses=answers(NotSignedIn, NotPermitted, NotFound, RangeNotSatisfiable, StorageUnavailable)
    | {200: {"content": {"audio/mpeg": {}}, "description": "The preview."}, 206: {"content": {"audio/mpeg": {}}}},
)
async def preview_for_operators(
    track_id: UUID, _: Operator, request: Request, range_header: RangeHeader = None
) -> Response:
    """The beginning of a track that was once published, also where it is taken down: what is judged is heard."""
    async with _desk(request).pool.connection() as conn:
        clip = await preview_of_whatever_was_public(conn, track_id)
    if clip is None:
        raise NotFound
    return await delivery.whole(request, clip.object_key, clip.size, clip.content_type, range_header)


@router.head("/api/v1/tracks/{track_id}/original", include_in_schema=False)
@router.get(
    "/api/v1/tracks/{track_id}/original",
    response_class=Response,
    responses=answers(NotSignedIn, NotPermitted, NotFound, RangeNotSatisfiable, StorageUnavailable)
    | {
        200: {"content": {"audio/*": {}}, "description": "The file as uploaded."},
        206: {"content": {"audio/*": {}}, "description": "A range of it."},
    },
)
async def original(track_id: UUID, listener: Listener, request: Request, range_header: RangeHeader = None) -> Response:
    """Download the original of a track you own, byte for byte as its artist uploaded it."""
    track = await service.owned_track(_desk(request), listener, track_id, now())
    return await delivery.whole(
        request,
        track.original_key,
        track.original_size,
        track.original_content_type,
        range_header,
        filename=track.original_name,
    )
