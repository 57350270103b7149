"""Members with wallets of their own, and what they do in a ballot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from httpx import Response

from streamcoop.adapters import typed_data
from streamcoop.database import engine
from tests.membership.coop import Coop, Person

DAY_S = 86_400
SHARE = "artist_share_bp"
STATUS_QUO = 7_000


@dataclass(frozen=True)
class Voter:
    """A member and the wallet that is her membership address."""

    person: Person
    member_id: UUID
    wallet: LocalAccount

    @property
    def address(self) -> str:
        return str(self.wallet.address)


def voters(coop: Coop, number: int, member_class: str = "listener") -> list[Voter]:
    """New members with wallets, on the chain."""
    made = [_applied(coop, member_class) for _ in range(number)]
    for voter in made:
        coop.pay_share(voter.member_id)
        coop.approve(voter.member_id)
    coop.worker.sweep()
    for voter in made:
        assert coop.state(voter.member_id) == "member", coop.order(voter.member_id)
    return made


def _applied(coop: Coop, member_class: str) -> Voter:
    person, wallet = coop.person(), Account.create()
    asked = coop.post("/membership/wallet/challenge", person, {"address": wallet.address})
    assert asked.status_code == 200, asked.text
    message = asked.json()["message"]
    signature = Account.sign_message(encode_defunct(text=message), wallet.key).signature.hex()
    proof = {"message": message, "signature": f"0x{signature.removeprefix('0x')}"}
    answer = coop.post("/membership", person, {"member_class": member_class, "wallet": proof})
    assert answer.status_code == 201, answer.text
    return Voter(person, UUID(answer.json()["id"]), wallet)


# --- Ballots ---


def proposed(coop: Coop, by: Person, parameters: Sequence[str] = (SHARE,), seconds: int = DAY_S, **more: Any) -> UUID:
    body = {"title": "What shall hold", "text": "Why.\nWhy not.", "parameters": [*parameters], **more}
    answer = coop.post("/ballots", by, {"open_for_seconds": seconds, **body})
    assert answer.status_code == 201, answer.text
    return UUID(answer.json()["id"])


def opened(coop: Coop, by: Person, parameters: Sequence[str] = (SHARE,), seconds: int = DAY_S) -> UUID:
    ballot_id = proposed(coop, by, parameters, seconds)
    coop.worker.sweep()
    assert ballot(coop, ballot_id)["state"] == "open", ballot(coop, ballot_id)["stopped_because"]
    return ballot_id


def ballot(coop: Coop, ballot_id: UUID, person: Person | None = None) -> Any:
    return coop.get(f"/ballots/{ballot_id}", person)


def let_close(coop: Coop, seconds: int = DAY_S) -> None:
    """Let the ballot's time pass, and have it counted."""
    coop.clock.advance(timedelta(seconds=seconds))
    coop.worker.sweep()


def let_take_effect(coop: Coop, sweeps: int = 12) -> None:
    """Let the chain's clock pass the timelock: it goes on by a second a block."""
    for _ in range(sweeps):
        coop.mine()
        coop.worker.sweep()


# --- Votes ---


def draft(coop: Coop, ballot_id: UUID, person: Person, values: dict[str, int]) -> Any:
    answer = coop.post(f"/ballots/{ballot_id}/votes/draft", person, {"values": values})
    assert answer.status_code == 200, answer.text
    return answer.json()


def signed(wallet: LocalAccount, drafted: Any, values: dict[str, int]) -> dict[str, Any]:
    """The vote as the wallet signs it."""
    signature = wallet.sign_typed_data(full_message=drafted["typed_data"]).signature.hex()
    return {
        "values": values,
        "nonce": drafted["nonce"],
        "deadline": drafted["deadline"],
        "signature": f"0x{signature.removeprefix('0x')}",
    }


def vote(coop: Coop, ballot_id: UUID, voter: Voter, value: int | None = None, **values: int) -> Response:
    """Draft, sign and cast; `value` is for the artists' share."""
    wanted = values if value is None else {SHARE: value}
    body = signed(voter.wallet, draft(coop, ballot_id, voter.person, wanted), wanted)
    return coop.post(f"/ballots/{ballot_id}/votes", voter.person, body)


def voted(coop: Coop, ballot_id: UUID, voter: Voter, value: int | None = None, **values: int) -> Any:
    answer = vote(coop, ballot_id, voter, value, **values)
    assert answer.status_code == 201, answer.text
    return answer.json()


def delegate(coop: Coop, voter: Voter, to: str) -> None:
    """In the contract, past the service."""
    chain = coop.chain()
    nonce, expiry = chain.nonce_of(voter.address), chain.newest_block().timestamp + DAY_S
    to_sign = typed_data.digest(typed_data.delegation(chain.domain(), to, nonce, expiry))
    chain.broadcast(chain.build_delegation(to, nonce, expiry, typed_data.sign(to_sign, bytes(voter.wallet.key))).raw)


# --- What came of it ---


def decided(coop: Coop, value: int = 7_200) -> UUID:
    """A ballot that was counted, and whose decision no worker has seen yet."""
    from workers import ballots

    (person,) = voters(coop, 1)
    ballot_id = opened(coop, person.person)
    voted(coop, ballot_id, person, value)
    coop.clock.advance(timedelta(seconds=DAY_S))
    ballots.count(ballot_id)
    assert ballot(coop, ballot_id)["state"] == "closed"
    return ballot_id


def registry() -> Any:
    from workers import ballots

    return ballots.rate_registry()


def versions() -> dict[str, int]:
    """How many versions of each kind of terms there are."""
    with engine().connect() as conn:
        return {
            kind: conn.exec_driver_sql(f"select count(*) from ledger.{kind}").scalar_one()
            for kind in ("tariff", "rates", "rules")
        }


UNCHANGED = {"tariff": 1, "rates": 1, "rules": 1}


def assert_stopped(coop: Coop, ballot_id: UUID, because: str) -> None:
    """With that reason, and no rate has changed."""
    stopped = ballot(coop, ballot_id)
    assert (stopped["state"], stopped["tally"], stopped["votes"]) == ("stopped", None, None)
    assert because in stopped["stopped_because"]
    assert versions() == UNCHANGED
    assert coop.get("/rates")["coming"] is None
