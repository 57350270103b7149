"""Running the demo against a service: a running one, or a fresh one of its own."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import httpx
from dotenv import dotenv_values
from rich.console import Console

from streamcoop.demo import audit, report, story
from streamcoop.demo.client import DemoFailed, Person
from streamcoop.demo.registry import Registry
from streamcoop.embedded.crew import CrewError
from streamcoop.embedded.temporary import running_service
from streamcoop.settings import PREFIX, SERVICE_ENV

FAILURES = (DemoFailed, CrewError, httpx.HTTPError)
"""What a demo raises, each with a message for the person who started it."""


def against(
    address: str,
    operator: tuple[str, str],
    second_officer: tuple[str, str],
    music_dir: Path | None,
    console: Console,
    registry: Registry | None = None,
) -> report.Outcome:
    """Tell the story to a running service and print what it came to.

    Of both officers e-mail address and password; the first is operator and treasurer. With `registry` the chain is
    asked whether it agrees.
    """
    officers = (
        Person(address, "Operator", *operator).sign_in(),
        Person(address, "Second officer", *second_officer).sign_in(),
    )
    with tempfile.TemporaryDirectory(prefix="streamcoop-demo-") as folder:
        say = partial(console.print, soft_wrap=True)
        cast = story.tell(officers, address, music_dir, Path(folder), say)
        audited = audit.audit(cast, Path(folder) / "receipts", say)
        outcome = report.gather(cast, audited, registry)
        report.show(console, cast, outcome)
        report.show_audit(console, audited)
    return outcome


def fresh(music_dir: Path | None, console: Console) -> report.Outcome:
    """The same against a service started for it in a temporary folder, and stopped afterwards."""
    say = partial(console.print, soft_wrap=True)
    say("Starting a fresh service in a temporary folder.")
    with running_service(story.DEMO_SETTINGS) as service:
        say(f"It runs at {service.address}; its API can be tried at {service.address}/docs meanwhile.")
        return against(
            service.address,
            (service.operator_email, service.operator_password),
            (service.second_officer_email, service.second_officer_password),
            music_dir,
            console,
            registry_of(service.data_dir),
        )


def registry_of(data_dir: Path) -> Registry | None:
    """The registry of the service that runs in a data folder, if one does."""
    told = dotenv_values(data_dir / SERVICE_ENV)
    rpc_url, address = told.get(f"{PREFIX}CHAIN_RPC_URL"), told.get(f"{PREFIX}RATE_REGISTRY")
    return Registry(rpc_url, address) if rpc_url and address else None
