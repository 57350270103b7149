"""Accounts over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from streamcoop.accounts import passwords, service, throttle
from streamcoop.accounts.models import SignIn, User
from streamcoop.accounts.principals import COOKIE, InSession, Operator, SignedIn, digest_of
from streamcoop.accounts.schemas import (
    Credentials,
    NewToken,
    NewTokenOut,
    NewUser,
    Roles,
    SignedInOut,
    TokenOut,
    UserOut,
)
from streamcoop.clock import Now
from streamcoop.database import Transaction, transaction
from streamcoop.errors import NotFound, NotPermitted, NotSignedIn
from streamcoop.problems import answers
from streamcoop.settings import settings
from streamcoop.traffic import TooManyRequests, network_of

router = APIRouter(prefix="/api/v1", tags=["accounts"])
_PERSONAL = answers(NotSignedIn, NotPermitted)


def _out(user: User) -> UserOut:
    return UserOut.model_validate(user, from_attributes=True)


def network(request: Request) -> str:
    """The network a request comes from, as failures are counted by it."""
    return network_of(request.client.host) if request.client else ""


def cookie_flags(request: Request) -> dict[str, Any]:
    """How the session's cookie is set, and so how it is taken back."""
    # A proxy that ends TLS need not say so: what the operator calls the service's address does.
    secure = request.url.scheme == "https" or settings().public_address.startswith("https:")
    return {"httponly": True, "secure": secure, "samesite": "lax"}


@router.post(
    "/users",
    status_code=201,
    responses=answers(service.EmailTaken, TooManyRequests, throttle.SignInPaused, passwords.SignInsOverloaded),
)
async def open_account(new: NewUser, request: Request, now: Now) -> UserOut:
    """Open an account. Everybody is a listener; an artist can also upload."""
    return _out(await passwords.in_turn(_open_account, new, network(request), now))


def _open_account(new: NewUser, network: str, at: datetime) -> User:
    """Asking which e-mail addresses are taken counts like failing to sign in."""
    roles = ["listener", "artist"] if new.artist else ["listener"]
    doors = throttle.doors_of_network(network)
    with transaction() as session:
        throttle.attempt(session, doors, at)
    with transaction() as session:
        user = service.open_account(session, new.email, new.password.get_secret_value(), new.name, roles, at)
        throttle.succeeded(session, doors, at)
    return user


@router.post(
    "/session",
    status_code=201,
    responses=answers(service.WrongCredentials, TooManyRequests, throttle.SignInPaused, passwords.SignInsOverloaded),
)
async def sign_in(credentials: Credentials, request: Request, response: Response, now: Now) -> SignedInOut:
    """Sign in. The session's secret comes back in a cookie, and in the body for clients without cookies."""
    user, signed_in, secret = await passwords.in_turn(_sign_in, credentials, network(request), now)
    life_s = int(service.SESSION_LIFE.total_seconds())
    response.set_cookie(COOKIE, secret, max_age=life_s, **cookie_flags(request))
    return SignedInOut(user=_out(user), session=secret, expires_at=signed_in.expires_at)


def _sign_in(credentials: Credentials, network: str, at: datetime) -> tuple[User, SignIn, str]:
    """A transaction for the attempt, and one for what comes of it."""
    doors = throttle.doors(credentials.email, network)
    with transaction() as session:
        throttle.attempt(session, doors, at)
    with transaction() as session:
        signed_in = service.sign_in(session, credentials.email, credentials.password.get_secret_value(), at)
        throttle.succeeded(session, doors, at)
    return signed_in


@router.delete("/session", status_code=204, responses=_PERSONAL)
def sign_out(principal: SignedIn, request: Request, response: Response, session: Transaction) -> None:
    """End this session."""
    service.sign_out(session, principal.session_id)
    for secret in (request.cookies.get(COOKIE), request.headers.get("Authorization", "").rpartition(" ")[2]):
        if secret:
            request.app.state.principals.forget(digest_of(secret))
    response.delete_cookie(COOKIE, **cookie_flags(request))


@router.get("/me", responses=_PERSONAL)
def me(principal: SignedIn, session: Transaction) -> UserOut:
    """Your account."""
    return _out(service.user(session, principal.user_id))


@router.get("/me/tokens", responses=_PERSONAL)
def tokens(principal: InSession, session: Transaction) -> list[TokenOut]:
    """Your personal API tokens, newest first."""
    return [
        TokenOut.model_validate(token, from_attributes=True) for token in service.tokens(session, principal.user_id)
    ]


@router.post("/me/tokens", status_code=201, responses=answers(NotSignedIn, NotPermitted, service.TooManyTokens))
def make_token(new: NewToken, principal: InSession, session: Transaction, now: Now) -> NewTokenOut:
    """Make a personal API token. It can never do more than you, and makes no tokens itself."""
    if not set(new.scopes) <= principal.scopes:
        raise NotPermitted(scopes=sorted(set(new.scopes) - principal.scopes))
    token, secret = service.make_token(session, principal.user_id, new.name, list(new.scopes), now)
    return NewTokenOut(**TokenOut.model_validate(token, from_attributes=True).model_dump(), secret=secret)


@router.delete("/me/tokens/{token_id}", status_code=204, responses=answers(NotSignedIn, NotPermitted, NotFound))
def revoke_token(token_id: UUID, principal: InSession, session: Transaction) -> None:
    """Revoke a token."""
    service.revoke_token(session, principal.user_id, token_id)


@router.put("/users/{user_id}/roles", responses=answers(NotSignedIn, NotPermitted, NotFound))
def set_roles(user_id: UUID, roles: Roles, _: Operator, session: Transaction) -> UserOut:
    """Give an account its roles."""
    return _out(service.set_roles(session, user_id, list(roles.roles)))
