"""Applying for membership, and what operators see and decide."""

from __future__ import annotations

from uuid import UUID

import pytest
from cryptography.exceptions import InvalidTag
from eth_account import Account

from streamcoop.database import transaction
from streamcoop.membership import keys, service
from streamcoop.settings import settings
from tests.membership.coop import Coop

SECRET = bytes(range(32))
EVERYBODY = ["applied", "admitting", "member", "refused"]


def test_the_coop_keeps_a_key_for_whoever_has_none(coop: Coop) -> None:
    person, member_id = coop.applicant("artist")

    own = coop.get("/membership", person)
    stored = bytes(coop.row("select kept_key from coop.member where id = :id", id=member_id).kept_key)
    key = keys.unseal(stored, member_id, SECRET)

    assert (own["state"], own["member_class"], own["key_kept_by_coop"]) == ("applied", "artist", True)
    assert keys.address_of(key) == own["address"]
    assert key.to_bytes() not in stored


def test_a_sealed_key_opens_for_its_member_and_secret_only() -> None:
    key, member_id, other_id = keys.make_key(), UUID(int=1), UUID(int=2)
    sealed = keys.seal(key, member_id, SECRET)

    assert keys.unseal(sealed, member_id, SECRET) == key
    with pytest.raises(InvalidTag):
        keys.unseal(sealed, other_id, SECRET)
    with pytest.raises(InvalidTag):
        keys.unseal(sealed, member_id, SECRET[::-1])


def test_an_address_of_ones_own(coop: Coop) -> None:
    person, address = coop.person(), Account.create().address

    answer = coop.post("/membership", person, {"member_class": "worker", "address": address})

    assert answer.status_code == 201
    assert (answer.json()["address"], answer.json()["key_kept_by_coop"]) == (address, False)


NOT_ADDRESSES = {
    "wrong checksum": "0x5AaEB6053f3e94C9B9a09F33669435e7eF1bEaEd",
    "no checksum": "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
    "too short": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe",
    "nobody's": "0x" + "0" * 40,
    "empty": "",
}


def test_what_is_no_checksummed_address_is_malformed(coop: Coop) -> None:
    person = coop.person()
    for why, address in NOT_ADDRESSES.items():
        answer = coop.post("/membership", person, {"member_class": "listener", "address": address})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "address"), why


def test_applying_twice(coop: Coop) -> None:
    person, _ = coop.applicant()
    answer = coop.post("/membership", person, {"member_class": "worker"})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/already-applied")


def test_an_address_that_somebody_else_has(coop: Coop) -> None:
    application = {"member_class": "listener", "address": Account.create().address}
    coop.post("/membership", coop.person(), application)

    answer = coop.post("/membership", coop.person(), application)

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/address-taken")


def test_who_may_not(coop: Coop) -> None:
    _, member_id = coop.applicant()
    listener = coop.person()

    assert coop.client.get("/api/v1/membership").status_code == 401
    assert coop.client.get("/api/v1/membership", headers=listener.headers).status_code == 404
    assert coop.client.get("/api/v1/members", headers=listener.headers).status_code == 403
    assert coop.post(f"/members/{member_id}/admit", listener).status_code == 403
    assert coop.post(f"/members/{UUID(int=7)}/admit", coop.operator).status_code == 404


def test_members_by_pages_and_by_state(coop: Coop) -> None:
    ids = [str(coop.applicant()[1]) for _ in range(5)]
    coop.post(f"/members/{ids[1]}/refuse", coop.operator)

    first = coop.get("/members?limit=3", coop.operator)
    second = coop.get(f"/members?limit=3&cursor={first['next_cursor']}", coop.operator)
    by_state = {state: coop.get(f"/members?state={state}", coop.operator)["items"] for state in EVERYBODY}

    assert [one["id"] for one in first["items"] + second["items"]] == ids
    assert second["next_cursor"] is None
    assert {state: len(found) for state, found in by_state.items()} == {
        "applied": 4,
        "admitting": 0,
        "member": 0,
        "refused": 1,
    }


def test_refusing_and_admitting_after_all(coop: Coop) -> None:
    _, member_id = coop.applicant()

    assert coop.post(f"/members/{member_id}/refuse", coop.operator).json()["state"] == "refused"
    assert coop.post(f"/members/{member_id}/refuse", coop.operator).json()["state"] == "refused"
    assert coop.post(f"/members/{member_id}/admit", coop.operator).json()["state"] == "admitting"
    assert coop.post(f"/members/{member_id}/refuse", coop.operator).status_code == 409


def test_without_a_contract_the_membership_is_read_only(coop: Coop, monkeypatch: pytest.MonkeyPatch) -> None:
    _, member_id = coop.applicant()
    monkeypatch.delenv("STREAMCOOP_MEMBERSHIP_CONTRACT")
    settings.cache_clear()

    answer = coop.post(f"/members/{member_id}/admit", coop.operator)

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/contract-not-configured")
    assert coop.state(member_id) == "applied"


def test_an_applicant_is_no_member(coop: Coop) -> None:
    person, _ = coop.applicant()
    (member,) = coop.members(1)
    with transaction() as session:
        assert not service.is_member(session, person.user_id)
        assert service.is_member(session, member.user_id)
