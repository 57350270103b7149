"""Who a request is from: a session cookie or a personal API token, resolved once per request.

Asynchronous, because the hot path asks too. Answers are kept for a few seconds per process, so a
revoked session or token stops working everywhere within PRINCIPAL_TTL_S.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from streamcoop.errors import NotPermitted, NotSignedIn

COOKIE = "streamcoop_session"
PRINCIPAL_TTL_S = 5.0
PRINCIPALS_KEPT_MAX = 20_000
SECRET_LENGTH_MAX = 200
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

SCOPES = {
    "listen": "Play music, buy tracks, see what you own.",
    "wallet": "See your wallet and statements, set your limits.",
    "vote": "Apply for membership and vote.",
    "catalogue": "Upload and publish your music, share its royalties.",
    "royalties": "See your royalties, consent to splits, say where your money goes.",
    "treasury": "Book top-ups, grants and payouts.",
    "operate": "Run the service: roles, members, ballots, epochs.",
}
SCOPES_OF_ROLE = {
    "listener": frozenset({"listen", "wallet", "vote", "royalties"}),  # anybody can be a payee
    "artist": frozenset({"catalogue"}),
    "treasurer": frozenset({"treasury"}),
    "operator": frozenset({"operate"}),
}

_FIND = """
    select u.id, u.roles, s.id, null::text[] from coop.sign_in s join coop."user" u on u.id = s.user_id
     where s.digest = %(digest)s and s.expires_at > now()
    union all
    select u.id, u.roles, t.id, t.scopes from coop.api_token t join coop."user" u on u.id = t.user_id
     where t.digest = %(digest)s
"""


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever a request is from. `session_id` is the sign-in's or token's id: what play tokens are bound to."""

    user_id: UUID
    session_id: UUID
    roles: frozenset[str]
    scopes: frozenset[str]


class PrincipalCache:
    """A process's short memory of principals by digest: bounded in number and in seconds."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    def get(self, digest: bytes) -> Principal | None:
        """The principal, unless it was put in too long ago."""
        kept = self._kept.get(digest)
        return kept[1] if kept and kept[0] > time.monotonic() else None

    def put(self, digest: bytes, principal: Principal) -> None:
        """Remember for PRINCIPAL_TTL_S."""
        self._kept[digest] = (time.monotonic() + PRINCIPAL_TTL_S, principal)
        self._kept.move_to_end(digest)
        while len(self._kept) > PRINCIPALS_KEPT_MAX:
            self._kept.popitem(last=False)

    def forget(self, digest: bytes) -> None:
        """Drop at once: signed out here."""
        self._kept.pop(digest, None)


def digest_of(secret: str) -> bytes:
    """How secrets of sessions and tokens are kept. They are random, so a plain digest suffices."""
    return hashlib.sha256(secret.encode()).digest()


def scopes_of(roles: frozenset[str]) -> frozenset[str]:
    """All that these roles permit."""
    return frozenset().union(*(SCOPES_OF_ROLE.get(role, frozenset()) for role in roles))


_bearer = HTTPBearer(auto_error=False, description="A personal API token.", scheme_name="token")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="Set by signing in.", scheme_name="session")


async def visitor_or_principal(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    cookie: Annotated[str | None, Depends(_cookie)],
) -> Principal | None:
    """The request's principal, or None for a visitor. A secret that is wrong or worn out is refused."""
    secret = bearer.credentials if bearer else cookie
    if not secret:
        return None
    if bearer is None and request.method not in SAFE_METHODS:
        _refuse_foreign_site(request)
    if len(secret) > SECRET_LENGTH_MAX:
        raise NotSignedIn
    digest = digest_of(secret)
    cache: PrincipalCache = request.app.state.principals
    principal = cache.get(digest)
    if principal is None:
        async with request.app.state.pool.connection() as conn:
            row = await (await conn.execute(_FIND, {"digest": digest})).fetchone()
        if row is None:
            raise NotSignedIn
        user_id, role_names, session_id, token_scopes = row
        roles = frozenset(role_names)
        scopes = scopes_of(roles) if token_scopes is None else scopes_of(roles) & frozenset(token_scopes)
        principal = Principal(user_id, session_id, roles, scopes)
        cache.put(digest, principal)
    return principal


def _refuse_foreign_site(request: Request) -> None:
    """A cookie travels by itself, so another site's page must not be able to act with it (CSRF)."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise NotPermitted(reason="cross-site request")
    origin = request.headers.get("origin")
    if origin and _site(origin) != request.headers.get("host"):
        raise NotPermitted(reason="cross-site request")


def _site(origin: str) -> str | None:
    """Host and port of an origin; None if it is not an address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


MaybePrincipal = Annotated[Principal | None, Depends(visitor_or_principal)]


def _require(scope: str) -> Callable[[Principal | None], Awaitable[Principal]]:
    async def permitted(principal: MaybePrincipal) -> Principal:
        if principal is None:
            raise NotSignedIn
        if scope not in principal.scopes:
            raise NotPermitted(scope=scope)
        return principal

    return permitted


async def _signed_in(principal: MaybePrincipal) -> Principal:
    if principal is None:
        raise NotSignedIn
    return principal


SignedIn = Annotated[Principal, Depends(_signed_in)]
Listener = Annotated[Principal, Depends(_require("listen"))]
WalletOwner = Annotated[Principal, Depends(_require("wallet"))]
Voter = Annotated[Principal, Depends(_require("vote"))]
Artist = Annotated[Principal, Depends(_require("catalogue"))]
RoyaltyPayee = Annotated[Principal, Depends(_require("royalties"))]
Treasurer = Annotated[Principal, Depends(_require("treasury"))]
Operator = Annotated[Principal, Depends(_require("operate"))]
