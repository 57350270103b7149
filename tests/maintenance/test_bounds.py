"""No transaction that writes grows with the co-op: each touches so many rows at the most, however many there are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.errors import LockNotAvailable
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from ledger import accounts as chart
from ledger.royalties import Share
from ledger.store import closing, partitions, posting, settling
from ledger.store.posting import Transfer
from streamcoop.accounts import service as people
from streamcoop.catalogue import search
from streamcoop.catalogue import service as catalogue
from streamcoop.database import with_driver
from streamcoop.payouts import service as payouts
from streamcoop.royalties import splits
from tests.conftest import Database
from tests.ledger import factories
from tests.ledger.factories import EPOCH, NOW, claim, found, listener_with, record_now
from tests.royalties.label import Label, label, label_database

__all__ = ["label", "label_database"]

RELEASES, TRACKS_EACH = 4, 25
TOUCHED = "select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) from pg_stat_xact_user_tables"


@contextmanager
def counted(database: Database) -> Iterator[Session]:
    """A transaction on a connection of its own: PostgreSQL counts the rows that a session has changed."""
    engine = create_engine(with_driver(database.app_url), poolclass=NullPool)
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


def touched(session: Session) -> int:
    session.flush()
    return int(session.scalar(text(TOUCHED)) or 0)


def a_large_catalogue(database: Database) -> tuple[UUID, UUID]:
    """An artist with many releases of many tracks: (owner, artist)."""
    with counted(database) as session:
        now = datetime.now(UTC)
        owner = people.open_account(session, f"{uuid4()}@streamcoop.example", "x" * 12, "Label", ["artist"], now).id
        artist = catalogue.open_artist(session, owner, "Kyai Guntur", None, now).id
        session.flush()
        session.execute(
            text("""
                insert into coop.release (id, artist_id, title, kind, state, created_at, published_at, words)
                select gen_random_uuid(), :artist, 'Pelog ' || n, 'album', 'published', now(), now(), 'pelog ' || n
                  from generate_series(1, :releases) as n"""),
            {"artist": artist, "releases": RELEASES},
        )
        session.execute(
            text("""
                insert into coop.track (id, release_id, artist_id, position, title, state, duration_ms, original,
                                        sha256, format, content_type, lossless, bytes, filename, uploaded_at, tags,
                                        attempts, words, release_words)
                select gen_random_uuid(), r.id, :artist, n, 'Ladrang', 'ready', 1, 'x',
                       sha256((r.id || ' ' || n)::bytea), 'flac', 'audio/flac', true, 1, 'x.flac', now(), '{}', 0,
                       'ladrang', r.words
                  from coop.release r, generate_series(1, :tracks) as n"""),
            {"artist": artist, "tracks": TRACKS_EACH},
        )
        return owner, artist


def test_a_new_name_of_an_artist_is_one_row_however_many_tracks_there_are(database: Database) -> None:
    owner, artist = a_large_catalogue(database)
    with counted(database) as session:
        catalogue.change_artist(session, owner, artist, {"name": "Nyai Sekar"})
        assert touched(session) == 1
    with counted(database) as session:
        found_by_name = search.tracks(session, "sekar lad", None, search.PAGE_SIZE_MAX).items
        assert len(found_by_name) == RELEASES * TRACKS_EACH
        assert len(search.releases(session, "nyai pel 2", None, None, None, 10).items) == 1
        assert search.tracks(session, "guntur", None, 10).items == []
        assert search.releases(session, "kyai", None, None, None, 10).items == []


def test_a_release_is_as_many_rows_as_a_release_may_have_tracks(database: Database) -> None:
    owner, _ = a_large_catalogue(database)
    with counted(database) as session:
        release = session.scalar(text("select id from coop.release limit 1"))
        catalogue.change_release(session, owner, release, {"title": "Slendro"})
        assert touched(session) == 1 + TRACKS_EACH


def test_settling_touches_a_batch_however_long_the_queue_is(database: Database) -> None:
    found(database.engine)
    batch, plays = 10, 60
    listener = listener_with(database.engine, 1_000_000)
    record_now(database.app_url, [claim(listener, uuid4()) for _ in range(plays)])
    for _ in range(plays // batch):
        with counted(database) as session:
            assert settling.settle(session.connection(), NOW, batch) == batch
            # Of each play at most: its queue row, its row of the log, a track's account made and moved, a transfer,
            # tally and progress;
            # and of the batch a posting, a transfer, a wallet, a month's spending.
            assert touched(session) <= 7 * batch + 4


def test_a_closes_chunk_has_so_many_lines_however_many_payees_share_a_track(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    founding = found(database.engine)
    payees, lines_max, tracks = 4, 10, [uuid4() for _ in range(7)]
    monkeypatch.setattr(closing, "CHUNK_LINES_MAX", lines_max)
    listener = listener_with(database.engine, 1_000_000)
    record_now(database.app_url, [claim(listener, track) for track in tracks])
    factories.settle_all(database.engine)
    shared = tuple(Share(str(uuid4()), 2_500) for _ in range(payees))
    assert factories.close(database.engine, founding, EPOCH, factories.splits_from(dict.fromkeys(tracks, shared)))
    with database.engine.connect() as conn:
        per_posting = conn.scalars(
            text("""select count(*) from ledger.royalty_line l join ledger.track_close c on c.id = l.track_close_id
                     group by c.posting_id order by c.posting_id""")
        ).all()
    assert max(per_posting) <= lines_max
    assert sum(per_posting) == payees * len(tracks)
    assert factories.findings(database.engine) == []


def test_a_track_of_more_payees_than_a_chunk_has_lines_is_closed_alone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "CHUNK_LINES_MAX", 1)
    founding, tracks = found(database.engine), [uuid4(), uuid4()]
    record_now(database.app_url, [claim(listener_with(database.engine, 10_000), track) for track in tracks])
    factories.settle_all(database.engine)
    shared = (Share(str(uuid4()), 5_000), Share(str(uuid4()), 5_000))
    assert factories.close(database.engine, founding, EPOCH, factories.splits_from(dict.fromkeys(tracks, shared)))
    with database.engine.connect() as conn:
        assert conn.scalar(text("select count(distinct posting_id) from ledger.track_close")) == len(tracks)


def test_a_lifted_hold_is_paid_a_few_tracks_at_a_time_and_to_the_last(
    label: Label, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splits, "RELEASES_A_TIME", 2)
    operator, ana, listener = label.person("Operator", "operator"), label.person("Ana", "artist"), label.listener()
    hold = label.call("POST", "/holds", operator, {"payee_email": ana.email, "reason": "tax form"}).json()["id"]
    tracks = [label.track(ana) for _ in range(5)]
    for track in tracks:
        label.play(listener, track, 1)
    label.close()
    held_micro = sum(label.held(track) for track in tracks)
    assert held_micro > 0

    assert label.call("DELETE", f"/holds/{hold}", operator).status_code == 204
    assert sum(label.held(track) > 0 for track in tracks) == len(tracks) - 2
    assert label.get("/holds", operator) == []
    assert label.call("DELETE", f"/holds/{hold}", operator).status_code == 404

    from workers.royalties import release_lifted  # reads the settings

    release_lifted()
    assert label.balance(ana) == held_micro
    assert not any(label.held(track) for track in tracks)
    assert label.rows("select 1 from coop.hold") == []
    release_lifted()


def test_what_is_held_again_before_it_was_paid_stays_held(label: Label, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "RELEASES_A_TIME", 1)
    operator, ana, listener = label.person("Operator", "operator"), label.person("Ana", "artist"), label.listener()
    what = {"payee_email": ana.email, "reason": "tax form"}
    hold = label.call("POST", "/holds", operator, what).json()["id"]
    tracks = [label.track(ana) for _ in range(3)]
    for track in tracks:
        label.play(listener, track, 1)
    label.close()
    label.call("DELETE", f"/holds/{hold}", operator).raise_for_status()
    assert label.call("POST", "/holds", operator, what).status_code == 201

    from workers.royalties import release_lifted  # reads the settings

    release_lifted()
    assert sum(label.held(track) > 0 for track in tracks) == len(tracks) - 1


def test_a_payout_run_is_one_posting_however_many_are_paid(database: Database) -> None:
    founding, payees = found(database.engine), 4
    with counted(database) as session:
        for _ in range(payees):
            payee = people.open_account(session, f"{uuid4()}@streamcoop.example", "x" * 12, "Payee", ["artist"], NOW).id
            owed = Transfer(chart.BANK, chart.royalty(payee), 20_000_000)
            posting.post(session.connection(), uuid4(), "test", [owed], NOW)
            payouts.set_destination(session, payee, "DE89 3704 0044 0532 0130 00")
    with counted(database) as session:
        payouts.plan(session, founding, uuid4(), uuid4(), NOW)
        # A payout, a transfer and a balance each; the run, the posting, and the clearing account made and moved.
        assert touched(session) <= 3 * payees + 4
    with counted(database) as session:
        assert session.scalar(text("select count(*) from ledger.posting where kind = 'payouts-planned'")) == 1


def test_a_partition_that_has_to_wait_for_a_reader_holds_up_no_recording(database: Database) -> None:
    found(database.engine)
    with psycopg.connect(database.owner_url) as reading:
        reading.execute("select count(*) from ledger.play")  # as pg_dump does, for as long as it takes
        with pytest.raises(OperationalError) as given_up, database.engine.begin() as conn:
            partitions.ensure_partitions(conn, NOW)
        assert isinstance(given_up.value.orig, LockNotAvailable)
    with database.engine.begin() as conn:
        assert partitions.ensure_partitions(conn, NOW)
