"""Whatever backup a database is restored from, the sealed copies bring it to where its published log is."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from alembic.script import ScriptDirectory
from click.testing import CliRunner
from psycopg import sql
from sqlalchemy import create_engine, text

from ledger.store import batches, copying
from ledger.store.copying import WentItsOwnWay
from ledger.tariff import Tariff
from ledger.tiles import Edge
from streamcoop import migrate
from streamcoop.adapters.objects import ObjectStoreUnavailable, open_store
from streamcoop.database import _engine, engine, transaction, with_driver
from streamcoop.embedded import databases, plan
from streamcoop.erasure.service import BACKUPS_EXPIRE
from streamcoop.founded import founded
from streamcoop.maintenance import backup, manifest, readonly, restore
from streamcoop.operations import service as operations
from streamcoop.operations import terminal
from streamcoop.operations.terminal import Verdict
from streamcoop.payouts import service as payouts
from streamcoop.settings import settings
from streamcoop.transparency import files, keeping, recovering, sealing
from streamcoop.transparency.commands import log_command
from streamcoop.transparency.publishing import LogForked
from streamcoop.transparency.recovering import CannotRecover, Recovered
from streamcoop.transparency.sealing import CopyRefused
from tests.conftest import PASSABLE, Database
from tests.ledger import factories
from tests.royalties.label import Person
from tests.transparency.press import Press

EPOCH = factories.EPOCH
LOADED_BATCHES = 3
# Set when a batch is noted as published, which is now.
TIMES = {"log_batch": {"published_at"}, "erasure": {"ended_at"}}


@dataclass
class Story:
    """What happens at a label from its first play to a payout: moment by moment, and at each a backup may be taken."""

    press: Press
    people: dict[str, Person] = field(default_factory=dict)
    tracks: dict[str, UUID] = field(default_factory=dict)
    payout: UUID | None = None

    def moments(self) -> Iterator[str]:
        press, label = self.press, self.press.label
        kyai, putri = label.person("Kyai", "artist"), label.person("Putri", "artist")
        pagi, malam = label.track(kyai, "Pagi"), label.track(putri, "Malam", "Putri")
        split = label.split_in_force(kyai, pagi, {kyai: 6_000, putri: 4_000}, consented=False)
        lestari, sekar = label.listener("Lestari"), label.listener("Sekar")
        self.people = {"kyai": kyai, "putri": putri, "lestari": lestari, "sekar": sekar}
        self.tracks = {"pagi": pagi, "malam": malam}
        label.play(lestari, pagi, 3)
        press.publish()
        yield "between batches"
        self.record(lestari, malam)
        yield "plays wait"
        label.play(sekar, pagi, 9)
        yield "within a batch"
        press.publish()
        label.play(sekar, malam, 2)
        assert label.close(EPOCH)
        yield "ended and not told"
        press.publish()
        label.go_to(EPOCH + 1)
        with transaction() as session:
            payouts.set_destination(session, kyai.user_id, "DE89 3704 0044 0532 0130 00")
            run = payouts.plan(session, label.founding, uuid4(), putri.user_id, label.clock.now())
            (sent,) = payouts.mark_sent(session, run.id, label.clock.now())
            self.payout = sent.id
        label.play(lestari, pagi, 1, epoch=EPOCH)
        yield "on its way to the bank"
        with transaction() as session:
            payouts.confirm(session, label.founding, sent.id, label.clock.now())
        assert label.call("POST", f"/splits/{split}/consent", putri).status_code == 204
        wati = label.listener("Wati")
        self.people["wati"] = wati
        self.tracks["siang"] = label.track(label.person("Budi", "artist"), "Siang", "Budi")
        label.play(wati, self.tracks["siang"], 9, epoch=EPOCH + 1)
        press.publish()
        label.play(sekar, malam, 1, epoch=EPOCH + 1)
        assert label.close(EPOCH + 1)
        self.record(wati, pagi, epoch=EPOCH + 1)
        press.publish(end=False)
        yield "all told"

    def record(self, listener: Person, track: UUID, epoch: int = EPOCH) -> None:
        """A play that nobody has settled yet."""
        label = self.press.label
        ordinal = label.played[listener.user_id, track] = label.played.get((listener.user_id, track), 0) + 1
        price_micro = Tariff().first_price_micro << (ordinal - 1)
        claim = factories.claim(listener.user_id, track, ordinal, price_micro, epoch=epoch)
        factories.record_now(label.database.app_url, [claim], now=label.clock.now())

    def tell(self, *, until: str = "all told") -> None:
        for moment in self.moments():
            if moment == until:
                return


@dataclass
class Yard:
    """A press, and databases that are restored beside its own."""

    press: Press
    story: Story
    monkeypatch: pytest.MonkeyPatch
    superuser_url: str
    folder: Path
    names: Iterator[str] = field(default_factory=lambda: (f"restored_{number}" for number in itertools.count(1)))

    def back_up(self, moment: str = "now") -> Path:
        target = self.folder / moment.replace(" ", "-")
        backup.back_up(target, settings())
        return target

    @contextmanager
    def restored(self, taken: Path, *, is_newest: bool = False) -> Iterator[restore.Restored]:
        """The press goes on with a database restored from a backup, on the object store it had."""
        first, name = self.press.label.database, next(self.names)
        with _administering(first.superuser_url) as conn:
            conn.execute(sql.SQL("create database {} owner {}").format(*map(sql.Identifier, (name, databases.OWNER))))
        superuser, owner, app = (
            f"{url.rpartition('/')[0]}/{name}" for url in (first.superuser_url, first.owner_url, first.app_url)
        )
        own = create_engine(with_driver(app))
        try:
            self._move(Database(superuser, owner, app, own))
            yield restore.into_server(taken, settings(), is_newest=is_newest)
        finally:
            own.dispose()
            self._move(first)
            with _administering(first.superuser_url) as conn:
                conn.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

    def _move(self, database: Database) -> None:
        engine().dispose()
        for name, url in (("DATABASE_URL", database.app_url), ("DATABASE_OWNER_URL", database.owner_url)):
            self.monkeypatch.setenv(f"STREAMCOOP_{name}", url)
        for each in (settings, _engine, founded):
            each.cache_clear()
        self.press.label.database = database

    def recover(self) -> Recovered:
        recovered = recovering.recover(settings(), self.press.store, self.press.label.clock.now)
        # Those of before only read, and were ended.
        self.press.label.database.engine.dispose()
        return recovered

    def is_read_only(self) -> bool:
        with psycopg.connect(self.press.label.database.app_url) as conn:
            return conn.execute("select current_setting('default_transaction_read_only')").fetchone() == ("on",)

    def files(self) -> dict[str, bytes]:
        """All that is published and kept of the log."""
        found = [path for folder in files.FOLDERS for path in (self.press.folder / folder).rglob("*")]
        return {str(path.relative_to(self.press.folder)): path.read_bytes() for path in found if path.is_file()}

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of the books and of the service's own tables that copies hold."""
        with psycopg.connect(self.press.label.database.superuser_url) as conn:
            named = conn.execute(
                "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
                " where n.nspname in ('ledger', 'coop') and c.relkind in ('r', 'p') and not c.relispartition"
            ).fetchall()
            found = {}
            for schema, name in named:
                if name not in sealing.EMPTIED | sealing.KEPT:
                    found[name] = self._rows(conn, schema, name)
        return found

    def _rows(self, conn: psycopg.Connection, schema: str, name: str) -> list[tuple[Any, ...]]:
        with conn.cursor() as cursor:
            cursor.execute(sql.SQL("select * from {}").format(sql.Identifier(schema, name)))
            assert cursor.description is not None
            kept = [place for place, column in enumerate(cursor.description) if column.name not in TIMES.get(name, ())]
            return sorted((tuple(row[place] for place in kept) for row in cursor), key=repr)


