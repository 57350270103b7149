"""Every page × who asks for it, held against docs/authorisation.md."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from streamcoop.accounts.principals import COOKIE, SCOPES_OF_ROLE
from streamcoop.demo.client import Person
from streamcoop.embedded.plan import source_root
from streamcoop.embedded.temporary import Service
from streamcoop.settings import PREFIX
from tests.whole_service import PASSWORD, operator_of, service, somebody

__all__ = ["service"]

TABLE = Path(__file__).resolve().parents[2] / "docs" / "authorisation.md"
EVERYBODY = "everybody"
ROLES = ("listener", "artist", "treasurer", "operator")
WALK = """
import json
from streamcoop.web.routes import router

def walk(routes):
    for route in routes:
        included = getattr(route, "original_router", None)
        yield from walk(included.routes) if included is not None else ([method, route.path] for method in route.methods)

print(json.dumps(list(walk(router.routes))))
"""
WALK_S_MAX = 120
# Files and what a browser installs are no pages; a form's answer is tested with the form.
NO_PAGES = {"/static/{version}/{name:path}", "/manifest.webmanifest", "/worker.js"}


def table() -> dict[str, str]:
    """For whom each page is: everybody, or whoever has a scope, or one of two."""
    section = TABLE.read_text(encoding="utf-8").partition("\n## Pages\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(/[^`]*)` \| ([\w ]+) \|$", section, re.MULTILINE))


PAGES = table()
# What else than an id stands in an address.
EXAMPLES = {"{month}": "2026-01", "{epoch}": "1"}


@pytest.fixture(scope="module")
def sessions(service: Service) -> Iterator[dict[str, httpx.Client]]:
    """A browser of a visitor, and one of somebody of each role besides being a listener."""
    operator = operator_of(service)
    clients = {"visitor": httpx.Client(base_url=service.address, trust_env=False, timeout=60)}
    for role in ROLES:
        someone: Person = somebody(service, role).join()
        user = someone.get("/api/v1/me")["id"]
        operator.put(f"/api/v1/users/{user}/roles", {"roles": sorted({"listener", role})})
        client = httpx.Client(base_url=service.address, trust_env=False, timeout=60)
        signed_in = client.post("/api/v1/session", json={"email": someone.email, "password": PASSWORD}).json()
        client.cookies.set(COOKIE, signed_in["session"])
        clients[role] = client
    yield clients
    for client in clients.values():
        client.close()


def test_every_page_stands_in_the_table_and_nothing_else(service: Service) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    own[f"{PREFIX}DATA_DIR"] = str(service.data_dir)
    done = subprocess.run(
        [sys.executable, "-c", WALK], cwd=source_root(), env=own, capture_output=True, check=True, timeout=WALK_S_MAX
    )
    walked = {path for method, path in json.loads(done.stdout.splitlines()[-1]) if method == "GET"}
    assert walked - NO_PAGES == set(PAGES)


@pytest.mark.parametrize("path", sorted(PAGES))
def test_a_page_is_for_those_who_the_table_says(path: str, sessions: dict[str, httpx.Client]) -> None:
    scopes = set(PAGES[path].split(" or "))
    asked = re.sub(r"{\w+}", lambda named: EXAMPLES.get(named[0]) or str(uuid4()), path)
    for who, client in sessions.items():
        answer = client.get(asked)
        assert answer.status_code < 500, (who, answer.status_code)
        if EVERYBODY in scopes or (who != "visitor" and scopes & _scopes(who)):
            assert answer.status_code == 200 or ("{" in path and answer.status_code == 404), (who, answer.status_code)
        elif who == "visitor":
            assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/sign-in")
        else:
            assert answer.status_code == 403, (who, answer.status_code)


def _scopes(role: str) -> frozenset[str]:
    return SCOPES_OF_ROLE["listener"] | SCOPES_OF_ROLE[role] | {"session"}
