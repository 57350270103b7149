"""CoopMembership on py-evm and on anvil: whatever is done to it in whatever order, it adds up, and the past stands."""

from __future__ import annotations

from dataclasses import dataclass, field

from eth_account.signers.local import LocalAccount
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from web3 import Web3

from streamcoop.adapters.typed_data import Office
from tests.contracts.register import ARTIST, CAP, DELAY_S, LISTENER, NO_SEAT, WORKER, Register, deploy, new_person
from tests.contracts.stand import REGISTRAR, fund, mine, now, pass_time, refused
from tests.contracts.stand import web3 as web3
from tests.officers import OFFICERS

PEOPLE = [new_person() for _ in range(CAP + 3)]
NUMBERS = st.integers(0, len(PEOPLE) - 1)
CLASSES = (LISTENER, ARTIST, WORKER)
OTHER_REGISTRAR, THIRD = new_person(), new_person()
BOTH_REGISTRARS = (REGISTRAR, OTHER_REGISTRAR)


@dataclass
class Held:
    """What the model knows of a member."""

    token: int
    member_class: int
    since: int
    delegate: int


@dataclass
class Model:
    """The register as it must be: people by their number in PEOPLE."""

    members: dict[int, Held] = field(default_factory=dict)
    tokens: int = 0

    def votes(self, number: int) -> int:
        return sum(held.delegate == number for held in self.members.values())

    def own_votes_at_least(self, number: int) -> int:
        """Its votes, the own counted as if it had it."""
        held = self.members.get(number)
        return self.votes(number) + (1 if held is not None and held.delegate != number else 0)

    def seats(self) -> dict[int, tuple[str, int, str, int]]:
        return {
            held.token: (PEOPLE[number].address, held.member_class, PEOPLE[held.delegate].address, held.since)
            for number, held in self.members.items()
        }


@dataclass(frozen=True)
class Past:
    """What held at the end of a second."""

    seats: dict[int, tuple[str, int, str, int]]
    votes: tuple[int, ...]
    census: tuple[int, ...]


