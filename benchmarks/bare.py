"""The control: the same server with endpoints that do nothing, for what a request costs before any work."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID, uuid4

from fastapi import FastAPI, Response
from pydantic import BaseModel, Field
from starlette.responses import FileResponse

FILE = "BENCH_FILE"
_ID = uuid4()


class Asked(BaseModel):
    """As long as a request to record a play."""

    play_token: str = Field(max_length=300)
    skip_ahead: bool = False


class Answered(BaseModel):
    """As long as the answer to it."""

    play_id: UUID
    track_id: UUID
    kind: Literal["play", "buyout"]
    ordinal: int
    price_micro: int
    price_money_micro: int
    currency: str
    recorded_at: datetime
    owned: bool


def create_app() -> FastAPI:
    """The application."""
    app = FastAPI()

    @app.post("/record")
    async def record(asked: Asked) -> Answered:
        return Answered(
            play_id=_ID,
            track_id=_ID,
            kind="play",
            ordinal=1,
            price_micro=2_000,
            price_money_micro=2_500,
            currency="EUR",
            recorded_at=datetime.now(UTC),
            owned=asked.skip_ahead,
        )

    @app.get("/file", response_class=Response)
    async def file() -> Response:
        return FileResponse(os.environ[FILE], media_type="audio/mpeg")

    return app
