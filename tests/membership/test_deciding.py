"""From an application to an admission: two officers and a share; refusing; another class; shares paid back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from eth_account import Account
from eth_account.signers.local import LocalAccount

from ledger.store.attestations import bank_micro
from ledger.store.batches import open_batch
from ledger.store.checking import check_books
from streamcoop.adapters import typed_data
from streamcoop.database import engine, transaction
from streamcoop.membership import officers
from tests.membership.coop import QUICK, Coop, Person
from tests.officers import OFFICERS

SHARE_MICRO = 10_000_000


def own_wallet(coop: Coop, person: Person, wallet: LocalAccount) -> None:
    with transaction() as session:
        officers.bring_wallet(session, person.user_id, wallet.address, coop.clock.now())


def asked(coop: Coop, person: Person, member_id: UUID) -> Any:
    return coop.get(f"/members/{member_id}/approval", person)


def signature(data: Any, wallet: LocalAccount) -> str:
    return f"0x{typed_data.sign(typed_data.digest(data), bytes(wallet.key)).hex()}"


def approve(coop: Coop, person: Person, member_id: UUID, body: Any = None) -> Any:
    return coop.post(f"/members/{member_id}/approve", person, body)


def problem(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


# --- Two officers and a share ---


def test_two_officers_and_the_share_whatever_comes_last_admit(coop: Coop) -> None:
    orders = [["share", "first", "second"], ["first", "share", "second"], ["first", "second", "share"]]
    for order in orders:
        _, member_id = coop.applicant()
        for step in order:
            assert coop.state(member_id) == "applied"
            if step == "share":
                coop.pay_share(member_id)
            else:
                officer = coop.operator if step == "first" else coop.second_officer
                assert approve(coop, officer, member_id).status_code == 202
        assert coop.state(member_id) == "admitting"
    coop.worker.sweep()
    assert coop.supply() == len(orders)


def test_one_officer_twice_is_one_officer(coop: Coop) -> None:
    _, member_id = coop.applicant()
    coop.pay_share(member_id)
    assert approve(coop, coop.operator, member_id).status_code == 202

    assert problem(approve(coop, coop.operator, member_id)) == (409, "already-approved")
    assert coop.state(member_id) == "applied"


def test_an_operator_who_is_no_officer_approves_nothing(coop: Coop) -> None:
    _, member_id = coop.applicant()
    operator = coop.person("operator")
    assert problem(approve(coop, operator, member_id)) == (403, "not-an-officer")
    assert coop.client.get(f"/api/v1/members/{member_id}/approval", headers=operator.headers).status_code == 403


def test_an_officer_here_whom_the_contract_does_not_know_approves_nothing(coop: Coop) -> None:
    _, member_id = coop.applicant()
    stranger = coop.person("operator")
    own_wallet(coop, stranger, Account.create())
    assert problem(approve(coop, stranger, member_id)) == (403, "not-an-officer")


def test_an_officer_signs_with_her_own_wallet(coop: Coop) -> None:
    person, member_id = coop.applicant("artist")
    coop.pay_share(member_id)
    own_wallet(coop, coop.second_officer, OFFICERS[1])
    assert approve(coop, coop.operator, member_id).status_code == 202

    told = asked(coop, coop.second_officer, member_id)
    assert told["typed_data"]["message"] == {
        "member": coop.get("/membership", person)["address"],
        "class": 2,
        "nonce": 0,
        "deadline": told["deadline"],
    }
    body = {"signature": signature(told["typed_data"], OFFICERS[1]), "deadline": told["deadline"]}
    assert approve(coop, coop.second_officer, member_id, body).status_code == 202
    coop.worker.sweep()
    assert coop.state(member_id) == "member"


def test_an_officer_with_a_wallet_may_be_the_first(coop: Coop) -> None:
    _, member_id = coop.applicant()
    coop.pay_share(member_id)
    own_wallet(coop, coop.second_officer, OFFICERS[1])
    told = asked(coop, coop.second_officer, member_id)
    coop.mine()

    body = {"signature": signature(told["typed_data"], OFFICERS[1]), "deadline": told["deadline"]}
    assert approve(coop, coop.second_officer, member_id, body).status_code == 202
    assert approve(coop, coop.operator, member_id).status_code == 202
    coop.worker.sweep()
    assert coop.state(member_id) == "member"


def test_a_wallets_signature_counts_for_this_applicant_this_class_and_this_deadline_only(coop: Coop) -> None:
    _, member_id = coop.applicant()
    _, other_id = coop.applicant()
    own_wallet(coop, coop.second_officer, OFFICERS[1])
    assert approve(coop, coop.operator, member_id).status_code == 202
    told, others = asked(coop, coop.second_officer, member_id), asked(coop, coop.second_officer, other_id)
    good = {"signature": signature(told["typed_data"], OFFICERS[1]), "deadline": told["deadline"]}

    by_another = good | {"signature": signature(told["typed_data"], OFFICERS[0])}
    of_another = good | {"signature": signature(others["typed_data"], OFFICERS[1])}
    for spoilt in (by_another, of_another, good | {"signature": "0x" + "11" * 65}):
        assert problem(approve(coop, coop.second_officer, member_id, spoilt)) == (400, "approval-refused")
    assert problem(approve(coop, coop.second_officer, member_id, good | {"deadline": told["deadline"] + 1})) == (
        409,
        "approval-outdated",
    )
    assert problem(approve(coop, coop.second_officer, member_id)) == (400, "approval-refused")
    # In another class she is another applicant, and who approved her is asked anew.
    assert coop.post(f"/members/{member_id}/class", coop.operator, {"member_class": "worker"}).status_code == 202
    assert problem(approve(coop, coop.second_officer, member_id, good)) == (400, "approval-refused")
    assert coop.get("/members", coop.operator)["items"][0]["approvals"] == []


def test_an_approval_past_its_deadline_is_given_anew(coop: Coop) -> None:
    _, member_id = coop.applicant()
    coop.pay_share(member_id)
    assert approve(coop, coop.operator, member_id).status_code == 202
    coop.execute("update coop.approval set deadline = 1 where member_id = :id", id=member_id)

    assert approve(coop, coop.second_officer, member_id).status_code == 202
    assert coop.state(member_id) == "applied"
    assert approve(coop, coop.operator, member_id).status_code == 202
    coop.worker.sweep()
    assert coop.state(member_id) == "member"


def test_where_the_chain_is_away_nobody_approves(coop: Coop) -> None:
    _, member_id = coop.applicant()
    coop.node.is_down = True
    assert problem(approve(coop, coop.operator, member_id)) == (503, "register-unavailable")


def test_approving_whoever_is_decided_on_already(coop: Coop) -> None:
    _, member_id = coop.admitting()
    assert problem(approve(coop, coop.operator, member_id)) == (409, "application-decided")
    coop.worker.sweep()
    assert problem(approve(coop, coop.operator, member_id)) == (409, "application-decided")


# --- Refusing, and another class ---


def test_refused_is_refused_and_she_may_apply_again(coop: Coop) -> None:
    person, member_id = coop.applicant()

    assert coop.post(f"/members/{member_id}/refuse", coop.operator).json()["state"] == "refused"
    assert coop.post(f"/members/{member_id}/refuse", coop.operator).json()["state"] == "refused"
    assert problem(approve(coop, coop.operator, member_id)) == (409, "application-decided")
    again = coop.post("/membership", person, {"member_class": "listener"})
    assert again.status_code == 201
    assert again.json()["id"] != str(member_id)


def test_a_member_is_not_refused(coop: Coop) -> None:
    _, member_id = coop.admitting()
    assert problem(coop.post(f"/members/{member_id}/refuse", coop.operator)) == (409, "application-decided")


def test_to_be_put_in_the_class_one_is_in_changes_nothing(coop: Coop) -> None:
    (person,) = coop.members(1)
    member_id = UUID(coop.get("/membership", person)["id"])
    assert coop.post(f"/members/{member_id}/class", coop.operator, {"member_class": "listener"}).status_code == 202
    assert coop.order(member_id).kind == "admission"


def test_one_thing_at_a_time_is_carried_to_the_chain_of_a_member(coop: Coop) -> None:
    (person,) = coop.members(1)
    member_id = UUID(coop.get("/membership", person)["id"])
    assert coop.post(f"/members/{member_id}/class", coop.operator, {"member_class": "worker"}).status_code == 202
    answers = [
        coop.post(f"/members/{member_id}/class", coop.operator, {"member_class": "artist"}),
        coop.in_session("POST", "/membership/leave", person),
    ]
    assert [problem(answer) for answer in answers] == [(409, "order-under-way")] * 2


# --- Shares ---


def pay(coop: Coop, member_id: UUID, request_id: UUID, person: Person | None = None) -> Any:
    return coop.post(f"/members/{member_id}/share", person or coop.operator, {"request_id": str(request_id)})


def refund(coop: Coop, member_id: UUID, request_id: UUID) -> Any:
    return coop.post(f"/members/{member_id}/share/refund", coop.operator, {"request_id": str(request_id)})


def bank(coop: Coop) -> int:
    with engine().connect() as conn:
        assert check_books(conn).balanced
        return bank_micro(conn, open_batch(conn))


def test_a_share_is_booked_once_however_often_the_request_is_sent(coop: Coop) -> None:
    person, member_id = coop.applicant()
    request_id = uuid4()
    first, again = pay(coop, member_id, request_id), pay(coop, member_id, request_id)

    assert (first.status_code, first.json()["amount_minor"], first.json()["repeated"]) == (201, 1_000, False)
    assert (again.status_code, again.json()["repeated"]) == (201, True)
    assert problem(pay(coop, member_id, uuid4())) == (409, "share-paid")
    assert coop.get("/membership", person)["share_paid"]
    assert bank(coop) == SHARE_MICRO


def test_a_request_for_one_share_is_none_for_another(coop: Coop) -> None:
    request_id = uuid4()
    _, first = coop.applicant()
    _, second = coop.applicant()
    assert pay(coop, first, request_id).status_code == 201
    assert problem(pay(coop, second, request_id)) == (409, "request-id-reused")


def test_only_a_treasurer_books_shares(coop: Coop) -> None:
    _, member_id = coop.applicant()
    assert problem(pay(coop, member_id, uuid4(), coop.second_officer)) == (403, "not-permitted")


def test_no_share_is_taken_of_whoever_is_decided_on(coop: Coop) -> None:
    _, member_id = coop.applicant()
    coop.post(f"/members/{member_id}/refuse", coop.operator)
    assert problem(pay(coop, member_id, uuid4())) == (409, "application-decided")


def test_who_is_refused_has_the_share_back_at_once_and_once(coop: Coop) -> None:
    _, member_id = coop.applicant()
    coop.pay_share(member_id)
    request_id = uuid4()
    assert problem(refund(coop, member_id, request_id)) == (409, "share-not-due")
    coop.post(f"/members/{member_id}/refuse", coop.operator)

    first, again = refund(coop, member_id, request_id), refund(coop, member_id, request_id)

    assert (first.status_code, first.json()["amount_minor"], first.json()["repeated"]) == (201, 1_000, False)
    assert (again.status_code, again.json()["amount_minor"], again.json()["repeated"]) == (201, 1_000, True)
    assert problem(refund(coop, member_id, uuid4())) == (409, "share-not-paid")
    assert bank(coop) == 0


def test_who_leaves_has_the_share_back_when_the_constitution_says(coop: Coop) -> None:
    (person,) = coop.members(1)
    member_id = UUID(coop.get("/membership", person)["id"])
    assert problem(refund(coop, member_id, uuid4())) == (409, "share-not-due")
    coop.in_session("POST", "/membership/leave", person)
    assert problem(refund(coop, member_id, uuid4())) == (409, "share-not-due")
    coop.worker.sweep()
    assert coop.get("/membership", person)["state"] == "left"
    due_at = coop.get("/membership", person)["share_refund_due_at"]
    assert due_at == (coop.clock.now() + timedelta(seconds=QUICK["SHARE_REFUND_SECONDS"])).isoformat().replace(
        "+00:00", "Z"
    )

    coop.clock.advance(timedelta(seconds=QUICK["SHARE_REFUND_SECONDS"] - 1))
    assert problem(refund(coop, member_id, uuid4())) == (409, "share-not-due")
    coop.clock.advance(timedelta(seconds=1))
    assert refund(coop, member_id, uuid4()).status_code == 201
    assert bank(coop) == 0
