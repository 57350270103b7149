"""`streamcoop log`: keys, state, attestations; the founding note's are in `founding_commands` (docs/log-keys.md)."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

import click

from streamcoop.adapters.objects import open_store
from streamcoop.clock import now
from streamcoop.database import engine, transaction
from streamcoop.founded import founded
from streamcoop.settings import Settings, settings
from streamcoop.transparency import (
    attesting,
    founding,
    key_files,
    naming,
    places,
    recovering,
    rotating,
)
from streamcoop.transparency.founding_commands import FOUNDING_COMMANDS
from streamcoop.transparency.keys import keyring, signing_keys
from streamcoop.transparency.publishing import Writer
from streamcoop.transparency.sealing import secret_of
from streamcoop.transparency.status import Status
from streamcoop.transparency.status import status as status_of
from streamcoop.transparency.terminal import FILE, NEW_FILE, refusals_told

_AMOUNT = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,6}))?")


class _Amount(click.ParamType[int]):
    """Money in whole units with up to six decimals, exact, in micro-units."""

    name = "amount"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        told = _AMOUNT.fullmatch(str(value))
        if told is None:
            self.fail("an amount is written as 1234.56", param, ctx)
        sign, whole, rest = told.groups()
        amount_micro = int(whole) * 1_000_000 + int((rest or "").ljust(6, "0"))
        return -amount_micro if sign else amount_micro


def _written(amount_micro: int) -> str:
    whole, rest = divmod(abs(amount_micro), 1_000_000)
    return f"{'-' if amount_micro < 0 else ''}{whole}.{f'{rest:06}'.rstrip('0').ljust(2, '0')}"


@click.group("log")
def log_command() -> None:
    """The shared log: its keys, its state, its founding note, attestations (docs/log-keys.md)."""


# --- Keys and state ---


@log_command.command("keys")
def keys() -> None:
    """The log's verifier keys, one a line: what members and witnesses pin. They sign its newest head."""
    with refusals_told(), transaction() as session:
        ring = keyring(session, signing_keys(settings(), naming.origin(session, settings())))
    if not ring.current:
        raise click.ClickException("STREAMCOOP_LOG_KEY is not set: this service signs no log")
    for key in ring.current:
        click.echo(str(key))
    for rotation in ring.rotations:
        if not rotation.is_published:
            click.echo(f"From batch {rotation.batch} on:", err=True)
            for text in rotation.keys:
                click.echo(text, err=True)


@log_command.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status(as_json: bool) -> None:
    """How far the log is published, and whether it goes on. Exit status 1 if it does not until something is done."""
    with refusals_told(), transaction() as session:
        found = status_of(session, _reader(settings()))
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2, default=lambda at: at.isoformat()))
    else:
        _print_status(found)
    sys.exit(1 if found.stopped else 0)


def _print_status(found: Status) -> None:
    click.echo(f"{found.origin}: {found.size:,} entries")
    if found.published_at is None:
        click.echo("  nothing is published yet")
    else:
        click.echo(f"  batch {found.batch} was published {found.published_at:%F %T} UTC")
    since = f", the first since {found.waiting_since:%F %T} UTC" if found.waiting_since else ""
    click.echo(f"  {found.waiting:,} batches wait to be published{since}")
    if found.stopped:
        click.echo(f"  STOPPED: {found.stopped}")


def _reader(configured: Settings) -> Writer:
    """What the log is looked at with; it publishes nothing."""
    with transaction() as session:
        origin = naming.origin(session, configured)
        ring = keyring(session, signing_keys(configured, origin))
        first_origin, store = (
            naming.first_origin(session, configured),
            places.here(session.connection(), open_store(configured)),
        )
    return Writer(
        transaction=transaction,
        engine=engine(),
        store=store,
        keys=ring,
        origin=origin,
        founding=founded(),
        clock=now,
        secret=secret_of(configured),
        cosign=lambda _note, _head: "",
        first_origin=first_origin,
    )


@log_command.command("recover")
def recover_command() -> None:
    """Bring a database that was restored from an older backup to where the published log is. Safe to repeat.

    The service only reads meanwhile, and until this has succeeded.
    """
    with refusals_told():
        recovered = recovering.recover(settings(), open_store(settings()), now)
    click.echo(
        f"{recovered.put_back:,} batches are put back, and {recovered.published:,} found as they were published."
    )
    if recovered.head is not None:
        click.echo(f"The log goes on from {recovered.head.size:,} entries.")
    click.echo("The books balance. The service reads and writes.")


@log_command.command("rotate-keys")
@click.option("--new-key-file", required=True, type=NEW_FILE, help="Made with the new secret, unless it is there.")
def rotate_keys(new_key_file: Path) -> None:
    """Hand over from the log's keys to new ones, told in the open batch. Safe to repeat with the same file."""
    with refusals_told():
        secret = key_files.secret_once(new_key_file)
        with transaction() as session:
            rotated = rotating.rotate(session, open_store(settings()), settings(), secret)
    for key in rotated.keys:
        click.echo(str(key))
    if rotated.is_published:
        click.echo(f"These are the log's keys since batch {rotated.batch}.", err=True)
        return
    click.echo(
        f"These keys sign from batch {rotated.batch} on. Send them to the log's witnesses now. Once `streamcoop log"
        f" status` says that the batch waits, set STREAMCOOP_LOG_KEY to what {new_key_file} holds and start again.",
        err=True,
    )


@log_command.command("new-key")
@click.argument("name")
@click.option("-o", "--output", required=True, type=NEW_FILE, help="The file to be made; nobody else may read it.")
def new_key(name: str, output: Path) -> None:
    """Make a founder's or an officer's key under NAME, as `lestari@coop.example`; prints its verifier key."""
    with refusals_told():
        click.echo(str(key_files.new_key(name, output)))


# --- Attestations ---


@log_command.command("attest")
@click.argument("epoch")
@click.argument("amount", type=_Amount())
@click.option("--key-file", required=True, type=FILE, help="The officer's, as new-key made it.")
@click.option("--although-it-differs", is_flag=True, help="Say another sum than the books: every audit will show it.")
def attest(epoch: str, amount: int, key_file: Path, although_it_differs: bool) -> None:
    """As an officer, say that the bank held AMOUNT (as 1234.56) when EPOCH (as 2026-11) was sealed.

    The first officer's word waits for a second's, who says the same with a key of their own; then the log tells both.
    """
    with refusals_told():
        officer = key_files.read_key(key_file)
        with transaction() as session:
            store = places.here(session.connection(), open_store(settings()))
        note = founding.published(store)
        if note is None:
            raise click.ClickException("no founding note is published: nobody knows yet who the officers are")
        with transaction() as session:
            said = attesting.attest(
                session,
                settings(),
                founded(),
                note.officers,
                (epoch, amount),
                officer,
                may_differ=although_it_differs,
            )
    told = f"{_written(said.bank_micro)} {founded().currency} at the end of {epoch}"
    if said.batch is None:
        click.echo(f"{officer.name} says {told}: another officer is to say the same.")
    else:
        click.echo(f"{told} is attested: batch {said.batch} of the log tells it.")


@log_command.command("withdraw-attestation")
@click.argument("epoch")
def withdraw_attestation(epoch: str) -> None:
    """Forget what one officer alone has said of EPOCH. What two have said stays."""
    with refusals_told(), transaction() as session:
        attesting.withdraw(session, founded(), epoch)
    click.echo("It is withdrawn.")


for command in FOUNDING_COMMANDS:
    log_command.add_command(command)
