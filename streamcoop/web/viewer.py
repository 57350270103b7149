"""Who looks at a page, and in which language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from streamcoop.accounts import service as accounts
from streamcoop.accounts.principals import COOKIE, Principal, visitor_or_principal
from streamcoop.database import Transaction
from streamcoop.errors import NotPermitted, NotSignedIn
from streamcoop.language import Language, of_request


@dataclass(frozen=True, slots=True)
class Viewer:
    """Somebody in front of a page: a visitor, or whoever is signed in with her name as she is shown it."""

    language: Language
    principal: Principal | None = None
    name: str = ""

    @property
    def user_id(self) -> UUID | None:
        """Her account, if she is signed in."""
        return self.principal.user_id if self.principal else None

    def may(self, scope: str) -> bool:
        """Whether her roles let her do this."""
        return self.principal is not None and scope in self.principal.scopes

    def require(self, *scopes: str) -> Principal:
        """Whoever looks and has one of these scopes, as the API knows her; without any, whoever is signed in.

        Raises NotSignedIn, which a page answers by asking her to sign in, and NotPermitted.
        """
        if self.principal is None:
            raise NotSignedIn
        if scopes and not self.principal.scopes & set(scopes):
            raise NotPermitted(scope=" or ".join(scopes))
        return self.principal


async def _principal(request: Request) -> Principal | None:
    """By the cookie alone. Somebody whose session has ended is shown what a visitor is."""
    try:
        return await visitor_or_principal(request, None, request.cookies.get(COOKIE))
    except NotSignedIn:
        return None


def _viewer(
    request: Request, principal: Annotated[Principal | None, Depends(_principal)], session: Transaction
) -> Viewer:
    name = accounts.names(session, {principal.user_id}).get(principal.user_id, "") if principal else ""
    return Viewer(of_request(request), principal, name)


Looking = Annotated[Viewer, Depends(_viewer)]
