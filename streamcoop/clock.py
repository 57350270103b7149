"""The server's clock, as an argument of what is done by it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends


def now() -> datetime:
    """This instant, in UTC."""
    return datetime.now(UTC)


async def of_request() -> datetime:
    """The instant of a request. Asynchronous, though it awaits nothing: FastAPI would give it a thread."""
    return now()


Now = Annotated[datetime, Depends(of_request)]
