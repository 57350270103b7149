"""What one start of the service consists of: places in the data folder, secrets, and the programs to run."""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values
from eth_keys.datatypes import PrivateKey

from streamcoop.embedded import ports
from streamcoop.embedded.private import PRIVATE_FOLDER_MODE, generated_once, write_private
from streamcoop.settings import PREFIX, Settings

# Root's PostgreSQL runs as an account that has to pass through the folder; whatever else is in it is closed by itself.
ROOT_FOLDER_MODE = 0o711
OPERATOR_PASSWORD_BYTES = 12
SECOND_OFFICER_EMAIL = "second-officer@streamcoop.example"
KEY_BYTES = 32
ORIGIN_BYTES = 8
# prometheus_client's own setting: set before it is imported, so not one of ours.
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
FOUNDING_KEY = "FOUNDING_KEY"
"""The variable with the assistant's key: an argument could be read by everybody on this machine."""
# What uvicorn gives to streams that are under way when it is stopped.
API_GRACE_S = 5


@dataclass(frozen=True)
class Places:
    """Where everything is in the data folder."""

    root: Path

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def chain(self) -> Path:
        return self.root / "chain"

    @property
    def objects(self) -> Path:
        return self.root / "objects"

    @property
    def metrics(self) -> Path:
        """What the processes count, in files they share; meaningless once the service has stopped."""
        return self.root / "metrics"

    @property
    def registrar_key(self) -> Path:
        return self.secrets / "registrar_key"

    @property
    def witness_key(self) -> Path:
        return self.secrets / "witness_key"

    @property
    def log_origin(self) -> Path:
        """No secret, but kept with them: like them it must outlast a restored backup."""
        return self.secrets / "log_origin"

    @property
    def operator_password(self) -> Path:
        return self.secrets / "operator_password"

    @property
    def second_officer_password(self) -> Path:
        return self.secrets / "second_officer_password"

    @property
    def operator_email(self) -> Path:
        return self.secrets / "operator_email"

    @property
    def second_officer_email(self) -> Path:
        return self.secrets / "second_officer_email"

    @property
    def officer_keys(self) -> tuple[Path, Path]:
        """Of the operator and of the second officer: whoever is admitted, both approve."""
        return self.secrets / "officer_key_1", self.secrets / "officer_key_2"

    @property
    def constitution(self) -> Path:
        """What the contracts enforce of it; counts when the chain is founded."""
        return self.chain / "constitution.json"

    @property
    def chosen(self) -> Path:
        """The settings that the founders chose at the first start, as an environment file; there only if they did."""
        return self.root / "founding.env"

    @property
    def running(self) -> Path:
        """There while the service runs: a line of JSON that tells other programs where."""
        return self.root / "running.json"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"


@dataclass(frozen=True)
class Credentials:
    """What is generated at the first start and kept in `<data_dir>/secrets`."""

    secret_key: str
    log_key: str
    witness_key: str
    registrar_key: str
    officer_addresses: tuple[str, str]
    operator_email: str
    operator_password: str
    second_officer_email: str
    second_officer_password: str
    is_first_start: bool


@dataclass(frozen=True)
class Setup:
    """One start: where, with what, and reached how."""

    places: Places
    credentials: Credentials
    host: str
    port: int
    chain_port: int

    @property
    def address(self) -> str:
        """For programs on this machine."""
        return address_of(self.host, self.port)

    @property
    def public_address(self) -> str:
        """For people."""
        return public_address_of(self.host, self.port)

    @property
    def log_origin(self) -> str:
        return self.places.log_origin.read_text(encoding="utf-8").strip()


@dataclass(frozen=True)
class Commands:
    """The programs of the service as argument lists; `workers` by the names of their logs."""

    chain: Sequence[str]
    migrate: Sequence[str]
    found: Sequence[str]
    workers: Mapping[str, Sequence[str]]
    beat: Sequence[str]
    api: Sequence[str]


