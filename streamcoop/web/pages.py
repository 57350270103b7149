"""How a page is made: a template, whoever looks at it, and the words, amounts and dates of her language."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache, partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from babel import Locale, dates, numbers, units
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException

from ledger.errors import DomainError
from ledger.money import MICRO
from streamcoop import metrics
from streamcoop.errors import NotSignedIn
from streamcoop.language import NAMES, Language, language, of_request
from streamcoop.problems import slug, status_of
from streamcoop.settings import settings
from streamcoop.web import assets, plots
from streamcoop.web.viewer import Viewer

log = logging.getLogger(__name__)

TEMPLATES = Path(__file__).with_name("templates")
# What a page of ours loads is ours, and nothing stands within it that could run.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "Vary": "Cookie, Accept-Language"}
# Decimals that amounts below a minor unit are shown with: prices of plays are.
DECIMALS_MAX = 6
SIGN_IN_PATH = "/sign-in"


# --- Amounts, numbers and dates as people read them ---


def credits(locale: Locale, amount_micro: int) -> str:
    """Micro-credits as credits, to the last decimal that counts."""
    return str(numbers.format_decimal(Decimal(amount_micro) / MICRO, "#,##0.######", locale=locale))


def money(locale: Locale, amount_micro: int, currency: str) -> str:
    """Micro-units of money; with more decimals than the currency has where it would be told wrongly without."""
    amount = Decimal(amount_micro) / MICRO
    usual = numbers.get_currency_precision(currency)
    needed = max(usual, min(DECIMALS_MAX, -int(amount.normalize().as_tuple().exponent))) if amount else usual
    pattern = locale.currency_formats["standard"].pattern.split(";")[0]
    decimals = "0" * usual + "#" * (needed - usual)
    pattern = pattern.replace("0.00", "0." + decimals if decimals else "0")
    return str(numbers.format_currency(amount, currency, pattern, locale=locale, currency_digits=False))


def percent(locale: Locale, share_bp: int) -> str:
    """Hundredths of a per cent as per cent."""
    return str(numbers.format_percent(Decimal(share_bp) / 10_000, "#,##0.##%", locale=locale))


def count(locale: Locale, number: int) -> str:
    """A whole number."""
    return str(numbers.format_decimal(number, locale=locale))


def day(locale: Locale, at: date | datetime | int) -> str:
    """A date; of an instant or of POSIX seconds the one in UTC."""
    return str(dates.format_date(_instant(at), "long", locale=locale))


def moment(locale: Locale, at: datetime | int) -> str:
    """An instant to the minute, in UTC."""
    return str(dates.format_datetime(_instant(at), "d MMMM y, HH:mm 'UTC'", tzinfo=UTC, locale=locale))


def month(locale: Locale, at: date | datetime) -> str:
    """A month and its year."""
    return str(dates.format_date(at, "MMMM y", locale=locale))


def span(locale: Locale, seconds: int) -> str:
    """A time in the largest unit that tells it exactly: `30 days`."""
    for unit, unit_s in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds and seconds % unit_s == 0:
            return str(units.format_unit(seconds // unit_s, f"duration-{unit}", locale=locale))
    return str(units.format_unit(seconds, "duration-second", locale=locale))


def size(locale: Locale, size_bytes: int) -> str:
    """A number of bytes as people read it."""
    for unit, unit_bytes in (("gigabyte", 10**9), ("megabyte", 10**6)):
        if size_bytes >= unit_bytes:
            shown = size_bytes / unit_bytes
            number = numbers.format_decimal(round(shown, 1 if shown < 100 else 0), "#,##0.#", locale=locale)
            return str(units.format_unit(number, f"digital-{unit}", "short", locale=locale))
    return str(units.format_unit(-(-size_bytes // 1000), "digital-kilobyte", "short", locale=locale))


def lasting(duration_ms: int | None) -> str:
    """How long a track is: `3:07`; nothing where nobody has measured it."""
    if duration_ms is None:
        return ""
    minutes, seconds = divmod(round(duration_ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _instant(at: date | datetime | int) -> date | datetime:
    return datetime.fromtimestamp(at, UTC) if isinstance(at, int) else at


# --- Templates ---


@cache
def templates(code: str) -> Environment:
    """The templates in one language: its words, and the rules by which it tells amounts and dates."""
    spoken = language(code)
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        extensions=["jinja2.ext.i18n"],
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.install_gettext_translations(spoken.translations, newstyle=True)  # type: ignore[attr-defined]  # the extension's
    by_locale: dict[str, Callable[..., str]] = {
        "credits": credits,
        "money": money,
        "percent": percent,
        "count": count,
        "day": day,
        "moment": moment,
        "month": month,
        "span": span,
        "size": size,
    }
    made.filters |= {name: partial(filter_, spoken.locale) for name, filter_ in by_locale.items()}
    made.filters |= {"lasting": lasting, "wave": plots.wave}
    made.filters["said"] = spoken.said
    made.globals |= {
        "asset": assets.address,
        "language": spoken,
        "languages": NAMES,
    }
    return made


@cache
def _environment(code: str) -> Environment:
    """The same, which know whose service they are."""
    made = templates(code)
    made.globals |= {"coop": settings().coop_name, "currency": settings().currency}
    return made


def prepare() -> None:
    """Read what pages are made of now, so that nobody's first page waits for it."""
    assets.assets()
    for code in NAMES:
        _environment(code)


def page(
    request: Request, viewer: Viewer, template: str, status: HTTPStatus = HTTPStatus.OK, **told: Any
) -> HTMLResponse:
    """A page as this viewer sees it. Templates find `viewer`, `path` and what is told."""
    made = _environment(viewer.language.code).get_template(template)
    html = made.render(viewer=viewer, path=request.url.path, assets_version=assets.assets().version, **told)
    return HTMLResponse(html, status, HEADERS | {"Content-Language": viewer.language.code})


# --- When there is no such page ---


def refused(request: Request, spoken: Language, status: HTTPStatus, kind: str, title: str) -> Response:
    """The page that tells why there is none; without a title, that nothing is there."""
    metrics.PROBLEMS.labels(kind).inc()
    return page(request, Viewer(spoken), "refused.html", status, kind=kind, title=spoken.said(title))


def sign_in_first(request: Request) -> RedirectResponse:
    """Where somebody signs in, to come back to the page she asked for."""
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"{SIGN_IN_PATH}?next={quote(asked, safe='')}", HTTPStatus.SEE_OTHER, HEADERS)


def install(app: FastAPI) -> None:
    """Tell whoever follows a link to nowhere in words; programs are told as they are elsewhere."""
    usual = app.exception_handlers[HTTPException]

    @app.exception_handler(HTTPException)
    async def nowhere(request: Request, error: HTTPException) -> Response:
        is_read = request.method == "GET" and "text/html" in request.headers.get("accept", "")
        if error.status_code == HTTPStatus.NOT_FOUND and is_read:
            return refused(request, of_request(request), HTTPStatus.NOT_FOUND, "not-found", "")
        told: Response = await usual(request, error)  # type: ignore[misc]  # ours is a coroutine
        return told


class PageRoute(APIRoute):
    """A route of pages: what the API tells in a problem document, a page tells in words and a way on."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The usual handler, whose refusals are pages."""
        usual = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await usual(request)
            except NotSignedIn:
                return sign_in_first(request)
            except DomainError as error:
                kind, title = slug(type(error)), type(error).__doc__ or ""
                return refused(request, of_request(request), status_of(type(error)), kind, title)
            except (RequestValidationError, HTTPException):
                return refused(request, of_request(request), HTTPStatus.NOT_FOUND, "not-found", "")

        return handler
