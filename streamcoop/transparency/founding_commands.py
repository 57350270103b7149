"""`streamcoop log`: the founding note, and the one of a log that goes on from this one (docs/log-keys.md)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click

from ledger.founding import PATH, draft, pin
from ledger.note import NOTE_BYTES_MAX, VerifierKey
from ledger.store import terms
from ledger.witness import parse_witnesses
from streamcoop.adapters.objects import open_store, read_whole
from streamcoop.clock import now
from streamcoop.database import transaction
from streamcoop.embedded.private import sync_folder
from streamcoop.settings import Settings, settings
from streamcoop.transparency import continuing, files, founding, key_files, places
from streamcoop.transparency.founding import Trusted
from streamcoop.transparency.terminal import FILE, NEW_FILE, Key, read, refusals_told

QR_SCALE = 8


_NAMED = (
    click.option(
        "--officer", "officers", type=Key(), multiple=True, help="Who attests what the bank holds: two or more."
    ),
    click.option("--founder", "founders", type=Key(), multiple=True, help="Who signs the note; may be repeated."),
    click.option("--witness", "witnesses", type=Key(), multiple=True, help="Else those of STREAMCOOP_LOG_WITNESSES."),
    click.option("--witnesses-needed", type=click.IntRange(0), help="Else STREAMCOOP_LOG_WITNESSES_NEEDED."),
    click.option("-o", "--output", required=True, type=NEW_FILE, help="The file to be made."),
)


def _naming(command: Callable[..., None]) -> Callable[..., None]:
    """The options of whatever writes a founding note."""
    for option in reversed(_NAMED):
        command = option(command)
    return command


@click.command("founding")
@_naming
def founding_command(
    officers: tuple[VerifierKey, ...],
    founders: tuple[VerifierKey, ...],
    witnesses: tuple[VerifierKey, ...],
    witnesses_needed: int | None,
    output: Path,
) -> None:
    """Write the founding note, signed by the log's keys and by no founder yet."""
    configured = settings()
    trusted = _trusted(configured, founders, officers, witnesses, witnesses_needed)
    with refusals_told():
        chain = _chain_facts(configured)
        with transaction() as session:
            note = founding.write(session, configured, trusted, chain)
        _write_new(output, note)
    click.echo(f"{output} is to be signed by {len(founders)} founders: streamcoop log sign-founding {output}", err=True)


def _trusted(
    configured: Settings,
    founders: tuple[VerifierKey, ...],
    officers: tuple[VerifierKey, ...],
    witnesses: tuple[VerifierKey, ...],
    witnesses_needed: int | None,
) -> Trusted:
    if not witnesses:
        witnesses = tuple(key for one in parse_witnesses(configured.log_witnesses) for key in one.keys)
    needed = configured.log_witnesses_needed if witnesses_needed is None else witnesses_needed
    return Trusted(founders, officers, witnesses, needed)


def _write_new(file: Path, text: str) -> None:
    with file.open("x", encoding="utf-8") as opened:
        opened.write(text)


def _chain_facts(configured: Settings) -> list[tuple[str, str]]:
    from streamcoop.adapters.chain import ChainError  # the other commands need no chain
    from streamcoop.transparency.contracts import chain_facts

    try:
        facts, unanswered = chain_facts(configured)
    except (ChainError, ValueError) as refused:
        raise click.ClickException(str(refused)) from refused
    for name in unanswered:
        click.echo(f"The chain does not answer for {name}: its code's hash is left out.", err=True)
    return facts


@click.command("sign-founding")
@click.argument("file", type=FILE)
@click.option("--key-file", required=True, type=FILE, help="The founder's, as new-key made it.")
def sign_founding(file: Path, key_file: Path) -> None:
    """Add a founder's signature to the founding note in FILE. Read what is in it first."""
    with refusals_told():
        signed = founding.sign(read(file, NOTE_BYTES_MAX), key_files.read_key(key_file))
        scratch = file.with_name(f".{file.name}.new")
        with scratch.open("w", encoding="utf-8") as unfinished:
            unfinished.write(signed)
            unfinished.flush()
            os.fsync(unfinished.fileno())
        scratch.replace(file)
        sync_folder(file.parent)
        left = founding.missing(signed.encode())
    click.echo(f"Still to sign: {', '.join(left)}." if left else "All founders have signed.", err=True)


