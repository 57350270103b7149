"""Whether the process lives, and whether it can do its work."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from ledger.store.settling import unsettled
from streamcoop.clock import Now
from streamcoop.database import engine
from streamcoop.maintenance import readonly

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """What the service needs, and how far settling is behind."""

    status: Literal["ready", "not-ready"]
    database: bool
    unsettled_plays: int | None = None
    settling_lag_s: float | None = None
    read_only: bool | None = None


@router.get("/healthz")
async def alive() -> Alive:
    """Whether the process answers at all."""
    return Alive()


@router.get("/readyz", response_model=Ready, responses={503: {"model": Ready}})
def ready(now: Now) -> JSONResponse:
    """Whether plays can be recorded now. A queue that is behind does not make it unready."""
    try:
        with engine().connect() as conn:
            conn.execute(text("select 1 from ledger.founding")).one()
            count, oldest = unsettled(conn)
            read_only = readonly.is_on(conn)
    except SQLAlchemyError:
        return JSONResponse(Ready(status="not-ready", database=False).model_dump(), status_code=503)
    lag_s = (now - oldest).total_seconds() if oldest else 0.0
    told = Ready(status="ready", database=True, unsettled_plays=count, settling_lag_s=lag_s, read_only=read_only)
    return JSONResponse(told.model_dump())
