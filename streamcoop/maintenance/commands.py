"""The commands of maintenance: backup, restore, read-only."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from streamcoop.adapters.objects import ObjectConflict, ObjectStoreUnavailable
from streamcoop.database import engine
from streamcoop.embedded.postgres import PostgresError
from streamcoop.embedded.process import FolderInUse
from streamcoop.maintenance import backup, manifest, pg_clients, readonly, restore
from streamcoop.settings import PREFIX, data_dir, settings
from streamcoop.transparency import recovering

REFUSALS = (
    backup.CannotBackUp,
    restore.CannotRestore,
    manifest.NotWhole,
    pg_clients.NoClient,
    pg_clients.ClientFailed,
    ObjectStoreUnavailable,
    ObjectConflict,
    PostgresError,
    FolderInUse,
    OSError,
)
"""What goes wrong here and carries a message for the person at the terminal."""

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("backup")
@click.argument("folder", type=_FOLDER)
@click.option("--bucket-too", is_flag=True, help="Copy the objects of an S3 bucket as well.")
def backup_command(folder: Path, bucket_too: bool) -> None:
    """Back up the running service into the new FOLDER.

    The database of one instant, the objects, and the secrets that read them: guard the folder as you guard those.
    Exit status 1 if the object store lacks what the database names.
    """
    try:
        taken = backup.back_up(folder, settings(), bucket_too=bucket_too)
    except REFUSALS as refusal:
        raise click.ClickException(str(refusal)) from refusal
    contents = taken.contents
    click.echo(f"{contents.coop_name} as of {contents.taken_at}: {contents.plays:,} plays in {taken.files:,} files.")
    if contents.objects_at:
        click.echo(
            f"The objects stay in {contents.objects_at}: its own versioning or replication is their backup"
            " (--bucket-too copies them)."
        )
    _tell_missing(contents.objects_missing)


@click.command("restore")
@click.argument("folder", type=_FOLDER)
@click.option("--log-from", type=_FOLDER, help="A folder of objects that survived: the log's are taken from it.")
@click.option("--no-later-head", is_flag=True, help="Nothing was published after this backup: do not look.")
def restore_command(folder: Path, log_from: Path | None, no_later_head: bool) -> None:
    """Restore the backup in FOLDER, and add up its books.

    Into an empty data folder, from which `streamcoop run` then starts; or, where STREAMCOOP_DATABASE_OWNER_URL is
    set, into that empty database and the object store of the settings. Exit status 1 if something is amiss. Where
    the published log goes on beyond the backup, the service only reads until `streamcoop log recover` has run.
    """
    try:
        if f"{PREFIX}DATABASE_OWNER_URL" in os.environ:
            if log_from is not None:
                raise click.UsageError("--log-from is for a data folder; here the object store of the settings is used")
            restored = restore.into_server(folder, settings(), is_newest=no_later_head)
        else:
            restored = restore.into_folder(folder, data_dir(), log_from=log_from, is_newest=no_later_head)
    except REFUSALS as refusal:
        raise click.ClickException(str(refusal)) from refusal
    contents, books = restored.contents, restored.books
    click.echo(f"{contents.coop_name} as of {contents.taken_at}: {books.plays:,} plays are back.")
    for finding in books.findings:
        click.echo(f"✗ {finding.check}: {finding.subject} is {finding.kept}, added up again {finding.added_up}")
    click.echo("The books balance." if books.balanced else "THE BOOKS DO NOT BALANCE.")
    if restored.is_held:
        click.echo(f"READ-ONLY: {recovering.BEHIND}. Start the service, then run it.")
    _tell_missing(restored.objects_missing)
    sys.exit(0 if books.balanced else 1)


def _tell_missing(keys: list[str]) -> None:
    if keys:
        click.echo(f"The object store lacks {len(keys)} of the objects the database names:", err=True)
        for key in keys:
            click.echo(f"  {key}", err=True)
        sys.exit(1)


@click.command("read-only")
@click.argument("what", type=click.Choice(["on", "off", "status"]))
def read_only_command(what: str) -> None:
    """Hold off writes (on), let them through again (off), or tell which it is (status).

    Meanwhile what only reads goes on, writes are answered 503, and the workers wait.
    """
    if what != "status":
        try:
            readonly.switch(settings().database_url.get_secret_value(), what == "on")
        except readonly.SessionsLeft as refusal:
            raise click.ClickException(str(refusal)) from refusal
    with engine().connect() as conn:
        click.echo("The service is read-only." if readonly.is_on(conn) else "The service reads and writes.")
