"""`streamcoop officers`: who approves admissions, and with which key."""

from __future__ import annotations

from pathlib import Path

import click
from eth_keys.datatypes import PrivateKey
from eth_utils.address import is_checksum_address
from eth_utils.exceptions import ValidationError

from ledger.errors import DomainError
from streamcoop.accounts import service as accounts
from streamcoop.clock import now
from streamcoop.database import transaction
from streamcoop.membership import keys, officers, register
from streamcoop.settings import settings

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group("officers")
def officers_command() -> None:
    """Who approves admissions: operators whom the membership contract has as officers.

    The contract itself is changed by the officers, in public and after a delay; these commands tell the service by
    which address or key an operator signs.
    """


@officers_command.command("list")
def list_officers() -> None:
    """Every officer here, and whether the contract has her as one."""
    with transaction() as session:
        found = officers.officers(session)
        people = {each.user_id: accounts.user(session, each.user_id).email for each in found}
    try:
        with register.asked() as contract:
            known = set(contract.officers())
        reason = ""
    except DomainError as silence:
        known, reason = None, type(silence).__doc__ or ""
    for each in found:
        told = "cannot tell" if known is None else "yes" if each.address in known else "NO"
        signs = "by a wallet of her own" if each.kept_key is None else "here, by a kept key"
        click.echo(f"{people[each.user_id]}: {each.address}, signs {signs}; in the contract: {told}")
    if known is None:
        click.echo(reason)
    elif strangers := known - {each.address for each in found}:
        click.echo(f"Officers in the contract whom nobody here is: {', '.join(sorted(strangers))}")


@officers_command.command("keep")
@click.argument("email")
@click.argument("key_file", type=_FILE)
def keep_officer(email: str, key_file: Path) -> None:
    """Have the service sign for the officer EMAIL with the key in KEY_FILE (hexadecimal)."""
    try:
        with transaction() as session:
            user = accounts.user_by_email(session, email)
            kept = officers.keep(session, user.id, read_key(key_file), settings(), now())
            click.echo(f"{email} approves as {kept.address}, by a key the service keeps.")
    except DomainError as refusal:
        raise click.ClickException(str(refusal)) from refusal


@officers_command.command("wallet")
@click.argument("email")
@click.argument("address")
def bring_wallet(email: str, address: str) -> None:
    """Have the officer EMAIL sign with her own wallet at ADDRESS from now on. A key kept for her is destroyed."""
    if not is_checksum_address(address):
        raise click.ClickException("not an address with a valid checksum (EIP-55)")
    try:
        with transaction() as session:
            user = accounts.user_by_email(session, email)
            officers.bring_wallet(session, user.id, address, now())
    except DomainError as refusal:
        raise click.ClickException(str(refusal)) from refusal
    click.echo(f"{email} approves as {address}, by her own wallet.")


@officers_command.command("remove")
@click.argument("email")
def remove_officer(email: str) -> None:
    """Take the operator EMAIL for no officer any more. The contract has her as one until two officers change that."""
    try:
        with transaction() as session:
            officers.remove(session, accounts.user_by_email(session, email).id)
    except DomainError as refusal:
        raise click.ClickException(str(refusal)) from refusal
    click.echo(f"{email} is no officer here.")


def keep_first_key(email: str, key_file: Path) -> None:
    """At the founding: keep this key for an officer, unless she has been given another way to sign since."""
    key = read_key(key_file)
    with transaction() as session:
        user = accounts.user_by_email(session, email)
        if officers.is_officer(session, user.id):
            return
        officers.keep(session, user.id, key, settings(), now())


def read_key(key_file: Path) -> PrivateKey:
    """The private key in a file, 32 bytes in hexadecimal. Raises ClickException, which tells nothing of the key."""
    told = key_file.read_text(encoding="utf-8").strip().removeprefix("0x")
    try:
        key = PrivateKey(bytes.fromhex(told))
        keys.address_of(key)
    except (ValueError, ValidationError):
        raise click.ClickException(f"{key_file} holds no private key of 32 bytes in hexadecimal") from None
    return key
