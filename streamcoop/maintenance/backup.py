"""Backing up a service while it runs: its database at one instant, its objects and log, and the secrets for them.

What the broker holds is left out: every message stands for work that the tables tell of too, and sweeps find it.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import chain
from pathlib import Path

from sqlalchemy import Connection, create_engine, text

from streamcoop.adapters.objects import ObjectMissing, ObjectStore, open_store
from streamcoop.catalogue import storage
from streamcoop.database import with_driver
from streamcoop.embedded.plan import Places
from streamcoop.embedded.private import PRIVATE_FOLDER_MODE, sync_folder, write_private
from streamcoop.maintenance import manifest, pg_clients
from streamcoop.maintenance.manifest import CHAIN, DUMP, OBJECTS, SECRETS, Contents, Manifest
from streamcoop.settings import Settings
from streamcoop.transparency import keeping

CHAIN_FILE = "chain.sqlite3"
CHAIN_COPIES_MAX = 100
MISSING_LISTED_MAX = 100
_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP})


class CannotBackUp(Exception):
    """The backup cannot be taken."""


def back_up(target: Path, settings: Settings, *, bucket_too: bool = False) -> Manifest:
    """Take a backup in the new folder `target`, which is there whole or not at all.

    The objects of a folder are linked where that is possible, else copied; those of a bucket are left to its own
    versioning unless `bucket_too`. Objects that rows name and the store does not have are listed in the manifest.
    Raises CannotBackUp, `pg_clients`' errors and ObjectStoreUnavailable.
    """
    if settings.database_owner_url is None:
        raise CannotBackUp("STREAMCOOP_DATABASE_OWNER_URL is not set: a dump is taken as the owner")
    if target.exists():
        raise CannotBackUp(f"{target} exists: name a folder that does not")
    store = open_store(settings)
    objects_at = None if bucket_too or settings.objects_url.startswith("file:") else settings.objects_url
    try:
        unfinished = Path(
            tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".unfinished", dir=target.absolute().parent)
        )
    except OSError as error:
        raise CannotBackUp(f"no folder can be made in {target.absolute().parent}: {error.strerror}") from error
    try:
        with _snapshot(settings.database_owner_url.get_secret_value()) as (conn, snapshot):
            server_major = int(conn.scalar(text("show server_version_num")) or 0) // 10_000
            program, client_major = pg_clients.find("pg_dump", server_major)
            pg_clients.dump(settings.database_owner_url.get_secret_value(), program, snapshot, unfinished / DUMP)
            # After the dump's instant: whatever its rows name was in the store before they were.
            missing = _take_objects(conn, store, unfinished / OBJECTS) if objects_at is None else []
            contents = _contents(conn, server_major, client_major, objects_at, missing)
        _take_secrets(settings, unfinished / SECRETS)
        # After the database: a chain that is ahead of the rows is what the workers expect after a kill.
        _take_chain(Places(settings.data_dir).chain, unfinished / CHAIN)
        sealed = manifest.seal(unfinished, contents)
        unfinished.rename(target)
        sync_folder(target.absolute().parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return sealed


@contextmanager
def _snapshot(owner_url: str) -> Iterator[tuple[Connection, str]]:
    """A transaction that sees one instant, and the name by which pg_dump sees the same."""
    engine = create_engine(with_driver(owner_url), connect_args={"options": "-c timezone=UTC"})
    try:
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as conn, conn.begin():
            conn.execute(text("set transaction read only"))
            yield conn, str(conn.scalar(text("select pg_export_snapshot()")))
    finally:
        engine.dispose()


_FIGURES = text("""
    select now() as taken_at, (select coop_name from ledger.founding) as coop_name,
           (select version_num from coop.alembic_version) as schema_revision,
           (select count(*) from ledger.play) as plays, (select count(*) from ledger.play_queue) as unsettled_plays,
           (select count(*) from ledger.transfer) as transfers
""")


def _contents(
    conn: Connection, server_major: int, client_major: int, objects_at: str | None, missing: list[str]
) -> Contents:
    figures = conn.execute(_FIGURES).one()
    return Contents(
        taken_at=figures.taken_at.isoformat(),
        coop_name=figures.coop_name,
        version=version("streamcoop"),
        schema_revision=figures.schema_revision,
        server_major=server_major,
        dumped_with_major=client_major,
        plays=figures.plays,
        unsettled_plays=figures.unsettled_plays,
        transfers=figures.transfers,
        objects_at=objects_at,
        objects_missing=missing,
    )


def _take_objects(conn: Connection, store: ObjectStore, folder: Path) -> list[str]:
    """Put every object that a row names into `folder`; returns those that are not in the store as the row says."""
    missing: list[str] = []
    for key, size in chain(storage.referred(conn), keeping.referred(conn, store)):
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _take(store, key, path)
            is_whole = size is None or path.stat().st_size == size
        except ObjectMissing:
            is_whole = False
        if not is_whole and len(missing) < MISSING_LISTED_MAX:
            missing.append(key)
    try:
        keeping.take_checkpoint(conn, store, folder)
    except ObjectMissing as gone:
        missing.append(str(gone))
    return missing


def _take(store: ObjectStore, key: str, path: Path) -> None:
    """An object is written once and never changed, so a link to it is as good as a copy on the same disk."""
    kept = store.local_path(key)
    if kept is not None:
        try:
            os.link(kept, path)
        except FileNotFoundError as error:
            raise ObjectMissing(key) from error
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
        else:
            return
    store.fetch_to(key, path)


def _take_secrets(settings: Settings, folder: Path) -> None:
    """What the service was given, and what the supervisor generated for itself."""
    folder.mkdir(mode=PRIVATE_FOLDER_MODE)
    generated = Places(settings.data_dir).secrets
    if generated.is_dir():
        for path in generated.iterdir():
            # A backup knows older heads than were cosigned since: whoever restores it witnesses under a new key.
            if not path.name.startswith(".") and path != Places(settings.data_dir).witness_key:
                write_private(folder / path.name, path.read_text(encoding="utf-8"))
    write_private(folder / "secret_key", settings.secret_key.get_secret_value() + "\n")
    for name, key in (("registrar_key", settings.registrar_key), ("log_key", settings.log_key)):
        if key is not None:
            write_private(folder / name, key.get_secret_value() + "\n")
    if settings.log_origin is not None:
        write_private(folder / "log_origin", settings.log_origin + "\n")


def _take_chain(test_chain: Path, folder: Path) -> None:
    """Copy the test chain's file with its log. What did not change while it was copied is of one instant."""
    names = [CHAIN_FILE, f"{CHAIN_FILE}-wal"]
    if not (test_chain / CHAIN_FILE).exists():
        return
    folder.mkdir(mode=PRIVATE_FOLDER_MODE)
    for _ in range(CHAIN_COPIES_MAX):
        before = [_stamp(test_chain / name) for name in names]
        for name in names:
            (folder / name).unlink(missing_ok=True)
            if (test_chain / name).exists():
                shutil.copyfile(test_chain / name, folder / name)
        if [_stamp(test_chain / name) for name in names] == before:
            return
    raise CannotBackUp("the test chain does not stand still long enough to be copied")


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns
