"""People who can sign in, their sessions and their personal API tokens."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, LargeBinary, Text
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from streamcoop.database import Base

Instant = TIMESTAMP(timezone=True)


class User(Base):
    """Somebody with an account. Membership of the co-op is another matter, kept by `membership`."""

    __tablename__ = "user"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(Text, unique=True)  # lower case
    password_hash: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    roles: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(Instant)


class SignIn(Base):
    """A signed-in session. Its secret is kept only as a SHA-256 digest."""

    __tablename__ = "sign_in"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("coop.user.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(Instant)
    expires_at: Mapped[datetime] = mapped_column(Instant)


class ApiToken(Base):
    """A personal API token with the scopes its owner gave it. Its secret is kept only as a SHA-256 digest."""

    __tablename__ = "api_token"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("coop.user.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(Text)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(Instant)


class SignInDoor(Base):
    """Failed sign-ins that are counted together (see `throttle`). `key` is a keyed digest that tells nobody.

    No attempt is taken before `free_at`. Until `known_until` this is a place the account was signed in from.
    """

    __tablename__ = "sign_in_door"

    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    failures: Mapped[int]
    free_at: Mapped[datetime] = mapped_column(Instant)
    known_until: Mapped[datetime | None] = mapped_column(Instant)
    forget_at: Mapped[datetime] = mapped_column(Instant, index=True)
