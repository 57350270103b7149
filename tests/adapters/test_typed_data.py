"""What people sign: the same digests that other implementations of EIP-712 find, and whose a signature is."""

from __future__ import annotations

import json

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from streamcoop.adapters import typed_data
from streamcoop.adapters.typed_data import Office, TypedData, membership_domain

CONTRACT = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
DOMAIN = membership_domain(31_337, CONTRACT)
ADA, BOB = (Account.from_key(bytes(31) + bytes([number])) for number in (1, 2))
DELEGATION = typed_data.delegation(DOMAIN, BOB.address, 3, 2**40)
SIGNED: dict[str, TypedData] = {
    "Admission(address member,uint8 class,uint256 nonce,uint256 deadline)": typed_data.admission(
        DOMAIN, ADA.address, 2, 0, 2**40
    ),
    "Rekey(address from,address to,uint256 nonce,uint256 deadline)": typed_data.rekey(
        DOMAIN, ADA.address, BOB.address, 1, 2**40
    ),
    "Delegation(address delegatee,uint256 nonce,uint256 expiry)": DELEGATION,
    "OfficeChange(uint8 office,address account,bool holds,uint256 nonce,uint256 deadline)": typed_data.office_change(
        DOMAIN, Office.OFFICER, ADA.address, holds=True, nonce=0, deadline=2**40
    ),
    "OfficeWithdrawal(uint256 change,uint256 deadline)": typed_data.office_withdrawal(DOMAIN, 1, 2**40),
}


@pytest.mark.parametrize("signature", SIGNED)
def test_typed_data__is_of_the_contracts_struct(signature: str) -> None:
    data = SIGNED[signature]
    fields = ",".join(f"{each['type']} {each['name']}" for each in data["types"][data["primaryType"]])
    assert f"{data['primaryType']}({fields})" == signature
    assert json.loads(json.dumps(data)) == data


@pytest.mark.parametrize("signature", SIGNED)
def test_digest__is_what_wallets_sign(signature: str) -> None:
    data = SIGNED[signature]
    by_wallet = Account.sign_message(encode_typed_data(full_message=data), ADA.key)
    assert by_wallet.message_hash == typed_data.digest(data)
    assert bytes(by_wallet.signature) == typed_data.sign(typed_data.digest(data), bytes(ADA.key))
    assert typed_data.signer_of(typed_data.digest(data), bytes(by_wallet.signature)) == ADA.address


def test_digest__differs_by_chain_contract_and_field() -> None:
    others = [
        typed_data.delegation(membership_domain(1, CONTRACT), BOB.address, 3, 2**40),
        typed_data.delegation(membership_domain(31_337, BOB.address), BOB.address, 3, 2**40),
        typed_data.delegation(DOMAIN, ADA.address, 3, 2**40),
        typed_data.delegation(DOMAIN, BOB.address, 4, 2**40),
        typed_data.delegation(DOMAIN, BOB.address, 3, 2**40 + 1),
    ]
    assert len({typed_data.digest(data) for data in (DELEGATION, *others)}) == len(others) + 1


def test_address__in_any_case() -> None:
    lower = typed_data.delegation(membership_domain(31_337, CONTRACT.lower()), BOB.address.lower(), 3, 2**40)
    assert lower == DELEGATION


@given(st.binary(max_size=80))
def test_signer_of__anything__answers(signature: bytes) -> None:
    told = typed_data.signer_of(bytes(32), signature)
    assert told is None or len(signature) == 65


def test_signer_of__the_other_half_or_another_v__nobody() -> None:
    digest = typed_data.digest(DELEGATION)
    made = typed_data.sign(digest, bytes(ADA.key))
    order = 2 * typed_data._S_MAX + 1
    other_s = (order - int.from_bytes(made[32:64], "big")).to_bytes(32, "big")
    for spoilt in (
        made[:32] + other_s + bytes([55 - made[64]]),
        made[:64] + bytes([made[64] - 27]),
        made[:64] + bytes([made[64] + 2]),
        made[:64],
        made + b"\0",
    ):
        assert typed_data.signer_of(digest, spoilt) is None
