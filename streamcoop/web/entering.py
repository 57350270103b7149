"""Signing in and joining, by plain forms as well as by the API; and the language somebody reads in."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import SecretStr, ValidationError

from ledger.errors import DomainError
from streamcoop.accounts import routes as accounts
from streamcoop.accounts import service
from streamcoop.accounts.principals import COOKIE, digest_of, refuse_foreign_site
from streamcoop.accounts.schemas import Credentials
from streamcoop.clock import Now
from streamcoop.database import transaction
from streamcoop.language import COOKIE as LANGUAGE_COOKIE
from streamcoop.language import NAMES
from streamcoop.web.pages import SIGN_IN_PATH, PageRoute, page
from streamcoop.web.viewer import Looking

LANGUAGE_KEPT_S = 365 * 24 * 3600
PATH_LENGTH_MAX = 2_000

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Next = Annotated[str, Query(alias="next", max_length=PATH_LENGTH_MAX)]


def _path_here(asked: str) -> str:
    """A path of this service's; its front page for anything that could lead elsewhere."""
    parts = urlsplit(asked)
    is_here = asked.startswith("/") and not asked.startswith(("//", "/\\")) and not (parts.scheme or parts.netloc)
    return asked if is_here and asked.isprintable() else "/"


@router.get(SIGN_IN_PATH)
def sign_in_page(request: Request, viewer: Looking, next_: Next = "/") -> Response:
    """Where one signs in."""
    return page(request, viewer, "sign_in.html", next=_path_here(next_), email="", refused=None)


@router.get("/join")
def join_page(request: Request, viewer: Looking, next_: Next = "/") -> Response:
    """Where one opens an account."""
    return page(request, viewer, "join.html", next=_path_here(next_))


@router.post(SIGN_IN_PATH)
async def sign_in(request: Request, viewer: Looking, now: Now) -> Response:
    """Sign in by a form that needs no script."""
    refuse_foreign_site(request)
    fields = await _fields(request)
    email, next_ = fields.get("email", ""), _path_here(fields.get("next", "/"))
    answer = RedirectResponse(next_, HTTPStatus.SEE_OTHER)
    try:
        credentials = Credentials(email=email, password=SecretStr(fields.get("password", "")))
        await accounts.sign_in(credentials, request, answer, now)
    except (ValidationError, DomainError) as error:
        title = viewer.language.said(type(error).__doc__ or "") if isinstance(error, DomainError) else ""
        return page(request, viewer, "sign_in.html", HTTPStatus.OK, next=next_, email=email, refused=title)
    return answer


@router.post("/sign-out")
async def sign_out(request: Request, viewer: Looking) -> Response:
    """Sign out by a form that needs no script."""
    refuse_foreign_site(request)
    answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
    if viewer.principal is not None:
        with transaction() as session:
            service.sign_out(session, viewer.principal.session_id)
        request.app.state.principals.forget(digest_of(request.cookies[COOKIE]))
        answer.delete_cookie(COOKIE, **accounts.cookie_flags(request))
    return answer


@router.post("/language")
async def choose_language(request: Request) -> Response:
    """Read in another language from now on."""
    fields = await _fields(request)
    answer = RedirectResponse(_path_here(fields.get("next", "/")), HTTPStatus.SEE_OTHER)
    if fields.get("language") in NAMES:
        flags = accounts.cookie_flags(request)
        answer.set_cookie(LANGUAGE_COOKIE, fields["language"], max_age=LANGUAGE_KEPT_S, **flags)
    return answer


async def _fields(request: Request) -> dict[str, str]:
    """A form's fields; of several of a name the last one. What is no form has none."""
    body = (await request.body()).decode("utf-8", "replace")
    try:
        return {name: values[-1] for name, values in parse_qs(body, keep_blank_values=True, max_num_fields=20).items()}
    except ValueError:
        return {}
