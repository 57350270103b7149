"""`streamcoop witness`: which logs are witnessed, and by which keys this service is known."""

from __future__ import annotations

import click

from ledger.errors import DomainError
from streamcoop.clock import now
from streamcoop.database import transaction
from streamcoop.settings import settings
from streamcoop.witness import service


@click.group("witness")
def witness_command() -> None:
    """Witness other co-ops' logs (docs/witnessing.md)."""


@witness_command.command("add")
@click.argument("vkey")
def add(vkey: str) -> None:
    """Cosign the log whose verifier key VKEY is. A further key of a log that is witnessed already is added to it."""
    try:
        with transaction() as session:
            key = service.add_log(session, vkey, now())
    except DomainError as refusal:
        raise click.ClickException(str(refusal)) from refusal
    click.echo(f"{key.name} is witnessed.")


@witness_command.command("list")
def list_logs() -> None:
    """The logs that are witnessed, and what is held against them. Exit status 1 if one of them has forked."""
    with transaction() as session:
        logs, kept = service.logs(session), service.evidence(session)
    for log in logs:
        seen = f"{log.size:,} entries, cosigned {log.cosigned_at:%F %T} UTC" if log.cosigned_at else "nothing cosigned"
        click.echo(f"{log.origin}: {seen}")
        of_log = [one for one in kept if one.origin == log.origin]
        forks = sum(one.shows_a_fork for one in of_log)
        if forks:
            click.echo(f"  IT HAS FORKED: {forks} times, see `streamcoop witness evidence {log.origin}`")
        if len(of_log) > forks:
            click.echo(f"  {len(of_log) - forks} heads that were not seen to continue it")
    if any(one.shows_a_fork for one in kept):
        raise SystemExit(1)


@witness_command.command("evidence")
@click.argument("origin")
@click.option("--all", "doubtful_too", is_flag=True, help="Also heads that show nothing by themselves.")
def evidence(origin: str, doubtful_too: bool) -> None:
    """What shows that the log ORIGIN has forked: two heads it signed, for anybody to check."""
    with transaction() as session:
        kept = [one for one in service.evidence(session, origin) if one.shows_a_fork or doubtful_too]
    if not kept:
        raise click.ClickException(f"nothing is held against {origin}")
    click.echo("\n".join(one.text for one in kept), nl=False)


@witness_command.command("keys")
def keys() -> None:
    """This service's verifier keys as a witness, each with where it is asked: lines for STREAMCOOP_LOG_WITNESSES."""
    own = service.own_keys(settings())
    if not own:
        raise click.ClickException("STREAMCOOP_WITNESS_KEY is not set: this service is no witness")
    for key in own:
        click.echo(f"{key.verifier} {settings().public_address.rstrip('/')}/witness")
