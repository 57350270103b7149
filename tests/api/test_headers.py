"""What browsers are told with every answer, whatever it is."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable, Iterator

import httpx
import pytest

from streamcoop import app as application
from streamcoop import problems
from streamcoop.demo.client import Person
from streamcoop.embedded.temporary import Service
from streamcoop.settings import settings
from tests.whole_service import PASSWORD, somebody

ALWAYS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.fixture(scope="module")
def http(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.address, trust_env=False) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/wallet", 303),
        ("GET", "/docs", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/swagger/swagger-ui-bundle.js", 200),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/api/v1/releases", 200),
        ("GET", "/api/v1/me", 401),
        ("GET", "/nowhere", 404),
        ("PUT", "/healthz", 405),
        ("POST", "/api/v1/session", 422),
        ("HEAD", "/stream/none", 401),
    ],
)
def test_every_answer_carries_the_headers_once(http: httpx.Client, method: str, path: str, status: int) -> None:
    answer = http.request(method, path)
    assert answer.status_code == status
    for name, value in ALWAYS.items():
        assert answer.headers.get_list(name) == [value], name
    assert "camera=()" in answer.headers["permissions-policy"]
    assert answer.headers.get_list("cache-control") == ["no-store"]
    assert len(answer.headers.get_list("content-security-policy")) == 1
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "strict-transport-security" not in answer.headers, "this service is reached by http"
    if path != "/docs":
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_the_page_to_try_the_api_at_runs_its_own_scripts_and_no_others(http: httpx.Client) -> None:
    page = http.get("/docs")
    policy = page.headers["content-security-policy"]
    scripts = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = re.search(r"script-src ([^;]*);", policy)
    assert allowed is not None
    assert allowed.group(1).split() == ["'self'", *(f"'sha256-{digest}'" for digest in digests)]
    assert len(digests) == 1
    # Handlers and styles within tags are not covered by a digest.
    assert not re.search(r"\son\w+=", page.text)
    assert '"validatorUrl": "none"' in page.text


def test_what_is_ones_own_is_not_kept_by_anybody(service: Service, person: Callable[..., Person]) -> None:
    someone = person("Private").join()
    for path in ("/api/v1/me", "/api/v1/wallet", "/api/v1/wallet/statement.csv?month=2026-01"):
        assert "no-store" in someone.http.get(path).headers["cache-control"].split(", "), path


def test_the_cookie_is_for_http_and_this_site_alone(service: Service) -> None:
    someone = somebody(service, "Cookie")
    new = {"email": someone.email, "password": PASSWORD, "name": "Cookie"}
    assert someone.http.post("/api/v1/users", json=new).status_code == 201
    plain = _flags(someone.http.post("/api/v1/session", json={"email": someone.email, "password": PASSWORD}))
    assert plain >= {"httponly", "samesite=lax", "path=/"}
    assert not {flag for flag in plain if flag.startswith("domain=")}
    assert "secure" not in plain, "a browser would not send it back by http"
    gone = _flags(someone.http.delete("/api/v1/session"))
    assert gone >= {"max-age=0", "httponly", "samesite=lax"}


@pytest.mark.embedded_parts("nginx says itself how it was reached")
def test_the_cookie_is_secure_where_a_proxy_on_the_servers_own_machine_ended_tls(service: Service) -> None:
    someone = somebody(service, "Cookie")
    new = {"email": someone.email, "password": PASSWORD, "name": "Cookie"}
    assert someone.http.post("/api/v1/users", json=new).status_code == 201
    credentials = {"email": someone.email, "password": PASSWORD}
    by_tls = someone.http.post("/api/v1/session", json=credentials, headers={"X-Forwarded-Proto": "https"})
    assert "secure" in _flags(by_tls)


def _flags(answer: httpx.Response) -> set[str]:
    assert answer.is_success, answer.text
    return {flag.strip().lower() for flag in answer.headers["set-cookie"].split(";")[1:]}


@pytest.fixture
def by_https(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings of a service that people reach by https; nothing of it is reached here."""
    values = {
        "PUBLIC_ADDRESS": "https://music.streamcoop.example",
        "DATABASE_URL": "postgresql://127.0.0.1:1/none",
        "BROKER_URL": "memory://",
        "OBJECTS_URL": "file:///nowhere",
        "CHAIN_RPC_URL": "http://127.0.0.1:1",
        "SECRET_KEY": base64.b64encode(bytes(32)).decode(),
    }
    for name, value in values.items():
        monkeypatch.setenv(f"STREAMCOOP_{name}", value)
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.usefixtures("by_https")
def test_an_answer_to_our_own_fault_carries_the_headers_too_and_https_is_kept_to() -> None:
    service = application.Service()
    problems.install(service)

    @service.get("/fault")
    async def fault() -> None:
        raise ZeroDivisionError("secret")

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(service, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.get("/fault")

    answer = asyncio.run(asked())
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/internal-error")
    assert "secret" not in answer.text
    assert answer.headers.items() >= ALWAYS.items()
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
