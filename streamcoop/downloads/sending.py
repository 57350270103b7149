"""Sending what is made while it is sent, of a length that nobody knows yet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from streamcoop.catalogue.storage import StorageUnavailable
from streamcoop.playback.delivery import unless_hung_up

log = logging.getLogger(__name__)

SENDING_S_MAX = 24 * 3600
# A reader may be slow, but must not hold its place for ever.
SILENCE_S_MAX = 120


class PiecesResponse(Response):
    """A file in pieces. What the first of them raises is told before the status is sent.

    Where a later one fails the connection ends without saying that the file did.
    """

    def __init__(self, pieces: AsyncIterator[bytes], headers: dict[str, str]) -> None:
        super().__init__(headers=headers)
        del self.headers["Content-Length"]
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; stop when the client hangs up, or reads no more."""
        if scope["method"] == "HEAD":
            await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b""})
            return
        first = await anext(self._pieces)
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": self.raw_headers})
        try:
            await unless_hung_up(receive, self._send(first, send))
        except (StorageUnavailable, TimeoutError) as error:
            log.warning("download ended early", extra={"error": type(error).__name__})

    async def _send(self, first: bytes, send: Send) -> None:
        async with asyncio.timeout(SENDING_S_MAX):
            await self._send_piece(first, send)
            async for piece in self._pieces:
                await self._send_piece(piece, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_piece(self, piece: bytes, send: Send) -> None:
        async with asyncio.timeout(SILENCE_S_MAX):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
