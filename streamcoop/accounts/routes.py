"""Accounts over HTTP."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request, Response

from streamcoop.accounts import service
from streamcoop.accounts.models import User
from streamcoop.accounts.principals import COOKIE, Operator, SignedIn, digest_of
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
from streamcoop.database import Transaction
from streamcoop.errors import NotFound, NotPermitted, NotSignedIn
from streamcoop.problems import answers

router = APIRouter(prefix="/api/v1", tags=["accounts"])
_PERSONAL = answers(NotSignedIn, NotPermitted)


def _out(user: User) -> UserOut:
    return UserOut.model_validate(user, from_attributes=True)


@router.post("/users", status_code=201, responses=answers(service.EmailTaken))
def open_account(new: NewUser, session: Transaction, now: Now) -> UserOut:
    """Open an account. Everybody is a listener; an artist can also upload."""
    roles = ["listener", "artist"] if new.artist else ["listener"]
    return _out(service.open_account(session, new.email, new.password.get_secret_value(), new.name, roles, now))


@router.post("/session", status_code=201, responses=answers(service.WrongCredentials))
def sign_in(
    credentials: Credentials, response: Response, request: Request, session: Transaction, now: Now
) -> SignedInOut:
    """Sign in. The session's secret comes back in a cookie, and in the body for clients without cookies."""
    user, signed_in, secret = service.sign_in(session, credentials.email, credentials.password.get_secret_value(), now)
    response.set_cookie(
        COOKIE,
        secret,
        max_age=int(service.SESSION_LIFE.total_seconds()),
        httponly=True,
        secure=request.url.scheme == "https",
        samesite="lax",
    )
    return SignedInOut(user=_out(user), session=secret, expires_at=signed_in.expires_at)


@router.delete("/session", status_code=204, responses=_PERSONAL)
def sign_out(principal: SignedIn, request: Request, response: Response, session: Transaction) -> None:
    """End this session."""
    service.sign_out(session, principal.session_id)
    for secret in (request.cookies.get(COOKIE), request.headers.get("Authorization", "").rpartition(" ")[2]):
        if secret:
            request.app.state.principals.forget(digest_of(secret))
    response.delete_cookie(COOKIE)


@router.get("/me", responses=_PERSONAL)
def me(principal: SignedIn, session: Transaction) -> UserOut:
    """Your account."""
    return _out(service.user(session, principal.user_id))


@router.get("/me/tokens", responses=_PERSONAL)
def tokens(principal: SignedIn, session: Transaction) -> list[TokenOut]:
    """Your personal API tokens, newest first."""
    return [
        TokenOut.model_validate(token, from_attributes=True) for token in service.tokens(session, principal.user_id)
    ]


@router.post("/me/tokens", status_code=201, responses=answers(NotSignedIn, NotPermitted, service.TooManyTokens))
def make_token(new: NewToken, principal: SignedIn, session: Transaction, now: Now) -> NewTokenOut:
    """Make a personal API token. It can never do more than the session or token it was made with."""
    if not set(new.scopes) <= principal.scopes:
        raise NotPermitted(scopes=sorted(set(new.scopes) - principal.scopes))
    token, secret = service.make_token(session, principal.user_id, new.name, list(new.scopes), now)
    return NewTokenOut(**TokenOut.model_validate(token, from_attributes=True).model_dump(), secret=secret)


@router.delete("/me/tokens/{token_id}", status_code=204, responses=answers(NotSignedIn, NotPermitted, NotFound))
def revoke_token(token_id: UUID, principal: SignedIn, session: Transaction) -> None:
    """Revoke a token."""
    service.revoke_token(session, principal.user_id, token_id)


@router.put("/users/{user_id}/roles", responses=answers(NotSignedIn, NotPermitted, NotFound))
def set_roles(user_id: UUID, roles: Roles, _: Operator, session: Transaction) -> UserOut:
    """Give an account its roles."""
    return _out(service.set_roles(session, user_id, list(roles.roles)))
