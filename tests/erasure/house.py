"""A label whose people have passwords and may go; and a search through all that the service keeps."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from httpx import Response
from psycopg import sql

from streamcoop.database import transaction
from streamcoop.erasure import service
from tests.ledger import factories
from tests.royalties.label import Label, Person
from tests.transparency.press import Press

PASSWORD = "kacang lupa kulitnya"
STEPS_MAX = 1_000


@dataclass
class House:
    """Who goes from here, and what is left of her."""

    press: Press
    label: Label

    def account(self, name: str, *, artist: bool = False) -> Person:
        """Somebody who opened her account herself."""
        email = f"{secrets.token_hex(8)}@people.example"
        return self.opened(email, name, artist=artist)

    def opened(self, email: str, name: str, *, artist: bool = False) -> Person:
        new = {"email": email, "password": PASSWORD, "name": name, "artist": artist}
        answer = self.label.client.post("/api/v1/users", json=new)
        assert answer.status_code == 201, answer.text
        told = answer.json()
        return Person(UUID(told["id"]), email, frozenset(told["roles"]))

    def sign_in(self, email: str) -> Response:
        return self.label.client.post("/api/v1/session", json={"email": email, "password": PASSWORD})

    def top_up(self, person: Person, amount_minor: int, reference: str = "") -> None:
        treasurer = self.label.person("Bendahara", "treasurer")
        body = {
            "request_id": str(uuid4()),
            "listener_email": person.email,
            "amount_minor": amount_minor,
            "reference": reference,
        }
        answer = self.label.call("POST", "/treasury/topups", treasurer, body)
        assert answer.status_code == 201, answer.text

    def leave(self, person: Person, **consents: bool) -> Response:
        return self.label.call("DELETE", "/me", person, {"password": PASSWORD, **consents})

    def step(self, person: Person) -> bool:
        with transaction() as session:
            return service.go_on(session, person.user_id, self.label.clock.now())

    def erase(self, person: Person) -> None:
        """All steps, as a worker takes them, and the last once nobody can be writing any more."""
        for _ in range(STEPS_MAX):
            if not self.step(person):
                break
        self.label.clock.at += service.QUIET_FOR
        assert not self.step(person)

    def has_ended(self, person: Person) -> bool:
        [row] = self.label.rows("select ended_at from coop.erasure where user_id = :who", who=person.user_id)
        return row.ended_at is not None

    def findings(self) -> list[object]:
        return list(factories.findings(self.label.database.engine))

    def pass_quiet(self) -> None:
        self.label.clock.at += service.QUIET_FOR + timedelta(seconds=1)

    def everything_kept(self) -> str:
        """Every row of every table as JSON, and every object as hexadecimal and as text."""
        told: list[str] = []
        with psycopg.connect(self.label.database.superuser_url) as conn:
            named = "select schemaname, tablename from pg_tables where schemaname in ('coop', 'ledger')"
            tables = conn.execute(named).fetchall()
            assert len(tables) > 50
            for names in tables:
                rows = conn.execute(sql.SQL("select to_jsonb(kept) from {} as kept").format(sql.Identifier(*names)))
                told += (f"{names[1]} {json.dumps(row, ensure_ascii=False)}" for (row,) in rows)
        for path in self.press.folder.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                told.append(f"{path.name} {data.hex()} {data.decode('utf-8', 'replace')}")
        return "\n".join(told)


def found(words: Iterable[str], text: str) -> list[str]:
    """Which of these stand in a text, whatever their case."""
    lowered = text.lower()
    return [word for word in words if word.lower() in lowered]


@pytest.fixture
def house(press: Press) -> House:
    return House(press, press.label)
