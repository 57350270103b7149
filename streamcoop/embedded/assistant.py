"""The founding assistant: pages on which the founders say what their co-op begins with, before anything else starts.

It listens where the service will, shows itself to whoever has the key that the terminal told, writes down what was
chosen and ends. Then the service starts with it, as it would with settings from the environment.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from babel.numbers import get_currency_name
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.types import ASGIApp

from ledger.constitution import PARAMETERS
from ledger.money import BASIS_POINTS, allocate
from ledger.rates import NET
from streamcoop import problems
from streamcoop.accounts.principals import refuse_foreign_site
from streamcoop.embedded import choices, plan
from streamcoop.embedded.choices import Chosen, NotYetRight, Wrong
from streamcoop.embedded.plan import Places
from streamcoop.errors import NotPermitted
from streamcoop.founding import first_terms
from streamcoop.headers import SecurityHeaders
from streamcoop.language import COOKIE as LANGUAGE_COOKIE
from streamcoop.language import NAMES, Language, language, of_request
from streamcoop.web import assets, pages

COOKIE = "streamcoop_founding"
BODY_BYTES_MAX = 64 << 10
FIELDS_MAX = 200
# Its last page still fetches what it is made of.
LINGER_S = 3.0
FOUNDED, GIVEN_UP = 0, 1


@dataclass
class Desk:
    """What the founders have typed and chosen so far. One at a time: it is one co-op."""

    places: Places
    key: str
    close: Callable[[], None]
    fixed: frozenset[str]
    form: dict[str, str]
    chosen: Chosen | None = None
    is_founded: bool = field(default=False)


class Assistant(FastAPI):
    """Its every answer carries the headers for browsers."""

    def build_middleware_stack(self) -> ASGIApp:
        """The usual stack within the headers."""
        return SecurityHeaders(super().build_middleware_stack(), {}, https=False)


def create_app(desk: Desk) -> FastAPI:
    """The assistant as an ASGI application."""
    app = Assistant(openapi_url=None, max_body_size=BODY_BYTES_MAX)
    problems.install(app)
    app.include_router(assets.router)

    def require_key(request: Request) -> None:
        """Raises NotPermitted for who has not opened the address that the terminal told."""
        refuse_foreign_site(request)
        if not hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), desk.key.encode()):
            raise NotPermitted(reason="open the address that the terminal shows")

    def form_page(spoken: Language, form: dict[str, str], wrong: dict[str, Wrong], status: HTTPStatus) -> Response:
        names = {code: get_currency_name(code, locale=spoken.locale) for code in choices.currencies()}
        told = {"form": form, "wrong": wrong, "fixed": desk.fixed, "settings_of": choices.settings_of}
        about = {"currencies": names, "ends": choices.ENDS, "limits": choices.LIMITS}
        return _page(spoken, "founding_form.html", told | about, status)

    @app.get("/")
    async def begin(request: Request, key: str = "") -> Response:
        if key:
            # From then on by a cookie, so that the key stands in no address, and so in no history.
            answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
            answer.set_cookie(COOKIE, key, httponly=True, samesite="strict")
            return answer
        require_key(request)
        return form_page(of_request(request), desk.form, {}, HTTPStatus.OK)

    @app.post("/")
    async def choose(request: Request) -> Response:
        require_key(request)
        typed = await _fields(request)
        desk.form = {name: typed.get(name, before) for name, before in desk.form.items()}
        if typed.get("language") in NAMES:
            answer = form_page(language(typed["language"]), desk.form, {}, HTTPStatus.OK)
            answer.set_cookie(LANGUAGE_COOKIE, typed["language"], samesite="lax")
            return answer
        try:
            desk.chosen = choices.choose(desk.form, desk.fixed, datetime.now(UTC))
        except NotYetRight as refusal:
            return form_page(of_request(request), desk.form, refusal.wrong, HTTPStatus.BAD_REQUEST)
        return RedirectResponse("/review", HTTPStatus.SEE_OTHER)

    @app.get("/review")
    async def review(request: Request) -> Response:
        require_key(request)
        if desk.chosen is None:
            return RedirectResponse("/", HTTPStatus.SEE_OTHER)
        return _page(of_request(request), "founding_review.html", _reviewed(desk.chosen))

    @app.post("/found")
    async def found(request: Request) -> Response:
        require_key(request)
        if desk.chosen is None:
            return RedirectResponse("/", HTTPStatus.SEE_OTHER)
        people = (desk.chosen.operator_email, desk.chosen.second_officer_email)
        password = plan.keep_choices(desk.places, desk.chosen.settings, *people)
        desk.is_founded = True
        asyncio.get_running_loop().call_later(LINGER_S, desk.close)
        told = {"coop": desk.chosen.configured.coop_name, "password": password, "places": desk.places}
        return _page(of_request(request), "founding_done.html", told | {"chosen": desk.chosen})

    return app


def _page(spoken: Language, template: str, told: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> HTMLResponse:
    html = pages.templates(spoken.code).get_template(template).render(told)
    return HTMLResponse(html, status, pages.HEADERS | {"Content-Language": spoken.code})


async def _fields(request: Request) -> dict[str, str]:
    """A form's fields; what is none has none."""
    body = (await request.body()).decode("utf-8", "replace")
    try:
        return dict(parse_qsl(body, keep_blank_values=True, max_num_fields=FIELDS_MAX))
    except ValueError:
        return {}


def _reviewed(chosen: Chosen) -> dict[str, Any]:
    """What is chosen, as people will meet it: what plays cost, and where the price of a credit goes."""
    settings, founding = chosen.configured, chosen.founding
    tariff, rates, rules, factors = first_terms(settings)
    parts = allocate(BASIS_POINTS, factors.weights(), tie_break="an example")
    net_bp = parts.pop(NET)
    shared = allocate(net_bp, rates.weights(), tie_break="an example") | {"deducted": sum(parts.values())}
    return {
        "coop": settings.coop_name,
        "currency": settings.currency,
        "chosen": chosen,
        "founding": founding,
        "rules": founding.constitution,
        "parameters": PARAMETERS,
        "tariff": tariff,
        "paid_from_minor": rules.payout_minimum_minor,
        "shared_bp": shared,
        "environment": choices.as_environment(chosen.settings),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask in a browser. Status 0 once a co-op's beginning is written down, 1 if it was stopped before."""
    parser = argparse.ArgumentParser(prog="python -m streamcoop.embedded.assistant", description="Found a co-op.")
    parser.add_argument("--data", type=Path, required=True, help="folder that everything is kept in")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--operator-email", required=True)
    given = parser.parse_args(arguments)
    people = {"operator_email": given.operator_email, "second_officer_email": plan.SECOND_OFFICER_EMAIL}
    form = choices.usual(people)
    fixed = frozenset(name for name in map(choices.settings_of, form) if plan.is_configured(name.upper()))

    def close() -> None:
        server.should_exit = True

    desk = Desk(plan.make_folders(given.data), os.environ[plan.FOUNDING_KEY], close, fixed, form)
    server = uvicorn.Server(uvicorn.Config(create_app(desk), host=given.host, port=given.port, access_log=False))
    server.run()
    return FOUNDED if desk.is_founded else GIVEN_UP


if __name__ == "__main__":
    sys.exit(main())
