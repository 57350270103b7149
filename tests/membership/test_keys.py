"""Keys: passkeys with a real authenticator's answers and forged ones, kept keys, their export, and their end."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from eth_account import Account
from eth_keys.datatypes import PrivateKey
from fido2.utils import websafe_decode, websafe_encode

from streamcoop.adapters import typed_data
from streamcoop.database import transaction
from streamcoop.membership import keys, passkeys, service
from streamcoop.membership.refusals import NoKeptKey, NoPasskey, PasskeyRefused
from streamcoop.settings import settings
from tests.membership.authenticator import Authenticator
from tests.membership.coop import PASSWORD, Coop, Person
from tests.membership.test_carrying import delegated, moved, with_passkey

DIGEST = bytes(range(32))


def options_for(coop: Coop, person: Person) -> Any:
    answer = coop.in_session("POST", "/passkeys/options", person, {"password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return answer.json()["options"]


def register(coop: Coop, person: Person, credential: Any) -> Any:
    return coop.in_session("POST", "/passkeys", person, {"name": "phone", "credential": credential})


def problem(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def verify(person: Person, digest: bytes, assertion: Any) -> bytes:
    with transaction() as session:
        return passkeys.verified(session, person.user_id, digest, assertion, settings())


# --- Registering ---


def test_a_passkey_is_registered_listed_and_forgotten(coop: Coop) -> None:
    person, other = coop.person(), coop.person()
    options = options_for(coop, person)
    assert options["rp"]["id"] == "localhost"
    assert options["attestation"] == "none"
    assert options["authenticatorSelection"]["userVerification"] == "required"

    made = register(coop, person, Authenticator().made(options))
    assert (made.status_code, made.json()["name"]) == (201, "phone")
    passkey_id = made.json()["id"]
    assert [each["id"] for each in coop.in_session("GET", "/passkeys", person).json()] == [passkey_id]
    assert coop.in_session("GET", "/passkeys", other).json() == []

    assert problem(coop.in_session("DELETE", f"/passkeys/{passkey_id}", other)) == (404, "not-found")
    assert coop.in_session("DELETE", f"/passkeys/{passkey_id}", person).status_code == 204
    assert coop.in_session("GET", "/passkeys", person).json() == []


def test_whoever_has_only_a_token_or_not_the_password_registers_nothing(coop: Coop) -> None:
    person = coop.person()
    assert problem(coop.post("/passkeys/options", person, {"password": PASSWORD})) == (403, "not-permitted")
    wrong = coop.in_session("POST", "/passkeys/options", person, {"password": "not the password"})
    assert problem(wrong) == (403, "wrong-password")


def spoilt_type(answer: Any) -> Any:
    data = json.loads(websafe_decode(answer["response"]["clientDataJSON"]))
    data["type"] = "webauthn.get" if data["type"] == "webauthn.create" else "webauthn.create"
    answer["response"]["clientDataJSON"] = websafe_encode(json.dumps(data).encode())
    return answer


def without_response(answer: Any) -> Any:
    return {**answer, "response": {}}


def test_a_registration_that_is_not_this_persons_here_and_now_is_refused(coop: Coop) -> None:
    person, other = coop.person(), coop.person()
    options = options_for(coop, person)
    refused = [
        Authenticator(origin="https://evil.example").made(options),
        Authenticator(rp_id="evil.example").made(options),
        Authenticator(is_verifying=False).made(options),
        Authenticator().made(options_for(coop, other)),
        Authenticator().made({"challenge": websafe_encode(DIGEST)}),
        spoilt_type(Authenticator().made(options)),
        without_response(Authenticator().made(options)),
        {},
        {"id": 1, "rawId": None, "response": []},
    ]
    for credential in refused:
        assert problem(register(coop, person, credential)) == (400, "passkey-refused"), credential
    late = Authenticator().made(options)
    coop.clock.advance(passkeys.REGISTRATION_LIFE + timedelta(seconds=1))
    assert problem(register(coop, person, late)) == (400, "passkey-refused")


def test_a_registration_or_assertion_cut_or_bent_anywhere_is_refused_as_one(coop: Coop) -> None:
    """Whatever the library makes of the bytes, nobody is answered with a fault of ours."""
    person = coop.person()
    authenticator = with_passkey(coop, person)
    options = options_for(coop, person)
    made, signed = Authenticator().made(options), authenticator.signed_digest(DIGEST)
    for answer, field in ((made, "attestationObject"), (signed, "authenticatorData"), (signed, "signature")):
        whole = websafe_decode(answer["response"][field])
        for at in range(len(whole)):
            for bent in (whole[:at], whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]):
                spoilt = {**answer, "response": {**answer["response"], field: websafe_encode(bent)}}
                with transaction() as session:
                    try:
                        if answer is made:
                            passkeys.register(session, person.user_id, spoilt, "x", settings(), coop.clock.now())
                        else:
                            passkeys.verified(session, person.user_id, DIGEST, spoilt, settings())
                            raise AssertionError(f"{field} bent at {at} was taken")
                    except PasskeyRefused:
                        pass
                    session.rollback()


def test_a_passkey_is_registered_once(coop: Coop) -> None:
    person, other, authenticator = coop.person(), coop.person(), Authenticator()
    assert register(coop, person, authenticator.made(options_for(coop, person))).status_code == 201
    assert problem(register(coop, person, authenticator.made(options_for(coop, person)))) == (409, "passkey-known")
    assert problem(register(coop, other, authenticator.made(options_for(coop, other)))) == (409, "passkey-known")


def test_there_are_only_so_many_passkeys(coop: Coop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passkeys, "PASSKEYS_MAX", 1)
    person = coop.person()
    made = Authenticator().made(options_for(coop, person))
    with_passkey(coop, person)
    refused = coop.in_session("POST", "/passkeys/options", person, {"password": PASSWORD})
    assert problem(refused) == (409, "too-many-passkeys")
    assert problem(register(coop, person, made)) == (409, "too-many-passkeys")


# --- Signing ---


def test_an_assertion_over_the_digest_is_evidence_anybody_can_check(coop: Coop) -> None:
    from hashlib import sha256

    from fido2 import cbor
    from fido2.cose import CoseKey

    person = coop.person()
    authenticator = with_passkey(coop, person)
    with transaction() as session:
        options = passkeys.assertion_options(session, person.user_id, DIGEST, settings())
    assert websafe_decode(options["challenge"]) == DIGEST
    assert options["userVerification"] == "required"
    assert [websafe_decode(each["id"]) for each in options["allowCredentials"]] == [authenticator.credential_id]
    json.dumps(options)

    told = {
        name: bytes.fromhex(text)
        for name, text in json.loads(verify(person, DIGEST, authenticator.signed(options))).items()
    }
    public_key = CoseKey.parse(cbor.decode(told["public_key"]))
    public_key.verify(told["authenticator_data"] + sha256(told["client_data"]).digest(), told["signature"])
    assert json.loads(told["client_data"])["challenge"] == websafe_encode(DIGEST)


def by_another_key(authenticator: Authenticator) -> Any:
    return Authenticator(
        credential_id=authenticator.credential_id,
        counter=authenticator.counter,
        key=ec.generate_private_key(ec.SECP256R1()),
    ).signed_digest(DIGEST)


def with_change(**changed: Any) -> Callable[[Authenticator], Any]:
    def answer(authenticator: Authenticator) -> Any:
        for name, value in changed.items():
            setattr(authenticator, name, value)
        return authenticator.signed_digest(DIGEST)

    return answer


FORGED: dict[str, Callable[[Authenticator], Any]] = {
    "another challenge": lambda it: it.signed_digest(DIGEST[::-1]),
    "a challenge that only begins like it": lambda it: it.signed_digest(DIGEST + b"\0"),
    "another origin": with_change(origin="http://127.0.0.1:9000"),
    "another site": with_change(rp_id="evil.example"),
    "nobody verified": with_change(is_verifying=False),
    "a counter that stands still": with_change(counter=0),
    "another key": by_another_key,
    "another credential": with_change(credential_id=b"\x01" * 32),
    "another type": lambda it: spoilt_type(it.signed_digest(DIGEST)),
    "no response": lambda it: without_response(it.signed_digest(DIGEST)),
    "a signature cut short": lambda it: _cut(it.signed_digest(DIGEST)),
    "nothing": lambda _: {},
    "no object": lambda _: {"rawId": [], "response": 7},
}


def _cut(answer: Any) -> Any:
    answer["response"]["signature"] = answer["response"]["signature"][:-8]
    return answer


def test_a_forged_assertion_is_no_evidence_and_spoils_nothing(coop: Coop) -> None:
    for what, forge in FORGED.items():
        person = coop.person()
        authenticator = with_passkey(coop, person)
        kept = vars(authenticator).copy()
        with pytest.raises(PasskeyRefused):
            verify(person, DIGEST, forge(authenticator))
        vars(authenticator).update(kept)
        assert verify(person, DIGEST, authenticator.signed_digest(DIGEST)), what


def test_another_persons_passkey_signs_nothing_for_her(coop: Coop) -> None:
    person, other = coop.person(), coop.person()
    with_passkey(coop, person)
    others = with_passkey(coop, other)
    with pytest.raises(PasskeyRefused):
        verify(person, DIGEST, others.signed_digest(DIGEST))


def test_a_counter_that_goes_back_is_a_copys_and_one_that_never_counts_is_none(coop: Coop) -> None:
    person = coop.person()
    authenticator = with_passkey(coop, person)
    assertion = authenticator.signed_digest(DIGEST)
    assert verify(person, DIGEST, assertion)
    with pytest.raises(PasskeyRefused, match="counter"):
        verify(person, DIGEST, assertion)

    other, never = coop.person(), Authenticator(counter=0)
    assert register(coop, other, never.made(options_for(coop, other))).status_code == 201
    for _ in range(2):
        never.counter = -1
        assert verify(other, DIGEST, never.signed_digest(DIGEST))


def test_without_a_passkey_there_is_nothing_to_sign_with(coop: Coop) -> None:
    person = coop.person()
    with transaction() as session, pytest.raises(NoPasskey):
        passkeys.assertion_options(session, person.user_id, DIGEST, settings())
    with pytest.raises(NoPasskey):
        verify(person, DIGEST, Authenticator().signed_digest(DIGEST))


# --- Kept keys ---


def test_the_kept_key_signs_as_the_membership_address(coop: Coop) -> None:
    (person,) = coop.members(1)
    with transaction() as session:
        signature = service.sign_with_kept_key(session, person.user_id, DIGEST, settings())
        address = service.seat_of(session, person.user_id).address
    assert typed_data.signer_of(DIGEST, signature) == address


def test_a_kept_key_is_exported_to_its_owner_with_the_password_and_to_nobody_else(coop: Coop) -> None:
    (person,) = coop.members(1)
    exported = coop.in_session("POST", "/membership/key/export", person, {"password": PASSWORD})
    key = PrivateKey(bytes.fromhex(exported.json()["private_key"].removeprefix("0x")))
    assert keys.address_of(key) == exported.json()["address"] == coop.get("/membership", person)["address"]

    refused = [
        coop.post("/membership/key/export", person, {"password": PASSWORD}),
        coop.in_session("POST", "/membership/key/export", person, {"password": "wrong, and long"}),
        coop.in_session("POST", "/membership/key/export", coop.person(), {"password": PASSWORD}),
    ]
    assert [problem(answer) for answer in refused] == [
        (403, "not-permitted"),
        (403, "wrong-password"),
        (403, "members-only"),
    ]


def test_guessing_the_password_for_a_key_is_slowed_down_like_signing_in(coop: Coop) -> None:
    (person,) = coop.members(1)
    guess = {"password": "wrong, and long"}
    for _ in range(settings().sign_in_failures_free + 1):
        coop.in_session("POST", "/membership/key/export", person, guess)
    paused = coop.in_session("POST", "/membership/key/export", person, {"password": PASSWORD})
    assert problem(paused) == (429, "sign-in-paused")


# --- Another address ---


def test_a_membership_moves_to_a_wallet_and_the_coop_keeps_no_key_of_it_any_more(coop: Coop) -> None:
    (person,) = coop.members(1)
    since = coop.chain().seat_of(coop.get("/membership", person)["address"])
    wallet = Account.create()
    assert moved(coop, person, wallet).status_code == 202
    coop.worker.sweep()

    own, seat = coop.get("/membership", person), coop.chain().seat_of(wallet.address)
    assert (own["address"], own["key_kept_by_coop"], own["state"]) == (wallet.address, False, "member")
    assert since is not None
    assert seat is not None
    assert (seat.since, seat.delegate) == (since.since, wallet.address)
    with transaction() as session, pytest.raises(NoKeptKey):
        service.sign_with_kept_key(session, person.user_id, DIGEST, settings())
    exported = coop.in_session("POST", "/membership/key/export", person, {"password": PASSWORD})
    assert problem(exported) == (409, "no-kept-key")


def test_from_one_wallet_to_another_both_sign(coop: Coop) -> None:
    (person,) = coop.members(1)
    first, second = Account.create(), Account.create()
    assert moved(coop, person, first).status_code == 202
    coop.worker.sweep()

    assert problem(moved(coop, person, second)) == (409, "no-kept-key")
    path = f"/membership/wallet/typed-data?address={second.address}"
    asked = coop.in_session("GET", path, person).json()
    assert asked["also_signed_by_old"]
    digest = typed_data.digest(asked["typed_data"])
    signatures = {
        name: f"0x{typed_data.sign(digest, bytes(wallet.key)).hex()}"
        for name, wallet in (("signature", second), ("old_signature", first))
    }
    body = {"password": PASSWORD, "address": second.address, "nonce": asked["nonce"], "deadline": asked["deadline"]}
    swapped = {"signature": signatures["old_signature"], "old_signature": signatures["signature"]}
    assert problem(coop.in_session("POST", "/membership/wallet", person, body | swapped)) == (
        400,
        "signature-not-yours",
    )
    assert coop.in_session("POST", "/membership/wallet", person, body | signatures).status_code == 202
    coop.worker.sweep()
    assert coop.get("/membership", person)["address"] == second.address


def test_a_membership_moves_to_no_address_that_somebody_else_has_or_moves_to(coop: Coop) -> None:
    one, two = coop.members(2)
    wallet = Account.create()
    assert moved(coop, one, wallet).status_code == 202
    assert problem(moved(coop, two, wallet)) == (409, "address-taken")
    coop.worker.sweep()
    assert problem(moved(coop, two, wallet)) == (409, "address-taken")


def test_who_is_no_member_moves_nothing(coop: Coop) -> None:
    person, _ = coop.applicant()
    path = f"/membership/wallet/typed-data?address={Account.create().address}"
    assert problem(coop.in_session("GET", path, person)) == (403, "members-only")


# --- Delegating ---


def test_a_member_delegates_with_her_wallet_and_takes_it_back(coop: Coop) -> None:
    person, other = coop.members(2)
    wallet = Account.create()
    moved(coop, person, wallet)
    coop.worker.sweep()
    theirs = coop.get("/membership", other)["address"]
    for to in (theirs, wallet.address):
        asked = coop.get(f"/membership/delegation/typed-data?to={to}", person)
        assert asked["passkey"] is None
        signature = typed_data.sign(typed_data.digest(asked["typed_data"]), bytes(wallet.key))
        body = {"to": to, "nonce": asked["nonce"], "expiry": asked["expiry"], "signature": f"0x{signature.hex()}"}
        assert coop.post("/membership/delegation", person, body).status_code == 202
        coop.worker.sweep()
        seat = coop.chain().seat_of(wallet.address)
        assert seat is not None
        assert seat.delegate == to


def test_a_delegation_signed_by_another_or_for_another_is_refused(coop: Coop) -> None:
    person, other = coop.members(2)
    authenticator = with_passkey(coop, person)
    mine, theirs = (coop.get("/membership", each)["address"] for each in (person, other))
    asked = coop.get(f"/membership/delegation/typed-data?to={theirs}", person)
    body = {"to": theirs, "nonce": asked["nonce"], "expiry": asked["expiry"]}
    stranger = typed_data.sign(typed_data.digest(asked["typed_data"]), bytes(Account.create().key))

    refused = {
        "by a stranger": body | {"signature": f"0x{stranger.hex()}"},
        "by nobody": body,
    }
    for what, sent in refused.items():
        assert problem(coop.post("/membership/delegation", person, sent)) == (400, "signature-not-yours"), what
    for_another = {**body, "to": mine, "passkey": authenticator.signed(asked["passkey"])}
    assert problem(coop.post("/membership/delegation", person, for_another)) == (400, "passkey-refused")
    nobody = Account.create().address
    path = f"/api/v1/membership/delegation/typed-data?to={nobody}"
    assert problem(coop.client.get(path, headers=person.headers)) == (409, "delegate-refused")


def test_a_delegate_who_would_have_too_many_votes_is_told_of(coop: Coop) -> None:
    people = coop.members(11)
    to = coop.get("/membership", people[0])["address"]
    told = []
    for person in people[1:]:
        assert delegated(coop, person, to).status_code == 202
        coop.worker.sweep()
        told.append(coop.get("/membership", person)["last_order"]["refused_because"])
    assert told[:9] == [None] * 9
    assert "DelegationCapReached" in told[9]
    member_id = UUID(coop.get("/membership", people[1])["id"])
    assert coop.order(member_id).evidence is not None
