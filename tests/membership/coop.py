"""A founded co-op for tests: real PostgreSQL, a real chain process behind a node that can misbehave, and the API."""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import uvicorn
from argon2 import PasswordHasher
from eth_account.signers.local import LocalAccount
from eth_keys.datatypes import PrivateKey
from fastapi import FastAPI
from httpx import Client, Response
from sqlalchemy import text
from web3 import HTTPProvider, Web3

from streamcoop import clock, migrate, problems
from streamcoop.accounts import passwords
from streamcoop.accounts import routes as accounts
from streamcoop.accounts import service as accounts_service
from streamcoop.accounts.models import SignIn
from streamcoop.accounts.principals import SCOPES, PrincipalCache, digest_of
from streamcoop.adapters.anchors import Anchors, origin_hash
from streamcoop.adapters.members import Membership
from streamcoop.adapters.rate_registry import RateRegistry
from streamcoop.database import _engine, async_pool, engine, transaction
from streamcoop.embedded.chain.founding import CONSTITUTION, Founding
from streamcoop.founded import founded
from streamcoop.governance import routes as governance
from streamcoop.membership import officers as officer_service
from streamcoop.membership import passkey_routes as passkeys
from streamcoop.membership import register_routes as register
from streamcoop.membership import routes as membership
from streamcoop.settings import settings
from streamcoop.traffic import Allowance
from tests.conftest import Database
from tests.embedded.chain_process import LOG_ORIGIN, running_chain, write_key
from tests.membership.node import Node, standing_before
from tests.officers import OFFICERS, founded_with

REQUEST_TIMEOUT_S = 30
PASSWORD = "correct horse battery"
FOUNDED_AT = datetime(2026, 11, 10, 12, tzinfo=UTC)
QUICK: Mapping[str, int] = {
    "WAITING_SECONDS": 0,
    "SUPPORTERS_MIN": 1,
    "DISCUSSION_SECONDS": 0,
    "BALLOT_SECONDS_MIN": 60,
    "QUIET_SECONDS": 0,
    "EXTENSION_SECONDS_MAX": 0,
    "TIMELOCK_SECONDS": 1,
    "SHARE_REFUND_SECONDS": 7 * 86_400,
}
"""A constitution by which tests need not wait; for another one set what differs before asking for `coop`."""


@dataclass
class Clock:
    """The service's clock: it stands still unless it is told to go on."""

    at: datetime = FOUNDED_AT

    def now(self) -> datetime:
        return self.at

    def advance(self, by: timedelta) -> None:
        self.at += by


@dataclass(frozen=True)
class Person:
    """Somebody with an API token, and signed in with her password besides."""

    user_id: UUID
    headers: dict[str, str]
    session: dict[str, str]


