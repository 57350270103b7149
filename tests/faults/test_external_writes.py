"""Every write to something outside this process, when it never arrived and when only its answer got lost.

The rows are those of docs/external-writes.md. After a failure each test goes the normal way again: what is there at the
end was done exactly once, or it is cleanly absent and the client was told.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import kombu
import pytest
from httpx import Response
from sqlalchemy.exc import OperationalError

from ledger import accounts as chart
from ledger import founding as notes
from ledger.epochs import Calendar
from ledger.note import Checkpoint, KeyType, SigningKey, signed
from ledger.store import batches, posting
from ledger.store.posting import Transfer
from ledger.verify.reading import open_log
from ledger.verify.run import Asked, verify
from ledger.witness import Witness, cosigned
from streamcoop import work
from streamcoop.adapters.anchors import Anchors
from streamcoop.adapters.objects import S3_ATTEMPTS_MAX, ObjectStoreUnavailable, open_store
from streamcoop.adapters.witnesses import Gathered, cosignatures
from streamcoop.anchoring import service as anchoring
from streamcoop.database import engine, transaction
from streamcoop.demo.wallet import Wallet
from streamcoop.settings import settings
from streamcoop.transparency import files, founding, key_files, naming, rotating, sealing
from streamcoop.transparency.keys import verifier_keys
from streamcoop.witness import service as witnessing
from tests.adapters import audio_files
from tests.embedded.chain_process import LOG_ORIGIN
from tests.faults.house import EVERY_ATTEMPT, PASSWORD, TRAP_S_MAX, Failure, House, Person
from tests.faults.house import house as house
from tests.faults.house import s3 as s3
from tests.faults.proxy import FaultyProxy
from tests.membership.coop import chain as chain

TABLE = Path(__file__).resolve().parents[2] / "docs" / "external-writes.md"
PUT, DELETE, SEND_RAW = b"PUT /", b"DELETE /", b"eth_sendRawTransaction"
USER_ROW, SIGN_IN_ROW = b'INSERT INTO coop."user"', b"INSERT INTO coop.sign_in ("
MEMBER_ROW, APPROVAL_ROW = b"INSERT INTO coop.member (", b"INSERT INTO coop.approval ("
ERASURE_ROW, SALT_GONE = b"INSERT INTO coop.erasure", b"update ledger.log_credit set salt = null"
TRACK_ROW, TRACK_STORED = b"INSERT INTO coop.track (", b"UPDATE coop.track SET state="
LISTING = 1
"""Before it sends, pgmq's client asks which queues there are: a commit of its own."""
RENDITIONS = {"mp3", "opus", "preview", "flac"}
VISIBLE_AGAIN_S = 1
FIRST_PRICE_MICRO = 2_000
MINOR_MICRO = 10_000
OWED_MICRO = 50_000_000
EPOCH = 24_323
SHARE = "artist_share_bp"
WANTED_BP = 7_200
SWEEPS_MAX = 20
HEAD = (1_000, b"\x11" * 32, 900_000_000, 600_000_000)
"""Size, root, gross and royalties."""

Test = Callable[[House, Failure], None]
WRITES: set[str] = set()


def external_write(name: str) -> Callable[[Test], Test]:
    """Makes a test the pair of tests of a row."""
    assert name not in WRITES
    WRITES.add(name)

    def pair(test: Test) -> Test:
        return pytest.mark.parametrize("failure", list(Failure), ids=lambda failure: failure.value)(test)

    return pair


def test_the_documented_rows_are_the_tested_ones() -> None:
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    header, rule, *table = rows
    assert header == ["write", "intent stored where", "act", "confirmed how", *(each.value for each in Failure)]
    assert all(re.fullmatch("-+", cell) for cell in rule)
    assert [row[0] for row in table] == sorted({row[0] for row in table}, key=[row[0] for row in table].index)
    assert {row[0] for row in table} == WRITES
    assert all(len(row) == len(header) and all(row) for row in table)


def require_problem(answer: Response, status: int, kind: str) -> None:
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}"), answer.text


def require_database_away(answer: Response) -> None:
    require_problem(answer, 503, "database-unavailable")
    assert int(answer.headers["retry-after"]) > 0


def require_renditions(house: House, artist: Person, track_id: str) -> None:
    """The track is ready, its renditions are in the store as their rows say, and nothing else of it is."""
    assert house.track(artist, track_id)["state"] == "ready"
    rows = house.rows("select codec, object_key, size from coop.rendition where track_id = %s", track_id)
    assert sorted(codec for codec, _, _ in rows) == sorted(RENDITIONS)
    ((original, size),) = house.rows("select original, bytes from coop.track where id = %s", track_id)
    said = {key: size for _, key, size in rows} | {original: size}
    kept = {each.key: each.size for each in house.bucket.objects.filter(Prefix=f"tracks/{track_id}/")}
    assert kept == said


def require_nothing_left_over(house: House, *track_ids: str) -> None:
    """Hours later the store holds the objects of these tracks and no other, and nothing waits to be deleted."""
    house.pass_time(hours=3)
    house.workers.media.sweep()
    assert {key.split("/")[1] for key in house.kept()} == set(track_ids)
    assert house.rows("select key from coop.discarded_object") == []


# --- The object store ---


@external_write("original of an upload")
def test_original(house: House, failure: Failure) -> None:
    artist = house.person("artist")
    release, piece = house.draft(artist), house.piece()
    trap = failure.at(house.objects, PUT)
    require_problem(house.upload(artist, release, piece), 503, "storage-unavailable")
    assert trap.cuts == S3_ATTEMPTS_MAX
    assert len(house.kept()) == (failure is Failure.APPLIED)
    assert house.get(f"/releases/{release}", artist)["tracks"] == []

    house.mend()
    answer = house.upload(artist, release, piece)
    assert answer.status_code == 202, answer.text
    track_id = answer.json()["id"]
    house.workers.media.render(track_id)
    require_renditions(house, artist, track_id)
    require_nothing_left_over(house, track_id)


@external_write("original of an upload, tried again by the client library")
def test_original_at_once(house: House, failure: Failure) -> None:
    artist = house.person("artist")
    trap = failure.at(house.objects, PUT, cuts=1)
    track_id = house.uploaded(artist, house.draft(artist))
    assert trap.cuts == 1
    house.workers.media.render(track_id)
    require_renditions(house, artist, track_id)
    require_nothing_left_over(house, track_id)


