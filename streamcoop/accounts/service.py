"""Accounts: opening one, signing in and out, tokens and roles."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from http import HTTPStatus
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ledger.errors import DomainError
from ledger.ids import new_id
from streamcoop.accounts import passwords
from streamcoop.accounts.models import ApiToken, SignIn, User
from streamcoop.accounts.principals import digest_of
from streamcoop.errors import NotFound
from streamcoop.problems import register

SESSION_LIFE = timedelta(days=30)
TOKENS_MAX = 50
SECRET_BYTES = 32


class EmailTaken(DomainError):
    """There is an account with this e-mail address already."""


class WrongCredentials(DomainError):
    """The e-mail address or the password is wrong."""


class TooManyTokens(DomainError):
    """Revoke a token before making another."""


class WrongPassword(DomainError):
    """This is not the password of your account."""


class LastOperator(DomainError):
    """You are the only operator: give somebody else the role before you go."""


register(
    {
        EmailTaken: HTTPStatus.CONFLICT,
        WrongCredentials: HTTPStatus.UNAUTHORIZED,
        TooManyTokens: HTTPStatus.CONFLICT,
        WrongPassword: HTTPStatus.FORBIDDEN,
        LastOperator: HTTPStatus.CONFLICT,
    }
)


def open_account(session: Session, email: str, password: str, name: str, roles: list[str], now: datetime) -> User:
    """A new account. Raises EmailTaken."""
    user = {
        "id": new_id(),
        "email": email.lower(),
        "password_hash": passwords.hashed(password),
        "name": name,
        "roles": roles,
        "created_at": now,
    }
    opened: User | None = session.scalar(insert(User).values(user).on_conflict_do_nothing().returning(User))
    if opened is None:
        raise EmailTaken
    return opened


def sign_in(session: Session, email: str, password: str, now: datetime) -> tuple[User, SignIn, str]:
    """A new session for whoever knows the password: (user, session, secret). Raises WrongCredentials."""
    user = session.scalar(select(User).where(User.email == email.lower()))
    if not passwords.matches(password, user.password_hash if user else None) or user is None:
        raise WrongCredentials
    secret = f"scs_{secrets.token_urlsafe(SECRET_BYTES)}"
    signed_in = SignIn(
        id=new_id(), digest=digest_of(secret), user_id=user.id, created_at=now, expires_at=now + SESSION_LIFE
    )
    session.add(signed_in)
    return user, signed_in, secret


def sign_out(session: Session, session_id: UUID) -> None:
    """End a session. Nothing happens if it has ended."""
    session.execute(delete(SignIn).where(SignIn.id == session_id))


def user(session: Session, user_id: UUID) -> User:
    """An account by its id. Raises NotFound."""
    found = session.get(User, user_id)
    if found is None:
        raise NotFound
    return found


def user_by_email(session: Session, email: str) -> User:
    """An account by its e-mail address. Raises NotFound."""
    found = session.scalar(select(User).where(User.email == email.lower()))
    if found is None:
        raise NotFound
    return found


def names(session: Session, user_ids: set[UUID]) -> dict[UUID, str]:
    """The names of these accounts."""
    return dict(session.execute(select(User.id, User.name).where(User.id.in_(user_ids))).all())


def make_token(session: Session, user_id: UUID, name: str, scopes: list[str], now: datetime) -> tuple[ApiToken, str]:
    """A new personal API token and its secret. Raises TooManyTokens."""
    if (session.scalar(select(func.count()).where(ApiToken.user_id == user_id)) or 0) >= TOKENS_MAX:
        raise TooManyTokens(tokens_max=TOKENS_MAX)
    secret = f"sct_{secrets.token_urlsafe(SECRET_BYTES)}"
    token = ApiToken(
        id=new_id(), digest=digest_of(secret), user_id=user_id, name=name, scopes=sorted(set(scopes)), created_at=now
    )
    session.add(token)
    return token, secret


def tokens(session: Session, user_id: UUID) -> list[ApiToken]:
    """A user's tokens, newest first."""
    return list(session.scalars(select(ApiToken).where(ApiToken.user_id == user_id).order_by(ApiToken.id.desc())))


def revoke_token(session: Session, user_id: UUID, token_id: UUID) -> None:
    """End a token. Raises NotFound, also for somebody else's."""
    gone = session.execute(
        delete(ApiToken).where(ApiToken.id == token_id, ApiToken.user_id == user_id).returning(ApiToken.id)
    )
    if gone.first() is None:
        raise NotFound


def set_roles(session: Session, user_id: UUID, roles: list[str]) -> User:
    """Give an account exactly these roles. Raises NotFound."""
    changed = user(session, user_id)
    changed.roles = sorted(set(roles))
    return changed


def require_password(session: Session, user_id: UUID, password: str) -> User:
    """An account whose owner shows that it is she, locked. Raises NotFound and WrongPassword."""
    found = session.get(User, user_id, with_for_update=True)
    if found is None:
        raise NotFound
    if not passwords.matches(password, found.password_hash):
        raise WrongPassword
    return found


def is_last_operator(session: Session, user_id: UUID) -> bool:
    """Whether nobody could give roles any more without this account."""
    operators = list(session.scalars(select(User.id).where(User.roles.contains(["operator"])).limit(2)))
    return operators == [user_id]


def erase(session: Session, user_id: UUID) -> None:
    """Nothing is left of an account but its number, which the books go by; nobody can sign in. Safe to repeat."""
    blank = {"email": f"erased {user_id}", "password_hash": "", "name": "", "roles": []}
    session.execute(update(User).where(User.id == user_id).values(blank))
    for made in (SignIn, ApiToken):
        session.execute(delete(made).where(made.user_id == user_id))