@dataclass
class Coop:
    """The service as its clients see it, its chain worker, and what it stands on."""

    client: Client
    node: Node
    clock: Clock
    registrar: LocalAccount
    contract: str
    worker: Any
    """`workers.chain`."""
    register: Any
    """`workers.register`."""
    operator: Person = field(init=False)
    """The first officer, who is the treasurer too. The service keeps both officers' keys."""
    second_officer: Person = field(init=False)

    def __post_init__(self) -> None:
        self.operator = self.person("listener", "operator", "treasurer")
        self.second_officer = self.person("listener", "operator")
        with transaction() as session:
            for person, officer in zip((self.operator, self.second_officer), OFFICERS, strict=True):
                key = PrivateKey(bytes(officer.key))
                officer_service.keep(session, person.user_id, key, settings(), self.clock.now())

    def person(self, *roles: str) -> Person:
        with transaction() as session:
            name = f"{secrets.token_hex(8)}@example.org"
            user = accounts_service.open_account(
                session, name, PASSWORD, "Somebody", list(roles or ("listener",)), self.clock.now()
            )
            _, secret = accounts_service.make_token(session, user.id, "test", list(SCOPES), self.clock.now())
            signed_in, today = secrets.token_urlsafe(), datetime.now(UTC)
            session.add(
                SignIn(
                    id=uuid4(),
                    digest=digest_of(signed_in),
                    user_id=user.id,
                    created_at=today,
                    expires_at=today + timedelta(days=1),
                )
            )
            return Person(user.id, {"Authorization": f"Bearer {secret}"}, {"Authorization": f"Bearer {signed_in}"})

    def get(self, path: str, person: Person | None = None) -> Any:
        answer = self.client.get(f"/api/v1{path}", headers=person and person.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, person: Person, body: Any = None) -> Response:
        return self.client.post(f"/api/v1{path}", headers=person.headers, json=body)

    def in_session(self, method: str, path: str, person: Person, body: Any = None) -> Response:
        """What is asked by whoever signed in with a password."""
        return self.client.request(method, f"/api/v1{path}", headers=person.session, json=body)

    def applicant(self, member_class: str = "listener") -> tuple[Person, UUID]:
        """Somebody who has applied, and the id of the membership."""
        person = self.person()
        answer = self.post("/membership", person, {"member_class": member_class})
        assert answer.status_code == 201, answer.text
        return person, UUID(answer.json()["id"])

    def pay_share(self, member_id: UUID) -> None:
        answer = self.post(f"/members/{member_id}/share", self.operator, {"request_id": str(uuid4())})
        assert answer.status_code == 201, answer.text

    def approve(self, member_id: UUID) -> None:
        """By both officers."""
        for officer in (self.operator, self.second_officer):
            answer = self.post(f"/members/{member_id}/approve", officer)
            assert answer.status_code == 202, answer.text

    def admitting(self, member_class: str = "listener") -> tuple[Person, UUID]:
        """Somebody who is to be admitted, share paid and approved by both officers, before any worker has seen it."""
        person, member_id = self.applicant(member_class)
        self.pay_share(member_id)
        self.approve(member_id)
        assert self.state(member_id) == "admitting"
        return person, member_id

    def members(self, number: int) -> list[Person]:
        """New members, on the chain."""
        people = [self.admitting() for _ in range(number)]
        self.worker.sweep()
        for _, member_id in people:
            assert self.state(member_id) == "member"
        return [person for person, _ in people]

    def order(self, member_id: UUID) -> Any:
        """The last order about a membership."""
        statement = "select * from coop.register_order where member_id = :id order by id desc limit 1"
        return self.row(statement, id=member_id)

    def address(self, member_id: UUID) -> str:
        return str(self.row("select address from coop.member where id = :id", id=member_id).address)

    def state(self, member_id: UUID) -> str:
        return str(self.row("select state from coop.member where id = :id", id=member_id).state)

    def row(self, statement: str, **values: Any) -> Any:
        with engine().connect() as conn:
            return conn.execute(text(statement), values).one()

    def execute(self, statement: str, **values: Any) -> None:
        with engine().begin() as conn:
            conn.execute(text(statement), values)

    def chain(self) -> Membership:
        """The contract as the registrar reaches it from elsewhere, past the node in between."""
        return Membership.connect(self.node.upstream, self.contract, registrar_key=f"0x{self.registrar.key.hex()}")

    def supply(self) -> int:
        abi = json.loads(Membership.file.read_text(encoding="utf-8"))["abi"]
        web3 = Web3(HTTPProvider(self.node.upstream))
        supply: int = web3.eth.contract(self.contract, abi=abi).functions.totalSupply().call()  # type: ignore[call-overload]
        return supply

    def mine(self) -> None:
        Web3(HTTPProvider(self.node.upstream)).provider.make_request("evm_mine", [])  # type: ignore[arg-type]


@dataclass(frozen=True)
class Chain:
    """A node and the key that deploys on its chain."""

    rpc_url: str
    chain_id: int
    registrar: LocalAccount


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """One chain for all tests: each deploys a contract of its own."""
    folder = tmp_path_factory.mktemp("chain")
    registrar = write_key(folder / "key")
    with running_chain(folder / "data", folder / "key") as process:
        yield Chain(process.rpc_url, process.chain_id, registrar)


@pytest.fixture
def coop(chain: Chain, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Coop]:
    """A co-op founded in an empty database, with an empty membership contract."""
    contract = deploy(chain)
    with standing_before(chain.rpc_url) as node:
        _configure(monkeypatch, chain, database, node, contract, tmp_path)
        with _own_connections(database):
            from workers import anchors, ballots  # here, because they read the settings
            from workers import chain as worker
            from workers import register as register_worker

            # Nobody guesses passwords here, and making them costly took an eighth of these tests' time.
            cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
            monkeypatch.setattr(passwords, "_hasher", lambda: cheap)
            standing = Clock()
            for each in (anchors, ballots, register_worker):
                monkeypatch.setattr(each, "now", standing.now)
            with transaction() as session:
                migrate.found(session, settings(), standing.now())
            with _serving(_app(standing)) as client:
                yield Coop(client, node, standing, chain.registrar, contract, worker, register_worker)