@click.command("publish-founding")
@click.argument("file", type=FILE)
def publish_founding(file: Path) -> None:
    """Publish the founding note in FILE beside the log's head, for good: it can never be changed."""
    with refusals_told(), transaction() as session:
        published = founding.publish(session, open_store(settings()), settings(), read(file, NOTE_BYTES_MAX))
    click.echo(f"The founding note of {published.origin} is published.")


@click.command("founding-qr")
@click.argument("file", required=False, type=FILE)
@click.option("-o", "--output", type=NEW_FILE, help="An SVG, PNG or PDF file to be made; else it is shown here.")
def founding_qr(file: Path | None, output: Path | None) -> None:
    """Make a QR code of what the published founding note, or the one in FILE, is known by, and of the log's address.

    `streamcoop verify --founding` takes what it says in place of the note.
    """
    import segno  # the other commands draw nothing

    with refusals_told():
        with transaction() as session:
            conn = session.connection()
            place, store = places.place_of(conn), places.here(conn, open_store(settings()))
        if file is None and founding.published(store) is None:
            raise click.ClickException("no founding note is published")
        data = read_whole(store, files.key_of(PATH), NOTE_BYTES_MAX) if file is None else read(file, NOTE_BYTES_MAX)
        note, _ = draft(data)
        text = f"{pin(note)} {files.address(settings().public_address, place)}"
        code = segno.make_qr(text, error="m")
        if output is not None:
            with output.open("xb") as made:
                code.save(made, kind=output.suffix.removeprefix(".") or "svg", scale=QR_SCALE)
        else:
            code.terminal(compact=True)
    click.echo(text)


# --- After a theft ---


@click.command("continue-as")
@click.argument("origin")
@click.option("--new-key-file", required=True, type=NEW_FILE, help="Made with the new secret, unless it is there.")
@click.option(
    "--head",
    "heads",
    type=FILE,
    multiple=True,
    help="The last good head as a witness has it; once for each. Else the one that is shown.",
)
@_naming
def continue_as(
    origin: str,
    new_key_file: Path,
    heads: tuple[Path, ...],
    officers: tuple[VerifierKey, ...],
    founders: tuple[VerifierKey, ...],
    witnesses: tuple[VerifierKey, ...],
    witnesses_needed: int | None,
    output: Path,
) -> None:
    """Write the founding note of a new log, ORIGIN, that goes on from where this one's key was stolen.

    Nothing is changed yet: once the founders have signed it, `streamcoop log continue` does it.
    """
    configured = settings()
    trusted = _trusted(configured, founders, officers, witnesses, witnesses_needed)
    with refusals_told():
        given = [read(file, NOTE_BYTES_MAX) for file in heads]
        chain = _chain_facts(configured)
        with transaction() as session:
            constitution = terms.founding(session.connection()).constitution.hash
            last = continuing.last_good_head(session, open_store(configured), configured, given)
        own = continuing.new_keys(origin, key_files.secret_once(new_key_file))
        _write_new(output, founding.written(own, trusted, constitution, chain, last.predecessor))
    needed = last.predecessor.founding.witnesses_needed
    click.echo(f"{last.predecessor.head.origin} ended at {last.predecessor.head.size:,} entries.", err=True)
    if not needed:
        click.echo("No witness was needed for that: nobody but you says that this is its last good head.", err=True)
    if last.left_out:
        click.echo(f"{last.left_out:,} later batches were published there: the new log tells them again.", err=True)
    click.echo(f"{output} is to be signed by {len(founders)} founders: streamcoop log sign-founding {output}", err=True)


@click.command("continue")
@click.argument("file", type=FILE)
@click.option("--new-key-file", required=True, type=FILE, help="The new log's secret, as continue-as made it.")
def continue_command(file: Path, new_key_file: Path) -> None:
    """Go on as the new log whose founding note FILE is, signed by all founders. Safe to repeat."""
    with refusals_told():
        secret = key_files.secret_once(new_key_file)
        opened = continuing.go_on(settings(), open_store(settings()), read(file, NOTE_BYTES_MAX), secret, now)
    click.echo(f"The log is {opened.origin} now.")
    for key in opened.keys:
        click.echo(str(key))
    click.echo(
        "Send these keys to the log's witnesses. Then set STREAMCOOP_LOG_KEY to what"
        f" {new_key_file} holds and start again.",
        err=True,
    )


FOUNDING_COMMANDS = (
    founding_command,
    sign_founding,
    publish_founding,
    founding_qr,
    continue_as,
    continue_command,
)
