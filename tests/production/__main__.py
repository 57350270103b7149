"""Runs the service on production parts until SIGTERM: `python -m tests.production --data FOLDER`.

Says where it runs in `running.json` and `service.env` of the folder, as `streamcoop run` does. A part that dies is
started again, as by the composition's `restart: unless-stopped`.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import psycopg
from eth_account import Account
from web3 import HTTPProvider, Web3

from streamcoop.adapters.deploying import constructors, deploy
from streamcoop.embedded import plan, ports, process, supervisor
from streamcoop.embedded.chain.founding import founding, read_constitution
from streamcoop.embedded.crew import Crew, NotReady, Part, StopAsked, command_launcher
from streamcoop.embedded.plan import Places
from streamcoop.embedded.ports import LOOPBACK
from streamcoop.embedded.postgres import STOP_STEPS as POSTGRES_STOP
from streamcoop.embedded.private import write_private
from streamcoop.embedded.process import Child, StopSteps
from streamcoop.settings import PREFIX, SERVICE_ENV
from tests import debian_parts
from tests.production import compose, nginx, postgres, rabbitmq
from tests.production.compose import Program

OPERATOR_EMAIL = "operator@streamcoop.example"
READY_S_MAX = 120.0
MIGRATE_S_MAX = 120.0
CONNECT_S_MAX = 2.0
CHECK_S_MAX = 10.0
REGISTRAR_WEI = 100 * 10**18

PART_STOP: StopSteps = ((signal.SIGTERM, 15.0), *process.KILL_STEPS)
API_STOP: StopSteps = ((signal.SIGTERM, 8.0), *process.KILL_STEPS)
# What is left of a server that keeps nothing worth a farewell.
END: StopSteps = process.KILL_STEPS

SEAWEED_SERVERS = ("master", "volume", "filer", "s3", "admin")
APIS = ("api-1", "api-2")
WORKERS = ("credits", "worker", "media")
ANVIL = compose.ROOT / "contracts" / "node_modules" / ".bin" / "anvil"


@dataclass
class Site:
    """One machine with all parts: its folder, its secrets, and where each part listens."""

    places: Places
    port: int
    values: dict[str, str] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    officer_keys: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def folder(self, name: str) -> Path:
        path = self.places.root / name
        path.mkdir(mode=0o711, exist_ok=True)
        return path

    def environment(self, program: Program) -> dict[str, str]:
        """A container's environment: the composition's, and the tests' own settings."""
        tests = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
        own = {
            "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
            "HOME": str(self.folder("disk")),
            f"{PREFIX}DATA_DIR": str(self.folder("disk")),
            "PYTHONUNBUFFERED": "1",
        }
        return own | program.environment | tests

    def launcher(self, name: str, program: Program, *more: str) -> Callable[[], Child]:
        environment = self.environment(program)
        return command_launcher([*program.command, *more], self.places.log(name), environment, plan.source_root())

    def program(self, name: str, words: Mapping[str, str] | None = None) -> Program:
        return compose.program(name, self.values, self.words | dict(words or {}))


def run(root: Path, port: int, say: Callable[[str], None]) -> None:
    """Run until a signal asks to stop."""
    places = Places(plan.make_root(root))
    places.logs.mkdir(mode=0o711, exist_ok=True)
    site = Site(places, port or ports.any_free())
    with process.lock(places.root / "supervisor.lock") as held, supervisor._stop_signals() as stop_asked:
        guardian = process.Guardian([held])
        crew = Crew(guardian, stop_asked, say)
        try:
            _make_secrets(site)
            _start_parts(crew, site)
            _start_service(crew, site)
            _announce(site)
            while True:
                crew.watch()
                crew.pause()
        except StopAsked:
            say("Stopping.")
        finally:
            places.running.unlink(missing_ok=True)
            crew.stop()
            guardian.close()


def _make_secrets(site: Site) -> None:
    """What stands in `.env`, and the operator's password."""
    site.values = {name: secrets.token_hex(16) for name in compose.variables()} | {
        "STREAMCOOP_SECRET_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "STREAMCOOP_LOG_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "STREAMCOOP_WITNESS_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "STREAMCOOP_REGISTRAR_KEY": f"0x{secrets.token_hex(32)}",
        "STREAMCOOP_PUBLIC_ADDRESS": site.address,
        "STREAMCOOP_LOG_ORIGIN": "log.streamcoop.example",
        "OPERATOR_EMAIL": OPERATOR_EMAIL,
    }
    site.places.secrets.mkdir(mode=0o700)
    for file in (site.places.operator_password, site.places.second_officer_password):
        write_private(file, secrets.token_urlsafe(12))
    site.officer_keys = tuple(f"0x{secrets.token_hex(32)}" for _ in site.places.officer_keys)
    for file, key in zip(site.places.officer_keys, site.officer_keys, strict=True):
        write_private(file, key)
    site.words = {
        "/run/secrets/operator_password": str(site.places.operator_password),
        "/tmp/metrics": str(site.folder("metrics")),
        "9464": str(ports.any_free(LOOPBACK)),
        "0.0.0.0": LOOPBACK,
    }