def make_root(folder: Path) -> Path:
    """Create the data folder if it is not there, closed to others as far as it can be, and return its full path."""
    root = folder.resolve()
    root.mkdir(mode=ROOT_FOLDER_MODE if os.geteuid() == 0 else PRIVATE_FOLDER_MODE, parents=True, exist_ok=True)
    return root


def make_folders(root: Path) -> Places:
    """The folders within the data folder, those made that are missing. For the holder of the folder's lock."""
    places = Places(root)
    for folder in (places.secrets, places.logs, places.chain, places.objects, places.metrics):
        folder.mkdir(mode=PRIVATE_FOLDER_MODE, exist_ok=True)
    return places


def is_founded(root: Path) -> bool:
    """Whether it is settled what the co-op of this folder is founded with."""
    return Places(root).constitution.exists()


def keep_choices(places: Places, settings: Mapping[str, str], operator_email: str, second_officer_email: str) -> str:
    """Write down what the founders chose, for this start and all others. Returns the operator's first password.

    Safe to repeat until the co-op is founded.
    """
    write_private(places.chosen, service_env(settings))
    write_private(places.operator_email, operator_email + "\n")
    write_private(places.second_officer_email, second_officer_email + "\n")
    generated_once(places.second_officer_password, _fresh_password)
    return generated_once(places.operator_password, _fresh_password)


def take_choices(root: Path) -> None:
    """Have what the founders chose in our own environment, where that does not say otherwise."""
    chosen = dotenv_values(Places(root).chosen)
    os.environ.update({name: value for name, value in chosen.items() if value is not None and name not in os.environ})


def make_setup(root: Path, host: str, port: int, operator_email: str) -> Setup:
    """Make the folders and secrets that are missing. For the holder of the folder's lock. `port` 0 is a free one."""
    places = make_folders(root)
    for counted in places.metrics.glob("*.db"):
        counted.unlink()
    credentials = _credentials(places, operator_email)
    _keep_log_origin(places)
    generated_once(places.constitution, founded_with)
    return Setup(places, credentials, host, port or ports.any_free(host), ports.stable(places.chain / "port"))


def _credentials(places: Places, operator_email: str) -> Credentials:
    is_first_start = not places.operator_password.exists()
    return Credentials(
        secret_key=generated_once(places.secrets / "secret_key", _fresh_key),
        log_key=generated_once(places.secrets / "log_key", _fresh_key),
        witness_key=generated_once(places.witness_key, _fresh_key),
        registrar_key=generated_once(places.registrar_key, _fresh_chain_key),
        officer_addresses=(_officer(places.officer_keys[0]), _officer(places.officer_keys[1])),
        operator_email=generated_once(places.operator_email, lambda: operator_email),
        operator_password=generated_once(places.operator_password, _fresh_password),
        second_officer_email=generated_once(places.second_officer_email, lambda: SECOND_OFFICER_EMAIL),
        second_officer_password=generated_once(places.second_officer_password, _fresh_password),
        is_first_start=is_first_start,
    )


def founded_with() -> str:
    """What the settings found the co-op with, as the contracts are made; where the parts are does not matter to it."""
    parts = dict.fromkeys(("database_url", "broker_url", "objects_url", "chain_rpc_url", "secret_key"), "")
    configured = Settings(_env_file=None, **parts)  # type: ignore[call-arg,arg-type]  # pydantic-settings' own argument
    told = configured.constitution().as_json() | {"rates": configured.founding_numbers()}
    return json.dumps(told, indent=2)


def _fresh_key() -> str:
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def _fresh_chain_key() -> str:
    return f"0x{secrets.token_hex(KEY_BYTES)}"


def _fresh_password() -> str:
    return secrets.token_urlsafe(OPERATOR_PASSWORD_BYTES)


def _officer(key_file: Path) -> str:
    key = PrivateKey(bytes.fromhex(generated_once(key_file, _fresh_chain_key).removeprefix("0x")))
    return str(key.public_key.to_checksum_address())


def _keep_log_origin(places: Places) -> None:
    """What the public log is called: as configured, else a name that is made up once. It need not be an address."""
    configured = os.environ.get(f"{PREFIX}LOG_ORIGIN")
    if configured:
        write_private(places.log_origin, configured + "\n")
    generated_once(places.log_origin, lambda: f"streamcoop.example/{secrets.token_hex(ORIGIN_BYTES)}")


