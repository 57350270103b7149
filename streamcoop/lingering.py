"""Refusals that arrive: a body that nobody wants any more is read on and thrown away before the connection ends.

Whoever closes a connection on which bytes still come has them answered by a reset, and that may overtake the answer
(RFC 9112, 9.6): a proxy then tells its client of a bad gateway instead.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER_BYTES_MAX = 64 << 20
LINGER_S_MAX = 10.0


class Lingering:
    """The application given, whose answers are all sent before their requests are hung up on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        body = _Body(receive, waits="expect" in Headers(scope=scope))

        async def answer(message: Message) -> None:
            is_last = message["type"] == "http.response.body" and not message.get("more_body")
            if not is_last or body.is_over or body.waits:
                await send(message)
                return
            await send({**message, "more_body": True})
            await body.throw_away()
            await send({"type": "http.response.body", "body": b""})

        await self._app(scope, body.receive, answer)


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


class _Body:
    """A request's body as it is read. `waits`: its sender waits to be told that it is wanted."""

    def __init__(self, receive: Receive, *, waits: bool) -> None:
        self._receive, self.waits, self.is_over = receive, waits, False

    async def receive(self) -> Message:
        self.waits = False
        message = await self._receive()
        self.is_over = message["type"] != "http.request" or not message.get("more_body")
        return message

    async def throw_away(self) -> None:
        """Read to its end, or until it has been enough."""
        left = LINGER_BYTES_MAX
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S_MAX):
                while not self.is_over and left > 0:
                    left -= len((await self.receive()).get("body", b""))
