"""Running the demo against a service: a running one, or a fresh one of its own."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import httpx
from rich.console import Console

from streamcoop.demo import audit, report, story
from streamcoop.demo.client import DemoFailed, Person
from streamcoop.embedded.crew import CrewError
from streamcoop.embedded.temporary import running_service

FAILURES = (DemoFailed, CrewError, httpx.HTTPError)
"""What a demo raises, each with a message for the person who started it."""


def against(address: str, email: str, password: str, music_dir: Path | None, console: Console) -> report.Outcome:
    """Tell the story to a running service and print what it came to."""
    operator = Person(address, "Operator", email, password).sign_in()
    with tempfile.TemporaryDirectory(prefix="streamcoop-demo-") as folder:
        say = partial(console.print, soft_wrap=True)
        cast = story.tell(operator, address, music_dir, Path(folder), say)
        audited = audit.audit(cast, Path(folder) / "receipts", say)
        outcome = report.gather(cast, audited)
        report.show(console, cast, outcome)
        report.show_audit(console, audited)
    return outcome


def fresh(music_dir: Path | None, console: Console) -> report.Outcome:
    """The same against a service started for it in a temporary folder, and stopped afterwards."""
    say = partial(console.print, soft_wrap=True)
    say("Starting a fresh service in a temporary folder.")
    with running_service(story.DEMO_SETTINGS) as service:
        say(f"It runs at {service.address}; its API can be tried at {service.address}/docs meanwhile.")
        return against(service.address, service.operator_email, service.operator_password, music_dir, console)