def _start_parts(crew: Crew, site: Site) -> None:
    """PostgreSQL, RabbitMQ, SeaweedFS and anvil, all at once; returns when each is ready and has what it must hold."""
    cluster = postgres.open_cluster(site.places.postgres)
    log = site.places.log("postgres")
    crew.start(
        Part(
            "postgres",
            lambda: postgres.launch(cluster, log),
            log,
            POSTGRES_STOP,
            guarded=False,
            stopped=cluster.release,
        )
    )
    broker = rabbitmq.prepare(site.places.root / "rabbitmq", "streamcoop", site.values["RABBITMQ_PASSWORD"])
    names_log, broker_log = site.places.log("epmd"), site.places.log("rabbitmq")
    crew.start(Part("epmd", lambda: broker.launch_names(names_log), names_log, END))
    crew.start(Part("rabbitmq", lambda: broker.launch(broker_log), broker_log, PART_STOP))
    s3_port, chain_port = _start_seaweedfs(crew, site), _start_anvil(crew, site)
    site.words |= {
        "postgres:5432": f"{LOOPBACK}:{cluster.port}",
        "rabbitmq:5672": f"{LOOPBACK}:{broker.port}",
        "seaweedfs:8333": f"{LOOPBACK}:{s3_port}",
        "anvil:8545": f"{LOOPBACK}:{chain_port}",
    }
    _wait(crew, "PostgreSQL", cluster.is_ready)
    init = {name: compose.interpolated(value, site.values) for name, value in _composed("postgres").items()}
    postgres.make_roles(cluster, init)
    _wait(crew, "anvil", lambda: _listens(chain_port))
    _deploy(site, f"http://{LOOPBACK}:{chain_port}")
    _wait(crew, "SeaweedFS", lambda: _listens(s3_port))
    _wait(crew, "RabbitMQ", lambda: _listens(broker.port))


def _composed(name: str) -> dict[str, str]:
    environment: dict[str, str] = compose.services()[name]["environment"]
    return environment


def _start_seaweedfs(crew: Crew, site: Site) -> int:
    free = iter([ports.any_free() for _ in range(2 * len(SEAWEED_SERVERS))])
    plain = {name: next(free) for name in SEAWEED_SERVERS}
    arguments = [f"-{name}.port={number}" for name, number in plain.items()]
    arguments += [f"-{name}.port.grpc={next(free)}" for name in SEAWEED_SERVERS]
    arguments += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false"]
    arguments += ["-master.telemetry=false", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}"]
    program = site.program("seaweedfs", {"/data": str(site.folder("objects"))})
    weed = Program([str(Path(sys.executable).with_name("weed")), *program.command], program.environment, 1)
    crew.start(Part("seaweedfs", site.launcher("seaweedfs", weed, *arguments), site.places.log("seaweedfs"), END))
    return plain["s3"]


def _start_anvil(crew: Crew, site: Site) -> int:
    port = ports.any_free()
    composed = compose.services()["anvil"]["command"].split()
    words = site.words | {"/chain": str(site.folder("chain"))}
    # What follows the package's name is anvil's own. Blocks come by the clock, as on a chain that others use too.
    arguments = [compose.replaced(word, words) for word in composed[composed.index(anvil_package()) + 1 :]]
    program = Program([str(ANVIL), *arguments, "--block-time", "1", "--port", str(port)], {}, 1)
    crew.start(Part("anvil", site.launcher("anvil", program), site.places.log("anvil"), END))
    return port


def anvil_package() -> str:
    """The package that the composition names, in the version whose program for this machine contracts/ pins."""
    pinned = json.loads((compose.ROOT / "contracts" / "package.json").read_text(encoding="utf-8"))
    return f"@foundry-rs/anvil@{pinned['optionalDependencies']['@foundry-rs/anvil-linux-amd64']}"