@external_write("artwork of a release")
def test_artwork(house: House, failure: Failure) -> None:
    artist = house.person("artist")
    release = house.draft(artist)

    def put() -> Response:
        return house.call("PUT", f"/releases/{release}/artwork", artist, content=audio_files.picture(64, 64))

    trap = failure.at(house.objects, PUT)
    require_problem(put(), 503, "storage-unavailable")
    assert trap.cuts == S3_ATTEMPTS_MAX
    assert len(house.kept()) == (failure is Failure.APPLIED)
    assert house.call("GET", f"/releases/{release}/artwork", artist).status_code == 404

    house.mend()
    assert put().status_code == 204
    assert house.call("GET", f"/releases/{release}/artwork", artist).headers["content-type"] == "image/jpeg"
    require_nothing_left_over(house, release)
    assert len(house.kept()) == 1


@external_write("rendition")
def test_rendition(house: House, failure: Failure) -> None:
    artist = house.person("artist")
    track_id = house.uploaded(artist, house.draft(artist))
    trap = failure.at(house.objects, PUT)
    house.workers.media.render(track_id)
    assert trap.cuts == S3_ATTEMPTS_MAX
    assert house.track(artist, track_id)["state"] == "processing"
    assert len(house.kept()) == 1 + (failure is Failure.APPLIED)

    house.mend()
    _try_rendering_again(house, artist, track_id)
    require_nothing_left_over(house, track_id)


def _try_rendering_again(house: House, artist: Person, track_id: str) -> None:
    """Once it is due the sweep asks, and the worker does what it is asked."""
    before = house.messages("media", track_id)
    house.pass_time(minutes=2)
    house.workers.media.sweep()
    assert house.messages("media", track_id) == before + 1
    house.workers.media.render(track_id)
    require_renditions(house, artist, track_id)


@external_write("deletion of a discarded object")
def test_deletion(house: House, failure: Failure) -> None:
    artist = house.person("artist")
    track_id = house.uploaded(artist, house.draft(artist))
    assert house.call("DELETE", f"/tracks/{track_id}", artist).status_code == 204
    house.pass_time(hours=3)
    trap = failure.at(house.objects, DELETE)
    house.workers.media.sweep()
    assert trap.cuts == S3_ATTEMPTS_MAX
    assert house.rows("select key from coop.discarded_object") != []
    # The renditions' keys are on the list too, and which of them was deleted in vain is chance.
    assert len(house.kept()) in ({1} if failure is Failure.NOT_APPLIED else {0, 1})

    house.mend()
    require_nothing_left_over(house)


# --- The broker ---


@external_write("request to render")
def test_request_to_render(house: House, failure: Failure) -> None:
    artist = house.person("artist")
    release = house.draft(artist)
    assert work.ask(work.RENDER, uuid4())  # the queue is there
    trap = failure.at_commit(house.broker, LISTING, EVERY_ATTEMPT)
    track_id = house.uploaded(artist, release)
    assert trap.wait(TRAP_S_MAX)
    assert house.messages("media", track_id) == (failure is Failure.APPLIED)

    house.mend()
    house.pass_time(minutes=1)
    house.workers.media.sweep()
    sent = house.messages("media", track_id)
    assert sent == 1 + (failure is Failure.APPLIED)
    for _ in range(sent):
        house.workers.media.render(track_id)
    require_renditions(house, artist, track_id)


@external_write("request to carry an order")
def test_request_to_carry_an_order(house: House, failure: Failure) -> None:
    assert work.ask(work.CARRY_ORDER, uuid4())
    _, member_id = house.approved_once()
    trap = failure.at_commit(house.broker, LISTING, EVERY_ATTEMPT)
    house.post(f"/members/{member_id}/approve", house.second_officer, status=202)
    assert trap.wait(TRAP_S_MAX)
    order = house.order(member_id)
    sent = house.messages("chain", order)
    assert sent == (failure is Failure.APPLIED)

    house.mend()
    house.workers.chain.sweep()
    for _ in range(sent):
        house.workers.chain.carry_order(order)
    require_admitted_once(house, member_id)


@external_write("tick of beat")
def test_tick(house: House, failure: Failure) -> None:
    from workers.app import make_app  # reads the settings

    listener, _ = played(house)
    beat = make_app(settings().broker_url.get_secret_value())
    task = "workers.credits.settle"
    beat.send_task(task)
    before = house.messages("credits", task)
    trap = failure.at_commit(house.broker, LISTING, EVERY_ATTEMPT)
    with pytest.raises(Exception):  # noqa: B017, PT011  # each transport has errors of its own; beat logs any
        beat.send_task(task, retry=False)
    assert trap.wait(TRAP_S_MAX)

    house.mend()
    beat.send_task(task)
    sent = house.messages("credits", task) - before
    assert sent == 1 + (failure is Failure.APPLIED)
    for _ in range(sent):
        house.workers.credits.settle()
    require_charged_once(house, listener)


@external_write("acknowledgement of a message")
def test_acknowledgement(house: House, failure: Failure) -> None:
    artist = house.person("artist")
    track_id = house.uploaded(artist, house.draft(artist))
    options = {"init_extension": False, "visibility_timeout": VISIBLE_AGAIN_S}
    broker_url = settings().broker_url.get_secret_value()
    done = 0
    while house.messages("media", track_id):
        with kombu.Connection(broker_url, transport_options=options) as conn:
            message = conn.SimpleQueue("media").get(timeout=TRAP_S_MAX)
            if track_id not in str(message.headers):
                message.ack()
                continue
            house.workers.media.render(track_id)
            done += 1
            trap = failure.at_commit(house.broker) if done == 1 else None
            try:
                message.ack()
            except Exception:
                assert trap is not None
            assert trap is None or trap.wait(TRAP_S_MAX)
    assert done == (2 if failure is Failure.NOT_APPLIED else 1)
    require_renditions(house, artist, track_id)


# --- The chain ---


def a_member(house: House) -> Person:
    someone, member_id = house.admitting()
    house.workers.chain.sweep()
    require_admitted_once(house, member_id)
    return someone


@dataclass(frozen=True)
class Voter:
    """A member with a wallet of her own."""

    person: Person
    wallet: Wallet


