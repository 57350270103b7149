"""Restoring a backup: into an empty data folder, or into an empty database of a PostgreSQL that runs already."""

from __future__ import annotations

import mimetypes
import os
import shutil
import tempfile
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import psycopg
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import create_engine, text

from ledger.store.checking import Report, add_up_books
from streamcoop import migrate
from streamcoop.adapters.objects import FolderStore, ObjectStore, open_store
from streamcoop.catalogue import storage
from streamcoop.database import with_driver
from streamcoop.embedded import databases, plan, postgres
from streamcoop.embedded.private import PRIVATE_FOLDER_MODE, sync_folder, write_private
from streamcoop.maintenance import manifest, pg_clients, readonly
from streamcoop.maintenance.manifest import CHAIN, DUMP, OBJECTS, SECRETS, Contents
from streamcoop.settings import Settings
from streamcoop.transparency import files, keeping, recovering

MISSING_LISTED_MAX = 100
CONTENT_TYPE_UNKNOWN = "application/octet-stream"


class CannotRestore(Exception):
    """The backup cannot be restored there."""


@dataclass(frozen=True)
class Restored:
    """What was restored, what adding up its books gave, and which objects its rows name in vain.

    `is_held`: the log goes on beyond it, so it is read-only until it has been recovered.
    """

    contents: Contents
    books: Report
    objects_missing: list[str]
    is_held: bool


def into_folder(backup: Path, root: Path, *, log_from: Path | None = None, is_newest: bool = False) -> Restored:
    """Restore into the data folder `root`, which must be empty or not there: `streamcoop run` then starts from it.

    `log_from` is a folder of objects that survived, from which the log's are taken. What is restored is held if there
    are later heads among them, unless whoever restores `is_newest`.

    The folder is there whole or not at all. Raises CannotRestore, manifest.NotWhole, and errors of `pg_clients` and
    `postgres`.
    """
    root = root.absolute()
    if root.exists() and any(root.iterdir()):
        raise CannotRestore(f"{root} is not empty: nothing is restored over a service's data")
    contents = manifest.verified(backup).contents
    _require_known(contents)
    root.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{root.name}.", suffix=".unfinished", dir=root.parent))
    try:
        # Root's PostgreSQL runs as an account that has to pass through.
        unfinished.chmod(plan.ROOT_FOLDER_MODE if os.geteuid() == 0 else PRIVATE_FOLDER_MODE)
        places = plan.Places(unfinished)
        for folder in (places.secrets, places.logs, places.chain, places.objects):
            folder.mkdir(mode=PRIVATE_FOLDER_MODE)
        for secret in (backup / SECRETS).iterdir():
            write_private(places.secrets / secret.name, secret.read_text(encoding="utf-8"))
        for taken, place in ((OBJECTS, places.objects), (CHAIN, places.chain)):
            if (backup / taken).is_dir():
                shutil.copytree(backup / taken, place, dirs_exist_ok=True)
                place.chmod(PRIVATE_FOLDER_MODE)
        if log_from is not None:
            _take_log(log_from, places.objects)
        server = postgres.start(places.postgres, places.log("postgres"))
        try:
            urls = databases.bootstrap(server.cluster)
            books = _load(urls.owner_url, backup, contents)
            is_held = not is_newest and _held(urls.owner_url, urls.app_url, FolderStore(places.objects))
        finally:
            server.stop()
        # What a crash would take from a folder that has its name already would be missed much later.
        os.sync()
        _put_in_place(unfinished, root)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return Restored(contents, books, contents.objects_missing, is_held)


def _take_log(survived: Path, objects: Path) -> None:
    for name in files.FOLDERS:
        if (survived / name).is_dir():
            shutil.copytree(survived / name, objects / name, dirs_exist_ok=True)


def _put_in_place(unfinished: Path, root: Path) -> None:
    try:
        unfinished.rename(root)
    except OSError as error:
        raise CannotRestore(f"{root} cannot be replaced by what was restored: {error.strerror}") from error
    sync_folder(root.parent)


def _held(owner_url: str, app_url: str, store: ObjectStore) -> bool:
    """Have the service only read if the log goes on beyond this database; so too where that cannot be found out."""
    readonly.switch(app_url, on=True)
    engine = create_engine(with_driver(owner_url))
    try:
        with engine.connect() as conn:
            is_held = recovering.may_lack(conn, store)
    finally:
        engine.dispose()
    if not is_held:
        readonly.switch(app_url, on=False)
    return is_held


