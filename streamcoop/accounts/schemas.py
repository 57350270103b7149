"""What the accounts' routes take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, EmailStr, Field, SecretStr

from streamcoop.accounts.principals import SCOPES

PASSWORD_LENGTH_MIN = 10
PASSWORD_LENGTH_MAX = 200

Role = Literal["listener", "artist", "treasurer", "operator"]
Scope = Literal["listen", "wallet", "vote", "catalogue", "royalties", "treasury", "operate", "observe"]


def _no_control_characters(text: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("not valid Unicode")
    if any(ord(character) < 0x20 or character == "\x7f" for character in text):
        raise ValueError("control characters are not allowed")
    return text


def _encodable(password: SecretStr) -> SecretStr:
    try:
        password.get_secret_value().encode()
    except UnicodeEncodeError as lone_surrogate:
        raise ValueError("not valid Unicode") from lone_surrogate
    return password


Line = Annotated[str, AfterValidator(_no_control_characters)]
Password = Annotated[SecretStr, Field(max_length=PASSWORD_LENGTH_MAX), AfterValidator(_encodable)]


class Payload(BaseModel):
    """Base of what clients send: unknown members are refused."""

    model_config = ConfigDict(extra="forbid")


class NewUser(Payload):
    """Opening an account. Everybody is a listener; `artist` may be chosen too, the other roles are given."""

    email: EmailStr
    password: Password = Field(min_length=PASSWORD_LENGTH_MIN)
    name: Line = Field(min_length=1, max_length=100)
    artist: bool = False


class Credentials(Payload):
    """Signing in."""

    email: EmailStr
    password: Password


class UserOut(BaseModel):
    """An account as its owner sees it."""

    id: UUID
    email: str
    name: str
    roles: list[Role]
    created_at: datetime


class SignedInOut(BaseModel):
    """A fresh session. The secret also stands in the cookie; it is shown this once."""

    user: UserOut
    session: str
    expires_at: datetime


class NewToken(Payload):
    """A personal API token: a name to know it by, and what it may do."""

    name: Line = Field(min_length=1, max_length=100)
    scopes: list[Scope] = Field(
        min_length=1,
        max_length=len(SCOPES),
        description=" ".join(f"`{name}`: {meaning}" for name, meaning in SCOPES.items()),
    )


class TokenOut(BaseModel):
    """A token as it is listed, without its secret."""

    id: UUID
    name: str
    scopes: list[Scope]
    created_at: datetime


class NewTokenOut(TokenOut):
    """A fresh token. The secret is shown this once."""

    secret: str


class Roles(Payload):
    """All roles an account is to have."""

    roles: list[Role] = Field(min_length=1, max_length=4)
