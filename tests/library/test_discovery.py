"""What the first page shows: the most owned releases, random ones, and genres."""

from __future__ import annotations

import base64
import json
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from streamcoop.catalogue import discovery
from streamcoop.database import transaction
from tests.library.shelf import everything, kind_of, set_state
from tests.royalties.label import Label

TO_OWN = 9
LEAST = discovery.OWNERS_TOLD_MIN


def count_all(most: int = 2) -> None:
    """As the worker does, in small chunks."""
    after: UUID | None = None
    for _ in range(100):
        with transaction() as session:
            after = discovery.count_owners(session, after, most)
        if after is None:
            return
    raise AssertionError("counting has no end")


def owned_by(label: Label, track: UUID, owners: int) -> None:
    for _ in range(owners):
        label.play(label.listener(), track, times=TO_OWN)


def test_releases_are_told_by_their_owners_and_none_with_fewer_than_five(label: Label) -> None:
    kyai = label.person("Kyai", "artist")
    most, some, few, none = (label.track(kyai, title) for title in ("Most", "Some", "Few", "None"))
    owned_by(label, most, LEAST + 1)
    owned_by(label, some, LEAST)
    owned_by(label, few, LEAST - 1)
    label.play(label.listener(), none, times=TO_OWN - 1)
    count_all()
    releases = {label.get(f"/tracks/{track}", kyai)["release_id"]: track for track in (most, some, few, none)}
    told = everything(label, "/discovery/most-owned", kyai, 1)
    assert [(releases[release["id"]], release["owners"]) for release in told] == [(most, LEAST + 1), (some, LEAST)]
    # No number below five is kept anywhere either.
    assert {row.owners for row in label.rows("select owners from coop.release_ownership")} == {LEAST + 1, LEAST}


def test_somebody_who_owns_two_tracks_of_a_release_is_one_owner(label: Label) -> None:
    kyai = label.person("Kyai", "artist")
    first, second = label.track(kyai, "First"), label.track(kyai, "Second")
    with label.database.engine.begin() as conn:
        move = """
            update coop.track t set release_id = other.release_id, artist_id = other.artist_id
              from coop.track other where other.id = :to and t.id = :track
        """
        conn.execute(text(move), {"to": first, "track": second})
    lestari = label.listener()
    label.play(lestari, first, times=TO_OWN)
    owned_by(label, first, LEAST - 2)
    label.play(lestari, second, times=TO_OWN)
    count_all()
    assert label.get("/discovery/most-owned", kyai)["items"] == []
    owned_by(label, second, 1)
    count_all()
    [release] = label.get("/discovery/most-owned", kyai)["items"]
    assert release["owners"] == LEAST


def test_a_release_whose_owners_become_too_few_or_that_is_withdrawn_is_told_no_more(label: Label) -> None:
    kyai = label.person("Kyai", "artist")
    kept, withdrawn = label.track(kyai, "Kept"), label.track(kyai, "Withdrawn")
    for track in (kept, withdrawn):
        owned_by(label, track, LEAST)
    count_all()
    set_state(label, withdrawn, "withdrawn")
    [told] = label.get("/discovery/most-owned", kyai)["items"]
    assert told["id"] == label.get(f"/tracks/{kept}", kyai)["release_id"]
    with label.database.engine.begin() as conn:
        goes = "select listener_id from ledger.progress where track_id = :track limit 1"
        gone = conn.scalar(text(goes), {"track": kept})
        # Her plays are blanked as an erasure does it, so that the books go on to agree.
        conn.execute(
            text("update ledger.play set listener_id = null, salt = null where listener_id = :who"), {"who": gone}
        )
        conn.execute(text("delete from ledger.progress where listener_id = :who"), {"who": gone})
        conn.execute(text("delete from ledger.spending where listener_id = :who"), {"who": gone})
        erased = "insert into ledger.listener (id, closed_at) values (:who, now())"
        conn.execute(text(erased), {"who": gone})
    count_all()
    assert label.get("/discovery/most-owned", kyai)["items"] == []


def test_random_releases_are_each_told_once_wherever_one_begins(label: Label) -> None:
    kyai = label.person("Kyai", "artist")
    tracks = [label.track(kyai, str(number)) for number in range(6)]
    set_state(label, tracks[0], "withdrawn")
    shown = {str(label.get(f"/tracks/{track}", kyai)["release_id"]) for track in tracks[1:]}
    first = set()
    for start in range(discovery.HASH_MIN, -discovery.HASH_MIN, discovery.HASHES // 64):
        with transaction() as session:
            ids = [str(release.id) for release in discovery.random(session, start, 10)]
            assert sorted(ids) == sorted(shown)
            assert [str(release.id) for release in discovery.random(session, start, 2)] == ids[:2]
        first.add(ids[0])
    assert len(first) > 2
    assert len(label.get("/discovery/random?limit=3", kyai)) == 3


def test_genres_are_counted_however_they_are_written(label: Label) -> None:
    kyai = label.person("Kyai", "artist")
    for genre in ("Gamelan", "gamelan", "Dub", None):
        track = label.track(kyai)
        label.call("PATCH", f"/releases/{label.get(f'/tracks/{track}', kyai)['release_id']}", kyai, {"genre": genre})
    hidden = label.track(kyai)
    label.call("PATCH", f"/releases/{label.get(f'/tracks/{hidden}', kyai)['release_id']}", kyai, {"genre": "Dub"})
    set_state(label, hidden, "withdrawn")
    told = [(genre["name"].lower(), genre["releases"]) for genre in label.get("/genres", kyai)]
    assert told == [("gamelan", 2), ("dub", 1)]


@pytest.mark.parametrize("owners", ["99999999999", "-99999999999", "many", "9" * 1_000])
def test_a_cursor_that_was_not_given_out_is_refused(label: Label, owners: str) -> None:
    sealed = base64.urlsafe_b64encode(json.dumps([owners, str(uuid4())]).encode()).decode().rstrip("=")
    answer = label.client.get(f"/api/v1/discovery/most-owned?cursor={sealed}")
    assert kind_of(answer) == (400, "bad-cursor")
