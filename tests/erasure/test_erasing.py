"""Somebody goes: nothing is left that names her or opens what the log has of her, and all of it still adds up."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from ledger import accounts as chart
from ledger.store import erasing
from streamcoop.catalogue.models import Artist, Release, Track
from streamcoop.database import transaction
from streamcoop.erasure import service
from streamcoop.governance.models import Ballot, BallotComment
from streamcoop.membership import service as membership
from streamcoop.membership import shares
from streamcoop.payouts import service as payouts
from streamcoop.settings import settings
from tests.erasure.house import House, found
from tests.ledger import factories
from tests.royalties.label import Person
from tests.transparency.press import Press

EPOCH = factories.EPOCH
CREDITS_MINOR = 1_000
NAME = "Lestari Wulandari"
REFERENCE = "from the aunt of Lestari"
UPDATE_ROLES = text("update coop.user set roles = roles || '{operator}' where id = :who")


def wallet_micro(house: House, person: Person) -> int:
    return factories.balance_micro(house.label.database.engine, chart.wallet(person.user_id))


def refusal(house: House, person: Person, **consents: bool) -> str:
    answer = house.leave(person, **consents)
    assert answer.status_code in (403, 409), answer.text
    return str(answer.json()["type"]).removeprefix("/problems/")


def salts_of(house: House, person: Person) -> set[str]:
    """What opens her commitments, while it is there."""
    rows = house.label.rows(
        """
        select salt from ledger.play where listener_id = :who union all
        select salt from ledger.log_credit where listener_id = :who union all
        select salt from ledger.log_wallet where listener_id = :who union all
        select salt from ledger.log_payee where payee = :who
        """,
        who=person.user_id,
    )
    return {bytes(row.salt).hex() for row in rows if row.salt is not None}


def test_what_would_be_lost_is_told_and_nothing_is_changed(house: House) -> None:
    label = house.label
    track, lestari = label.track(label.person("Kyai", "artist"), "Pagi"), house.account(NAME)
    house.top_up(lestari, CREDITS_MINOR)
    label.play(lestari, track, 9)
    told = label.get("/me/erasure", lestari)
    [owned] = told["tracks_owned"]
    assert (owned["title"], owned["artist"], told["has_more_tracks"]) == ("Pagi", "Kyai", False)
    assert owned["certificate"] == f"/api/v1/tracks/{track}/certificate"
    assert told["credits_left_micro"] == told["credits_left_money_micro"] == wallet_micro(house, lestari) > 0
    assert told["plays"] == 9
    assert [(o["type"], o["consent"]) for o in told["in_the_way"]] == [("/problems/credits-left", "forfeit_credits")]
    assert told == label.get("/me/erasure", lestari)
    assert not label.rows("select from coop.erasure")


SAID = "In Yogya we pay nine tenths"


def said_on_a_ballot(session: Session, member_id: UUID, user_id: UUID, at: datetime) -> None:
    about = {"title": "Nine tenths?", "text": "", "state": "discussing", "duration_s": 1}
    session.add(Ballot(id=uuid4(), proposed_by=member_id, proposed_at=at, lapses_at=at, **about))
    session.flush()
    ballot_id = session.scalars(select(Ballot.id)).one()
    session.add(BallotComment(id=uuid4(), ballot_id=ballot_id, user_id=user_id, text=SAID, at=at))


def test_nothing_is_left_that_names_her_or_opens_what_the_log_has_of_her(
    house: House, press: Press, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    label = house.label
    kyai = label.person("Kyai", "artist")
    one, two = label.track(kyai, "Pagi"), label.track(kyai, "Malam")
    lestari, sekar = house.account(NAME), label.listener("Sekar")
    label.split_in_force(kyai, two, {kyai: 9_000, lestari: 1_000}, consented=True)
    house.top_up(lestari, CREDITS_MINOR, REFERENCE)
    with transaction() as session:
        member = membership.apply(session, lestari.user_id, "listener", None, settings(), label.clock.now())
        kept_key, member_id = bytes(member.kept_key or b""), member.id
        payouts.set_destination(session, lestari.user_id, "DE02 1203 0000 0000 2020 51")
        said_on_a_ballot(session, member_id, lestari.user_id, label.clock.now())
    assert house.sign_in(lestari.email).status_code == 201
    label.play(lestari, one, 9)
    label.play(sekar, one, 2)
    label.play(sekar, two)
    press.publish()
    label.play(lestari, two, 2)
    assert label.close(EPOCH)
    label.go_to(EPOCH + 1)
    label.play(lestari, two, 1, epoch=EPOCH + 1)
    press.publish()
    receipts = tmp_path / "receipts"
    receipts.mkdir()
    plays = press.plays_of(lestari)
    for play_id in plays:
        press.keep_receipt(receipts, lestari, f"/plays/{play_id}/receipt", f"play-{play_id}")
    press.keep_receipt(receipts, lestari, f"/wallet/lines/{EPOCH}/receipt", "wallet")
    [named] = label.get("/royalties/names", lestari)
    press.keep_receipt(receipts, lestari, f"/royalties/names/{named['split_id']}/receipt", "payee")
    secret = [NAME, "Lestari", lestari.email, REFERENCE, "DE02 1203", kept_key.hex(), SAID]
    salts = salts_of(house, lestari)
    assert len(salts) == len(plays) + 3
    assert found(secret, house.everything_kept()) == secret

    assert refusal(house, lestari) == "credits-left"
    assert refusal(house, lestari, forfeit_credits=True) == "royalties-due"
    left_micro = wallet_micro(house, lestari)
    answer = house.leave(lestari, forfeit_credits=True, forfeit_royalties=True)
    assert answer.status_code == 202, answer.text
    assert answer.json()["credits_forfeited_micro"] == left_micro
    assert not house.findings()
    house.erase(lestari)
    assert house.has_ended(lestari)

    kept = house.everything_kept()
    # The test's own client is no part of the service, and uvicorn's access log is off there.
    ours = [r for r in caplog.records if not r.name.startswith(("httpx", "httpcore", "uvicorn"))]
    logged = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in ours)
    for told in (kept, logged):
        assert not found([*salts, *secret], told)
    # What is left of her plays says neither whose nor how to tell; and her number stands beside no play.
    number = str(lestari.user_id)
    assert not [line for line in kept.splitlines() if number in line and found(map(str, plays), line)]
    blanked = label.rows(
        "select from ledger.play where id = any(:ids) and listener_id is null and salt is null", ids=plays
    )
    assert len(blanked) == len(plays)
    assert not salts_of(house, lestari)
    assert label.rows("select kept_key, state from coop.member where id = :id", id=member_id)[0] == (None, "left")

    # The log and the books, for everybody.
    press.publish()
    report = press.require_whole(receipts)
    assert {outcome.kind for outcome in report.receipts} == {"play", "wallet", "payee"}
    assert not house.findings()
    [first, *_] = press.plays_of(sekar)
    press.keep_receipt(receipts, sekar, f"/plays/{first}/receipt", "of-sekar")
    assert label.get("/wallet", sekar)["balance_micro"] > 0
    # The credits that are left are nobody's: told at each seal, with nothing to open it by.
    label.go_to(EPOCH + 2)
    assert label.close(EPOCH + 1)
    press.publish()
    report = press.require_whole(receipts)
    assert wallet_micro(house, lestari) == left_micro
    [line] = label.rows("select * from ledger.log_wallet where listener_id = :w and epoch = :e", w=number, e=EPOCH + 1)
    assert (line.salt, line.closing_micro) == (None, left_micro)
    assert not house.findings()

    assert house.sign_in(lestari.email).status_code == 401
    again = house.opened(lestari.email, NAME)
    assert again.user_id != lestari.user_id
    assert house.sign_in(lestari.email).status_code == 201
    assert label.get("/wallet/tracks", again)["items"] == []


def test_an_erasure_that_stops_anywhere_goes_on_and_the_books_agree_at_every_step(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing.erase_chunk, "__defaults__", (1,))
    label = house.label
    tracks, lestari = [label.track(label.person("Kyai", "artist")) for _ in range(2)], house.account(NAME)
    house.top_up(lestari, CREDITS_MINOR, REFERENCE)
    for track in tracks:
        label.play(lestari, track, 3)
    assert house.leave(lestari, forfeit_credits=True).status_code == 202
    steps = 0
    while house.step(lestari):
        steps += 1
        assert not house.findings()
    # Plays, progress, a month's spending, a remark and a top-up's salt.
    assert steps == 6 + 2 + 1 + 1 + 1
    assert not house.has_ended(lestari)
    house.pass_quiet()
    house.step(lestari)
    assert house.has_ended(lestari)
    assert not house.step(lestari)


def test_a_step_that_is_rolled_back_is_taken_again(house: House) -> None:
    label = house.label
    track, lestari = label.track(label.person("Kyai", "artist")), house.account(NAME)
    house.top_up(lestari, CREDITS_MINOR)
    label.play(lestari, track, 2)
    assert house.leave(lestari, forfeit_credits=True).status_code == 202

    class Killed(Exception):
        pass

    def killed_before_its_commit() -> None:
        with transaction() as session:
            assert erasing.erase_chunk(session.connection(), lestari.user_id)
            raise Killed

    with pytest.raises(Killed):
        killed_before_its_commit()
    assert len(house.press.plays_of(lestari)) == 2
    house.erase(lestari)
    assert not house.press.plays_of(lestari)


def test_plays_that_are_not_settled_are_waited_for(house: House) -> None:
    label = house.label
    track, lestari = label.track(label.person("Kyai", "artist")), house.account(NAME)
    house.top_up(lestari, CREDITS_MINOR)
    claim = factories.claim(lestari.user_id, track)
    factories.record_now(label.database.app_url, [claim], now=label.clock.now())
    left_micro = label.get("/me/erasure", lestari)["credits_left_micro"]
    assert left_micro == wallet_micro(house, lestari) - claim.price_micro
    assert house.leave(lestari, forfeit_credits=True).json()["credits_forfeited_micro"] == left_micro
    house.pass_quiet()
    assert not house.step(lestari)
    assert not house.has_ended(lestari)
    factories.settle_all(label.database.engine, label.clock.now())
    house.erase(lestari)
    assert house.has_ended(lestari)
    assert not house.press.plays_of(lestari)
    assert wallet_micro(house, lestari) == left_micro


def test_whoever_is_erased_spends_nothing_any_more_whatever_was_opened_before(house: House) -> None:
    label = house.label
    track, lestari = label.track(label.person("Kyai", "artist")), house.account(NAME)
    house.top_up(lestari, CREDITS_MINOR)
    play, buyout = (
        factories.claim(lestari.user_id, track),
        factories.claim(lestari.user_id, track, 1, 1_022_000, "buyout"),
    )
    assert house.leave(lestari, forfeit_credits=True).status_code == 202
    house.erase(lestari)
    # A request that looked her up a moment before sets her limits.
    label.call("PUT", "/wallet/limits", Person(lestari.user_id, "", frozenset()), {})
    for claim in (play, buyout):
        [outcome] = factories.record_now(label.database.app_url, [claim], now=label.clock.now())
        assert outcome.recorded_at is None
    assert not house.press.plays_of(lestari)


def test_an_account_is_erased_by_its_password_only(house: House) -> None:
    label = house.label
    lestari = house.account(NAME)
    answer = label.call("DELETE", "/me", lestari, {"password": "somebody else's"})
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/wrong-password")
    for _ in range(settings().sign_in_failures_free):
        answer = label.call("DELETE", "/me", lestari, {"password": "somebody else's"})
    assert (answer.status_code, answer.json()["type"]) == (429, "/problems/sign-in-paused")
    assert house.leave(lestari).status_code == 429
    label.clock.at = label.clock.at.replace(year=label.clock.at.year + 1)
    assert house.leave(lestari).status_code == 202
    assert house.leave(lestari).status_code == 403


def test_nobody_pays_for_music_that_nobody_is_paid_for(house: House) -> None:
    label = house.label
    kyai, lestari = house.account("Kyai Guntur", artist=True), label.listener()
    track = label.track(kyai, "Pagi", "Guntur Madu")
    label.play(lestari, track, 9)
    assert refusal(house, kyai, forfeit_royalties=True) == "music-published"
    with transaction() as session:
        release = session.get_one(Release, session.get_one(Track, track).release_id)
        release.state = "withdrawn"
        draft = Release(
            id=uuid4(), artist_id=release.artist_id, title="Sketches", kind="ep", state="draft",
            artwork="artwork/sketch.jpg", created_at=label.clock.now(), words="",
        )  # fmt: skip
        unseen = Artist(
            id=uuid4(), owner_id=kyai.user_id, name="Unseen", bio="Kyai Guntur", created_at=label.clock.now(), words=""
        )
        session.add_all([draft, unseen])
        session.get_one(Artist, release.artist_id).bio = "By Kyai Guntur himself"
        session.flush()
        sketch = Track(
            id=uuid4(), release_id=draft.id, artist_id=release.artist_id, position=1, title="Sketch", state="ready",
            duration_ms=1, original="tracks/sketch/original.flac", sha256=bytes(32), format="flac",
            content_type="audio/flac", lossless=True, bytes=1, filename="a.flac", uploaded_at=label.clock.now(),
            tags={}, words="", release_words="",
        )  # fmt: skip
        session.add(sketch)
    # What is collected is shared out first, or given up.
    assert refusal(house, kyai) == "royalties-due"
    assert label.close(EPOCH)
    label.go_to(EPOCH + 1)
    told = label.get("/me/erasure", kyai)
    assert (told["royalties_due_micro"], told["collected_micro"]) == (label.balance(kyai), 0)
    assert refusal(house, kyai) == "royalties-due"
    due_micro = label.balance(kyai)
    assert house.leave(kyai, forfeit_royalties=True).json()["royalties_forfeited_micro"] == due_micro > 0
    house.erase(kyai)
    # Whoever owns the track keeps it, and it keeps the name it was published by.
    answer = label.call("GET", f"/tracks/{track}/certificate", lestari)
    assert answer.status_code == 200
    assert 'artist "Guntur Madu"' in answer.text
    kept = house.everything_kept()
    assert not found(["Kyai Guntur", 'Sketch"', "Sketches", "Unseen"], kept)
    discarded = {row.key.rpartition("/")[2] for row in label.rows("select key from coop.discarded_object")}
    assert discarded == {"original.flac", "mp3.mp3", "opus.webm", "flac.flac", "preview.mp3", "sketch.jpg"}
    house.press.publish()
    house.press.require_whole()


def test_money_on_its_way_arrives_first(house: House) -> None:
    label = house.label
    kyai, lestari = house.account("Kyai", artist=True), label.listener()
    track = label.track(kyai)
    label.play(lestari, track, 9)
    assert label.close(EPOCH)
    with transaction() as session:
        session.get_one(Release, session.get_one(Track, track).release_id).state = "withdrawn"
        payouts.set_destination(session, kyai.user_id, "DE02 1203 0000 0000 2020 51")
        run = payouts.plan(session, label.founding, uuid4(), lestari.user_id, label.clock.now())
    with transaction() as session:
        [payout] = payouts.mark_sent(session, run.id, label.clock.now())
    label.go_to(EPOCH + 1)
    assert refusal(house, kyai, forfeit_royalties=True) == "payout-under-way"
    with transaction() as session:
        payouts.confirm(session, label.founding, payout.id, label.clock.now())
    # Less than the smallest coin can be paid to nobody, so it keeps nobody.
    assert 0 <= label.balance(kyai) < label.founding.minor_micro
    assert house.leave(kyai).status_code == 202
    house.erase(kyai)
    assert not found(["DE02 1203"], house.everything_kept())
    assert not house.findings()


def test_a_share_the_coop_holds_stands_in_the_way_until_she_does_without(house: House) -> None:
    lestari = house.account(NAME)
    with transaction() as session:
        member = membership.apply(session, lestari.user_id, "listener", None, settings(), house.label.clock.now())
        shares.pay(session, member.id, uuid4(), uuid4(), house.label.clock.now())

    assert refusal(house, lestari) == "share-held"
    answer = house.leave(lestari, forfeit_share=True)
    assert (answer.status_code, answer.json()["share_forfeited_micro"]) == (202, 10_000_000)
    assert not house.findings()


def test_the_last_operator_stays_until_there_is_another(house: House) -> None:
    label = house.label
    lestari = house.account(NAME)
    with transaction() as session:
        session.execute(UPDATE_ROLES, {"who": lestari.user_id})
    assert refusal(house, lestari) == "last-operator"
    label.person("Sekar", "operator")
    assert house.leave(lestari).status_code == 202


def test_a_credit_booked_for_somebody_who_is_gone_finds_nobody(house: House) -> None:
    lestari = house.account(NAME)
    assert house.leave(lestari).status_code == 202
    treasurer = house.label.person("Bendahara", "treasurer")
    body = {"request_id": str(uuid4()), "listener_email": lestari.email, "amount_minor": 100}
    assert house.label.call("POST", "/treasury/topups", treasurer, body).status_code == 404


def test_a_top_up_sent_again_is_known_by_its_reference_until_that_is_erased(house: House) -> None:
    label = house.label
    lestari, treasurer = house.account(NAME), label.person("Bendahara", "treasurer")
    body = {
        "request_id": str(uuid4()),
        "listener_email": lestari.email,
        "amount_minor": 100,
        "reference": REFERENCE,
    }
    assert not label.call("POST", "/treasury/topups", treasurer, body).json()["repeated"]
    assert label.call("POST", "/treasury/topups", treasurer, body).json()["repeated"]
    answer = label.call("POST", "/treasury/topups", treasurer, body | {"reference": "another"})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/request-id-reused")
    month = label.clock.now().strftime("%Y-%m")
    [line] = label.get(f"/wallet/statement?month={month}", lestari)["lines"]
    assert line["reference"] == REFERENCE


def test_an_erasure_is_repeated_where_a_backup_was_put_back(house: House) -> None:
    """All that has to be kept apart from a backup is the row."""
    label = house.label
    track, lestari = label.track(label.person("Kyai", "artist")), house.account(NAME)
    house.top_up(lestari, CREDITS_MINOR, REFERENCE)
    label.play(lestari, track, 3)
    with label.database.engine.begin() as conn:
        row = {"who": lestari.user_id, "at": label.clock.now() - service.QUIET_FOR}
        conn.execute(text("insert into coop.erasure (user_id, asked_at) values (:who, :at)"), row)
    steps = 0
    while house.step(lestari):
        steps += 1
        assert not house.findings()
    assert steps
    assert house.has_ended(lestari)
    assert not found([NAME, lestari.email, REFERENCE], house.everything_kept())
    assert house.sign_in(lestari.email).status_code == 401


def test_the_worker_takes_all_steps_and_once_nothing_is_left_does_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers import books  # it reads the settings

    monkeypatch.setattr(books, "now", house.label.clock.now)
    label = house.label
    track = label.track(label.person("Kyai", "artist"))
    gone = [house.account(NAME) for _ in range(2)]
    for person in gone:
        house.top_up(person, CREDITS_MINOR)
        label.play(person, track, 2)
        assert house.leave(person, forfeit_credits=True).status_code == 202
    assert books.erase() == 2 * 4
    assert not label.rows("select from ledger.play where listener_id is not null")
    house.pass_quiet()
    assert books.erase() == 0
    assert all(house.has_ended(person) for person in gone)
