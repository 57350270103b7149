"""A membership contract of a test's own, and what is done in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3 import Web3
from web3.contract import Contract

from streamcoop.adapters import typed_data
from streamcoop.adapters.typed_data import Domain, Office, TypedData, membership_domain
from streamcoop.embedded.chain.evm import CONTRACT_FILE
from tests.contracts.stand import REGISTRAR, artifact_of, deployed, mine, now, pass_time, sent
from tests.officers import FAR_OFF, OFFICERS, signature

ARTIFACT = artifact_of(CONTRACT_FILE)
ABI = ARTIFACT["abi"]
NONE, LISTENER, ARTIST, WORKER = range(4)
CAP = 3
DELAY_S = 5
CHANGE_LIFETIME_S = 30 * 86_400
NOTHING_ELSE: Mapping[str, Any] = {}
NO_SEAT = ("0x" + "0" * 40, NONE, "0x" + "0" * 40, 0)


@dataclass(frozen=True)
class Register:
    """One contract. What is `sent` is mined; what is only built can be called to see why it is refused."""

    web3: Web3
    contract: Contract

    @property
    def ask(self) -> Any:
        return self.contract.functions

    @property
    def domain(self) -> Domain:
        return membership_domain(self.web3.eth.chain_id, self.contract.address)

    # --- Building ---

    def admission(
        self,
        member: str,
        member_class: int = LISTENER,
        *,
        officers: Sequence[LocalAccount] = OFFICERS,
        deadline: int = FAR_OFF,
        signed: Mapping[str, Any] = NOTHING_ELSE,
    ) -> Any:
        """The admission of `member`, for which the officers signed just that, or what `signed` says otherwise."""
        said = {
            "domain": self.domain,
            "member": member,
            "member_class": member_class,
            "nonce": self.ask.admissionsOf(member).call(),
            "deadline": deadline,
        }
        data = typed_data.admission(**(said | dict(signed)))
        return self.ask.admit(member, member_class, deadline, *approvals(data, officers))

    def rekeying(
        self,
        old: LocalAccount,
        new: LocalAccount,
        *,
        deadline: int = FAR_OFF,
        signed: Mapping[str, Any] = NOTHING_ELSE,
    ) -> Any:
        said = {
            "domain": self.domain,
            "old": old.address,
            "new": new.address,
            "nonce": self.ask.admissionsOf(old.address).call(),
            "deadline": deadline,
        }
        data = typed_data.rekey(**(said | dict(signed)))
        return self.ask.rekey(old.address, new.address, deadline, signature(data, old), signature(data, new))

    def delegation(self, member: LocalAccount, delegate: str, *, signed: Mapping[str, Any] = NOTHING_ELSE) -> Any:
        """By signature: whoever sends it."""
        nonce, expiry = self.ask.nonces(member.address).call(), FAR_OFF
        said = {"domain": self.domain, "delegate": delegate, "nonce": nonce, "expiry": expiry}
        made = signature(typed_data.delegation(**(said | dict(signed))), member)
        return self.ask.delegateBySig(delegate, nonce, expiry, made[64], made[:32], made[32:64])

    def announcement(
        self,
        office: Office,
        account: str,
        *,
        holds: bool = True,
        officers: Sequence[LocalAccount] = OFFICERS,
        deadline: int = FAR_OFF,
        signed: Mapping[str, Any] = NOTHING_ELSE,
    ) -> Any:
        said = {
            "domain": self.domain,
            "office": office,
            "account": account,
            "holds": holds,
            "nonce": self.ask.lastChange().call(),
            "deadline": deadline,
        }
        data = typed_data.office_change(**(said | dict(signed)))
        return self.ask.announceChange(int(office), account, holds, deadline, *approvals(data, officers))

    def withdrawal(self, change: int, officers: Sequence[LocalAccount] = OFFICERS, deadline: int = FAR_OFF) -> Any:
        data = typed_data.office_withdrawal(self.domain, change, deadline)
        return self.ask.withdrawChange(change, deadline, *approvals(data, officers))

    # --- Doing ---

    def send(self, call: Any, sender: LocalAccount = REGISTRAR) -> Any:
        receipt = sent(self.web3, sender, call)
        assert receipt["status"] == 1
        return receipt

    def admit(self, member: str | None = None, member_class: int = LISTENER) -> str:
        address = member or new_person().address
        self.send(self.admission(address, member_class))
        return address

    def person(self, member_class: int = LISTENER) -> LocalAccount:
        """A new member whose key the test has."""
        member = new_person()
        self.admit(member.address, member_class)
        return member

    def remove(self, member: str) -> Any:
        return self.send(self.ask.remove(member))

    def delegate(self, member: LocalAccount, delegate: str) -> Any:
        return self.send(self.delegation(member, delegate))

    def carry_out(self, office: Office, account: str, *, holds: bool = True, by: LocalAccount = REGISTRAR) -> int:
        """A change of offices, from its announcement to its end; its number."""
        self.send(self.announcement(office, account, holds=holds), by)
        change: int = self.ask.lastChange().call()
        pass_time(self.web3, now(self.web3) + DELAY_S)
        self.send(self.ask.carryOutChange(change), by)
        return change

    # --- Looking ---

    def votes(self, account: str) -> int:
        votes: int = self.ask.getVotes(account).call()
        return votes

    def second(self) -> int:
        """The second of the newest block, which is over when this returns."""
        second = now(self.web3)
        mine(self.web3)
        return second

    def standings(self, time: int, *accounts: str) -> list[tuple[int, int, int]]:
        """Votes, class and since when."""
        return [tuple(standing) for standing in self.ask.standings(list(accounts), time).call()]

    def past_votes(self, time: int, *accounts: str) -> list[int]:
        return [votes for votes, _, _ in self.standings(time, *accounts)]

    def roll(self, time: int) -> list[tuple[Any, ...]]:
        return [tuple(seat) for seat in self.ask.roll(1, self.ask.lastTokenId().call(), time).call()]


def new_person() -> LocalAccount:
    person: LocalAccount = Account.create()
    return person


def approvals(data: TypedData, officers: Sequence[LocalAccount]) -> list[tuple[str, bytes]]:
    return [(officer.address, signature(data, officer)) for officer in officers]


def deploy(web3: Web3, officers: Sequence[str] = tuple(officer.address for officer in OFFICERS)) -> Register:
    return Register(web3, deployed(web3, ARTIFACT, REGISTRAR.address, list(officers), CAP, DELAY_S))
