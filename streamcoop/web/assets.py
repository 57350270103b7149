"""The web app's own files: scripts, styles and pictures, under an address that changes with their content.

All are read at the start; a browser keeps them for good, since a change of any gives all of them another address.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, Request, Response

from streamcoop.errors import NotFound
from streamcoop.problems import answers

FOLDER = Path(__file__).with_name("static")
KEPT = "public, max-age=31536000, immutable"
VERSION_LENGTH = 12
# Pictures are compressed as they are.
_COMPRESSIBLE = ("text/", "application/json", "application/manifest+json", "image/svg+xml")
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent."""

    media_type: str
    plain: bytes
    gzipped: bytes | None


@dataclass(frozen=True, slots=True)
class Assets:
    """All files by their path in the folder; `version` is of their content."""

    version: str
    files: dict[str, Asset]


@cache
def assets() -> Assets:
    """The files as they were when this process asked first."""
    digest, files = hashlib.sha256(), {}
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file():
            name, plain = path.relative_to(FOLDER).as_posix(), path.read_bytes()
            digest.update(f"{name} {len(plain)} ".encode() + plain)
            files[name] = _asset(path, plain)
    return Assets(digest.hexdigest()[:VERSION_LENGTH], files)


def _asset(path: Path, plain: bytes) -> Asset:
    media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain"
    gzipped = gzip.compress(plain, mtime=0) if media_type.startswith(_COMPRESSIBLE) else None
    if media_type.startswith("text/"):
        media_type += "; charset=utf-8"
    return Asset(media_type, plain, gzipped)


def address(name: str) -> str:
    """Where a file is. Raises KeyError for one that there is not: a page must not name it."""
    found = assets()
    if name not in found.files:
        raise KeyError(name)
    return f"/static/{found.version}/{name}"


@router.get("/static/{version}/{name:path}", responses=answers(NotFound))
async def file(version: str, name: str, request: Request) -> Response:
    """A file of the web app. Raises NotFound, also for another version's: its page is older than the service."""
    found = assets()
    asset = found.files.get(name)
    if asset is None or version != found.version:
        raise NotFound
    headers = {"Cache-Control": KEPT, "Vary": "Accept-Encoding"}
    if asset.gzipped is not None and "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(asset.gzipped, HTTPStatus.OK, headers, asset.media_type)
    return Response(asset.plain, HTTPStatus.OK, headers, asset.media_type)
