"""The `streamcoop` command."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import OperationalError

from ledger.errors import DomainError
from ledger.store import terms
from ledger.store.checking import Report, add_up_books
from ledger.verify.command import command_of as verify_command_of
from streamcoop import migrate as migrations
from streamcoop.accounts import service as accounts
from streamcoop.anchoring.reading import read_anchors, read_decisions, read_roll
from streamcoop.clock import now
from streamcoop.database import engine, transaction
from streamcoop.maintenance import readonly
from streamcoop.maintenance.commands import backup_command, read_only_command, restore_command
from streamcoop.membership.commands import keep_first_key, officers_command
from streamcoop.membership.contracts_command import contracts_command
from streamcoop.settings import PREFIX, UnknownSetting, data_dir, settings
from streamcoop.transparency.commands import log_command
from streamcoop.witness.commands import witness_command

OPERATOR_ROLES = ["listener", "operator", "treasurer"]
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


class CannotBegin(click.ClickException):
    """The command has no service to work on. Not status 1: that the books cannot be seen is no verdict on them."""

    exit_code = 2


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except UnknownSetting as wrong:
            raise CannotBegin(str(wrong)) from wrong
        except ValidationError as wrong:
            # Only names and reasons: what was set beside them may be secret.
            named = "; ".join(f"{PREFIX}{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in wrong.errors())
            raise CannotBegin(f"no service runs in {data_dir()}, and the settings are not whole: {named}") from None
        except OperationalError as wrong:
            raise CannotBegin("the database cannot be reached; is the service running?") from wrong


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="streamcoop")
def main() -> None:
    """A music streaming co-operative with a shared ledger.

    Commands find a running service by its data folder: STREAMCOOP_DATA_DIR, else one under your data home.
    """


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65_535), help="0 takes a free one.")
@click.option("--operator-email", default="operator@streamcoop.example", show_default=True, help="First start only.")
@click.option("--ask", is_flag=True, help="First start only: ask in a browser what the co-op begins with.")
def run(host: str, port: int, operator_email: str, ask: bool) -> None:
    """Run the whole service on this machine, with nothing to set up. Ctrl-C stops all of it."""
    from streamcoop.embedded import supervisor  # the other commands run where no embedded part is installed

    try:
        supervisor.run(data_dir(), host, port, operator_email=operator_email, ask=ask)
    except supervisor.REFUSALS as refusal:
        raise click.ClickException(str(refusal)) from refusal


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65_535))
@click.option("--grace", "grace_s", default=30, show_default=True, help="Seconds for what is under way at SIGTERM.")
@click.option("--trusted-proxies", default="127.0.0.1", show_default=True, help="Addresses believed whom they serve.")
def serve(host: str, port: int, grace_s: int, trusted_proxies: str) -> None:
    """Run one API process on parts that run elsewhere, behind a proxy."""
    from streamcoop.serving import serve as serve_api  # the other commands need no web server

    serve_api(host, port, grace_s, trusted_proxies)


@main.command()
def migrate() -> None:
    """Bring the database to this version's schema (needs STREAMCOOP_DATABASE_OWNER_URL)."""
    owner_url = settings().database_owner_url
    if owner_url is None:
        raise click.ClickException("STREAMCOOP_DATABASE_OWNER_URL is not set: migrations run as the owner")
    migrations.migrate(owner_url.get_secret_value())
    click.echo("The database has this version's schema.")


@main.command()
@click.option("--operator-email", help="The first operator's e-mail address, where she is not an officer.")
@click.option("--operator-password-file", type=_FILE)
@click.option(
    "--officer",
    "officers",
    type=(str, _FILE, _FILE),
    multiple=True,
    metavar="EMAIL KEY_FILE PASSWORD_FILE",
    help="An operator whose officer's key the service keeps. Give two: both approve whoever is admitted.",
)
def found(
    operator_email: str | None, operator_password_file: Path | None, officers: tuple[tuple[str, Path, Path], ...]
) -> None:
    """Found the co-op with the settings' values, and make its first operators. Safe to repeat."""
    if bool(operator_email) != bool(operator_password_file):
        raise click.UsageError("--operator-email and --operator-password-file go together")
    if not operator_email and not officers:
        raise click.UsageError("no operator: --operator-email or --officer")
    with engine().connect() as conn:
        if readonly.is_on(conn):
            click.echo(f"{terms.founding(conn).coop_name} was founded before, and is read-only now.")
            return
    with transaction() as session:
        founded = migrations.found(session, settings(), now())
    if operator_email and operator_password_file:
        _make_operator(operator_email, operator_password_file, "Operator")
    for number, (email, key_file, password_file) in enumerate(officers, 1):
        _make_operator(email, password_file, f"Officer {number}")
        keep_first_key(email, key_file)
    click.echo("The co-op is founded." if founded else "The co-op was founded before.")