def a_voter(house: House) -> Voter:
    """On the chain."""
    wallet = Wallet()
    someone, member_id = house.admitting(lambda person: wallet.proof(_Asking(house, person)))
    house.workers.chain.sweep()
    require_admitted_once(house, member_id)
    return Voter(someone, wallet)


@dataclass(frozen=True)
class _Asking:
    """As the demo's people ask."""

    house: House
    person: Person

    def post(self, path: str, body: Any = None) -> Any:
        return self.house.post(path.removeprefix("/api/v1"), self.person, body, status=200)


def an_open_ballot(house: House, voter: Voter) -> str:
    body = {"title": "What the artists get", "parameters": [SHARE], "open_for_seconds": 60}
    ballot_id = str(house.post("/ballots", voter.person, body)["id"])
    house.workers.chain.sweep()
    assert house.get(f"/ballots/{ballot_id}")["state"] == "open"
    return ballot_id


def signed_vote(house: House, ballot_id: str, voter: Voter, value: int) -> dict[str, Any]:
    """A vote, ready to be cast."""
    wanted = {SHARE: value}
    drafted = house.post(f"/ballots/{ballot_id}/votes/draft", voter.person, {"values": wanted}, status=200)
    vote = {"values": wanted, "nonce": drafted["nonce"], "deadline": drafted["deadline"]}
    return {**vote, "signature": voter.wallet.signed(drafted["typed_data"])}


def a_ballot_over(house: House) -> str:
    """With one vote, and not counted yet."""
    voter = a_voter(house)
    ballot_id = an_open_ballot(house, voter)
    house.post(f"/ballots/{ballot_id}/votes", voter.person, signed_vote(house, ballot_id, voter, WANTED_BP))
    house.pass_time(minutes=2)
    return ballot_id


def a_decision(house: House) -> str:
    """Counted, and nothing of it on the chain yet."""
    ballot_id = a_ballot_over(house)
    house.workers.ballots.count(UUID(ballot_id))
    assert house.get(f"/ballots/{ballot_id}")["state"] == "closed"
    return ballot_id


def require_decided_once(house: House, ballot_id: str) -> None:
    """The registry has it, by one transaction that took effect, and so have the rates."""
    for _ in range(SWEEPS_MAX):
        if house.get(f"/ballots/{ballot_id}")["state"] == "effective":
            break
        house.workers.chain.sweep()
    assert house.get(f"/ballots/{ballot_id}")["state"] == "effective"
    states = house.rows("select state from coop.chain_transaction where purpose = 'decision'")
    assert [state for (state,) in states if state != "failed"] == ["confirmed"]
    (decided,) = house.workers.ballots.rate_registry().decisions()
    assert (decided.ballot_id, decided.rates.artist_share_bp) == (UUID(ballot_id), WANTED_BP)
    rates = house.rows("select artist_share_bp from ledger.rates order by version")
    assert [share for (share,) in rates][1:] == [WANTED_BP]


def require_admitted_once(house: House, member_id: str) -> None:
    """The contract has her, by one transaction that took effect, and so has the service."""
    assert house.rows("select state from coop.member where id = %s", member_id) == [("member",)]
    order = house.order(member_id)
    assert house.rows("select held_up_by, refused_because from coop.register_order where id = %s", order) == [
        (None, None)
    ]
    states = house.rows("select state from coop.chain_transaction where subject = %s", order)
    assert [state for (state,) in states if state != "failed"] == ["confirmed"]
    membership = house.workers.register.registrar()
    ((address,),) = house.rows("select address from coop.member where id = %s", member_id)
    seats = membership.roll_at(membership.snapshot_block(0)).seats
    assert [seat.address for seat in seats if seat.address == address] == [address]


@external_write("order sent to the chain")
def test_order(house: House, failure: Failure) -> None:
    _, member_id = house.admitting()
    order = house.order(member_id)
    trap = failure.at(house.chain, SEND_RAW)
    house.workers.chain.carry_order(order)
    assert trap.cuts >= 1
    ((done_at, held_up_by),) = house.rows("select done_at, held_up_by from coop.register_order where id = %s", order)
    assert (done_at, bool(held_up_by)) == (None, True)

    house.mend()
    house.workers.chain.sweep()
    require_admitted_once(house, member_id)


@pytest.mark.parametrize("step", ["stored", "sent", "confirmed"])
@external_write("steps of an order")
def test_steps_of_an_order(house: House, failure: Failure, step: str) -> None:
    # What the contract was first is looked up and kept. Then each step looks (a commit of its own) before it writes;
    # storing chooses a nonce in between.
    commits_before = {"stored": 4, "sent": 6, "confirmed": 8}[step]
    _, member_id = house.admitting()
    order = house.order(member_id)
    trap = failure.at_commit(house.postgres, after=commits_before)
    with pytest.raises(OperationalError):
        house.workers.chain.carry_order(order)
    assert trap.wait(TRAP_S_MAX)
    written = {
        "stored": "select 1 from coop.chain_transaction",
        "sent": "select 1 from coop.chain_transaction where sent_at is not null",
        "confirmed": "select 1 from coop.chain_transaction where confirmed_at is not null",
    }[step]
    assert len(house.rows(written)) == (failure is Failure.APPLIED)

    house.mend()
    house.workers.chain.sweep()
    require_admitted_once(house, member_id)


def an_anchor(house: House) -> int:
    """An epoch that is to be anchored."""
    with transaction() as session:
        anchoring.intend_anchor(session, EPOCH, *HEAD, house.clock.now())
    return EPOCH


def require_anchored_once(house: House, epoch: int) -> None:
    """The contract has it, and so has the service, by one transaction that took effect."""
    assert house.rows("select held_up_by from coop.anchor where confirmed_at is not null") == [(None,)]
    states = house.rows("select state from coop.chain_transaction where purpose = 'anchor'")
    assert [state for (state,) in states if state != "failed"] == ["confirmed"]
    (record,) = anchors(house).records()
    assert record.epoch == epoch
    assert (record.size, record.root, record.gross_micro, record.royalties_micro) == HEAD


def anchors(house: House) -> Anchors:
    connected: Anchors = house.workers.anchors.anchors(settings().anchor_contract)
    return connected


