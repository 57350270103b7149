"""A backup is whole or not there at all, and a service that is restored from it goes on as if nothing had been."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from ledger import accounts
from ledger.store import partitions, settling
from ledger.store.checking import check_books
from streamcoop.database import with_driver
from streamcoop.demo.client import until
from streamcoop.embedded import databases, plan, postgres
from streamcoop.embedded.private import PRIVATE_FILE_MODE
from streamcoop.maintenance import manifest, pg_clients, restore
from streamcoop.maintenance.backup import CannotBackUp
from streamcoop.maintenance.manifest import NotWhole
from streamcoop.maintenance.restore import CannotRestore
from streamcoop.settings import PREFIX
from tests.conftest import PASSABLE, Database
from tests.ledger.factories import (
    EPOCH,
    NOW,
    balance_micro,
    claim,
    close,
    findings,
    record_now,
    settle_all,
    solo,
    splits_from,
)
from tests.maintenance.small_coop import SmallCoop, a_secret_key, coop, original_key, settings_for, small_coop

__all__ = ["coop"]

UNFINISHED_S_MAX = 60.0


@pytest.fixture(scope="module")
def taken(coop: SmallCoop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of it. Read only: a test that harms it copies it."""
    target = tmp_path_factory.mktemp("backups") / "monday"
    coop.back_up(target)
    return target


@pytest.fixture
def copied(taken: Path, tmp_path: Path) -> Path:
    """A backup to be harmed."""
    return Path(shutil.copytree(taken, tmp_path / "copied"))


@pytest.fixture(scope="module")
def fresh_server() -> Iterator[postgres.Cluster]:
    """A PostgreSQL on which there was never a service: the roles and an empty database."""
    with tempfile.TemporaryDirectory(prefix="streamcoop-fresh-") as folder:
        Path(folder).chmod(PASSABLE)
        running = postgres.start(Path(folder) / "postgres")
        try:
            databases.bootstrap(running.cluster)
            yield running.cluster
        finally:
            running.stop()


@contextmanager
def empty_database(server: postgres.Cluster) -> Iterator[Database]:
    """The service's empty database on a fresh server; emptied again afterwards."""
    urls = databases.bootstrap(server)
    engine = create_engine(with_driver(urls.app_url))
    try:
        yield Database(server.superuser_url(databases.DATABASE), urls.owner_url, urls.app_url, engine)
    finally:
        engine.dispose()
        with psycopg.connect(server.superuser_url(), autocommit=True) as conn:
            conn.execute(f"drop database {databases.DATABASE} with (force)")


def test_a_dump_restored_into_a_fresh_server_goes_on_as_the_old_one_would(
    coop: SmallCoop, taken: Path, fresh_server: postgres.Cluster, tmp_path: Path
) -> None:
    secret_key = coop.settings.secret_key.get_secret_value()
    with empty_database(fresh_server) as fresh:
        restored = restore.into_server(taken, settings_for(fresh, tmp_path, secret_key))
        assert restored.books.balanced
        assert restored.objects_missing == []
        assert restored.books.plays == coop.settled_plays + coop.unsettled_plays
        assert (tmp_path / "objects" / original_key(coop.track)).read_bytes() == coop.original().read_bytes()

        # What was left is settled, what comes new is recorded in turn, and the next epoch closes.
        with fresh.engine.begin() as conn:
            assert settling.unsettled(conn)[0] == coop.unsettled_plays
        later = NOW + timedelta(days=31)
        assert settle_all(fresh.engine, later) == coop.unsettled_plays
        before = balance_micro(fresh.engine, accounts.wallet(coop.listener))
        assert before == 10_000_000 - 2_000 - 4_000 - 8_000
        record_now(fresh.app_url, [claim(coop.listener, coop.track, 4, 16_000, epoch=EPOCH + 1)], now=later)
        assert settle_all(fresh.engine, later) == 1
        assert balance_micro(fresh.engine, accounts.wallet(coop.listener)) == before - 16_000
        close(fresh.engine, coop.founding, EPOCH + 1, splits_from({coop.track: solo(coop.artist)}))
        with fresh.engine.begin() as conn:
            assert partitions.ensure_partitions(conn, NOW + timedelta(days=200)) != []
            assert conn.scalar(text("select count(*) from ledger.play_rest")) >= 1
        assert findings(fresh.engine) == []

        # The books are as closed to the service's role as they were.
        for statement in (
            "delete from ledger.transfer",
            "update ledger.posting set kind = 'x'",
            "update coop.alembic_version set version_num = 'x'",
            "create table ledger.mine ()",
        ):
            with pytest.raises(DBAPIError) as refused, fresh.engine.begin() as conn:
                conn.execute(text(statement))
            assert isinstance(refused.value.orig, errors.InsufficientPrivilege), statement
        with psycopg.connect(fresh.superuser_url) as conn, pytest.raises(errors.RestrictViolation):
            conn.execute("delete from ledger.transfer")
        with psycopg.connect(fresh.owner_url) as conn:
            # Nothing the old owner left over: whoever restores owns it, and can bring it to later schemas.
            strangers = conn.execute(
                "select relname from pg_class join pg_namespace n on n.oid = relnamespace"
                " where nspname in ('ledger', 'coop') and relowner <> current_user::regrole"
            )
            assert strangers.fetchall() == []


