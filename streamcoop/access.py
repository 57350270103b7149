"""The access log: route patterns, statuses and times, as pure ASGI so that streams are not held up by it."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamcoop import metrics

log = logging.getLogger(__name__)


class AccessLog:
    """Logs each request by its route's pattern, never by its address: that may hold a play token."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note how it ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, answered, status = time.monotonic(), 0.0, 0

        async def noting(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], time.monotonic()
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            ended, route = time.monotonic(), getattr(scope.get("route"), "path", None)
            metrics.count_request(scope["method"], route, status, (answered or ended) - begun)
            facts = {
                "method": scope["method"],
                "route": route,
                "status": status,
                "ms": round((ended - begun) * 1000),
            }
            log.info("request", extra=facts)