def _make_operator(email: str, password_file: Path, name: str) -> None:
    password = password_file.read_text(encoding="utf-8").strip()
    try:
        with transaction() as session:
            accounts.open_account(session, email, password, name, OPERATOR_ROLES, now())
    except accounts.EmailTaken:
        pass  # founded before


@main.command("check-books")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check_books_command(as_json: bool) -> None:
    """Add up the books again from zero and compare. Exit status 1 if anything disagrees."""
    report = add_up_books(engine())
    if as_json:
        click.echo(json.dumps({**asdict(report), "balanced": report.balanced}, indent=2))
    else:
        _print_report(report)
    sys.exit(0 if report.balanced else 1)


def _print_report(report: Report) -> None:
    console = Console(highlight=False)
    wrong = {finding.check for finding in report.findings}
    for check in report.checks:
        console.print(f"  [red]✗ {check}[/red]" if check in wrong else f"  [green]✓[/green] {check}")
    if report.findings:
        table = Table("what", "where", "kept", "added up again", title="What disagrees")
        for finding in report.findings:
            table.add_row(finding.check, finding.subject, str(finding.kept), str(finding.added_up))
        console.print(table)
    verdict = "The books balance" if report.balanced else "THE BOOKS DO NOT BALANCE"
    console.print(f"{verdict}: {report.transfers:,} transfers, {report.plays:,} plays.")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print the picture as JSON.")
def status(as_json: bool) -> None:
    """How the service is doing. Exit status 0 if well, 1 if something needs attention, 2 if that cannot be told."""
    from streamcoop.operations import service as operations
    from streamcoop.operations import terminal

    configured, at = settings(), now()
    ready = terminal.is_ready(configured.public_address)
    picture, minute = operations.look(configured, at), operations.look_at_last_minute(configured, at)
    shown = terminal.screen(picture, ready, minute)
    if as_json:
        click.echo(json.dumps(terminal.as_json(shown, picture, minute), indent=2))
    else:
        terminal.show(shown, Console(highlight=False))
    sys.exit(shown.verdict)


@main.command()
@click.argument("email")
@click.argument("roles", nargs=-1, required=True, type=click.Choice(["listener", "artist", "treasurer", "operator"]))
def roles(email: str, roles: tuple[str, ...]) -> None:
    """Give the account EMAIL exactly these ROLES."""
    try:
        with transaction() as session:
            accounts.set_roles(session, accounts.user_by_email(session, email).id, list(roles))
    except DomainError as refusal:
        raise click.ClickException(str(refusal)) from refusal
    click.echo(f"{email}: {', '.join(sorted(roles))}")


@main.command()
@click.option("--address", help="A running service; without it a fresh one is started in a temporary folder.")
@click.option("--operator-email", help="Of the running service.")
@click.option(
    "--operator-password-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Likewise."
)
@click.option("--second-officer-email", help="Likewise: admissions take two.")
@click.option(
    "--second-officer-password-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Likewise."
)
@click.option(
    "--music",
    "music_dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder of audio to use; otherwise the demo composes short pieces of its own.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here.")
def demo(
    address: str | None,
    operator_email: str | None,
    operator_password_file: Path | None,
    second_officer_email: str | None,
    second_officer_password_file: Path | None,
    music_dir: Path | None,
    json_file: Path | None,
) -> None:
    """The main job, end to end, over real HTTP: upload, stream, record, settle, own, get paid, vote, verify."""
    from streamcoop.demo import run as run_demo

    officers = [
        (email, file.read_text(encoding="utf-8").strip())
        for email, file in (
            (operator_email, operator_password_file),
            (second_officer_email, second_officer_password_file),
        )
        if email and file
    ]
    if address and len(officers) < 2:
        raise click.UsageError("--address needs e-mail and password file of both --operator-… and --second-officer-…")
    console = Console(highlight=False)
    try:
        if address:
            registry = run_demo.registry_of(data_dir())
            outcome = run_demo.against(address, officers[0], officers[1], music_dir, console, registry)
        else:
            outcome = run_demo.fresh(music_dir, console)
    except run_demo.FAILURES as failure:
        raise click.ClickException(str(failure)) from failure
    if json_file:
        json_file.write_text(json.dumps(outcome.as_json(), indent=2) + "\n", encoding="utf-8")
    sys.exit(0 if outcome.books_balanced and outcome.log_verified and outcome.registry_agrees is not False else 1)


for command in (
    backup_command,
    restore_command,
    read_only_command,
    witness_command,
    log_command,
    officers_command,
    contracts_command,
):
    main.add_command(command)
main.add_command(verify_command_of(read_anchors, read_decisions, read_roll))


if __name__ == "__main__":
    main()
