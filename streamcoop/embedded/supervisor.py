"""`streamcoop run`: the whole service from one folder, with nothing to set up.

Every part that no setting names is started here: PostgreSQL, the test chain, the workers, the API. What
they are reached at is written to `<data_dir>/service.env`, where every other command finds it. The
parts are what production uses or speak as it does; nothing beyond this package knows who started them.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console

from streamcoop.embedded import databases, plan, ports, postgres, process
from streamcoop.embedded.crew import Crew, CrewError, Part, StopAsked, command_launcher
from streamcoop.embedded.plan import Commands, Places, Setup
from streamcoop.embedded.private import write_private
from streamcoop.embedded.process import Child, StopSteps
from streamcoop.settings import SERVICE_ENV

DEFAULT_HOST = ports.LOOPBACK
DEFAULT_PORT = 8000
DEFAULT_OPERATOR_EMAIL = "operator@streamcoop.example"

# The guardian of a killed supervisor keeps the folder until it has swept up.
LOCK_S_MAX = process.GUARDIAN_EXIT_S_MAX
CHAIN_READY_S_MAX = 60.0
API_READY_S_MAX = 90.0
PROBE_S_MAX = 2.0
MIGRATE_S_MAX = 600.0
FOUND_S_MAX = 120.0
# Founders may sleep on it.
ASSISTANT_S_MAX = 7 * 24 * 3600.0
ASSISTANT_KEY_BYTES = 16

# Celery: SIGTERM lets tasks end, SIGQUIT abandons them; they are taken up again at the next start.
WORKER_STOP: StopSteps = ((signal.SIGTERM, 10.0), (signal.SIGQUIT, 3.0), *process.KILL_STEPS)
API_STOP: StopSteps = ((signal.SIGTERM, plan.API_GRACE_S + 3.0), *process.KILL_STEPS)
CHILD_STOP: StopSteps = ((signal.SIGTERM, 5.0), *process.KILL_STEPS)

Say = Callable[[str], None]


class CannotListen(Exception):
    """The address that the service was asked to use is not ours, or another program listens there."""


REFUSALS = (CrewError, postgres.PostgresError, process.FolderInUse, CannotListen)
"""What `run` raises, each with a message meant for the person who started it."""


def run(
    data_dir: Path,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    *,
    operator_email: str = DEFAULT_OPERATOR_EMAIL,
    ask: bool = False,
    commands_for: Callable[[Setup], Commands] = plan.service_commands,
    say: Say | None = None,
) -> None:
    """Run the service until SIGINT, SIGTERM or SIGHUP, then stop all of it. `port` 0 takes a free one.

    For the main thread. `operator_email` counts at the first start only; with `ask` the founders say in a browser what
    their co-op begins with, before anything starts. A part whose address is in the environment
    (STREAMCOOP_DATABASE_URL with STREAMCOOP_BROKER_URL; STREAMCOOP_CHAIN_RPC_URL) is used and not started.
    Raises one of `REFUSALS`.
    """
    root = plan.make_root(data_dir)
    with process.lock(root / "supervisor.lock", LOCK_S_MAX) as held, _stop_signals() as stop_asked:
        running = Places(root).running
        running.unlink(missing_ok=True)
        guardian = process.Guardian([held])
        crew = Crew(guardian, stop_asked, say or _console_say)
        try:
            _check_address(host, port)
            if ask:
                port = port or ports.any_free(host)
                _ask_founders(crew, root, host, port, operator_email)
            plan.take_choices(root)
            setup = plan.make_setup(root, host, port, operator_email)
            _start_all(crew, setup, commands_for(setup))
            _announce(setup, crew.say)
            while True:
                crew.watch()
                crew.pause()
        except StopAsked:
            crew.say("Stopping.")
        finally:
            running.unlink(missing_ok=True)
            crew.stop()
            guardian.close()


def _check_address(host: str, port: int) -> None:
    try:
        ports.try_listening(host, port)
    except OSError as error:
        raise CannotListen(f"cannot listen on {host}:{port}: {error.strerror}; choose another port or host") from None


def _ask_founders(crew: Crew, root: Path, host: str, port: int, operator_email: str) -> None:
    """Wait until the founding assistant has been answered. Raises `StopAsked` or `CrewError`."""
    if plan.is_founded(root):
        crew.say("This folder's co-op is founded already, so there is nothing to ask.")
        return
    places, key = plan.make_folders(root), secrets.token_urlsafe(ASSISTANT_KEY_BYTES)
    environment = plan.child_environment(places) | {plan.FOUNDING_KEY: key}
    command = plan.assistant_command(root, host, port, operator_email)
    launch = command_launcher(command, places.log("assistant"), environment, plan.source_root())
    is_told = False

    def tell() -> None:
        nonlocal is_told
        if not is_told and not ports.is_free(host, port):
            is_told = True
            crew.say("\nTo found your co-op, open this address in a browser:\n")
            crew.say(f"  {plan.public_address_of(host, port)}/?key={key}\n")
            crew.say("Nothing starts before you are done there. Ctrl-C gives it up.\n")

    crew.run_once("assistant", launch, places.log("assistant"), ASSISTANT_S_MAX, tell)


def _start_all(crew: Crew, setup: Setup, commands: Commands) -> None:
    """Start everything in order; at the end the API is ready. Raises `StopAsked` or one of `REFUSALS`."""
    places = setup.places
    environment = plan.child_environment(places)

    def launcher(name: str, command: Sequence[str], output: Path | None = None) -> Callable[[], Child]:
        return command_launcher(command, places.log(name), environment, plan.source_root(), output)

    settings = {
        "OBJECTS_URL": places.objects.as_uri(),
        "PUBLIC_ADDRESS": setup.public_address,
        "SECRET_KEY": setup.credentials.secret_key,
        "LOG_KEY": setup.credentials.log_key,
        "WITNESS_KEY": setup.credentials.witness_key,
        "REGISTRAR_KEY": setup.credentials.registrar_key,
        "LOG_ORIGIN": setup.log_origin,
    }
    if not (plan.is_configured("DATABASE_URL") and plan.is_configured("BROKER_URL")):
        crew.say("Starting PostgreSQL.")
        settings |= _start_postgres(crew, places)
    if not plan.is_configured("CHAIN_RPC_URL"):
        crew.say("Starting the test chain.")
        answers = places.chain / "ready.json"
        settings |= _start_chain(crew, places, launcher("chain", commands.chain, answers), answers)
    # What the environment sets wins, and is written down too: for the other commands.
    write_private(places.root / SERVICE_ENV, plan.service_env(settings | plan.configured()))

    crew.say("Preparing the database.")
    crew.run_once("migrate", launcher("migrate", commands.migrate), places.log("migrate"), MIGRATE_S_MAX)
    crew.run_once("found", launcher("found", commands.found), places.log("found"), FOUND_S_MAX)
    crew.say("Starting the workers and the API.")
    for number, (name, command) in enumerate(commands.workers.items()):
        launch = launcher(name, command)
        crew.start(Part(name, launch, places.log(name), WORKER_STOP, stops_with_previous=number > 0))
    crew.start(Part("beat", launcher("beat", commands.beat), places.log("beat"), CHILD_STOP))
    crew.start(
        Part(
            "api",
            launcher("api", commands.api),
            places.log("api"),
            API_STOP,
            ready=lambda: answers_ready(setup.address),
            ready_s_max=API_READY_S_MAX,
        )
    )


def _start_postgres(crew: Crew, places: Places) -> dict[str, str]:
    """Start the server, make its databases, and return the settings that lead to them."""
    cluster = postgres.open_cluster(places.postgres)
    log = places.log("postgres")
    crew.start(
        Part(
            "postgres",
            lambda: postgres.launch(cluster, log),
            log,
            postgres.STOP_STEPS,
            ready=cluster.is_ready,
            ready_s_max=postgres.READY_S_MAX,
            # Killed by the guardian it would have to recover at the next start; it ends well by itself.
            guarded=False,
            stopped=cluster.release,
        )
    )
    urls = databases.bootstrap(cluster)
    return {"DATABASE_URL": urls.app_url, "DATABASE_OWNER_URL": urls.owner_url, "BROKER_URL": urls.broker_url}


def _start_chain(crew: Crew, places: Places, launch: Callable[[], Child], answers: Path) -> dict[str, str]:
    """Start the test chain and return the settings that lead to it."""
    crew.start(
        Part(
            "chain",
            launch,
            places.log("chain"),
            CHILD_STOP,
            ready=lambda: bool(chain_settings(answers)),
            ready_s_max=CHAIN_READY_S_MAX,
        )
    )
    return chain_settings(answers)


def chain_settings(answers: Path) -> dict[str, str]:
    """The settings that the chain's one line of JSON stands for; empty as long as there is no whole line."""
    text = answers.read_text(encoding="utf-8") if answers.exists() else ""
    line, newline, _ = text.partition("\n")
    if not newline:
        return {}
    answer = json.loads(line)
    return {
        "CHAIN_RPC_URL": str(answer["rpc_url"]),
        "CHAIN_ID": str(answer["chain_id"]),
        "MEMBERSHIP_CONTRACT": str(answer["membership_contract"]),
        "ANCHOR_CONTRACT": str(answer["anchor_contract"]),
        "RATE_REGISTRY": str(answer["rate_registry"]),
    }