def quick_founding() -> Founding:
    """What the contracts of a co-op by the QUICK constitution are made with."""
    return founded_with({**CONSTITUTION, "timelock_seconds": QUICK["TIMELOCK_SECONDS"]})


def deploy(chain: Chain, founding: Founding | None = None) -> str:
    """A new membership contract's address."""
    founding = founding or quick_founding()
    return _deployed(chain, Membership.file, *founding.membership(chain.registrar.address))


def deploy_rate_registry(chain: Chain) -> str:
    """The address of a new registry of decided rates."""
    registrar = chain.registrar.address
    return _deployed(chain, RateRegistry.file, *quick_founding().rate_registry(registrar, registrar))


def deploy_anchors(chain: Chain) -> str:
    """The address of a new contract for the anchors of LOG_ORIGIN."""
    registrar = chain.registrar.address
    return _deployed(chain, Anchors.file, registrar, registrar, origin_hash(LOG_ORIGIN))


def _deployed(chain: Chain, artifact: Path, *arguments: Any) -> str:
    compiled = json.loads(artifact.read_text(encoding="utf-8"))
    web3 = Web3(HTTPProvider(chain.rpc_url))
    new = web3.eth.contract(abi=compiled["abi"], bytecode=compiled["bytecode"]).constructor(*arguments)
    nonce = web3.eth.get_transaction_count(chain.registrar.address)
    signed = chain.registrar.sign_transaction(
        new.build_transaction({"from": chain.registrar.address, "nonce": nonce})  # type: ignore[arg-type]
    )
    receipt = web3.eth.wait_for_transaction_receipt(web3.eth.send_raw_transaction(signed.raw_transaction))
    address: str = receipt["contractAddress"]  # type: ignore[assignment]
    return address


def _configure(
    monkeypatch: pytest.MonkeyPatch, chain: Chain, database: Database, node: Node, contract: str, folder: Path
) -> None:
    own = {name for name in QUICK if f"STREAMCOOP_{name}" in os.environ}
    for name in [name for name in os.environ if name.startswith("STREAMCOOP_")]:
        if name.removeprefix("STREAMCOOP_") not in own:
            monkeypatch.delenv(name)
    values = {
        "DATA_DIR": str(folder),
        "DATABASE_URL": database.app_url,
        "BROKER_URL": "memory://",
        "OBJECTS_URL": folder.as_uri(),
        "CHAIN_RPC_URL": node.url,
        "CHAIN_ID": str(chain.chain_id),
        "MEMBERSHIP_CONTRACT": contract,
        "RATE_REGISTRY": deploy_rate_registry(chain),
        "REGISTRAR_KEY": f"0x{chain.registrar.key.hex()}",
        "SECRET_KEY": base64.b64encode(bytes(range(32))).decode(),
    }
    for name, value in {**{name: str(number) for name, number in QUICK.items() if name not in own}, **values}.items():
        monkeypatch.setenv(f"STREAMCOOP_{name}", value)


@contextmanager
def _own_connections(database: Database) -> Iterator[None]:
    """This process's settings and engine, for this database."""
    kept: tuple[Any, ...] = (settings, _engine, founded)
    for each in kept:
        each.cache_clear()
    try:
        yield
    finally:
        engine().dispose()
        for each in kept:
            each.cache_clear()


@contextmanager
def _serving(app: FastAPI) -> Iterator[Client]:
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            # Connections wait in the socket's queue until the server takes them.
            with Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=REQUEST_TIMEOUT_S) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


def _app(standing: Clock) -> FastAPI:
    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        app.state.accounts = Allowance(0)
        async with async_pool() as pool:
            app.state.pool = pool
            app.state.principals = PrincipalCache(pool)
            yield

    app = FastAPI(lifespan=running)
    problems.install(app)
    for feature in (accounts, membership, register, passkeys, governance):
        app.include_router(feature.router)
    app.dependency_overrides[clock.of_request] = standing.now
    return app