@external_write("anchor sent to the chain")
def test_anchor(house: House, failure: Failure) -> None:
    epoch = an_anchor(house)
    trap = failure.at(house.chain, SEND_RAW)
    house.workers.chain.sweep()
    assert trap.cuts >= 1
    ((held_up_by, confirmed_at),) = house.rows("select held_up_by, confirmed_at from coop.anchor")
    assert (bool(held_up_by), confirmed_at) == (True, None)

    house.mend()
    house.workers.chain.sweep()
    require_anchored_once(house, epoch)


@pytest.mark.parametrize("step", ["stored", "sent", "confirmed"])
@external_write("steps of an anchor")
def test_steps_of_an_anchor(house: House, failure: Failure, step: str) -> None:
    commits_before = {"stored": 2, "sent": 4, "confirmed": 6}[step]  # as those of an admission
    epoch = an_anchor(house)
    contract = anchors(house)
    trap = failure.at_commit(house.postgres, after=commits_before)
    with pytest.raises(OperationalError):
        house.workers.anchors.carry(contract, epoch)
    assert trap.wait(TRAP_S_MAX)
    written = {
        "stored": "select 1 from coop.chain_transaction",
        "sent": "select 1 from coop.chain_transaction where sent_at is not null",
        "confirmed": "select 1 from coop.anchor where confirmed_at is not null",
    }[step]
    assert len(house.rows(written)) == (failure is Failure.APPLIED)

    house.mend()
    house.workers.chain.sweep()
    require_anchored_once(house, epoch)


@external_write("result of a ballot")
def test_result_of_a_ballot(house: House, failure: Failure) -> None:
    ballot_id = a_ballot_over(house)
    # Votes are closed, the ballot looked at, the contract's pin looked up and kept, seats read, votes counted.
    trap = failure.at_commit(house.postgres, after=6)
    with pytest.raises(OperationalError):
        house.workers.ballots.count(UUID(ballot_id))
    assert trap.wait(TRAP_S_MAX)
    assert house.rows("select state from coop.ballot") == [("closed" if failure is Failure.APPLIED else "counting",)]

    house.mend()
    house.workers.chain.sweep()
    require_decided_once(house, ballot_id)


@external_write("decision sent to the registry")
def test_decision(house: House, failure: Failure) -> None:
    ballot_id = a_decision(house)
    trap = failure.at(house.chain, SEND_RAW)
    house.workers.chain.sweep()
    assert trap.cuts >= 1
    assert house.get(f"/ballots/{ballot_id}")["tally"]["held_up_by"]
    assert house.rows("select count(*) from ledger.rates") == [(1,)]

    house.mend()
    require_decided_once(house, ballot_id)


# --- The database, as the API writes to it ---


@external_write("account")
def test_account(house: House, failure: Failure) -> None:
    new = {"email": f"{uuid4().hex}@example.org", "password": PASSWORD, "name": "Budi"}
    trap = failure.at_commit(house.postgres, of=USER_ROW)
    require_database_away(house.call("POST", "/users", json=new))
    assert trap.wait(TRAP_S_MAX)

    again = house.call("POST", "/users", json=new)
    if failure is Failure.APPLIED:
        require_problem(again, 409, "email-taken")
    else:
        assert again.status_code == 201
    credentials = {"email": new["email"], "password": PASSWORD}
    assert house.call("POST", "/session", json=credentials).status_code == 201
    assert house.rows('select count(*) from coop."user" where email = %s', new["email"]) == [(1,)]


@external_write("sign-in")
def test_sign_in(house: House, failure: Failure) -> None:
    someone = house.person()
    credentials = {"email": someone.email, "password": PASSWORD}
    trap = failure.at_commit(house.postgres, of=SIGN_IN_ROW)
    answer = house.call("POST", "/session", json=credentials)
    require_database_away(answer)
    assert trap.wait(TRAP_S_MAX)
    assert "set-cookie" not in answer.headers

    session = house.call("POST", "/session", json=credentials).json()["session"]
    assert house.call("GET", "/me", headers={"Authorization": f"Bearer {session}"}).json()["id"] == str(someone.id)
    # Nobody knows the secret of the other one; it ends by itself.
    signed_in = house.rows("select expires_at from coop.sign_in where user_id = %s", someone.id)
    assert len(signed_in) == 1 + (failure is Failure.APPLIED)
    assert all(expires_at > datetime.now(UTC) for (expires_at,) in signed_in)


def leaving(house: House, someone: Person) -> Response:
    """Asking for one's own erasure, signed in anew."""
    session = house.call("POST", "/session", json={"email": someone.email, "password": PASSWORD}).json()["session"]
    consent = {"password": PASSWORD, "forfeit_credits": True}
    return house.call("DELETE", "/me", headers={"Authorization": f"Bearer {session}"}, json=consent)


@external_write("erasure asked for")
def test_asking_for_an_erasure(house: House, failure: Failure) -> None:
    someone = house.person()
    trap = failure.at_commit(house.postgres, of=ERASURE_ROW)
    require_database_away(leaving(house, someone))
    assert trap.wait(TRAP_S_MAX)

    credentials = {"email": someone.email, "password": PASSWORD}
    if failure is Failure.APPLIED:
        require_problem(house.call("POST", "/session", json=credentials), 401, "wrong-credentials")
    else:
        assert leaving(house, someone).status_code == 202
    assert house.rows("select user_id from coop.erasure") == [(someone.id,)]
    assert house.rows('select count(*) from coop."user" where email = %s', someone.email) == [(0,)]


@external_write("step of an erasure")
def test_step_of_an_erasure(house: House, failure: Failure) -> None:
    someone = house.person()
    house.post("/treasury/topups", house.operator, house.top_up(someone))
    assert leaving(house, someone).status_code == 202
    trap = failure.at_commit(house.postgres, of=SALT_GONE)
    with pytest.raises(OperationalError):
        house.workers.books.erase()
    assert trap.wait(TRAP_S_MAX)
    salted = "select count(*) from ledger.log_credit where listener_id = %s and salt is not null"
    assert house.rows(salted, someone.id) == [(int(failure is Failure.NOT_APPLIED),)]

    house.mend()
    house.workers.books.erase()
    assert house.rows(salted, someone.id) == [(0,)]
    house.pass_time(minutes=2)
    house.workers.books.erase()
    assert house.rows("select count(*) from coop.erasure where ended_at is not null") == [(1,)]
    house.require_balanced_books()


