"""The service as an ASGI application."""

from __future__ import annotations

import gc
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.telemetry import TelemetryConfig
from fastapi_swagger import patch_fastapi
from starlette.types import ASGIApp

from streamcoop import health, logs, problems, tracing
from streamcoop.access import AccessLog
from streamcoop.accounts import routes as accounts
from streamcoop.accounts.principals import PrincipalCache
from streamcoop.adapters.objects import open_store
from streamcoop.adapters.watched_objects import WatchedStore
from streamcoop.books import routes as books
from streamcoop.catalogue import routes as catalogue
from streamcoop.database import async_pool
from streamcoop.downloads import routes as downloads
from streamcoop.erasure import routes as erasure
from streamcoop.governance import routes as governance
from streamcoop.headers import SecurityHeaders, page_policy
from streamcoop.library import routes as library
from streamcoop.lingering import Lingering
from streamcoop.membership import passkey_routes as passkeys
from streamcoop.membership import register_routes as register
from streamcoop.membership import routes as membership
from streamcoop.moderation import routes as moderation
from streamcoop.operations import routes as operations
from streamcoop.operations import sampling
from streamcoop.payouts import routes as payouts
from streamcoop.playback import routes as playback
from streamcoop.playback.desk import PlaybackDesk
from streamcoop.royalties import routes as royalties
from streamcoop.settings import settings
from streamcoop.traffic import AddressLimit, Allowance, TooManyRequests
from streamcoop.transparency import certificate_routes as certificates
from streamcoop.transparency import routes as transparency
from streamcoop.wallet import routes as wallet
from streamcoop.web import pages
from streamcoop.web import routes as web
from streamcoop.witness import routes as witness

# No JSON of ours comes near; uploads have a limit of their own, counted while they come.
BODY_BYTES_MAX = 1 << 20
FILES_MAX = 65_536
# New objects between two passes of the collector, and passes until it goes through older ones. Python's own 700, 10 and
# 10 took a fifth of the time of a request.
COLLECTED_EVERY = (50_000, 20, 50)
# FastAPI's own would tell addresses, and so play tokens; `streamcoop/tracing.py` tells route patterns.
NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
DOCS_PATH = "/docs"
# The page asks no other site whether the document is valid.
DOCS_PARAMETERS = {"tryItOutEnabled": True, "persistAuthorization": True, "filter": True, "validatorUrl": "none"}

DESCRIPTION = """
A music streaming co-operative. Listeners stream and, play by play, come to own tracks; artists are
paid by a rule anyone can recompute; members vote on the rates.

Sign in with `POST /api/v1/session` (a cookie is set), or send a personal API token as a bearer token.
Amounts are integers: micro-credits (`…_micro`, 1 credit = 1,000,000) and micro-units of money.
Refusals are problem documents (RFC 9457) with a stable `type`.
"""


def _allow_many_connections() -> None:
    """A connection is a file, and the usual soft limit of 1,024 is fewer than a process serves listeners."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, FILES_MAX)), hard))


def _spare_the_collector() -> None:
    """What is there now stays for good, and requests leave hardly a cycle behind: look for them seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTED_EVERY)


@asynccontextmanager
async def _running(app: FastAPI) -> AsyncIterator[None]:
    _allow_many_connections()
    pool = async_pool()
    await pool.open()
    app.state.pool = pool
    app.state.principals = PrincipalCache(pool)
    app.state.accounts = Allowance(settings().requests_per_minute_account)
    app.state.objects = WatchedStore(open_store(settings()))
    app.state.desk = PlaybackDesk(pool, settings())
    pages.prepare()
    sampling.begin("api", lambda: sampling.figures_of(pool))
    _spare_the_collector()
    try:
        async with app.state.desk:
            yield
    finally:
        await pool.close()
        tracing.shut_down()


class Service(FastAPI):
    """FastAPI, whose every answer carries the headers for browsers: those to our own faults too, made outermost."""

    def build_middleware_stack(self) -> ASGIApp:
        """The usual stack within the headers, and all of it within what lets refusals of uploads arrive."""
        page = get_swagger_ui_html(
            openapi_url=self.openapi_url or "", title=self.title, swagger_ui_parameters=DOCS_PARAMETERS
        )
        policy = page_policy(bytes(page.body).decode())
        https = settings().public_address.startswith("https:")
        return Lingering(SecurityHeaders(super().build_middleware_stack(), {DOCS_PATH: policy}, https))


def create_app() -> FastAPI:
    """The application, by this process's settings."""
    logs.configure(settings().log_level, settings().secrets())
    app = Service(
        title="StreamCoop",
        version=version("streamcoop"),
        description=DESCRIPTION,
        lifespan=_running,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        max_body_size=BODY_BYTES_MAX,
        telemetry=NO_TELEMETRY,
        responses={
            422: {"model": problems.MalformedProblem, "content": {problems.MEDIA_TYPE: {}}},
            **problems.answers(TooManyRequests),
        },
    )
    problems.install(app)
    pages.install(app)
    app.add_middleware(AddressLimit, per_minute=settings().requests_per_minute_address)
    app.add_middleware(AccessLog)
    if tracing.configure("api"):
        app.add_middleware(tracing.TracedRequests)
    features = (
        playback,  # first, for routes are tried in turn: all others before it would cost more than a request's work
        health,
        operations,
        accounts,
        erasure,
        catalogue,
        wallet,
        library,
        downloads,
        royalties,
        payouts,
        membership,
        register,
        passkeys,
        moderation,
        governance,
        books,
        transparency,
        certificates,
        witness,
        web,
    )
    for feature in features:
        app.include_router(feature.router)
    patch_fastapi(app, docs_url=DOCS_PATH, redirect_from_root_to_docs=False, swagger_ui_parameters=DOCS_PARAMETERS)
    return app
