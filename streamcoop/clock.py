"""The server's clock, as an argument of what is done by it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends


def now() -> datetime:
    """This instant, in UTC."""
    return datetime.now(UTC)


Now = Annotated[datetime, Depends(now)]