def test_the_register_adds_up_and_the_past_stands(web3: Web3) -> None:
    fund(web3, OTHER_REGISTRAR)

    class Life(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.coop: Register = deploy(web3)
            self.model = Model()
            self.past: dict[int, Past] = {}
            self.registrar, self.no_registrar = BOTH_REGISTRARS
            self.officers: list[LocalAccount] = list(OFFICERS)

        @initialize(first=NUMBERS, second=NUMBERS)
        def begin(self, first: int, second: int) -> None:
            for number in {first, second}:
                self.admit(number, LISTENER)

        def send(self, call: object) -> None:
            self.coop.send(call, self.registrar)

        @rule(number=NUMBERS, member_class=st.sampled_from(CLASSES))
        def admit(self, number: int, member_class: int) -> None:
            call = self.coop.admission(PEOPLE[number].address, member_class, officers=self.officers[-2:])
            if number in self.model.members:
                with refused("AlreadyMember(address)", PEOPLE[number].address):
                    call.call({"from": self.registrar.address})
                return
            self.send(call)
            self.model.tokens += 1
            self.model.members[number] = Held(self.model.tokens, member_class, now(web3), number)

        @rule(number=NUMBERS)
        def remove(self, number: int) -> None:
            call = self.coop.ask.remove(PEOPLE[number].address)
            if number not in self.model.members:
                with refused("NotMember(address)", PEOPLE[number].address):
                    call.call({"from": self.registrar.address})
                return
            self.send(call)
            del self.model.members[number]

        @rule(number=NUMBERS, member_class=st.sampled_from(CLASSES))
        def change_class(self, number: int, member_class: int) -> None:
            held = self.model.members.get(number)
            if held is None or held.member_class == member_class:
                return
            self.send(self.coop.ask.changeClass(PEOPLE[number].address, member_class))
            held.member_class = member_class

        @rule(old=NUMBERS, new=NUMBERS)
        def rekey(self, old: int, new: int) -> None:
            if old not in self.model.members or new in self.model.members:
                return
            self.send(self.coop.rekeying(PEOPLE[old], PEOPLE[new]))
            held = self.model.members.pop(old)
            self.model.tokens += 1
            self.model.members[new] = Held(self.model.tokens, held.member_class, held.since, new)

        @rule(number=NUMBERS, delegate=NUMBERS)
        def delegate(self, number: int, delegate: int) -> None:
            call = self.coop.delegation(PEOPLE[number], PEOPLE[delegate].address)
            held = self.model.members.get(number)
            stays = held is not None and delegate in (number, held.delegate)
            if held is None or not (stays or delegate in self.model.members):
                wrong = number if held is None else delegate
                with refused("NotMember(address)", PEOPLE[wrong].address):
                    call.call({"from": self.registrar.address})
            elif not stays and self.model.own_votes_at_least(delegate) == CAP:
                with refused("DelegationCapReached(address,uint256)", PEOPLE[delegate].address, CAP):
                    call.call({"from": self.registrar.address})
            else:
                self.send(call)
                held.delegate = delegate

        @precondition(lambda self: len(self.past) < DELAY_S * 4)
        @rule()
        def replace_registrar(self) -> None:
            self.send(self.coop.announcement(Office.REGISTRAR, self.no_registrar.address, officers=self.officers[:2]))
            self.carry_out()
            self.registrar, self.no_registrar = self.no_registrar, self.registrar

        @precondition(lambda self: len(self.past) < DELAY_S * 4)
        @rule()
        def change_officers(self) -> None:
            is_officer = THIRD in self.officers
            self.send(self.coop.announcement(Office.OFFICER, THIRD.address, holds=not is_officer))
            self.carry_out()
            if is_officer:
                self.officers.remove(THIRD)
            else:
                self.officers.append(THIRD)

        def carry_out(self) -> None:
            pass_time(web3, now(web3) + DELAY_S)
            self.send(self.coop.ask.carryOutChange(self.coop.ask.lastChange().call()))

        @rule(number=NUMBERS)
        def who_is_not_in_office_can_do_nothing(self, number: int) -> None:
            member = PEOPLE[number].address
            with refused("NotRegistrar(address)", self.no_registrar.address):
                self.coop.ask.remove(member).call({"from": self.no_registrar.address})
            if THIRD not in self.officers:
                with refused("NotOfficer(address)", THIRD.address):
                    self.coop.admission(member, officers=(THIRD, OFFICERS[0])).call({"from": self.registrar.address})

        @invariant()
        def adds_up(self) -> None:
            members, ask = self.model.members, self.coop.ask
            votes = tuple(self.coop.votes(person.address) for person in PEOPLE)
            assert votes == tuple(map(self.model.votes, range(len(PEOPLE))))
            assert sum(votes) == len(members) == ask.totalSupply().call()
            assert all(self.model.own_votes_at_least(number) <= CAP for number in members)
            assert ask.lastTokenId().call() == self.model.tokens
            for number, person in enumerate(PEOPLE):
                held = members.get(number)
                seat = self.model.seats()[held.token] if held else NO_SEAT
                assert tuple(ask.seatOf(person.address).call()) == seat
                assert ask.tokenOf(person.address).call() == (held.token if held else 0)
            census = tuple(sum(held.member_class == each for held in members.values()) for each in CLASSES)
            self.past[now(web3)] = Past(self.model.seats(), votes, census)

        def teardown(self) -> None:
            mine(web3)
            ask, everybody = self.coop.ask, [person.address for person in PEOPLE]
            for second, was in self.past.items():
                roll = dict(enumerate(self.coop.roll(second), 1))
                assert {token: seat for token, seat in roll.items() if seat != NO_SEAT} == was.seats
                assert tuple(self.coop.past_votes(second, *everybody)) == was.votes
                assert tuple(ask.census(each, second).call() for each in CLASSES) == was.census
                assert ask.getPastTotalSupply(second).call() == len(was.seats)
                members = {member: (member_class, since) for member, member_class, _, since in was.seats.values()}
                standings = self.coop.standings(second, *everybody)
                assert [standing[1:] for standing in standings] == [members.get(person, (0, 0)) for person in everybody]

    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=4,
            stateful_step_count=14,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
