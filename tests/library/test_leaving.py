"""Of a listener who goes nothing stays of what she kept, a chunk at a time."""

from __future__ import annotations

from streamcoop.database import transaction
from streamcoop.erasure import service as erasure
from streamcoop.erasure.models import Erasure
from streamcoop.library import leaving
from tests.library.shelf import a_playlist, kind_of, put_in
from tests.royalties.label import Label

KEPT = "select 1 from coop.favourite union all select 1 from coop.playlist union all select 1 from coop.playlist_item"
STEPS_MAX = 50


def test_favourites_and_playlists_go_with_their_owner_and_nobody_elses_do(label: Label) -> None:
    owner, lestari, sekar = label.person("Kyai", "artist"), label.listener(), label.listener("Sekar")
    tracks = [label.track(owner) for _ in range(3)]
    lists = {}
    for listener in (lestari, sekar):
        lists[listener] = a_playlist(label, listener, visibility="public")
        for track in tracks:
            put_in(label, listener, lists[listener], track)
            assert label.call("PUT", f"/library/favourites/{track}", listener).status_code == 204
    with transaction() as session:
        session.add(Erasure(user_id=lestari.user_id, asked_at=label.clock.now()))
        leaving.hide(session, lestari.user_id)
    # At once nobody reads her list; its rows go in chunks.
    assert kind_of(label.call("GET", f"/library/playlists/{lists[lestari]}", sekar)) == (404, "not-found")
    with transaction() as session:
        assert leaving.erase_chunk(session, lestari.user_id, chunk=2)
    for _ in range(STEPS_MAX):
        with transaction() as session:
            if not erasure.go_on(session, lestari.user_id, label.clock.now()):
                break
    assert len(label.rows(KEPT)) == 3 + 1 + 3
    assert len(label.get("/library/favourites", sekar)["items"]) == 3
    assert label.get(f"/library/playlists/{lists[sekar]}", sekar)["tracks"] == 3
