"""The service as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi_swagger import patch_fastapi

from streamcoop import health, logs, problems
from streamcoop.access import AccessLog
from streamcoop.accounts import routes as accounts
from streamcoop.accounts.principals import PrincipalCache
from streamcoop.adapters.objects import open_store
from streamcoop.books import routes as books
from streamcoop.catalogue import routes as catalogue
from streamcoop.database import async_pool
from streamcoop.governance import routes as governance
from streamcoop.membership import routes as membership
from streamcoop.payouts import routes as payouts
from streamcoop.playback import routes as playback
from streamcoop.playback.desk import PlaybackDesk
from streamcoop.royalties import routes as royalties
from streamcoop.settings import settings
from streamcoop.wallet import routes as wallet

# No JSON of ours comes near; uploads have a limit of their own, counted while they come.
BODY_BYTES_MAX = 1 << 20

DESCRIPTION = """
A music streaming co-operative. Listeners stream and, play by play, come to own tracks; artists are
paid by a rule anyone can recompute; members vote on the rates.

Sign in with `POST /api/v1/session` (a cookie is set), or send a personal API token as a bearer token.
Amounts are integers: micro-credits (`…_micro`, 1 credit = 1,000,000) and micro-units of money.
Refusals are problem documents (RFC 9457) with a stable `type`.
"""


@asynccontextmanager
async def _running(app: FastAPI) -> AsyncIterator[None]:
    pool = async_pool()
    await pool.open()
    app.state.pool = pool
    app.state.principals = PrincipalCache()
    app.state.objects = open_store(settings())
    app.state.desk = PlaybackDesk(pool, settings())
    try:
        async with app.state.desk:
            yield
    finally:
        await pool.close()


def create_app() -> FastAPI:
    """The application, by this process's settings."""
    logs.configure(settings().log_level)
    app = FastAPI(
        title="StreamCoop",
        version=version("streamcoop"),
        description=DESCRIPTION,
        lifespan=_running,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        max_body_size=BODY_BYTES_MAX,
        responses={422: {"model": problems.MalformedProblem, "content": {problems.MEDIA_TYPE: {}}}},
    )
    problems.install(app)
    app.add_middleware(AccessLog)
    features = (
        health,
        accounts,
        catalogue,
        playback,
        wallet,
        royalties,
        payouts,
        membership,
        governance,
        books,
    )
    for feature in features:
        app.include_router(feature.router)
    patch_fastapi(app, docs_url="/docs")
    return app
