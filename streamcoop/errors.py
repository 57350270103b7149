"""Refusals that belong to no single feature, and the statuses of the books' own."""

from __future__ import annotations

from http import HTTPStatus

from ledger import errors as books
from ledger.errors import DomainError
from streamcoop.problems import register


class NotFound(DomainError):
    """There is no such thing here, or it is not yours to see."""


class NotSignedIn(DomainError):
    """Sign in first, or send a personal API token."""


class NotPermitted(DomainError):
    """Your roles or this token's scopes do not permit this."""


register(
    {
        NotFound: HTTPStatus.NOT_FOUND,
        NotSignedIn: HTTPStatus.UNAUTHORIZED,
        NotPermitted: HTTPStatus.FORBIDDEN,
        books.RequestIdReused: HTTPStatus.CONFLICT,
        books.InsufficientBalance: HTTPStatus.CONFLICT,
        books.SharesDoNotAddUp: HTTPStatus.BAD_REQUEST,
        books.TermsInThePast: HTTPStatus.CONFLICT,
        books.UnknownAccount: HTTPStatus.NOT_FOUND,
        books.NotYetInForce: HTTPStatus.CONFLICT,
    }
)