@contextmanager
def _administering(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as conn:
        yield conn


@pytest.fixture
def yard(press: Press, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Yard:
    monkeypatch.setenv("STREAMCOOP_DATABASE_OWNER_URL", press.label.database.owner_url)
    settings.cache_clear()
    head = ScriptDirectory.from_config(migrate.config()).get_current_head()
    with _administering(press.label.database.superuser_url) as conn:
        # A label's database is emptied of this too, and a backup says of which schema it is.
        conn.execute("insert into coop.alembic_version (version_num) values (%s)", (head,))
    return Yard(press, Story(press), monkeypatch, press.label.database.superuser_url, tmp_path)


def require_same(found: dict[str, list[Any]], wanted: dict[str, list[Any]]) -> None:
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert found[name] == wanted[name], name


def require_receipts(yard: Yard, folder: Path) -> None:
    """Everybody gets the receipts of all her plays, wallet's lines and names, and an auditor finds them in the log."""
    press, label = yard.press, yard.press.label
    folder.mkdir()
    for name in ("lestari", "sekar", "wati"):
        if (person := yard.story.people.get(name)) is None:
            continue
        for play_id in press.plays_of(person):
            if label.call("GET", f"/plays/{play_id}/receipt", person).json()["receipt"]:
                press.keep_receipt(folder, person, f"/plays/{play_id}/receipt", f"play-{play_id}")
        for line in label.get("/wallet/lines", person):
            path = f"/wallet/lines/{line['epoch']}/receipt"
            press.keep_receipt(folder, person, path, f"wallet-{person.user_id}-{line['epoch']}")
    for name in ("kyai", "putri"):
        payee = yard.story.people[name]
        for named in label.get("/royalties/names", payee):
            path = f"/royalties/names/{named['split_id']}/receipt"
            press.keep_receipt(folder, payee, path, f"payee-{payee.user_id}-{named['split_id']}")
    report = press.require_whole(folder)
    assert {outcome.kind for outcome in report.receipts} == {"play", "wallet", "payee"}


@pytest.mark.parametrize(
    "moment", ["between batches", "plays wait", "within a batch", "ended and not told", "on its way to the bank"]
)
def test_a_backup_of_any_moment_is_brought_to_the_published_head(yard: Yard, moment: str, tmp_path: Path) -> None:
    press, label = yard.press, yard.press.label
    for told in yard.story.moments():
        if told == moment:
            taken = yard.back_up(moment)
    published, rows = yard.files(), yard.everything()
    with yard.restored(taken) as restored:
        assert restored.is_held
        assert yard.is_read_only()
        recovered = yard.recover()
        assert recovered.put_back > 0
        assert yard.files() == published
        require_same(yard.everything(), rows)
        assert not yard.is_read_only()
        require_receipts(yard, tmp_path / "receipts")

        # And all goes on.
        factories.settle_all(label.database.engine, label.clock.now())
        label.play(label.listener("Dewi"), yard.story.tracks["pagi"], 2, epoch=EPOCH + 2)
        press.publish()
        press.require_whole()
        assert not factories.findings(label.database.engine)
        assert yard.recover().put_back == 0


def test_copies_taken_under_load_are_each_of_one_instant(yard: Yard) -> None:
    press, label = yard.press, yard.press.label
    track, ended = label.track(label.person("Kyai", "artist")), threading.Event()
    label.play(label.listener(), track)

    def go_on() -> None:
        while not ended.is_set():
            label.play(label.listener(), track, 2)
            yard.story.record(label.listener(), track)

    playing = [threading.Thread(target=go_on) for _ in range(2)]
    for thread in playing:
        thread.start()
    try:
        press.publish()
        taken = yard.back_up()
        for _ in range(LOADED_BATCHES):
            press.publish()
    finally:
        ended.set()
        for thread in playing:
            thread.join()
    published = yard.files()
    acknowledged = "select count(*) from ledger.play"
    ((recorded,),) = label.rows(acknowledged)
    with yard.restored(taken):
        ((before,),) = label.rows(acknowledged)
        assert yard.recover().published == LOADED_BATCHES
        ((after,),) = label.rows(acknowledged)
        assert before < after <= recorded
        assert yard.files() == published
        press.publish()
        press.require_whole()
        assert not factories.findings(label.database.engine)


def test_an_older_database_publishes_nothing_until_it_is_recovered(yard: Yard) -> None:
    press, label = yard.press, yard.press.label
    for moment in yard.story.moments():
        if moment == "within a batch":
            taken = yard.back_up()
    published = yard.files()
    # Whoever says that there is no later head may write, and can sign nothing else all the same.
    with yard.restored(taken, is_newest=True) as restored:
        assert not restored.is_held
        label.play(label.listener("Dewi"), yard.story.tracks["pagi"])
        with pytest.raises(LogForked):
            press.publish()
        assert yard.files() == published
        with pytest.raises(WentItsOwnWay):
            yard.recover()
        assert yard.is_read_only()
        assert yard.files() == published


def test_a_database_that_went_its_own_way_is_not_mixed_with_the_copies(yard: Yard) -> None:
    label = yard.press.label
    for moment in yard.story.moments():
        if moment == "plays wait":
            taken = yard.back_up()
    published = yard.files()
    for go_astray in (
        lambda: label.listener("Dewi"),
        lambda: yard.story.record(yard.story.people["sekar"], yard.story.tracks["malam"]),
        lambda: label.play(yard.story.people["sekar"], yard.story.tracks["malam"]),
    ):
        with yard.restored(taken, is_newest=True):
            played, label.played = label.played, {}
            go_astray()
            before = yard.everything()
            with pytest.raises(WentItsOwnWay):
                yard.recover()
            assert yard.is_read_only()
            require_same(yard.everything(), before)
            label.played = played
    assert yard.files() == published


class Killed(BaseException):
    """The process ended here."""


# What is about to be done, for which time: one after the other, each in the recovery that goes on from the one before.
KILLS: list[tuple[Any, str, int]] = [
    (readonly, "switch", 1),
    (sealing, "opened", 1),
    (copying, "put_back", 1),
    (copying, "put_back", 20),
    (copying, "set_sequences", 1),
    (copying, "set_sequences", 3),
    (sealing, "opened", 1),
    (recovering, "accept", 1),
    (batches, "mark_published", 1),
    (batches, "mark_published", 2),
    (recovering, "add_up_books", 1),
    (readonly, "switch", 2),
]


def test_a_recovery_that_is_killed_anywhere_is_begun_again(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    for moment in yard.story.moments():
        if moment == "within a batch":
            taken = yard.back_up()
    published, rows = yard.files(), yard.everything()
    with yard.restored(taken):
        for module, name, nth in KILLS:
            act, calls = getattr(module, name), itertools.count(1)

            def killed(
                *args: Any, act: Callable[..., Any] = act, calls: Iterator[int] = calls, nth: int = nth, **kwargs: Any
            ) -> Any:
                if next(calls) == nth:
                    raise Killed
                return act(*args, **kwargs)

            with monkeypatch.context() as patched:
                patched.setattr(module, name, killed)
                with pytest.raises(Killed):
                    yard.recover()
            assert yard.is_read_only(), name
            assert yard.files() == published, name
        yard.recover()
        assert yard.files() == published
        require_same(yard.everything(), rows)


def _flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


HARMS: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: _flip(path, 0), "does not begin as one"),
    (lambda path: _flip(path, 20), "damaged, or sealed under another"),
    (lambda path: _flip(path, -1), "damaged, or sealed under another"),
    (lambda path: path.write_bytes(path.read_bytes()[:-17]), "damaged, or sealed under another"),
    (lambda path: path.write_bytes(path.read_bytes()[:47]), "ends too early"),
    (lambda path: shutil.copyfile(path.with_name(f"{1:09}"), path), "damaged, or sealed under another"),
    (lambda path: path.unlink(), "no sealed copy of batch 3"),
]


def test_a_sealed_copy_that_is_not_whole_is_refused(yard: Yard) -> None:
    for moment in yard.story.moments():
        if moment == "within a batch":
            taken = yard.back_up()
    path = yard.press.folder / files.rows_key(3)
    whole = path.read_bytes()
    with yard.restored(taken):
        before = yard.everything()
        for harm, told in HARMS:
            harm(path)
            with pytest.raises(CopyRefused, match=told):
                yard.recover()
            assert yard.is_read_only()
            require_same(yard.everything(), before)
            path.write_bytes(whole)
        yard.recover()


def test_a_copy_under_another_key_or_of_another_log_is_refused(yard: Yard) -> None:
    press = yard.press
    press.publish()
    origin = press.writer().origin
    with (
        pytest.raises(CopyRefused, match="another STREAMCOOP_SECRET_KEY"),
        sealing.opened(press.store, b"another", origin, 1),
    ):
        pass
    with (
        pytest.raises(CopyRefused, match=r"of log\.example/label"),
        sealing.opened(press.store, sealing.secret_of(settings()), "log.example/other", 1),
    ):
        pass


def test_chunks_are_bound_to_their_places(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "CHUNK_BYTES", 64)
    press, path = yard.press, yard.press.folder / files.rows_key(1)
    press.publish()
    whole, first, each = path.read_bytes(), len(sealing.MAGIC) + sealing.SALT_BYTES, 64 + 16

    def read() -> int:
        with sealing.opened(press.store, sealing.secret_of(settings()), None, 1) as copy:
            return sum(len(piece) for _ in copy.tables() for piece in (*copy.rows(), bytes(copy.count())))

    assert read() > 0
    for harmed in (
        whole[:-each],
        whole[: first + 3 * each],
        whole[:first] + whole[first + each :],
        whole[: first + each] + whole[first + 2 * each : first + 3 * each] + whole[first + each : first + 2 * each],
        whole + whole[-each:],
    ):
        path.write_bytes(harmed)
        with pytest.raises(CopyRefused):
            read()


def test_a_batch_whose_rows_cannot_be_sealed_is_not_signed(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    press = yard.press
    press.publish()
    published = yard.files()
    press.label.play(press.label.listener(), press.label.track(press.label.person("Kyai", "artist")))

    def refused(*_: Any) -> None:
        raise ObjectStoreUnavailable("no room")

    with monkeypatch.context() as patched:
        patched.setattr(type(press.store), "put_file", refused)
        with pytest.raises(ObjectStoreUnavailable):
            press.publish()
    assert yard.files() == published
    path = press.folder / files.rows_key(3)
    path.write_bytes(b"of somebody else")
    with pytest.raises(CopyRefused):
        press.publish(end=False)
    assert yard.files().keys() == published.keys() | {files.rows_key(3)}
    path.unlink()
    press.publish(end=False)
    press.require_whole()


def test_a_copy_stays_as_it_was_first_written(yard: Yard) -> None:
    press = yard.press
    press.publish()
    before = (press.folder / files.rows_key(1)).read_bytes()
    sealing.seal(press.store, engine(), sealing.secret_of(settings()), press.writer().origin, 1, press.label.clock.now)
    assert (press.folder / files.rows_key(1)).read_bytes() == before


def test_every_table_is_in_the_copies_or_left_out_for_a_reason(yard: Yard) -> None:
    with yard.press.label.database.engine.connect() as conn:
        rows = conn.execute(
            text("""select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
                     where n.nspname in ('ledger', 'coop') and c.relkind in ('r', 'p') and not c.relispartition""")
        ).all()
        own = sealing.own_tables(conn)
    books = {name for schema, name in rows if schema == "ledger"}
    assert books == {table.name for table in copying.TABLES} | copying.LEFT_OUT
    assert {name for schema, name in rows if schema == "coop"} == {*own} | sealing.EMPTIED | sealing.KEPT
    assert copying.TOLD_LATER.keys() <= books


def test_what_was_erased_since_is_erased_again(yard: Yard) -> None:
    """The copies know that somebody was erased, and an older database has her rows: the worker goes over them again."""
    for moment in yard.story.moments():
        if moment == "within a batch":
            taken = yard.back_up()
            with transaction() as session:
                session.execute(
                    text("insert into coop.erasure (user_id, asked_at, ended_at) values (:id, now(), now())"),
                    {"id": yard.story.people["kyai"].user_id},
                )
    with yard.restored(taken):
        yard.recover()
        assert yard.press.label.rows("select ended_at from coop.erasure") == [(None,)]


def test_signing_in_begins_anew(yard: Yard) -> None:
    for moment in yard.story.moments():
        if moment == "within a batch":
            with transaction() as session:
                session.execute(
                    text("""insert into coop.api_token (id, user_id, name, digest, scopes, created_at)
                            values (gen_random_uuid(), :id, 'x', 'x', '{}', now())"""),
                    {"id": yard.story.people["kyai"].user_id},
                )
            taken = yard.back_up()
    with yard.restored(taken):
        assert yard.press.label.rows("select 1 from coop.api_token")
        yard.recover()
        assert not yard.press.label.rows("select 1 from coop.api_token")


def test_recovery_needs_the_owner(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMCOOP_DATABASE_OWNER_URL")
    settings.cache_clear()
    with pytest.raises(CannotRecover, match="STREAMCOOP_DATABASE_OWNER_URL"):
        yard.recover()


def test_a_backup_alone_restores_a_log_that_goes_on(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into an empty place: the files are those of the backup's instant, and the next batch follows on them."""
    press, label = yard.press, yard.press.label
    yard.story.tell(until="on its way to the bank")
    heads = label.rows("select count(*) from ledger.log_batch where published_at is not null")[0][0]
    taken = yard.back_up()
    kept = {path.name for path in (taken / manifest.OBJECTS / files.head_path(1)).parent.parent.rglob("heads/*")}
    assert len(kept | {path.name for path in (taken / manifest.OBJECTS / "log/heads").iterdir()}) == heads
    assert not (taken / manifest.OBJECTS / "log-private/rows").exists()
    assert {"log_key", "log_origin"} <= {path.name for path in (taken / manifest.SECRETS).iterdir()}
    label.play(yard.story.people["sekar"], yard.story.tracks["malam"], epoch=EPOCH)
    press.publish()
    place = tmp_path / "empty"
    monkeypatch.setenv("STREAMCOOP_OBJECTS_URL", place.as_uri())
    press.folder, press.store = place, open_store(settings())
    settings.cache_clear()
    press.store = open_store(settings())
    with yard.restored(taken) as restored:
        assert not restored.is_held
        assert not [key for key in restored.objects_missing if key.startswith("log")]
        press.require_whole()
        press.publish()
        press.require_whole()
    assert os.environ["STREAMCOOP_OBJECTS_URL"] == place.as_uri()


def test_a_backup_has_every_tile_of_every_batch() -> None:
    edge = Edge()
    written: list[str] = []
    listed: list[str] = []
    for count in (3, 0, 253, 1, 255, 256, 600, 65_000, 2):
        before = edge.size
        for number in range(count):
            written += [tile.path for tile in edge.append(number.to_bytes(4, "big"))]
        written += [tile.path for tile in edge.partial()]
        listed += keeping.tiles_of(before, edge.size)
    assert len(listed) == len({*listed})
    assert {*listed} == {*written}


@pytest.mark.embedded_parts
def test_the_log_that_survived_is_taken_along_into_a_data_folder(yard: Yard) -> None:
    yard.press.publish()
    taken = yard.back_up()
    yard.press.publish()
    with tempfile.TemporaryDirectory(prefix="streamcoop-restored-") as folder:
        Path(folder).chmod(PASSABLE)
        alone = restore.into_folder(taken, Path(folder, "alone"))
        assert not alone.is_held
        along = restore.into_folder(taken, Path(folder, "along"), log_from=yard.press.folder)
        assert along.is_held
        objects = plan.Places(Path(folder, "along")).objects
        for key, data in yard.files().items():
            assert (objects / key).read_bytes() == data


def test_a_checkpoint_in_a_backup_is_no_later_than_its_rows(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    press = yard.press
    press.publish()
    first = (press.log / files.CHECKPOINT).read_bytes()
    snapshot = backup._take_objects

    def published_meanwhile(*args: Any) -> list[str]:
        press.publish()
        return snapshot(*args)

    monkeypatch.setattr(backup, "_take_objects", published_meanwhile)
    taken = yard.back_up()
    assert (press.log / files.CHECKPOINT).read_bytes() != first
    assert (taken / manifest.OBJECTS / files.key_of(files.CHECKPOINT)).read_bytes() == first


def test_copies_are_deleted_when_backups_are_to_be(yard: Yard) -> None:
    press = yard.press
    assert sealing.EXPIRES == BACKUPS_EXPIRE
    for _ in range(3):
        press.publish()
    press.label.clock.at += timedelta(days=20)
    for _ in range(2):
        press.publish()
    press.end_batch()

    def there() -> set[int]:
        return {int(path.name) for path in (press.folder / files.rows_key(1)).parent.iterdir()}

    def expire(days: float, most: int = 100) -> int:
        with engine().connect() as conn:
            last = sealing.last_expired(conn, press.label.clock.now() + timedelta(days=days))
        return sealing.expire(press.store, last, most)

    kept = there()
    assert expire(9) == 0
    assert there() == kept
    assert expire(11, most=2) == 2
    assert there() == kept - {*sorted(kept)[:2]}
    assert expire(11) == len(kept) - 2 - 2
    assert expire(11) == 0
    assert expire(31) == 2
    assert not there()
    press.publish(end=False)
    press.require_whole()


def test_an_operator_is_told_that_the_log_goes_on_beyond_the_database(yard: Yard) -> None:
    taken = yard.back_up()
    yard.press.publish()
    with yard.restored(taken):
        picture = operations.look(settings(), yard.press.label.clock.now())
        lines = terminal.screen(picture, ready=True, minute=operations.LastMinute(0, 0)).lines
        told = [line for line in lines if line.about == "recovery"]
        assert [(line.verdict, recovering.BEHIND in line.told) for line in told] == [(Verdict.ATTENTION, True)]
        result = CliRunner().invoke(log_command, ["status"])
        assert (result.exit_code, recovering.BEHIND in result.output) == (1, True), result.output
        result = CliRunner().invoke(log_command, ["recover"])
        assert (result.exit_code, "are put back" in result.output) == (0, True), result.output
        yard.press.label.database.engine.dispose()
        assert "STOPPED" not in CliRunner().invoke(log_command, ["status"]).output
        picture = operations.look(settings(), yard.press.label.clock.now())
        assert picture.is_behind is False


def test_publishing_is_what_seals(yard: Yard) -> None:
    head = yard.press.publish()
    assert head is not None
    with sealing.opened(yard.press.store, sealing.secret_of(settings()), head.origin, 1) as copy:
        assert (copy.about.batch, copy.about.origin) == (1, head.origin)
