"""The launcher against the real server: every way to run it, and every way to be killed."""

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from kombu.connection import Connection
from pgmq import Message, PGMQueue
from psycopg import sql

from streamcoop.embedded import databases, ports, postgres, process
from streamcoop.embedded.process import Identity
from tests.embedded.conftest import finish

Eventually = Callable[[Callable[[], bool]], None]


def starter(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.embedded.server_process", str(folder), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ready_url(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line.startswith("ready "), child.communicate()[1]
    return line.split()[1]


def show(url: str, name: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    assert row is not None
    return str(row[0])


def servers(folder: Path) -> list[int]:
    return process.in_folder(folder, "postgres")


def test_starts_sound_and_private(folder: Path) -> None:
    running = postgres.start(folder)
    try:
        url = running.cluster.superuser_url()
        wanted = {"data_checksums": "on", "fsync": "on", "full_page_writes": "on", "server_encoding": "UTF8"}
        assert {name: show(url, name) for name in wanted} == wanted
        assert show(url, "listen_addresses") == "127.0.0.1"
        with psycopg.connect(url) as connection:
            locale = connection.execute(
                "SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'postgres'"
            ).fetchone()
        assert locale == ("b", "C.UTF-8")
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(running.cluster.url("postgres", "postgres", "wrong"))
        assert (folder / "superuser.password").stat().st_mode & 0o777 == 0o600
        assert (folder / "data").stat().st_mode & 0o777 == 0o700
    finally:
        running.stop()
    assert servers(folder) == []


def test_the_unix_socket_wants_the_password_too(folder: Path) -> None:
    running = postgres.start(folder)
    try:
        cluster = running.cluster
        assert cluster.socket_folder is not None
        where = f"host={cluster.socket_folder} port={cluster.port} user=postgres dbname=postgres"
        psycopg.connect(where, password=cluster.superuser_password).close()
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(where, password="wrong")
    finally:
        running.stop()


def test_a_path_too_long_for_a_socket_leaves_tcp(closed_folder: Path) -> None:
    running = postgres.start(closed_folder.parent / ("long" * 25) / "postgres")
    try:
        assert running.cluster.socket_folder is None
        assert show(running.cluster.superuser_url(), "unix_socket_directories") == ""
    finally:
        running.stop()


def test_a_committed_row_survives_the_server_being_killed(folder: Path) -> None:
    running = postgres.start(folder)
    with psycopg.connect(running.cluster.superuser_url()) as connection:
        connection.execute("CREATE TABLE kept (word text)")
        connection.execute("INSERT INTO kept VALUES ('still here')")
    running.process.kill()
    running.process.wait()
    running.cluster.release()

    again = postgres.start(folder)
    try:
        assert again.cluster.port == running.cluster.port
        with psycopg.connect(again.cluster.superuser_url()) as connection:
            assert connection.execute("SELECT word FROM kept").fetchall() == [("still here",)]
    finally:
        again.stop()


def test_killing_the_starter_leaves_no_server(folder: Path, eventually: Eventually) -> None:
    child = starter(folder)
    try:
        ready_url(child)
        assert servers(folder)
    finally:
        finish(child)
    eventually(lambda: not servers(folder))
    # It was a shutdown, not a crash: there is nothing to recover.
    assert "database system is shut down" in (folder / "server.log").read_text()


def test_starts_right_after_everything_was_killed(folder: Path) -> None:
    child = starter(folder)
    try:
        url = ready_url(child)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    finally:
        for pid in (child.pid, *servers(folder)):
            # The others may be quicker to see that the first is gone.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        finish(child)
    running = postgres.start(folder)
    try:
        with psycopg.connect(running.cluster.superuser_url()) as connection:
            assert connection.execute("SELECT number FROM kept").fetchall() == [(7,)]
    finally:
        running.stop()


def test_starts_while_the_server_of_a_killed_starter_is_shutting_down(folder: Path) -> None:
    child = starter(folder)
    try:
        url = ready_url(child)
    finally:
        finish(child)
    running = postgres.start(folder)
    running.stop()
    assert running.cluster.superuser_url() == url


def test_a_stale_pid_file_that_names_a_living_process_is_no_obstacle(folder: Path) -> None:
    postgres.start(folder).stop()
    stale = folder / "data" / "postmaster.pid"
    stale.write_text(f"{os.getppid()}\n{folder / 'data'}\n0\n5432\n\n127.0.0.1\n0\nready\n")
    os.chown(stale, (folder / "data").stat().st_uid, -1)
    postgres.start(folder).stop()


def test_a_half_done_initdb_is_done_again(folder: Path, eventually: Eventually) -> None:
    child = starter(folder)
    eventually((folder / "initdb" / "data" / "base").exists)
    finish(child)
    assert not (folder / "data").exists()

    running = postgres.start(folder)
    try:
        assert not (folder / "initdb").exists()
        assert show(running.cluster.superuser_url(), "data_checksums") == "on"
    finally:
        running.stop()


def test_a_folder_has_one_server(closed_folder: Path) -> None:
    running = postgres.start(closed_folder)
    try:
        with pytest.raises(process.FolderInUse, match=str(os.getpid())):
            postgres.start(closed_folder)
    finally:
        running.stop()


def test_takes_another_port_if_the_last_one_is_taken(closed_folder: Path) -> None:
    running = postgres.start(closed_folder)
    running.stop()
    with socket.create_server((ports.LOOPBACK, running.cluster.port)):
        again = postgres.start(closed_folder)
        again.stop()
    assert again.cluster.port != running.cluster.port


def test_an_unreadable_start_is_told_with_the_servers_own_words(closed_folder: Path) -> None:
    postgres.start(closed_folder).stop()
    configuration = closed_folder / "data" / "postgresql.conf"
    configuration.write_text(configuration.read_text() + "\nno_such_setting = 1\n")
    with pytest.raises(postgres.ServerEnded, match="no_such_setting"):
        postgres.start(closed_folder)


def test_data_of_another_major_version_is_refused(closed_folder: Path) -> None:
    postgres.start(closed_folder).stop()
    (closed_folder / "data" / "PG_VERSION").write_text("15\n")
    with pytest.raises(postgres.OtherMajorVersion, match="made by PostgreSQL 15"):
        postgres.start(closed_folder)


def test_a_lost_password_is_told(closed_folder: Path) -> None:
    postgres.start(closed_folder).stop()
    (closed_folder / "superuser.password").unlink()
    with pytest.raises(postgres.PasswordLost):
        postgres.start(closed_folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root chooses between ways")
def test_a_folder_whose_way_no_longer_works_is_handed_over(open_folder: Path) -> None:
    first = postgres.start(open_folder)
    first.stop()
    if first.cluster.identity is None or first.cluster.identity.namespaced:
        pytest.skip("no other account can run the binaries here")
    open_folder.parent.chmod(0o700)
    second = postgres.start(open_folder)
    second.stop()
    assert second.cluster.identity is not None
    assert second.cluster.identity.namespaced
    assert (open_folder / "data").stat().st_uid == 0
    # Once handed over it stays so: files change hands only where they must.
    open_folder.parent.chmod(0o711)
    third = postgres.start(open_folder)
    third.stop()
    assert third.cluster.identity == second.cluster.identity


@pytest.mark.skipif(os.geteuid() != 0, reason="only root chooses between ways")
def test_nothing_outside_the_folder_is_touched(folder: Path) -> None:
    def state(path: Path) -> tuple[int, int, int]:
        status = path.stat()
        return status.st_mode, status.st_uid, status.st_gid

    watched = [*folder.parents, *postgres.binaries().parents, postgres.binaries()]
    before = [state(path) for path in watched]
    postgres.start(folder).stop()
    assert [state(path) for path in watched] == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user for a test")
def test_an_ordinary_user_runs_it_as_themself(open_folder: Path, eventually: Eventually) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    if obstacle := postgres._obstacle(Identity(nobody, nobody), open_folder):
        pytest.skip(obstacle)
    open_folder.mkdir(mode=0o700)
    os.chown(open_folder, nobody, nobody)
    child = starter(open_folder, str(nobody))
    try:
        assert show(ready_url(child), "fsync") == "on"
        owners = {Path(f"/proc/{pid}").stat().st_uid for pid in servers(open_folder)}
        assert owners == {nobody}
        assert (open_folder / "data").stat().st_uid == nobody
    finally:
        finish(child)
    eventually(lambda: not servers(open_folder))


def test_says_all_that_was_tried(monkeypatch: pytest.MonkeyPatch, closed_folder: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(postgres, "_obstacle", lambda identity, _: f"{identity.namespaced=}: refused")
    with pytest.raises(postgres.NoServerAccount) as refusal:
        postgres.server_identity(closed_folder)
    assert "namespaced=False: refused; identity.namespaced=True: refused" in str(refusal.value)


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "passable"),
    [
        (0o711, 77_001, 77_001, True),
        (0o700, 77_001, 77_001, False),
        (0o710, 77_001, None, True),
        (0o701, 77_001, None, False),
        (0o611, None, None, False),
    ],
)
def test_passing_through_a_folder(tmp_path: Path, mode: int, uid: int | None, gid: int | None, passable: bool) -> None:
    tmp_path.chmod(mode)
    status = tmp_path.stat()
    identity = Identity(status.st_uid if uid is None else uid, status.st_gid if gid is None else gid)
    assert postgres._may_pass(tmp_path, identity) is passable
    tmp_path.chmod(0o700)


@pytest.fixture
def bootstrapped(closed_folder: Path) -> Iterator[tuple[postgres.RunningPostgres, databases.Databases]]:
    running = postgres.start(closed_folder)
    try:
        yield running, databases.bootstrap(running.cluster)
    finally:
        running.stop()


Bootstrapped = tuple[postgres.RunningPostgres, databases.Databases]


def test_bootstrapping_again_changes_nothing_and_restores_a_lost_role(bootstrapped: Bootstrapped) -> None:
    running, urls = bootstrapped
    assert databases.bootstrap(running.cluster) == urls
    with psycopg.connect(running.cluster.superuser_url(), autocommit=True) as connection:
        connection.execute("ALTER ROLE streamcoop_app NOLOGIN PASSWORD 'other'")
    databases.bootstrap(running.cluster)
    psycopg.connect(urls.app_url).close()
    password_file = running.cluster.folder / "passwords" / "streamcoop_app"
    assert password_file.stat().st_mode & 0o777 == 0o600


def test_the_owner_migrates_and_the_app_has_what_it_is_granted(bootstrapped: Bootstrapped) -> None:
    _, urls = bootstrapped
    with psycopg.connect(urls.owner_url) as owner:
        owner.execute("CREATE TABLE granted AS SELECT 1 AS number")
        owner.execute("CREATE TABLE kept_back AS SELECT 1 AS number")
        owner.execute("GRANT SELECT ON granted TO streamcoop_app")
    with psycopg.connect(urls.app_url, autocommit=True) as app:
        assert app.execute("SELECT number FROM granted").fetchall() == [(1,)]
        refused = [
            "SELECT * FROM kept_back",
            "DELETE FROM granted",
            "CREATE TABLE own (number int)",
            "CREATE TEMP TABLE own (number int)",
            "CREATE SCHEMA own",
            "CREATE ROLE own",
            "CREATE DATABASE own",
            "SET ROLE streamcoop_owner",
        ]
        for statement in refused:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                app.execute(sql.SQL(statement))


def test_roles_keep_to_their_own_database(bootstrapped: Bootstrapped) -> None:
    running, urls = bootstrapped
    to_broker = urls.app_url.removesuffix("/streamcoop") + "/streamcoop_broker"
    to_service = urls.broker_database_url.removesuffix("/streamcoop_broker") + "/streamcoop"
    for url in (to_broker, to_service):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(url)
    with psycopg.connect(running.cluster.superuser_url()) as connection:
        superusers = connection.execute("SELECT rolname FROM pg_roles WHERE rolsuper").fetchall()
    assert superusers == [("postgres",)]


def test_pgmq_sends_and_reads(bootstrapped: Bootstrapped) -> None:
    _, urls = bootstrapped
    queue = PGMQueue(conn_string=urls.broker_database_url, init_extension=False)
    try:
        queue.create_queue("plays")
        sent = queue.send("plays", {"play": 1})
        message = queue.read("plays", vt=30)
        assert isinstance(message, Message)
        assert (message.msg_id, message.message) == (sent, {"play": 1})
        assert queue.read("plays", vt=30) is None
    finally:
        queue.close()


def test_kombu_speaks_to_the_broker(bootstrapped: Bootstrapped) -> None:
    _, urls = bootstrapped
    options = {"init_extension": False, "use_notify": True}
    with Connection(urls.broker_url, transport_options=options) as connection:
        queue = connection.SimpleQueue("credits")
        queue.put({"settle": "now"})
        message = queue.get(timeout=10)
        assert message.payload == {"settle": "now"}
        message.ack()
        queue.close()
