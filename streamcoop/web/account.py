"""Pages of one's own account: what it is, the language one reads in, API tokens, and erasing it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from streamcoop.accounts import service as accounts
from streamcoop.accounts.principals import SCOPES, Principal
from streamcoop.clock import Now
from streamcoop.database import Transaction
from streamcoop.erasure import routes as erasure
from streamcoop.errors import NotPermitted, NotSignedIn
from streamcoop.founded import Founded
from streamcoop.web.pages import PageRoute, page
from streamcoop.web.viewer import Looking, Viewer

router = APIRouter(route_class=PageRoute, include_in_schema=False)


def _signed_in(viewer: Viewer) -> Principal:
    """Whoever has signed in with a password, in whatever role. Raises NotSignedIn and NotPermitted."""
    if viewer.principal is None:
        raise NotSignedIn
    if viewer.principal.by_token:
        raise NotPermitted(reason="a token may not see, make or revoke tokens")
    return viewer.principal


@router.get("/account")
def account(request: Request, viewer: Looking, session: Transaction) -> Response:
    """One's account, and the tokens that act for it."""
    principal = _signed_in(viewer)
    return page(
        request,
        viewer,
        "account.html",
        user=accounts.user(session, principal.user_id),
        tokens=accounts.tokens(session, principal.user_id),
        scopes=[scope for scope in SCOPES if scope in principal.scopes],
    )


@router.get("/account/erase")
def erase(request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now) -> Response:
    """What erasing one's account would lose, what stands in its way, and the way to do it."""
    told = erasure.erasure(_signed_in(viewer), session, founding, now)
    return page(request, viewer, "account_erase.html", told=told)
