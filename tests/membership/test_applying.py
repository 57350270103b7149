"""Applying for membership, with a wallet of one's own or a key the co-op keeps, and what operators see of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from cryptography.exceptions import InvalidTag
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from eth_utils.abi import function_signature_to_4byte_selector as selector

from streamcoop.database import transaction
from streamcoop.membership import keys, service, wallets
from streamcoop.settings import settings
from tests.membership.coop import Coop, Person

SECRET = bytes(range(32))
EVERYBODY = ["applied", "admitting", "member", "leaving", "left", "refused"]


def text_for(coop: Coop, person: Person, address: str) -> str:
    answer = coop.post("/membership/wallet/challenge", person, {"address": address})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["message"])


def signed(message: str, wallet: LocalAccount) -> str:
    return f"0x{wallet.sign_message(encode_defunct(text=message)).signature.hex()}"


def apply(coop: Coop, person: Person, message: str, signature: str) -> Any:
    body = {"member_class": "worker", "wallet": {"message": message, "signature": signature}}
    return coop.post("/membership", person, body)


# --- A key that is kept ---


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


# --- A wallet of one's own ---


def test_a_wallet_proves_its_address_by_signing_the_services_text(coop: Coop) -> None:
    person, wallet = coop.person(), Account.create()
    message = text_for(coop, person, wallet.address)

    answer = apply(coop, person, message, signed(message, wallet))

    assert answer.status_code == 201, answer.text
    assert (answer.json()["address"], answer.json()["key_kept_by_coop"]) == (wallet.address, False)


def test_the_text_is_in_the_form_of_eip_4361_and_says_what_the_address_is_for(coop: Coop) -> None:
    address = Account.create().address
    lines = text_for(coop, coop.person(), address).split("\n")

    assert lines[0] == "localhost:8000 wants you to sign in with your Ethereum account:"
    assert lines[1] == address
    assert lines[2] == lines[4] == ""
    assert "I use it for nothing else" in lines[3]
    fields = dict(line.split(": ", 1) for line in lines[5:])
    assert list(fields) == ["URI", "Version", "Chain ID", "Nonce", "Issued At", "Expiration Time"]
    assert (fields["URI"], fields["Version"], fields["Chain ID"]) == ("http://localhost:8000", "1", "31337")
    assert fields["Nonce"].isalnum()
    assert (fields["Issued At"], fields["Expiration Time"]) == ("2026-11-10T12:00:00Z", "2026-11-10T12:10:00Z")


def test_another_wallets_signature_proves_nothing(coop: Coop) -> None:
    person, wallet, other = coop.person(), Account.create(), Account.create()
    message = text_for(coop, person, wallet.address)
    assert_refused(apply(coop, person, message, signed(message, other)))


def test_what_somebody_elses_wallet_signed_for_her_is_of_no_use_to_another(coop: Coop) -> None:
    person, thief, wallet = coop.person(), coop.person(), Account.create()
    message = text_for(coop, person, wallet.address)
    assert_refused(apply(coop, thief, message, signed(message, wallet)))


def test_a_text_that_is_too_old_or_not_of_this_time_proves_nothing(coop: Coop) -> None:
    person, wallet = coop.person(), Account.create()
    message = text_for(coop, person, wallet.address)

    coop.clock.advance(wallets.CHALLENGE_LIFE + timedelta(seconds=1))
    assert_refused(apply(coop, person, message, signed(message, wallet)))
    coop.clock.advance(-wallets.CHALLENGE_LIFE - timedelta(seconds=2))
    assert_refused(apply(coop, person, message, signed(message, wallet)))
    coop.clock.advance(timedelta(seconds=1))
    assert apply(coop, person, message, signed(message, wallet)).status_code == 201


CHANGES = {
    "another site": lambda text: text.replace("localhost:8000 wants", "evil.example wants"),
    "another statement": lambda text: text.replace("This address is mine", "That address is mine"),
    "another chain": lambda text: text.replace("Chain ID: 31337", "Chain ID: 1"),
    "a later expiry": lambda text: text.replace("12:10:00Z", "13:10:00Z"),
    "a line more": lambda text: text + "\nResources:",
    "a blank at the end": lambda text: text + " ",
    "another nonce": lambda text: text.replace("Nonce: 0", "Nonce: 1"),
    "no nonce": lambda text: text.replace("Nonce: ", "None: "),
    "a word for a nonce": lambda text: text.replace("Nonce: 0", "Nonce: x"),
    "other line ends": lambda text: text.replace("\n", "\r\n"),
    "nothing": lambda _: "",
}


def test_any_other_text_proves_nothing_whoever_signed_it(coop: Coop) -> None:
    person, wallet = coop.person(), Account.create()
    message = text_for(coop, person, wallet.address)
    for what, change in CHANGES.items():
        changed = change(message)
        assert changed != message, what
        answer = apply(coop, person, changed, signed(changed, wallet))
        assert (answer.status_code, answer.json()["type"]) == (400, "/problems/wallet-proof-refused"), what


def assert_refused(answer: Any) -> None:
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/wallet-proof-refused"), answer.text


def test_a_wallet_that_is_a_contract_is_asked_by_erc_1271(coop: Coop) -> None:
    person, address = coop.person(), Account.create().address
    valid = f"0x{selector('isValidSignature(bytes32,bytes)').hex()}{'00' * 28}"
    coop.node.answers["eth_getCode"] = lambda params, truth: "0x60" if params[0] == address else truth()
    coop.node.answers["eth_call"] = lambda params, truth: valid if params[0]["to"] == address else truth()
    message = text_for(coop, person, address)

    assert apply(coop, person, message, "0x" + "ab" * 300).status_code == 201


def test_a_contract_that_says_no_proves_nothing(coop: Coop) -> None:
    person, address = coop.person(), Account.create().address
    coop.node.answers["eth_getCode"] = lambda params, truth: "0x60" if params[0] == address else truth()
    coop.node.answers["eth_call"] = lambda params, truth: (
        "0x" + "ff" * 4 + "00" * 28 if params[0]["to"] == address else truth()
    )
    message = text_for(coop, person, address)
    assert_refused(apply(coop, person, message, "0x" + "ab" * 300))


def test_where_the_chain_is_away_a_contracts_wallet_is_asked_to_wait_and_a_key_is_not(coop: Coop) -> None:
    person, wallet = coop.person(), Account.create()
    message = text_for(coop, person, wallet.address)
    coop.node.is_down = True

    answer = apply(coop, person, message, "0x" + "ab" * 65)
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/register-unavailable")
    assert answer.headers["Retry-After"] == "5"
    assert apply(coop, person, message, signed(message, wallet)).status_code == 201


NOT_ADDRESSES = {
    "wrong checksum": "0x5AaEB6053f3e94C9B9a09F33669435e7eF1bEaEd",
    "capitals, which are a checksum": "0x5AAEB6053F3E94C9B9A09F33669435E7EF1BEAED",
    "too short": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe",
    "nobody's": "0x" + "0" * 40,
    "empty": "",
}


def test_what_is_no_checksummed_address_is_malformed(coop: Coop) -> None:
    person = coop.person()
    for why, address in NOT_ADDRESSES.items():
        answer = coop.post("/membership/wallet/challenge", person, {"address": address})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "address"), why


def test_an_address_as_wallets_tell_their_own_is_taken_without_a_checksum(coop: Coop) -> None:
    person, wallet = coop.person(), Account.create()
    answer = coop.post("/membership/wallet/challenge", person, {"address": wallet.address.lower()})
    assert answer.json()["message"].split("\n")[1] == wallet.address


MALFORMED: dict[str, Any] = {
    "another class": {"member_class": "director"},
    "no class": {},
    "something more": {"member_class": "listener", "address": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"},
    "half a proof": {"member_class": "listener", "wallet": {"message": "x"}},
    "no hexadecimal": {"member_class": "listener", "wallet": {"message": "x", "signature": "0xzz"}},
    "half a byte": {"member_class": "listener", "wallet": {"message": "x", "signature": "0xabc"}},
    "too long a text": {"member_class": "listener", "wallet": {"message": "x" * 2_001, "signature": "0xab"}},
}


def test_an_application_of_another_form_is_malformed(coop: Coop) -> None:
    person = coop.person()
    for why, body in MALFORMED.items():
        assert coop.post("/membership", person, body).status_code == 422, why


# --- Once each ---


def test_applying_twice(coop: Coop) -> None:
    person, _ = coop.applicant()
    answer = coop.post("/membership", person, {"member_class": "worker"})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/already-applied")


def test_an_address_that_somebody_else_has(coop: Coop) -> None:
    first, second, wallet = coop.person(), coop.person(), Account.create()
    for person, status in ((first, 201), (second, 409)):
        message = text_for(coop, person, wallet.address)
        answer = apply(coop, person, message, signed(message, wallet))
        assert answer.status_code == status
    assert answer.json()["type"] == "/problems/address-taken"


def test_who_may_not(coop: Coop) -> None:
    _, member_id = coop.applicant()
    listener = coop.person()

    assert coop.client.get("/api/v1/membership").status_code == 401
    assert coop.client.get("/api/v1/membership", headers=listener.headers).status_code == 404
    assert coop.client.get("/api/v1/members", headers=listener.headers).status_code == 403
    for what in ("approve", "refuse", "class", "share", "share/refund"):
        assert coop.post(f"/members/{member_id}/{what}", listener, {}).status_code == 403, what
    assert coop.post(f"/members/{UUID(int=7)}/approve", coop.operator).status_code == 404


def test_members_by_pages_and_by_state(coop: Coop) -> None:
    ids = [str(coop.applicant()[1]) for _ in range(5)]
    coop.post(f"/members/{ids[1]}/refuse", coop.operator)

    first = coop.get("/members?limit=3", coop.operator)
    second = coop.get(f"/members?limit=3&cursor={first['next_cursor']}", coop.operator)
    by_state = {state: coop.get(f"/members?state={state}", coop.operator)["items"] for state in EVERYBODY}

    assert [one["id"] for one in first["items"] + second["items"]] == ids
    assert second["next_cursor"] is None
    assert {state: len(found) for state, found in by_state.items()} == {
        **dict.fromkeys(EVERYBODY, 0),
        "applied": 4,
        "refused": 1,
    }


def test_an_applicant_is_no_member(coop: Coop) -> None:
    person, _ = coop.applicant()
    (member,) = coop.members(1)
    with transaction() as session:
        assert not service.is_member(session, person.user_id)
        assert service.is_member(session, member.user_id)
        with pytest.raises(service.MembersOnly):
            service.require_member(session, person.user_id)
        assert service.seat_of(session, member.user_id).is_kept


def test_without_a_contract_nobody_is_approved(coop: Coop, monkeypatch: pytest.MonkeyPatch) -> None:
    _, member_id = coop.applicant()
    monkeypatch.delenv("STREAMCOOP_MEMBERSHIP_CONTRACT")
    settings.cache_clear()

    answer = coop.post(f"/members/{member_id}/approve", coop.operator)

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/contract-not-configured")
    assert coop.state(member_id) == "applied"