def test_a_backup_is_of_one_instant_and_says_of_which(coop: SmallCoop, taken: Path) -> None:
    contents = manifest.verified(taken).contents
    assert (contents.plays, contents.unsettled_plays) == (3, 1)
    assert contents.coop_name == "Test Co-op"
    assert contents.objects_missing == []
    with coop.database.engine.connect() as conn:
        assert contents.schema_revision == conn.scalar(text("select version_num from coop.alembic_version"))
    assert not list(taken.parent.glob(".*"))


def test_the_sums_are_those_that_sha256sum_checks(taken: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", manifest.SUMS], cwd=taken, check=True)
    listed = {line.split("  ")[1] for line in (taken / manifest.SUMS).read_text(encoding="utf-8").splitlines()}
    there = {path.relative_to(taken).as_posix() for path in taken.rglob("*") if path.is_file()}
    assert there - listed == {manifest.MANIFEST, manifest.SUMS}


def test_nobody_else_may_read_a_backup(taken: Path) -> None:
    assert taken.stat().st_mode & 0o077 == 0
    for secret in (taken / manifest.SECRETS).iterdir():
        assert secret.stat().st_mode & 0o777 == PRIVATE_FILE_MODE


def test_a_backup_leaves_out_the_key_that_must_not_be_used_with_what_it_knows(coop: SmallCoop, tmp_path: Path) -> None:
    """A witness that has forgotten heads it cosigned could cosign a fork."""
    places = plan.Places(coop.settings.data_dir)
    places.secrets.mkdir(exist_ok=True)
    kept = [places.witness_key, places.secrets / "operator_password"]
    for path in kept:
        path.write_text("secret\n", encoding="utf-8")
    try:
        coop.back_up(tmp_path / "backup")
    finally:
        for path in kept:
            path.unlink()
    taken = {path.name for path in (tmp_path / "backup" / manifest.SECRETS).iterdir()}
    assert taken == {"operator_password", "secret_key"}


def test_a_backup_takes_no_room_for_objects_on_the_same_disk(coop: SmallCoop, taken: Path) -> None:
    linked = taken / manifest.OBJECTS / original_key(coop.track)
    assert linked.stat().st_ino == coop.original().stat().st_ino


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda folder: _flip(folder / manifest.DUMP), r"database\.dump is damaged"),
        (lambda folder: (folder / manifest.DUMP).unlink(), r"database\.dump is missing"),
        (lambda folder: _cut(folder / manifest.DUMP), r"database\.dump is damaged"),
        (lambda folder: _flip(next((folder / manifest.OBJECTS).rglob("*.flac"))), r"original\.flac is damaged"),
        (lambda folder: next((folder / manifest.OBJECTS).rglob("*.flac")).unlink(), r"original\.flac is missing"),
        (lambda folder: (folder / manifest.SECRETS / "secret_key").unlink(), "secret_key is missing"),
        (lambda folder: _flip(folder / manifest.SUMS), "is not the one that manifest.json was written for"),
        (lambda folder: (folder / manifest.MANIFEST).unlink(), "one that was never finished"),
        (lambda folder: _cut(folder / manifest.MANIFEST), r"manifest\.json is damaged"),
    ],
)
def test_a_damaged_backup_is_refused_with_what_is_wrong(
    copied: Path, tmp_path: Path, harm: Callable[[Path], None], told: str
) -> None:
    harm(copied)
    with pytest.raises(NotWhole, match=told):
        restore.into_folder(copied, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    # Not in place: an object is a link to what the service has.
    path.unlink()
    path.write_bytes(content)


def _cut(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])


def test_nothing_is_restored_over_what_is_there(coop: SmallCoop, taken: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "something").touch()
    with pytest.raises(CannotRestore, match="data is not empty"):
        restore.into_folder(taken, tmp_path / "data")
    with pytest.raises(CannotRestore, match="is not empty: nothing is restored over what is there"):
        restore.into_server(taken, coop.settings)


