"""The web app as something to install: its manifest, its worker, and the page it shows without a network."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from streamcoop.settings import settings
from streamcoop.web import assets
from streamcoop.web.pages import PageRoute, page
from streamcoop.web.viewer import Looking

# The browser looks for another one each time it is here.
UNKEPT = {"Cache-Control": "no-cache"}
# What the worker fetches is bound by its own policy, and not by that of the pages it answers for.
WORKERS_POLICY = {"Content-Security-Policy": "default-src 'none'; connect-src 'self'"}

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/manifest.webmanifest")
async def manifest() -> Response:
    """What a browser installs (W3C Web Application Manifest)."""
    told = {
        "name": settings().coop_name,
        "short_name": settings().coop_name,
        "id": "/",
        "start_url": "/",
        "display": "standalone",
        "background_color": "#faf7f2",
        "theme_color": "#faf7f2",
        "icons": [
            {"src": assets.address("icons/icon.svg"), "sizes": "any", "type": "image/svg+xml", "purpose": "any"},
            {"src": assets.address("icons/mask.svg"), "sizes": "any", "type": "image/svg+xml", "purpose": "maskable"},
        ],
    }
    return JSONResponse(told, headers=UNKEPT, media_type="application/manifest+json")


@router.get("/worker.js")
async def worker() -> Response:
    """The service worker. It stands at the top, for it answers for all pages below its own address."""
    asset = assets.assets().files["worker.js"]
    return Response(asset.plain, headers=UNKEPT | WORKERS_POLICY, media_type=asset.media_type)


@router.get("/offline")
def offline(request: Request, viewer: Looking) -> Response:
    """What is shown where there is no network."""
    return page(request, viewer, "offline.html")
