"""What browsers are told with every answer: to guess no types, frame nothing, run nothing, and keep nothing private."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HSTS_S = 365 * 24 * 3600
# Answers are data: a browser that shows one as a page may load and run nothing.
DATA_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
UNUSED_FEATURES = "accelerometer=(), camera=(), geolocation=(), gyroscope=(), microphone=(), payment=(), usb=()"

Headers = list[tuple[bytes, bytes]]
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def page_policy(html: str) -> str:
    """The policy of a page of ours: what it loads is ours too, and of the scripts within it these very ones run."""
    digests = [hashlib.sha256(script.encode()).digest() for script in _SCRIPT.findall(html)]
    scripts = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'self'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def _encoded(headers: Iterable[tuple[str, str]]) -> Headers:
    return [(name.lower().encode(), value.encode()) for name, value in headers]


class SecurityHeaders:
    """Adds them. A route that says itself what its answer may do or how it may be kept is left alone.

    `pages` are the policies of the paths that are pages; `https` tells whether people reach the service by https.
    """

    def __init__(self, app: ASGIApp, pages: dict[str, str], https: bool) -> None:
        self.app = app
        self._always = _encoded(
            [
                ("X-Content-Type-Options", "nosniff"),
                ("X-Frame-Options", "DENY"),
                # A stream's address holds its play token.
                ("Referrer-Policy", "same-origin"),
                ("Permissions-Policy", UNUSED_FEATURES),
                ("Cross-Origin-Opener-Policy", "same-origin"),
                ("Cross-Origin-Resource-Policy", "same-origin"),
                *([("Strict-Transport-Security", f"max-age={HSTS_S}")] if https else []),
            ]
        )
        self._data = _encoded([("Content-Security-Policy", DATA_POLICY)])
        self._pages = {path: _encoded([("Content-Security-Policy", policy)]) for path, policy in pages.items()}
        self._unkept = _encoded([("Cache-Control", "no-store")])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        policy = self._pages.get(scope["path"], self._data)

        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                given: Headers = list(message.get("headers", []))
                said = {name.lower() for name, _ in given}
                added = self._always + ([] if b"content-security-policy" in said else policy)
                added += [] if b"cache-control" in said else self._unkept
                message = {**message, "headers": given + added}
            await send(message)

        await self.app(scope, receive, adding)