def into_server(backup: Path, settings: Settings, *, is_newest: bool = False) -> Restored:
    """Restore into the empty database and the object store that the settings name; held as `into_folder` says.

    The database is loaded in one transaction, last, so an interrupted restore can be begun again. Raises as
    `into_folder` does, and ObjectStoreUnavailable.
    """
    if settings.database_owner_url is None:
        raise CannotRestore("STREAMCOOP_DATABASE_OWNER_URL is not set: a backup is restored as the owner")
    owner_url = settings.database_owner_url.get_secret_value()
    _require_empty(owner_url)
    contents = manifest.verified(backup).contents
    _require_known(contents)
    _require_server(owner_url, contents)
    kept_key = (backup / SECRETS / "secret_key").read_text(encoding="utf-8").strip()
    if settings.secret_key.get_secret_value() != kept_key:
        raise CannotRestore(
            "STREAMCOOP_SECRET_KEY is not the key this service had, and the keys it keeps for members could not be read"
            f" with it; the right one is in {backup / SECRETS / 'secret_key'}"
        )
    store = open_store(settings)
    objects = backup / OBJECTS
    for path in sorted(path for path in objects.rglob("*") if path.is_file()):
        kind = mimetypes.guess_type(path.name)[0] or CONTENT_TYPE_UNKNOWN
        key = path.relative_to(objects).as_posix()
        # The one object that changes: a later one that is there stays.
        if not files.is_checkpoint(key):
            store.put_file(key, path, kind)
        elif not store.exists(key):
            store.replace_bytes(key, path.read_bytes(), files.TEXT)
    books = _load(owner_url, backup, contents)
    is_held = not is_newest and _held(owner_url, settings.database_url.get_secret_value(), store)
    return Restored(contents, books, _missing(owner_url, store), is_held)


def _require_known(contents: Contents) -> None:
    try:
        ScriptDirectory.from_config(migrate.config()).get_revision(contents.schema_revision)
    except CommandError as error:
        raise CannotRestore(
            f"the backup's schema {contents.schema_revision} is unknown here: it was made by StreamCoop"
            f" {contents.version}, restore it with that version or a newer one"
        ) from error


_IS_EMPTY = """
    select not exists (select from pg_namespace where nspname !~ '^(pg_|public$|information_schema$)')
       and not exists (select from pg_class where relnamespace = 'public'::regnamespace)
"""


def _require_empty(owner_url: str) -> None:
    with psycopg.connect(owner_url) as conn:
        if conn.execute(_IS_EMPTY).fetchone() != (True,):
            raise CannotRestore(f"the database {conn.info.dbname} is not empty: nothing is restored over what is there")


def _require_server(owner_url: str, contents: Contents) -> None:
    with psycopg.connect(owner_url) as conn:
        major = conn.info.server_version // 10_000
        if major < contents.server_major:
            raise CannotRestore(
                f"the backup is of PostgreSQL {contents.server_major}, and this server is older: {major}"
            )
        if conn.execute("select from pg_roles where rolname = %s", (databases.APP,)).fetchone() is None:
            raise CannotRestore(f"the server has no role {databases.APP}: create it first, as for a new service")


def _load(owner_url: str, backup: Path, contents: Contents) -> Report:
    """Load the dump, bring it to this version's schema and add up its books. Raises CannotRestore if rows lack."""
    program, _ = pg_clients.find("pg_restore", contents.dumped_with_major)
    pg_clients.restore(owner_url, program, backup / DUMP)
    migrate.migrate(owner_url)
    engine = create_engine(with_driver(owner_url))
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            # A dump brings no statistics along, and without them the first plans are bad ones.
            conn.execute(text("analyze"))
        books = add_up_books(engine)
    finally:
        engine.dispose()
    found, backed_up = (books.plays, books.transfers), (contents.plays, contents.transfers)
    if found != backed_up:
        raise CannotRestore(f"{found} plays and transfers were loaded, and {backed_up} were backed up")
    return books


def _missing(owner_url: str, store: ObjectStore) -> list[str]:
    """The objects that rows name and the store does not have."""
    engine = create_engine(with_driver(owner_url))
    missing: list[str] = []
    try:
        with engine.connect() as conn:
            for key, _ in chain(storage.referred(conn), keeping.referred(conn, store)):
                if not store.exists(key):
                    missing.append(key)
                    if len(missing) == MISSING_LISTED_MAX:
                        break
    finally:
        engine.dispose()
    return missing