@external_write("artist, release or token made")
def test_what_is_made_without_a_request_id(house: House, failure: Failure) -> None:
    artist = house.person("artist")
    trap = failure.at_commit(house.postgres)
    require_database_away(house.call("POST", "/artists", artist, json={"name": "Kyai Guntur"}))
    assert trap.wait(TRAP_S_MAX)
    assert len(house.get("/me/artists", artist)) == (failure is Failure.APPLIED)


@external_write("upload noted")
def test_upload_noted(house: House, failure: Failure) -> None:
    artist = house.person("artist")
    release, piece = house.draft(artist), house.piece()
    trap = failure.at_commit(house.postgres, of=TRACK_ROW)
    require_database_away(house.upload(artist, release, piece))
    assert trap.wait(TRAP_S_MAX)
    assert house.kept() == set()
    assert len(house.rows("select id from coop.track")) == (failure is Failure.APPLIED)

    assert house.upload(artist, release, piece).status_code == 202
    (track,) = house.get(f"/releases/{release}", artist)["tracks"]
    house.workers.media.render(track["id"])
    require_renditions(house, artist, track["id"])
    require_nothing_left_over(house, track["id"])


@external_write("upload noted, and not sent again")
def test_upload_noted_and_given_up(house: House, failure: Failure) -> None:
    artist = house.person("artist")
    release = house.draft(artist)
    trap = failure.at_commit(house.postgres, of=TRACK_ROW)
    require_database_away(house.upload(artist, release, house.piece()))
    assert trap.wait(TRAP_S_MAX)
    house.pass_time(minutes=16)
    house.workers.media.sweep()
    assert house.get(f"/releases/{release}", artist)["tracks"] == []
    require_nothing_left_over(house)


@external_write("upload confirmed")
def test_upload_confirmed(house: House, failure: Failure) -> None:
    artist = house.person("artist")
    release, piece = house.draft(artist), house.piece()
    trap = failure.at_commit(house.postgres, of=TRACK_STORED)
    require_database_away(house.upload(artist, release, piece))
    assert trap.wait(TRAP_S_MAX)
    ((track_id, state),) = house.rows("select id, state from coop.track")
    assert state == ("processing" if failure is Failure.APPLIED else "storing")

    again = house.upload(artist, release, piece)
    if failure is Failure.APPLIED:
        require_problem(again, 409, "duplicate-upload")
        assert again.json()["track_id"] == str(track_id)
    else:
        assert (again.status_code, again.json()["id"]) == (202, str(track_id))
    require_rendered_by_the_sweep(house, artist, str(track_id))


@external_write("upload confirmed, and not sent again")
def test_upload_confirmed_and_left(house: House, failure: Failure) -> None:
    artist = house.person("artist")
    release = house.draft(artist)
    trap = failure.at_commit(house.postgres, of=TRACK_STORED)
    require_database_away(house.upload(artist, release, house.piece()))
    assert trap.wait(TRAP_S_MAX)
    ((track_id,),) = house.rows("select id from coop.track")
    house.pass_time(minutes=16)
    house.workers.media.sweep()  # confirms what was stored
    require_rendered_by_the_sweep(house, artist, str(track_id))


def require_rendered_by_the_sweep(house: House, artist: Person, track_id: str) -> None:
    house.pass_time(minutes=1)
    house.workers.media.sweep()
    assert house.messages("media", track_id) >= 1
    house.workers.media.render(track_id)
    require_renditions(house, artist, track_id)
    require_nothing_left_over(house, track_id)


def played(house: House) -> tuple[Person, dict[str, Any]]:
    """A listener with credits who has recorded one play, and what was recorded."""
    listener, opened = opened_play(house)
    return listener, house.post("/plays/record", listener, record(opened), status=200)


def opened_play(house: House) -> tuple[Person, dict[str, Any]]:
    artist = house.person("artist")
    track_id = house.published(artist)
    listener = house.listener()
    return listener, house.post("/plays", listener, {"track_id": track_id})


def record(opened: dict[str, Any]) -> dict[str, Any]:
    return {"play_token": opened["play_token"], "skip_ahead": True}


def require_charged_once(house: House, listener: Person) -> None:
    """One play, settled, paid once; and the books balance."""
    wallet = house.get("/wallet", listener)
    (top_up,) = house.rows(
        "select sum(t.amount_micro)::bigint from ledger.transfer t join ledger.account a on a.id = t.credit_account"
        " where a.kind = 'wallet' and a.owner = %s",
        listener.id,
    )
    assert wallet["unsettled_micro"] == 0
    assert wallet["balance_micro"] == top_up[0] - FIRST_PRICE_MICRO
    assert house.rows("select count(*) from ledger.play where listener_id = %s", listener.id) == [(1,)]
    assert [track["plays"] for track in house.get("/wallet/tracks", listener)["items"]] == [1]
    house.require_balanced_books()


@external_write("play")
def test_play(house: House, failure: Failure) -> None:
    listener, opened = opened_play(house)
    trap = failure.at_commit(house.postgres)
    # The desk asks again by itself, on another connection.
    told = house.post("/plays/record", listener, record(opened), status=200)
    assert trap.wait(TRAP_S_MAX)
    assert (told["play_id"], told["ordinal"]) == (opened["play_id"], 1)
    assert house.rows("select count(*) from ledger.play") == [(1,)]
    assert house.post("/plays/record", listener, record(opened), status=200) == told
    house.workers.credits.settle()
    require_charged_once(house, listener)


@external_write("top-up")
def test_top_up(house: House, failure: Failure) -> None:
    listener = house.person()
    request = house.top_up(listener)
    trap = failure.at_commit(house.postgres)
    require_database_away(house.call("POST", "/treasury/topups", house.operator, json=request))
    assert trap.wait(TRAP_S_MAX)

    booked = house.post("/treasury/topups", house.operator, request)
    assert booked["repeated"] == (failure is Failure.APPLIED)
    assert house.get("/wallet", listener)["balance_micro"] == booked["credits_micro"]
    house.require_balanced_books()