def answers_ready(address: str) -> bool:
    """Whether the API says that it can serve."""
    # A proxy that the environment names is not for this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{address}/readyz", timeout=PROBE_S_MAX) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _announce(setup: Setup, say: Say) -> None:
    """Tell the person and, by `running.json`, other programs that the service is up."""
    places, credentials = setup.places, setup.credentials
    service = {
        "address": setup.address,
        "operator_email": credentials.operator_email,
        "operator_password_file": str(places.operator_password),
        "second_officer_email": credentials.second_officer_email,
        "second_officer_password_file": str(places.second_officer_password),
        "process": str(os.getpid()),
    }
    write_private(places.running, json.dumps(service) + "\n")
    say("\nStreamCoop is running.\n")
    say(f"  Service      {setup.public_address}")
    say(f"  API to try   {setup.public_address}/docs")
    first = ("Operator", credentials.operator_email, credentials.operator_password, places.operator_password)
    second = (credentials.second_officer_email, credentials.second_officer_password, places.second_officer_password)
    for title, email, password, file in (first, ("2nd officer", *second)):
        say(f"  {title:<12} {email}")
        if credentials.is_first_start:
            say(f"  Password     {password}")
            say(f"               (shown this once; it stays in {file})")
        else:
            say(f"  Password     in {file}")
    say(f"  Data folder  {places.root}")
    say("  To stop      press Ctrl-C\n")


def _console_say(line: str) -> None:
    Console(highlight=False, markup=False, soft_wrap=True).print(line)


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """Within, SIGINT, SIGTERM and SIGHUP only make the yielded function true."""
    asked = False

    def note(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    numbers = [signal.SIGINT, signal.SIGTERM]
    # Under nohup the service is to outlive its terminal.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service from the command line. Returns 0 after an orderly stop, 1 if it could not be kept up."""
    parser = argparse.ArgumentParser(prog="python -m streamcoop.embedded.supervisor", description="Run the service.")
    parser.add_argument("--data", type=Path, required=True, help="folder that everything is kept in")
    parser.add_argument("--host", default=DEFAULT_HOST)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one")
    parser.add_argument("--operator-email", default=DEFAULT_OPERATOR_EMAIL)
    parser.add_argument("--ask", action="store_true", help="ask in a browser what the co-op begins with")
    given = parser.parse_args(arguments)
    try:
        run(given.data, given.host, given.port, operator_email=given.operator_email, ask=given.ask)
    except REFUSALS as refusal:
        print(f"StreamCoop cannot run: {refusal}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