def test_a_server_is_given_the_key_that_reads_what_was_kept(
    taken: Path, fresh_server: postgres.Cluster, tmp_path: Path
) -> None:
    with empty_database(fresh_server) as fresh:
        with pytest.raises(CannotRestore, match="STREAMCOOP_SECRET_KEY is not the key this service had"):
            restore.into_server(taken, settings_for(fresh, tmp_path, a_secret_key()))
        with psycopg.connect(fresh.owner_url) as conn:
            assert conn.execute("select to_regnamespace('ledger')").fetchone() == (None,)


def test_a_backup_of_a_newer_version_is_refused(copied: Path, tmp_path: Path) -> None:
    whole = manifest.verified(copied)
    (copied / manifest.SUMS).unlink()
    (copied / manifest.MANIFEST).unlink()
    manifest.seal(copied, replace(whole.contents, schema_revision="9999"))
    with pytest.raises(CannotRestore, match="schema 9999 is unknown here"):
        restore.into_folder(copied, tmp_path / "data")


def test_an_object_that_the_store_has_lost_is_named_and_the_rest_is_backed_up(
    cloned_database: Callable[[], AbstractContextManager[Database]], tmp_path: Path
) -> None:
    with small_coop(cloned_database, tmp_path / "coop") as coop:
        coop.original().unlink()
        contents = coop.back_up(tmp_path / "backup").contents
        assert contents.objects_missing == [original_key(coop.track)]
        assert manifest.verified(tmp_path / "backup").contents.plays == 3


def test_a_backup_is_not_written_over_another(coop: SmallCoop, taken: Path) -> None:
    with pytest.raises(CannotBackUp, match="monday exists"):
        coop.back_up(taken)


def test_a_backup_that_fails_leaves_nothing(coop: SmallCoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pg_clients, "LOCK_WAIT", "200ms")
    with psycopg.connect(coop.database.owner_url) as holding:
        # pg_dump has to wait for the table, and gives up.
        holding.execute("lock table ledger.play_queue in access exclusive mode")
        with pytest.raises(pg_clients.ClientFailed, match="timeout"):
            coop.back_up(tmp_path / "backup")
    assert list(tmp_path.iterdir()) == []


def test_a_backup_that_is_killed_is_never_taken_for_a_whole_one(coop: SmallCoop, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    for name in ("database_url", "database_owner_url", "broker_url", "secret_key"):
        environment[f"{PREFIX}{name.upper()}"] = getattr(coop.settings, name).get_secret_value()
    for name in ("data_dir", "objects_url", "chain_rpc_url"):
        environment[f"{PREFIX}{name.upper()}"] = str(getattr(coop.settings, name))
    with psycopg.connect(coop.database.owner_url) as holding:
        holding.execute("lock table ledger.play_queue in access exclusive mode")
        command = [sys.executable, "-m", "streamcoop.cli", "backup", str(tmp_path / "backup")]
        child = subprocess.Popen(command, env=environment, cwd=plan.source_root(), start_new_session=True)
        try:
            begun = until(lambda: next(tmp_path.glob(".backup.*/*"), None), "the dump to begin", UNFINISHED_S_MAX)
        finally:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    assert not (tmp_path / "backup").exists()
    assert re.fullmatch(r"\.backup\..*\.unfinished", begun.parent.name)
    with pytest.raises(NotWhole, match="one that was never finished"):
        restore.into_folder(begun.parent, tmp_path / "data")


def test_the_client_is_never_older_than_the_server() -> None:
    _, major = pg_clients.find("pg_dump", 0)
    assert pg_clients.find("pg_dump", major)[1] == major
    with pytest.raises(pg_clients.NoClient, match="of PostgreSQL 99 or newer is needed"):
        pg_clients.find("pg_dump", 99)


def test_a_backup_restored_into_a_folder_starts_with_its_secrets_and_balanced_books(
    coop: SmallCoop, taken: Path
) -> None:
    with tempfile.TemporaryDirectory(prefix="streamcoop-restored-") as folder:
        Path(folder).chmod(PASSABLE)
        root = Path(folder) / "data"
        assert restore.into_folder(taken, root).books.balanced
        assert [path.name for path in Path(folder).iterdir()] == ["data"]
        places = plan.Places(root)
        for private in (places.secrets, places.objects, places.chain):
            assert private.stat().st_mode & 0o077 == 0
        assert (places.objects / original_key(coop.track)).read_bytes() == coop.original().read_bytes()
        assert (places.secrets / "secret_key").read_text().strip() == coop.settings.secret_key.get_secret_value()
        running = postgres.start(places.postgres)
        try:
            engine = create_engine(with_driver(databases.bootstrap(running.cluster).app_url))
            assert settle_all(engine, NOW + timedelta(days=31)) == coop.unsettled_plays
            with engine.connect() as conn:
                assert check_books(conn).balanced
            engine.dispose()
        finally:
            running.stop()