def service_commands(setup: Setup) -> Commands:
    """The real programs, run by this Python."""
    places = setup.places
    chain = ("--data", places.chain, "--port", setup.chain_port)
    contracts = ("--registrar-key-file", places.registrar_key, "--log-origin-file", places.log_origin)
    officers = [word for address in setup.credentials.officer_addresses for word in ("--officer", address)]
    constitution = ("--constitution-file", places.constitution)
    operators = (
        *("--officer", setup.credentials.operator_email, places.officer_keys[0], places.operator_password),
        *("--officer", setup.credentials.second_officer_email, places.officer_keys[1], places.second_officer_password),
    )
    server = ("--host", setup.host, "--port", setup.port, "--no-access-log", "--timeout-graceful-shutdown", API_GRACE_S)
    return Commands(
        chain=_module("streamcoop.embedded.chain", *chain, *contracts, *officers, *constitution),
        migrate=_module("streamcoop.cli", "migrate"),
        found=_module("streamcoop.cli", "found", *operators),
        workers={
            # Settling is on its own: neither a long close nor a node that hangs may hold it up.
            "credits": _worker("credits", "credits", 1),
            "worker": _worker("worker", "royalties,chain,books,log,default", 2),
            "media": _worker("media", "media", 1),
        },
        beat=_module("celery", "-A", "workers.app", "beat", "--pidfile="),
        api=_module("uvicorn", "streamcoop.app:create_app", "--factory", *server),
    )


def assistant_command(root: Path, host: str, port: int, operator_email: str) -> list[str]:
    """The founding assistant."""
    where = ("--data", root, "--host", host, "--port", port)
    return _module("streamcoop.embedded.assistant", *where, "--operator-email", operator_email)


def _module(name: str, *arguments: str | Path | int) -> list[str]:
    return [sys.executable, "-m", name, *map(str, arguments)]


def _worker(name: str, queues: str, concurrency: int) -> list[str]:
    arguments = ("--queues", queues, "--concurrency", concurrency, "--hostname", f"{name}@%h", "--loglevel", "INFO")
    # One machine, known workers: they need not find one another.
    lone = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    return _module("celery", "-A", "workers.app", "worker", *arguments, *lone)


def child_environment(places: Places) -> dict[str, str]:
    """The environment of the service's programs: ours, and where the data folder is."""
    ours = {f"{PREFIX}DATA_DIR": str(places.root), METRICS_FOLDER: str(places.metrics), "PYTHONUNBUFFERED": "1"}
    return os.environ | ours


def source_root() -> Path:
    """The folder `streamcoop` and `workers` are imported from: a checkout need not be installed."""
    return Path(__file__).resolve().parents[2]


def is_configured(name: str) -> bool:
    """Whether our own environment sets this setting (named without its prefix)."""
    return f"{PREFIX}{name}" in os.environ


def configured() -> dict[str, str]:
    """The settings in our own environment, by their names without the prefix."""
    return {
        name.removeprefix(PREFIX): value
        for name, value in os.environ.items()
        if name.startswith(PREFIX) and name != f"{PREFIX}DATA_DIR"
    }


def service_env(settings: Mapping[str, str]) -> str:
    """The text of `service.env`: settings by their names without the prefix, quoted for dotenv."""

    def quoted(value: str) -> str:
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"

    return "".join(f"{PREFIX}{name}={quoted(value)}\n" for name, value in sorted(settings.items()))


def address_of(host: str, port: int) -> str:
    """Where somebody on this machine reaches a server that listens on `host`."""
    everywhere = {"0.0.0.0": ports.LOOPBACK, "::": "::1"}  # noqa: S104  # compared with, not bound
    reachable = everywhere.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def public_address_of(host: str, port: int) -> str:
    """The same as people are told it: by a name, since browsers make no passkey for a number."""
    return address_of(host, port).replace(f"//{ports.LOOPBACK}:", "//localhost:")
