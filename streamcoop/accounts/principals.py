"""Who a request is from: a session cookie or a personal API token, resolved once per request.

Asynchronous, because the hot path asks too: whoever asks at the same time is looked up in one go. Answers are kept for
a few seconds per process, so a revoked session or token stops working everywhere within PRINCIPAL_TTL_S.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from psycopg_pool import AsyncConnectionPool

from streamcoop.database import HotConnection
from streamcoop.errors import NotPermitted, NotSignedIn
from streamcoop.gathering import Gathering
from streamcoop.traffic import Allowance

COOKIE = "streamcoop_session"
PRINCIPAL_TTL_S = 5.0
PRINCIPALS_KEPT_MAX = 20_000
LOOKED_UP_MAX = 500
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
    "observe": "See how the service is doing.",
}
SCOPES_OF_ROLE = {
    "listener": frozenset({"listen", "wallet", "vote", "royalties"}),  # anybody can be a payee
    "artist": frozenset({"catalogue"}),
    "treasurer": frozenset({"treasury"}),
    "operator": frozenset({"operate", "observe"}),
}

_FIND = """
    select s.digest, u.id, u.roles, s.id, null::text[] from coop.sign_in s join coop."user" u on u.id = s.user_id
     where s.digest = any(%(digests)s) and s.expires_at > now()
    union all
    select t.digest, u.id, u.roles, t.id, t.scopes from coop.api_token t join coop."user" u on u.id = t.user_id
     where t.digest = any(%(digests)s)
"""


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever a request is from. `session_id` is the sign-in's or token's id: what play tokens are bound to."""

    user_id: UUID
    session_id: UUID
    roles: frozenset[str]
    scopes: frozenset[str]
    by_token: bool = False


class PrincipalCache:
    """A process's short memory of principals by digest: bounded in number and in seconds."""

    def __init__(self, pool: AsyncConnectionPool[HotConnection]) -> None:
        self._pool = pool
        self._kept: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        self._asked = Gathering(self._look_up, LOOKED_UP_MAX)

    async def find(self, digest: bytes) -> Principal | None:
        """The principal, looked up unless that was done within PRINCIPAL_TTL_S. None: the secret is not valid here."""
        kept = self._kept.get(digest)
        if kept and kept[0] > time.monotonic():
            return kept[1]
        return await self._asked.ask(digest)

    async def _look_up(self, digests: list[bytes]) -> list[Principal | None]:
        async with self._pool.connection() as conn:
            rows = await (await conn.execute(_FIND, {"digests": list(set(digests))})).fetchall()
        found: dict[bytes, Principal] = {}
        for digest, user_id, role_names, session_id, token_scopes in rows:
            roles = frozenset(role_names)
            scopes = scopes_of(roles) if token_scopes is None else scopes_of(roles) & frozenset(token_scopes)
            found[digest] = Principal(user_id, session_id, roles, scopes, by_token=token_scopes is not None)
            self._keep(digest, found[digest])
        return [found.get(digest) for digest in digests]

    def _keep(self, digest: bytes, principal: Principal) -> None:
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


@cache
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
        refuse_foreign_site(request)
    if len(secret) > SECRET_LENGTH_MAX:
        raise NotSignedIn
    principals: PrincipalCache = request.app.state.principals
    principal = await principals.find(digest_of(secret))
    if principal is None:
        raise NotSignedIn
    accounts: Allowance = request.app.state.accounts
    accounts.take(principal.user_id, time.monotonic())
    return principal


def refuse_foreign_site(request: Request) -> None:
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


_listening = _require("listen")


async def hot_listener(request: Request) -> Principal:
    """`Listener`, for the hot path to call: FastAPI's dependencies cost more than looking a principal up costs us.

    The OpenAPI document does not see into it, so such a route also has `openapi_extra=SIGNED_IN_SOMEHOW`.
    """
    return await _listening(await visitor_or_principal(request, await _bearer(request), await _cookie(request)))


async def _signed_in(principal: MaybePrincipal) -> Principal:
    if principal is None:
        raise NotSignedIn
    return principal


async def _in_session(principal: Annotated[Principal, Depends(_signed_in)]) -> Principal:
    """Whoever signed in with a password. A token that could make tokens would outlive being revoked."""
    if principal.by_token:
        raise NotPermitted(reason="a token may not see, make or revoke tokens")
    return principal


SignedIn = Annotated[Principal, Depends(_signed_in)]
InSession = Annotated[Principal, Depends(_in_session)]
Listener = Annotated[Principal, Depends(_listening)]
SIGNED_IN_SOMEHOW: dict[str, Any] = {"security": [{"token": []}, {"session": []}]}
WalletOwner = Annotated[Principal, Depends(_require("wallet"))]
Voter = Annotated[Principal, Depends(_require("vote"))]
Artist = Annotated[Principal, Depends(_require("catalogue"))]
RoyaltyPayee = Annotated[Principal, Depends(_require("royalties"))]
Treasurer = Annotated[Principal, Depends(_require("treasury"))]
Operator = Annotated[Principal, Depends(_require("operate"))]
Observer = Annotated[Principal, Depends(_require("observe"))]
