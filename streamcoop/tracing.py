"""Traces, from a request to the task it asks for, sent by OTLP over HTTP where STREAMCOOP_OTLP_ENDPOINT is set.

Otherwise nothing of OpenTelemetry is imported and a span costs a function call. Spans say what was done, by route
pattern and by count: no address that may hold a play token, no id of a listener, and of an exception its class alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamcoop.settings import settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

EXPORT_S_MAX = 5
Attribute = str | int | bool
_NOTHING: AbstractContextManager[None] = nullcontext()

_provider: TracerProvider | None = None


class TracingNotInstalled(Exception):
    """STREAMCOOP_OTLP_ENDPOINT is set, but the extra `tracing` is not installed: pip install 'streamcoop[tracing]'."""


def configure(part: str) -> bool:
    """Send this process's traces as those of `part`; False where no endpoint is set. Call it after a fork, not before.

    Raises TracingNotInstalled.
    """
    global _provider  # noqa: PLW0603  # one a process, as OpenTelemetry's own is
    endpoint = settings().otlp_endpoint
    if endpoint is None:
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingNotInstalled(TracingNotInstalled.__doc__) from error
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_S_MAX)
    _provider = TracerProvider(resource=Resource({"service.name": f"streamcoop-{part}"}))
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    return True


def shut_down() -> None:
    """Send what is left. Does nothing where no traces are sent."""
    if _provider is not None:
        _provider.shutdown()


def span(name: str, carried: Mapping[str, str] | None = None, **attributes: Attribute) -> AbstractContextManager[Any]:
    """A span for as long as the block lasts, within the one that is current or the one that `carried` tells of."""
    if _provider is None:
        return _NOTHING
    return _span(_provider, name, _context(carried), attributes)


@contextmanager
def _span(
    provider: TracerProvider, name: str, context: Context | None, attributes: dict[str, Attribute]
) -> Iterator[Any]:
    from opentelemetry.trace import Status, StatusCode

    with provider.get_tracer("streamcoop").start_as_current_span(
        name, context, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except BaseException as error:
            # Its message may hold what belongs in no trace.
            current.set_attribute("error.type", type(error).__name__)
            current.set_status(Status(StatusCode.ERROR))
            raise


def done(name: str, begun_ns: int, **attributes: Attribute) -> None:
    """A span that has just ended, of what began at `begun_ns` (`time.time_ns()`): for work that may come to nothing."""
    if _provider is not None:
        _provider.get_tracer("streamcoop").start_span(name, attributes=attributes, start_time=begun_ns).end()


def carrier() -> dict[str, str]:
    """The current span as headers of a message; empty where there is none."""
    carried: dict[str, str] = {}
    if _provider is not None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(carried)
    return carried


def _context(carried: Mapping[str, str] | None) -> Context | None:
    if carried is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(carried)


class TracedRequests:
    """ASGI: each request is a span named by its route's pattern. What a client says of its own traces is not heard."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on within its span."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method = scope["method"]
        with span(method, {}, **{"http.request.method": method}) as current:

            async def noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    current.set_attribute("http.response.status_code", message["status"])
                await send(message)

            try:
                await self.app(scope, receive, noting)
            finally:
                route = getattr(scope.get("route"), "path", None)
                current.update_name(f"{method} {route}" if route else method)
                if route:
                    current.set_attribute("http.route", route)
