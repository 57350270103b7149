"""All pages, and the files they load."""

from __future__ import annotations

from fastapi import APIRouter

from streamcoop.web import assets, entering, installed, listening

router = APIRouter()
for room in (assets, installed, entering, listening):
    router.include_router(room.router)
