"""Certificates: of what is owned and of nothing else, naming nobody."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import text

from ledger import certificate
from ledger.certificate import DAY_S
from ledger.epochs import Calendar
from ledger.store import owning, terms
from ledger.tariff import Tariff
from streamcoop.settings import settings
from streamcoop.transparency.keys import verifier_keys
from tests.ledger import factories
from tests.royalties.label import Label, Person

EPOCH = factories.EPOCH


def certified(label: Label, person: Person, track: UUID) -> certificate.Certificate:
    answer = label.call("GET", f"/tracks/{track}/certificate", person)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    return certificate.verify(answer.content, verifier_keys(settings(), "log.example/label"))


def test_a_certificate_says_what_is_owned_and_by_nobody(label: Label) -> None:
    track, lestari = label.track(label.person("Ana", "artist"), "Pagi", "Kyai"), label.listener()
    label.play(lestari, track, 9)
    told = certified(label, lestari, track)
    [digest] = label.rows("select sha256 from coop.track where id = :id", id=track)
    now_s = int(label.clock.now().timestamp())
    assert (told.track, told.sha256, told.title, told.artist) == (track, bytes(digest.sha256), "Pagi", "Kyai")
    assert told.owned_at == now_s - now_s % DAY_S
    again = certified(label, lestari, track)
    assert again.certificate != told.certificate, "each is another one"
    text_ = label.call("GET", f"/tracks/{track}/certificate", lestari).text
    assert str(lestari.user_id) not in text_
    assert lestari.email not in text_


def test_what_is_not_owned_is_not_certified(label: Label) -> None:
    ana = label.person("Ana", "artist")
    track, lestari = label.track(ana), label.listener()
    label.play(lestari, track, 8)
    for person in (lestari, ana):
        answer = label.call("GET", f"/tracks/{track}/certificate", person)
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/not-owned")
    for unknown in (uuid4(), UUID(int=0)):
        assert label.call("GET", f"/tracks/{unknown}/certificate", lestari).status_code == 404


def test_all_certificates_come_page_by_page(label: Label) -> None:
    ana, lestari = label.person("Ana", "artist"), label.listener()
    tracks = [label.track(ana, title) for title in ("Pagi", "Siang", "Malam")]
    for track in tracks:
        label.play(lestari, track, 9)
    cursor, found = "", []
    while cursor is not None:
        page = label.get(f"/me/certificates?limit=2{cursor and f'&cursor={cursor}'}", lestari)
        found += page["items"]
        cursor = page["next_cursor"]
    assert [each["track_id"] for each in found] == sorted(map(str, tracks))
    keys = verifier_keys(settings(), "log.example/label")
    read = [certificate.verify(each["certificate"].encode(), keys) for each in found]
    assert [str(each.track) for each in read] == [each["track_id"] for each in found]
    assert label.get("/me/certificates", label.listener("Sekar"))["items"] == []


def test_a_withdrawn_track_is_certified_to_whoever_owns_it(label: Label) -> None:
    track, lestari, sekar = label.track(label.person("Ana", "artist")), label.listener(), label.listener("Sekar")
    label.play(lestari, track, 9)
    with label.database.engine.begin() as conn:
        conn.execute(text("update coop.release set state = 'withdrawn'"))
    assert certified(label, lestari, track).track == track
    assert label.call("GET", f"/tracks/{track}/certificate", sekar).status_code == 404


def test_who_owns_by_a_change_of_the_tariff_does_so_from_its_epoch_on(label: Label) -> None:
    track, lestari = label.track(label.person("Ana", "artist")), label.listener()
    label.play(lestari, track, 3)
    with label.database.engine.begin() as conn:
        terms.adopt_tariff(conn, Tariff(plays=3), EPOCH + 1, "a test", label.clock.now())
    calendar: Calendar = label.founding.calendar

    def since(epoch: int) -> datetime | None:
        with label.database.engine.connect() as conn:
            found = owning.owns(conn, calendar, lestari.user_id, epoch, track)
        return None if found is None else found.owned_at

    assert since(EPOCH) is None
    assert since(EPOCH + 1) == since(EPOCH + 5) == calendar.starts_at(EPOCH + 1)


def test_what_is_paid_and_not_settled_is_owned(label: Label) -> None:
    track, lestari = label.track(label.person("Ana", "artist")), label.listener()
    buyout = factories.claim(lestari.user_id, track, 1, Tariff().total_micro, "buyout")
    factories.record_now(label.database.app_url, [buyout], now=label.clock.now())
    assert certified(label, lestari, track).track == track