@external_write("application, approval")
def test_application_and_approval(house: House, failure: Failure) -> None:
    someone, application = house.person(), {"member_class": "listener"}
    trap = failure.at_commit(house.postgres, of=MEMBER_ROW)
    require_database_away(house.call("POST", "/membership", someone, json=application))
    assert trap.wait(TRAP_S_MAX)
    again = house.call("POST", "/membership", someone, json=application)
    if failure is Failure.APPLIED:
        require_problem(again, 409, "already-applied")
    else:
        assert again.status_code == 201
    house.mend()

    _, member_id = house.approved_once()
    trap = failure.at_commit(house.postgres, of=APPROVAL_ROW)
    path = f"/members/{member_id}/approve"
    require_database_away(house.call("POST", path, house.second_officer))
    assert trap.wait(TRAP_S_MAX)
    again = house.call("POST", path, house.second_officer)
    if failure is Failure.APPLIED:
        require_problem(again, 409, "application-decided")
    else:
        assert again.status_code == 202
    house.workers.chain.sweep()
    require_admitted_once(house, member_id)


@external_write("member share, paid or paid back")
def test_member_share(house: House, failure: Failure) -> None:
    someone = house.person()
    member_id = house.post("/membership", someone, {"member_class": "listener"})["id"]
    for what in ("share", "share/refund"):
        path, request = f"/members/{member_id}/{what}", {"request_id": str(uuid4())}
        trap = failure.at_commit(house.postgres)
        require_database_away(house.call("POST", path, house.operator, json=request))
        assert trap.wait(TRAP_S_MAX)
        booked = house.post(path, house.operator, request)
        assert (booked["repeated"], booked["amount_minor"]) == (failure is Failure.APPLIED, 1_000)
        house.mend()
        house.post(f"/members/{member_id}/refuse", house.operator, status=200)
    house.require_balanced_books()


@external_write("grant")
def test_grant(house: House, failure: Failure) -> None:
    member = a_member(house)
    house.post("/treasury/topups", house.operator, house.top_up(member, 100_000))
    before = house.get("/wallet", member)["balance_micro"]
    _from_outside(chart.COMMUNITY, OWED_MICRO)
    request = {
        "request_id": str(uuid4()),
        "listener_email": member.email,
        "credits_micro": 1_000_000,
        "reason": "a prize",
    }
    trap = failure.at_commit(house.postgres)
    require_database_away(house.call("POST", "/treasury/grants", house.operator, json=request))
    assert trap.wait(TRAP_S_MAX)

    house.post("/treasury/grants", house.operator, request)
    assert house.get("/wallet", member)["balance_micro"] - before == 1_000_000
    house.require_balanced_books()


def _from_outside(account: chart.Account, amount_micro: int) -> None:
    """What is to be spent in a test comes straight from outside."""
    with engine().begin() as conn:
        posting.post(conn, uuid4(), "test", [Transfer(chart.BANK, account, amount_micro)], datetime.now(UTC))


def _balance_micro(account: chart.Account) -> int:
    with engine().connect() as conn:
        return posting.balance_micro(conn, account)


def a_payee(house: House) -> Person:
    """Somebody to whom money is owed, and who has said where it goes."""
    payee = house.person("artist")
    body = {"destination": "DE89 3704 0044 0532 0130 00"}
    assert house.call("PUT", "/royalties/payout-destination", payee, json=body).status_code == 200
    _from_outside(chart.royalty(payee.id), OWED_MICRO)
    return payee