def _deploy(site: Site, rpc_url: str) -> None:
    """The contracts on a chain for development, whose registrar can pay for what it sends them."""
    web3 = Web3(HTTPProvider(rpc_url))
    treasurer = web3.eth.accounts[0]
    registrar = Account.from_key(site.values["STREAMCOOP_REGISTRAR_KEY"]).address
    given = web3.eth.send_transaction({"from": treasurer, "to": registrar, "value": REGISTRAR_WEI})
    web3.eth.wait_for_transaction_receipt(given)
    with patch.dict(os.environ, site.values):
        told = read_constitution(plan.founded_with())
    constitution = founding([Account.from_key(key).address for key in site.officer_keys], told)
    made = constructors(constitution, treasurer, registrar, site.values["STREAMCOOP_LOG_ORIGIN"])
    record = site.places.root / "contracts.json"
    for each in deploy(rpc_url, site.values["STREAMCOOP_REGISTRAR_KEY"], made, record):
        site.values[each.setting] = each.address


def _start_service(crew: Crew, site: Site) -> None:
    """The schema, the founding, and all processes of ours behind nginx; returns when each API process is ready."""
    migrate = site.program("migrate")
    crew.run_once("migrate", site.launcher("migrate", migrate), site.places.log("migrate"), MIGRATE_S_MAX)
    # Theirs are wallets in production. Here the service keeps their keys, so that tests can have them approve.
    emails = (OPERATOR_EMAIL, plan.SECOND_OFFICER_EMAIL)
    passwords = (site.places.operator_password, site.places.second_officer_password)
    officers = [["--officer", *each] for each in zip(emails, site.places.officer_keys, passwords, strict=True)]
    words = [sys.executable, "-m", "streamcoop.cli", "found", *(str(word) for each in officers for word in each)]
    keep = site.launcher("officers", Program(words, migrate.environment, 1))
    crew.run_once("officers", keep, site.places.log("officers"), MIGRATE_S_MAX)
    apis = {name: ports.any_free() for name in APIS}
    for name, port in apis.items():
        launch = site.launcher(name, site.program(name, {"8000": str(port)}))
        crew.start(Part(name, launch, site.places.log(name), API_STOP, stops_with_previous=name != APIS[0]))
    for service in WORKERS:
        program = site.program(service)
        for number in range(1, program.replicas + 1):
            name = f"{service}-{number}"
            launch = site.launcher(name, program, "--hostname", f"{name}@streamcoop")
            crew.start(Part(name, launch, site.places.log(name), supervisor.WORKER_STOP, stops_with_previous=True))
    crew.start(Part("beat", site.launcher("beat", site.program("beat")), site.places.log("beat"), END))
    site.words |= {f"{name}:8000": f"{LOOPBACK}:{port}" for name, port in apis.items()}
    _start_nginx(crew, site)
    for port in (*apis.values(), site.port):
        _wait(crew, f"port {port}", lambda at=port: supervisor.answers_ready(f"http://{LOOPBACK}:{at}"))  # type: ignore[misc]
    settings = site.environment(site.program("worker")) | migrate.environment
    named = {name.removeprefix(PREFIX): value for name, value in settings.items() if name.startswith(PREFIX)}
    write_private(site.places.root / SERVICE_ENV, plan.service_env(named))


def _start_nginx(crew: Crew, site: Site) -> None:
    command = nginx.command(nginx.write(site.folder("nginx"), site.port, site.words))
    log, environment = site.places.log("nginx"), debian_parts.environment()
    check = command_launcher([*command, "-t"], log, environment, site.places.root)
    crew.run_once("nginx -t", check, log, CHECK_S_MAX)
    crew.start(Part("nginx", command_launcher(command, log, environment, site.places.root), log, nginx.STOP_STEPS))


def _wait(crew: Crew, what: str, is_ready: Callable[[], bool]) -> None:
    """Look after the crew until this is ready. Raises `NotReady`."""
    deadline = time.monotonic() + READY_S_MAX
    while not is_ready():
        if time.monotonic() > deadline:
            raise NotReady(f"{what} was not ready after {READY_S_MAX:g} s")
        crew.watch()
        crew.pause()


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), CONNECT_S_MAX).close()
    except OSError:
        return False
    return True


def _announce(site: Site) -> None:
    told = {
        "address": site.address,
        "operator_email": OPERATOR_EMAIL,
        "operator_password_file": str(site.places.operator_password),
        "second_officer_email": plan.SECOND_OFFICER_EMAIL,
        "second_officer_password_file": str(site.places.second_officer_password),
        "process": str(os.getpid()),
    }
    write_private(site.places.running, json.dumps(told) + "\n")


def main() -> int:
    """From the command line, as `streamcoop.embedded.supervisor`."""
    parser = argparse.ArgumentParser(prog="python -m tests.production")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--host", choices=[LOOPBACK], default=LOOPBACK)
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    try:
        run(given.data, given.port, lambda line: print(line, flush=True))
    except (*supervisor.REFUSALS, FileNotFoundError, psycopg.Error) as refusal:
        print(f"the production parts cannot be run: {refusal}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
