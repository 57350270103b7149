"""All pages, and the files they load."""

from __future__ import annotations

from fastapi import APIRouter

from streamcoop.web import (
    account,
    assets,
    deciding,
    earning,
    entering,
    guiding,
    installed,
    library,
    listening,
    making,
    moderating,
    proving,
    running,
    wallet,
)

router = APIRouter()
for room in (
    assets,
    installed,
    entering,
    listening,
    library,
    wallet,
    making,
    earning,
    deciding,
    proving,
    guiding,
    account,
    moderating,
    running,
):
    router.include_router(room.router)