def planned(house: House) -> dict[str, Any]:
    """A run with one payout."""
    run: dict[str, Any] = house.post("/treasury/payout-runs", house.operator, {"request_id": str(uuid4())})
    assert [payout["amount_minor"] for payout in run["payouts"]] == [OWED_MICRO // MINOR_MICRO]
    return run


@external_write("payout run")
def test_payout_run(house: House, failure: Failure) -> None:
    payee = a_payee(house)
    request = {"request_id": str(uuid4())}
    trap = failure.at_commit(house.postgres)
    require_database_away(house.call("POST", "/treasury/payout-runs", house.operator, json=request))
    assert trap.wait(TRAP_S_MAX)

    (payout,) = house.post("/treasury/payout-runs", house.operator, request)["payouts"]
    assert (payout["payee"], payout["amount_minor"]) == (str(payee.id), OWED_MICRO // MINOR_MICRO)
    assert _balance_micro(chart.royalty(payee.id)) == 0
    assert _balance_micro(chart.PAYOUTS_CLEARING) == OWED_MICRO
    house.require_balanced_books()


@external_write("payout file")
def test_payout_file(house: House, failure: Failure) -> None:
    payee = a_payee(house)
    run = planned(house)
    (payout,) = run["payouts"]
    bank = _balance_micro(chart.BANK)
    trap = failure.at_commit(house.postgres)
    require_database_away(house.call("POST", f"/treasury/payout-runs/{run['id']}/sent", house.operator))
    assert trap.wait(TRAP_S_MAX)
    (sent,) = house.post(f"/treasury/payout-runs/{run['id']}/sent", house.operator, status=200)
    assert sent["state"] == "sent"

    # The same file however often it is fetched: the bank knows a payout by its id.
    file = house.call("GET", f"/treasury/payout-runs/{run['id']}/file.csv", house.operator).text
    assert file == house.call("GET", f"/treasury/payout-runs/{run['id']}/file.csv", house.operator).text
    assert payout["id"] in file
    end, other = ("return", "confirm") if failure is Failure.NOT_APPLIED else ("confirm", "return")
    for _ in range(2):
        house.post(f"/treasury/payouts/{payout['id']}/{end}", house.operator, status=200)
    require_problem(
        house.call("POST", f"/treasury/payouts/{payout['id']}/{other}", house.operator), 409, "payout-settled"
    )
    assert _balance_micro(chart.PAYOUTS_CLEARING) == 0
    if failure is Failure.APPLIED:
        assert _balance_micro(chart.BANK) - bank == OWED_MICRO
        assert house.post("/treasury/payout-runs", house.operator, {"request_id": str(uuid4())})["payouts"] == []
    else:
        assert _balance_micro(chart.royalty(payee.id)) == OWED_MICRO
        planned(house)
    house.require_balanced_books()


@pytest.mark.parametrize("end", ["confirm", "return"])
@external_write("end of a payout")
def test_end_of_a_payout(house: House, failure: Failure, end: str) -> None:
    payee = a_payee(house)
    run = planned(house)
    (payout,) = run["payouts"]
    house.post(f"/treasury/payout-runs/{run['id']}/sent", house.operator, status=200)
    bank = _balance_micro(chart.BANK)
    trap = failure.at_commit(house.postgres)
    require_database_away(house.call("POST", f"/treasury/payouts/{payout['id']}/{end}", house.operator))
    assert trap.wait(TRAP_S_MAX)

    house.post(f"/treasury/payouts/{payout['id']}/{end}", house.operator, status=200)
    assert _balance_micro(chart.PAYOUTS_CLEARING) == 0
    assert _balance_micro(chart.BANK) - bank == (OWED_MICRO if end == "confirm" else 0)
    assert _balance_micro(chart.royalty(payee.id)) == (0 if end == "confirm" else OWED_MICRO)
    house.require_balanced_books()


# --- The database, as the workers write to it ---


@external_write("settling")
def test_settling(house: House, failure: Failure) -> None:
    listener, _ = played(house)
    trap = failure.at_commit(house.postgres)
    with pytest.raises(OperationalError):
        house.workers.credits.settle()
    assert trap.wait(TRAP_S_MAX)
    assert len(house.rows("select 1 from ledger.play_queue")) == (failure is Failure.NOT_APPLIED)

    assert house.workers.credits.settle() == (failure is Failure.NOT_APPLIED)
    require_charged_once(house, listener)


@pytest.mark.parametrize("step", ["begun", "a chunk shared out", "finished"])
@external_write("step of an epoch's close")
def test_step_of_a_close(house: House, failure: Failure, step: str) -> None:
    played(house)
    house.workers.credits.settle()
    house.pass_time(days=33)
    # One commit to find the epoch; the last chunk finds nothing left.
    trap = failure.at_commit(house.postgres, after={"begun": 1, "a chunk shared out": 2, "finished": 4}[step])
    with pytest.raises(OperationalError):
        house.workers.royalties.close_due()
    assert trap.wait(TRAP_S_MAX)

    house.workers.royalties.close_due()
    epoch = Calendar(0).epoch_at(datetime.now(UTC))
    closes = house.rows("select epoch, collected_micro from ledger.track_close")
    assert closes == [(epoch, FIRST_PRICE_MICRO)]
    assert house.rows("select count(*) from ledger.epoch_close where epoch = %s and closed_at is not null", epoch) == [
        (1,)
    ]
    assert _balance_micro(chart.CREDITS_CONSUMED) == FIRST_PRICE_MICRO
    house.require_balanced_books()


@pytest.mark.parametrize("step", ["taken", "rendition noted", "ready"])
@external_write("step of a rendering")
def test_step_of_a_rendering(house: House, failure: Failure, step: str) -> None:
    artist = house.person("artist")
    track_id = house.uploaded(artist, house.draft(artist))
    trap = failure.at_commit(house.postgres, after={"taken": 0, "rendition noted": 1, "ready": 5}[step])
    if step == "taken":
        with pytest.raises(OperationalError):
            house.workers.media.render(track_id)
    else:
        house.workers.media.render(track_id)
    assert trap.wait(TRAP_S_MAX)

    if step == "ready" and failure is Failure.APPLIED:
        require_renditions(house, artist, track_id)
    else:
        assert house.track(artist, track_id)["state"] == "processing"
        _try_rendering_again(house, artist, track_id)
    require_nothing_left_over(house, track_id)


# --- Witnesses ---

ANOTHERS_LOG = SigningKey("another.example/log", KeyType.ED25519, b"l" * 32)
ADD_CHECKPOINT = b"POST /witness/add-checkpoint"
A_HEAD = signed(str(Checkpoint(ANOTHERS_LOG.name, 7, b"\x11" * 32)), [ANOTHERS_LOG], 0)


def become_a_witness(house: House, monkeypatch: pytest.MonkeyPatch) -> Witness:
    """The house cosigns another's log from now on."""
    monkeypatch.setenv("STREAMCOOP_WITNESS_KEY", settings().secret_key.get_secret_value())
    settings.cache_clear()
    with transaction() as session:
        witnessing.add_log(session, str(ANOTHERS_LOG.verifier), house.clock.now())
    keys = [key.verifier for key in witnessing.own_keys(settings())]
    return Witness(keys[0].name, tuple(keys), str(house.client.base_url.join("/witness")))


def require_known_once(house: House, size: int) -> None:
    """The witness knows so much of the log, and holds nothing against it."""
    assert house.rows("select size from coop.witnessed_log") == [(size,)]
    assert house.rows("select 1 from coop.log_evidence") == []


@external_write("head of another's log, cosigned")
def test_head_cosigned(house: House, failure: Failure, monkeypatch: pytest.MonkeyPatch) -> None:
    witness = become_a_witness(house, monkeypatch)

    def ask(old: int) -> Response:
        return house.client.post("/witness/add-checkpoint", content=f"old {old}\n\n{A_HEAD}".encode())

    trap = failure.at_commit(house.postgres, of=b"UPDATE coop.witnessed_log")
    require_database_away(ask(0))
    assert trap.wait(TRAP_S_MAX)
    require_known_once(house, 7 if failure is Failure.APPLIED else 0)

    again = ask(0)
    if failure is Failure.APPLIED:
        assert (again.status_code, again.content) == (409, b"7\n")
        again = ask(7)
    assert len(cosigned(again.content, A_HEAD, witness.keys)) == len(witness.keys)
    require_known_once(house, 7)


@external_write("cosignature asked of a witness")
def test_cosignature_asked(house: House, failure: Failure, monkeypatch: pytest.MonkeyPatch) -> None:
    witness = become_a_witness(house, monkeypatch)
    with FaultyProxy.before(witness.url) as wire:

        def ask(known: dict[str, int]) -> Gathered:
            there = replace(witness, url=wire.instead_in(witness.url))
            return cosignatures(str(A_HEAD), lambda _: [], [there], known, TRAP_S_MAX)

        trap = failure.at(wire, ADD_CHECKPOINT)
        lost = ask({})
        assert (lost.lines, set(lost.failures), trap.cuts) == ([], {witness.name}, 1)
        require_known_once(house, 7 if failure is Failure.APPLIED else 0)

        wire.pass_on()
        again = ask(lost.sizes)
        assert (again.cosigned_by, again.sizes) == ({witness.name}, {witness.name: 7})
        assert again.failures == {}
        require_known_once(house, 7)


# --- The log ---


def sign_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The house signs its log from now on."""
    monkeypatch.setenv("STREAMCOOP_LOG_KEY", settings().secret_key.get_secret_value())
    settings.cache_clear()


@external_write("sealed copy of a batch's rows")
def test_sealed_copy(house: House, failure: Failure, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_the_log(monkeypatch)
    store, secret = open_store(settings()), sealing.secret_of(settings())
    with transaction() as session:
        origin = naming.name_log(session, settings())
        number = batches.end_batch(session.connection(), house.clock.now())

    def seal() -> None:
        sealing.seal(store, engine(), secret, origin, number, house.clock.now)

    trap = failure.at(house.objects, PUT)
    with pytest.raises(ObjectStoreUnavailable):
        seal()
    assert trap.cuts == S3_ATTEMPTS_MAX
    assert (files.rows_key(number) in house.kept()) == (failure is Failure.APPLIED)
    house.mend()
    seal()
    with sealing.opened(store, secret, origin, number) as copy:
        assert {"ledger.posting", "coop.user"} <= {table.name for table in copy.tables() if copy.skip() is None}


PUBLISHING = ("log/tile/", "log-private/leaves/", "log/heads/", "log/checkpoint")
"""The objects that publishing puts, in its order."""


def require_published_after(house: House, failure: Failure, monkeypatch: pytest.MonkeyPatch, objects: str) -> None:
    """A put of these objects fails: nothing that comes after is there, the next tick publishes, and the log holds."""
    sign_the_log(monkeypatch)
    listener, play = played(house)
    assert house.workers.credits.settle() == 1
    with transaction() as session:
        batches.end_batch(session.connection(), house.clock.now())
    trap = failure.at(house.objects, f"PUT /{house.bucket.name}/{objects}".encode())
    assert house.workers.log.publish() == 0
    assert trap.cuts == S3_ATTEMPTS_MAX
    there = {part for part in PUBLISHING if any(key.startswith(part) for key in house.kept())}
    assert there == set(PUBLISHING[: PUBLISHING.index(objects) + (failure is Failure.APPLIED)])
    assert house.rows("select published_at from ledger.log_batch where closed_at is not null") == [(None,)]
    house.mend()
    require_audited(house, listener, play)


def require_audited(house: House, listener: Person, play: dict[str, Any]) -> None:
    """After the next tick the batch is in the log once, which holds, and with it the play's receipt."""
    house.workers.log.publish()
    assert house.workers.log.publish() == 0
    receipts = house.folder / "receipts"
    receipts.mkdir()
    receipt = house.get(f"/plays/{play['play_id']}/receipt", listener)["receipt"]
    (receipts / "play.tlog-proof").write_text(receipt, encoding="utf-8")
    for each in house.bucket.objects.filter(Prefix="log/"):
        file = house.folder / each.key
        file.parent.mkdir(parents=True, exist_ok=True)
        house.bucket.download_file(each.key, str(file))
    asked = Asked(keys=tuple(verifier_keys(settings(), LOG_ORIGIN)), receipts=receipts)
    report = verify(open_log(str(house.folder / "log")), asked, int(house.clock.now().timestamp()))
    assert (report.verdict, report.batches, len(report.receipts)) == (0, 1, 1), report.findings.first


@external_write("tile or bundle of the log")
def test_tile(house: House, failure: Failure, monkeypatch: pytest.MonkeyPatch) -> None:
    require_published_after(house, failure, monkeypatch, "log/tile/")


@external_write("leaves behind a batch's plays")
def test_leaves(house: House, failure: Failure, monkeypatch: pytest.MonkeyPatch) -> None:
    require_published_after(house, failure, monkeypatch, "log-private/leaves/")


@external_write("signed head of a batch")
def test_signed_head(house: House, failure: Failure, monkeypatch: pytest.MonkeyPatch) -> None:
    require_published_after(house, failure, monkeypatch, "log/heads/")


@external_write("checkpoint that is shown")
def test_checkpoint(house: House, failure: Failure, monkeypatch: pytest.MonkeyPatch) -> None:
    require_published_after(house, failure, monkeypatch, "log/checkpoint")


@external_write("batch noted as published")
def test_batch_noted(house: House, failure: Failure, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_the_log(monkeypatch)
    listener, play = played(house)
    house.workers.credits.settle()
    with transaction() as session:
        batches.end_batch(session.connection(), house.clock.now())
    trap = failure.at_commit(house.postgres, of=b"update ledger.log_batch set first_index")
    with pytest.raises(OperationalError):
        house.workers.log.publish()
    assert trap.wait(TRAP_S_MAX)
    noted = "select published_at is not null from ledger.log_batch where closed_at is not null"
    assert house.rows(noted) == [(failure is Failure.APPLIED,)]
    require_audited(house, listener, play)


# --- The log's keys ---


@external_write("founding note of the log")
def test_founding_note(house: House, failure: Failure, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_the_log(monkeypatch)
    store = open_store(settings())
    with transaction() as session:
        note = founding.write(session, settings(), founding.Trusted((), (), (), 0), []).encode()

    def publish() -> None:
        with transaction() as session:
            founding.publish(session, store, settings(), note)

    trap = failure.at(house.objects, PUT)
    with pytest.raises(ObjectStoreUnavailable):
        publish()
    assert trap.cuts == S3_ATTEMPTS_MAX
    house.mend()
    assert (founding.published(store) is not None) == (failure is Failure.APPLIED)
    publish()
    assert founding.published(store) == notes.parse(note)


@external_write("new keys of the log")
def test_new_keys(house: House, failure: Failure, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_the_log(monkeypatch)
    store, file = open_store(settings()), house.folder / "next"

    def rotate() -> rotating.Rotated:
        with transaction() as session:
            return rotating.rotate(session, store, settings(), key_files.secret_once(file))

    trap = failure.at_commit(house.postgres, of=b"insert into ledger.log_keys")
    with pytest.raises(OperationalError):
        rotate()
    assert trap.wait(TRAP_S_MAX)
    assert len(house.rows("select batch from ledger.log_keys")) == (failure is Failure.APPLIED)
    rotated = rotate()
    assert house.rows("select batch, keys from ledger.log_keys") == [(rotated.batch, [*map(str, rotated.keys)])]
