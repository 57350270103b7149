"""Leaving, coming back, and the contract held against the table."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from click.testing import CliRunner
from eth_account import Account

from streamcoop.adapters.members import MemberClass
from streamcoop.cli import main
from streamcoop.database import transaction
from streamcoop.membership import service
from tests.membership.coop import Coop, Person
from tests.membership.test_carrying import moved
from tests.officers import OFFICERS, approved


def leave(coop: Coop, person: Person) -> Any:
    return coop.in_session("POST", "/membership/leave", person)


def problem(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def member_id(coop: Coop, person: Person) -> UUID:
    return UUID(coop.get("/membership", person)["id"])


# --- Leaving ---


def test_a_member_leaves_by_herself_and_signed_in_with_her_password(coop: Coop) -> None:
    (person,) = coop.members(1)
    assert problem(coop.post("/membership/leave", person)) == (403, "not-permitted")

    assert (leave(coop, person).status_code, leave(coop, person).json()["state"]) == (202, "leaving")
    with transaction() as session:
        assert not service.is_member(session, person.user_id)
    coop.worker.sweep()

    own = coop.get("/membership", person)
    assert (own["state"], own["ended_at"] is not None, coop.supply()) == ("left", True, 0)
    assert leave(coop, person).json()["state"] == "left"


def test_an_applicant_withdraws_and_nothing_is_carried_to_the_chain(coop: Coop) -> None:
    person, applicant_id = coop.applicant()
    assert leave(coop, person).json()["state"] == "left"
    coop.worker.sweep()
    assert coop.row("select count(*) as orders from coop.register_order").orders == 0
    assert problem(coop.post(f"/members/{applicant_id}/approve", coop.operator)) == (409, "application-decided")


def test_who_is_being_admitted_leaves_once_she_is(coop: Coop) -> None:
    person, _ = coop.admitting()
    assert problem(leave(coop, person)) == (409, "admission-under-way")
    coop.worker.sweep()
    assert leave(coop, person).status_code == 202


def test_who_is_nothing_has_nothing_to_leave(coop: Coop) -> None:
    assert problem(leave(coop, coop.person())) == (403, "members-only")


def test_who_left_may_come_back_with_the_same_wallet_approved_and_paid_anew(coop: Coop) -> None:
    (person,) = coop.members(1)
    wallet = Account.create()
    moved(coop, person, wallet)
    coop.worker.sweep()
    first = member_id(coop, person)
    leave(coop, person)
    coop.worker.sweep()

    from tests.membership.test_applying import apply, signed, text_for

    message = text_for(coop, person, wallet.address)
    again = UUID(apply(coop, person, message, signed(message, wallet)).json()["id"])
    assert again != first
    coop.approve(again)
    assert coop.state(again) == "applied"
    coop.pay_share(again)
    coop.worker.sweep()

    assert (coop.state(first), coop.state(again), coop.supply()) == ("left", "member", 1)
    assert coop.chain().admissions_of(wallet.address) == 2
    with transaction() as session:
        assert service.seat_of(session, person.user_id).member_id == again


def test_an_erased_account_leaves_and_its_keys_are_destroyed(coop: Coop) -> None:
    (person,) = coop.members(1)
    left = member_id(coop, person)
    for _ in range(2):
        with transaction() as session:
            service.forget(session, person.user_id, coop.clock.now())
    row = coop.row("select state, kept_key from coop.member where id = :id", id=left)
    assert (row.state, row.kept_key) == ("leaving", None)
    coop.worker.sweep()
    assert (coop.state(left), coop.supply()) == ("left", 0)


# --- The contract and the table ---


def differences(coop: Coop) -> dict[str, str]:
    # What was carried out in the same second may be too new for the block that is read.
    coop.clock.advance(timedelta(seconds=1))
    coop.worker.reconcile()
    return {each["address"]: each["told"] for each in coop.get("/members/differences", coop.operator)}


def test_where_both_agree_nothing_is_told(coop: Coop) -> None:
    coop.members(2)
    coop.applicant()
    coop.admitting()
    assert differences(coop) == {}


def test_whom_the_contract_has_and_nobody_here_knows_is_told_until_that_ends(coop: Coop) -> None:
    elsewhere, stranger = coop.chain(), Account.create().address
    elsewhere.broadcast(approved(elsewhere, stranger, MemberClass.LISTENER).raw)
    assert differences(coop) == {stranger: "the contract has a member that is nobody here"}
    found_at = coop.get("/members/differences", coop.operator)[0]["found_at"]
    assert differences(coop)
    assert coop.get("/members/differences", coop.operator)[0]["found_at"] == found_at

    elsewhere.broadcast(elsewhere.build_removal(stranger).raw)
    assert differences(coop) == {}


def test_a_member_whom_the_contract_has_not_is_told(coop: Coop) -> None:
    (person,) = coop.members(1)
    address = coop.get("/membership", person)["address"]
    elsewhere = coop.chain()
    elsewhere.broadcast(elsewhere.build_removal(address).raw)
    assert differences(coop) == {address: "a member here is none in the contract"}


def test_another_class_in_the_contract_is_told_and_an_operator_settles_it(coop: Coop) -> None:
    (person,) = coop.members(1)
    address = coop.get("/membership", person)["address"]
    elsewhere = coop.chain()
    elsewhere.broadcast(elsewhere.build_class_change(address, MemberClass.WORKER).raw)
    assert differences(coop) == {address: "the contract has this member in another class"}

    coop.post(f"/members/{member_id(coop, person)}/class", coop.operator, {"member_class": "worker"})
    coop.worker.sweep()
    assert differences(coop) == {}


def test_who_left_here_and_is_in_the_contract_is_told(coop: Coop) -> None:
    _, applicant_id = coop.applicant()
    address = coop.address(applicant_id)
    coop.post(f"/members/{applicant_id}/refuse", coop.operator)
    elsewhere = coop.chain()
    elsewhere.broadcast(approved(elsewhere, address, MemberClass.LISTENER).raw)
    assert differences(coop) == {address: "the contract has a member who has left here"}


def test_an_admission_that_a_lost_database_carried_out_is_taken_over(coop: Coop) -> None:
    person, applicant_id = coop.applicant()
    elsewhere = coop.chain()
    elsewhere.broadcast(approved(elsewhere, coop.address(applicant_id), MemberClass.ARTIST).raw)
    assert differences(coop) == {}
    own = coop.get("/membership", person)
    assert (own["state"], own["member_class"]) == ("member", "artist")


def test_what_is_on_its_way_is_no_difference_and_an_away_chain_tells_of_none(coop: Coop) -> None:
    (person,) = coop.members(1)
    moved(coop, person, Account.create())
    coop.register.intend(coop.register.registrar(), coop.order(member_id(coop, person)).id)
    coop.register.send(coop.register.registrar(), coop.order(member_id(coop, person)).id)
    assert differences(coop) == {}
    coop.node.is_down = True
    coop.worker.reconcile()
    coop.node.be_honest()
    assert coop.get("/members/differences", coop.operator) == []


# --- Officers by command ---


def command(*words: str) -> str:
    done = CliRunner().invoke(main, ["officers", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_officers_are_listed_replaced_by_wallets_and_kept_again(coop: Coop, tmp_path: Any) -> None:
    email = coop.row('select email from coop."user" where id = :id', id=coop.second_officer.user_id).email
    listed = command("list")
    assert listed.count("signs here") == 2
    assert "NO" not in listed

    wallet = Account.create()
    command("wallet", email, wallet.address)
    assert "NO" in command("list")
    row = coop.row("select * from coop.officer where user_id = :id", id=coop.second_officer.user_id)
    assert (row.address, row.kept_key) == (wallet.address, None)

    key = tmp_path / "key"
    key.write_text(OFFICERS[1].key.hex())
    command("keep", email, str(key))
    assert "NO" not in command("list")
    command("remove", email)
    assert "whom nobody here is" in command("list")


def test_the_commands_refuse_what_is_no_key_no_address_and_nobody(coop: Coop, tmp_path: Any) -> None:
    key = tmp_path / "key"
    key.write_text("secret?")
    run = CliRunner().invoke
    for words in (
        ["keep", "operator@example.org", str(key)],
        ["wallet", "nobody@example.org", Account.create().address],
        ["wallet", "nobody@example.org", "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"],
        ["remove", "nobody@example.org"],
    ):
        done = run(main, ["officers", *words])
        assert done.exit_code == 1, done.output
        assert "secret?" not in done.output


def test_founding_makes_two_officers_whose_keys_are_kept_and_again_changes_nothing(coop: Coop, tmp_path: Any) -> None:
    (tmp_path / "password").write_text("correct horse battery\n")
    words = ["found"]
    addresses = {}
    for email in ("first@example.org", "second@example.org"):
        key = Account.create()
        addresses[email] = key.address
        (tmp_path / email).write_text(f"0x{bytes(key.key).hex()}\n")
        words += ["--officer", email, str(tmp_path / email), str(tmp_path / "password")]
    for _ in range(2):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        for email, address in addresses.items():
            row = coop.row(
                'select * from coop.officer join coop."user" u on u.id = user_id where email = :email', email=email
            )
            assert (row.address, row.kept_key is not None, "operator" in row.roles) == (address, True, True)
    # One that has brought a wallet since is not given the first key again.
    wallet = Account.create()
    command("wallet", "second@example.org", wallet.address)
    assert CliRunner().invoke(main, words).exit_code == 0
    assert wallet.address in command("list")


def test_founding_without_any_operator_or_with_half_of_one_is_refused(coop: Coop) -> None:
    for words in (["found"], ["found", "--operator-email", "o@example.org"]):
        assert CliRunner().invoke(main, words).exit_code == 2
