"""Ballots: from a member's proposal to the terms of an epoch, and everything that may not change them."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from eth_account import Account

from ledger import entries
from ledger.constitution import Constitution
from ledger.rates import Rates
from ledger.store import terms
from streamcoop.database import engine, transaction
from streamcoop.embedded.process import until
from streamcoop.governance import counting, effect, service, voting
from tests.governance.chamber import (
    DAY_S,
    SHARE,
    STATUS_QUO,
    UNCHANGED,
    assert_stopped,
    ballot,
    decided,
    delegate,
    draft,
    let_close,
    let_take_effect,
    opened,
    proposed,
    registry,
    signed,
    versions,
    vote,
    voted,
    voters,
)
from tests.membership.authenticator import Authenticator
from tests.membership.coop import PASSWORD, Coop, Person
from tests.membership.node import failed_receipt, taken_and_denied

DEADLINE_S = 20.0
POLL_S = 0.02
BOUND = Constitution().parameters[SHARE]


def something_waits_for_a_lock() -> bool:
    waiting = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    with engine().connect() as conn:
        return conn.exec_driver_sql(waiting).first() is not None


# --- Proposing ---


def test_a_proposal_gathers_supporters_is_discussed_and_opens(coop: Coop, monkeypatch: pytest.MonkeyPatch) -> None:
    people = voters(coop, 3)
    _constitution(monkeypatch, supporters_min=2, discussion_seconds=DAY_S)
    ballot_id = proposed(coop, people[0].person)
    coop.worker.sweep()
    assert (ballot(coop, ballot_id)["state"], ballot(coop, ballot_id)["supporters"]) == ("proposed", 1)

    for _ in range(2):
        supported = coop.post(f"/ballots/{ballot_id}/support", people[1].person).json()
        assert (supported["state"], supported["supporters"]) == ("discussing", 2)
    said = coop.post(f"/ballots/{ballot_id}/comments", people[2].person, {"text": "Too high.\nOr not."})
    assert said.status_code == 201
    assert [one["text"] for one in coop.get(f"/ballots/{ballot_id}/comments")["items"]] == ["Too high.\nOr not."]
    coop.worker.sweep()
    assert ballot(coop, ballot_id)["state"] == "discussing"

    let_close(coop)
    assert ballot(coop, ballot_id)["state"] == "open"


def _constitution(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """As if the co-op had been founded with another one."""
    from dataclasses import replace

    from streamcoop.governance import electorate, proposing

    real = proposing.constitution_of
    for room in (proposing, electorate, voting, counting):
        monkeypatch.setattr(room, "constitution_of", lambda session: replace(real(session), **changes))


def test_a_proposal_without_supporters_lapses(coop: Coop, monkeypatch: pytest.MonkeyPatch) -> None:
    (person,) = voters(coop, 1)
    _constitution(monkeypatch, supporters_min=2)
    ballot_id = proposed(coop, person.person)
    coop.clock.advance(timedelta(days=31))
    coop.worker.sweep()
    assert ballot(coop, ballot_id)["state"] == "lapsed"
    assert coop.post(f"/ballots/{ballot_id}/support", person.person).status_code == 200  # hers was given in time
    late = coop.post(f"/ballots/{ballot_id}/comments", person.person, {"text": "Too late."})
    assert (late.status_code, late.json()["type"]) == (409, "/problems/ballot-over")


def test_only_the_proposer_withdraws_and_only_before_it_opens(coop: Coop) -> None:
    one, other = voters(coop, 2)
    ballot_id = proposed(coop, one.person)
    refused = coop.post(f"/ballots/{ballot_id}/withdraw", other.person)
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/not-proposer")
    assert coop.post(f"/ballots/{ballot_id}/withdraw", one.person).json()["state"] == "withdrawn"
    coop.worker.sweep()
    assert ballot(coop, ballot_id)["state"] == "withdrawn"

    second = opened(coop, one.person)
    assert coop.post(f"/ballots/{second}/withdraw", one.person).status_code == 403


def test_one_ballot_at_a_time_on_a_parameter_until_its_decision_is_in_force(coop: Coop) -> None:
    people = voters(coop, 3)
    first = opened(coop, people[0].person)
    body = {"title": "Another", "parameters": [SHARE], "open_for_seconds": DAY_S}
    refused = coop.post("/ballots", people[1].person, body)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/ballot-under-way")
    other = opened(coop, people[1].person, ["plays"])

    for person in people:
        voted(coop, first, person, 7_200)
    let_close(coop)
    assert coop.post("/ballots", people[1].person, body).status_code == 409
    let_take_effect(coop)
    assert ballot(coop, first)["state"] == "effective"
    assert coop.post("/ballots", people[1].person, body).status_code == 201
    assert ballot(coop, other)["state"] == "closed"


@pytest.mark.parametrize(
    "wrong",
    [
        {"parameters": []},
        {"parameters": [SHARE, SHARE]},
        {"parameters": ["vat_bp"]},
        {"parameters": ["motion", SHARE]},
        {"parameters": ["community_cut_bp"]},
        {"parameters": ["reserve_cut_bp", "plays"]},
        {"open_for_seconds": 1},
        {"open_for_seconds": 91 * DAY_S},
    ],
)
def test_what_the_constitution_does_not_let_be_asked(coop: Coop, wrong: dict[str, Any]) -> None:
    (person,) = voters(coop, 1)
    right = {"title": "A title", "parameters": [SHARE], "open_for_seconds": DAY_S}
    refused = coop.post("/ballots", person.person, right | wrong)
    assert refused.status_code in (400, 422), refused.text
    assert coop.get("/ballots")["items"] == []


def test_only_members_propose_support_and_comment(coop: Coop) -> None:
    (member,) = voters(coop, 1)
    ballot_id = proposed(coop, member.person)
    applicant, _ = coop.applicant()
    for stranger in (coop.operator, coop.person(), applicant):
        body = {"title": "Mine", "parameters": [SHARE], "open_for_seconds": DAY_S}
        for path, what in (
            ("/ballots", body),
            (f"/ballots/{ballot_id}/support", None),
            (f"/ballots/{ballot_id}/comments", {"text": "No."}),
        ):
            refused = coop.post(path, stranger, what)
            assert (refused.status_code, refused.json()["type"]) == (403, "/problems/members-only")


# --- The electorate ---


def test_the_electorate_is_that_of_the_contract(coop: Coop) -> None:
    people = [*voters(coop, 2), *voters(coop, 1, "artist")]
    ballot_id = opened(coop, people[0].person)

    told = ballot(coop, ballot_id, people[0].person)
    electorate = told["electorate"]
    block = coop.chain()._web3.eth.get_block(electorate["block_number"])

    assert coop.supply() == electorate["total_weight"] == 3
    assert (block["hash"].to_0x_hex(), block["timestamp"]) == (electorate["block_hash"], electorate["block_timestamp"])
    assert (electorate["contract"], electorate["chain_id"]) == (coop.contract, 31_337)
    assert electorate["code_hash"] == coop.chain().check()[1]
    assert told["own"] == {
        "address": people[0].address,
        "delegate": people[0].address,
        "values": None,
        "nonce": None,
        "cast_at": None,
    }
    (question,) = told["questions"]
    assert (question["status_quo"], question["lowest"], question["highest"], question["step_max"]) == (
        STATUS_QUO,
        BOUND.lowest,
        BOUND.highest,
        BOUND.step_max,
    )


def test_a_reading_that_was_interrupted_goes_on_where_it_was(coop: Coop, monkeypatch: pytest.MonkeyPatch) -> None:
    from workers import ballots

    people = voters(coop, 5)
    monkeypatch.setattr(ballots, "SEATS_PER_PAGE", 2)
    ballot_id = proposed(coop, people[0].person)
    pages, real = [], ballots.electorate.keep_page

    def killed_at_the_second(session: Any, of: UUID, block_hash: str, first: int, last: int, page: Any) -> bool:
        pages.append(first)
        if len(pages) == 2:
            raise KeyboardInterrupt
        return real(session, of, block_hash, first, last, page)

    monkeypatch.setattr(ballots.electorate, "keep_page", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        coop.worker.sweep()
    before = coop.row("select block_number, read_to from coop.ballot where id = :id", id=ballot_id)
    coop.mine()
    coop.worker.sweep()

    assert pages == [1, 3, 3, 5]
    assert before.read_to == 2
    assert ballot(coop, ballot_id)["electorate"]["block_number"] == before.block_number
    assert ballot(coop, ballot_id)["electorate"]["total_weight"] == 5


def test_a_member_votes_only_after_the_waiting_period(coop: Coop, monkeypatch: pytest.MonkeyPatch) -> None:
    people = voters(coop, 2)
    _constitution(monkeypatch, waiting_seconds=10_000)
    ballot_id = proposed(coop, people[0].person)
    coop.worker.sweep()
    assert_stopped(coop, ballot_id, "none has waited long enough")


def test_who_came_after_the_snapshot_has_no_vote_in_it(coop: Coop) -> None:
    (first,) = voters(coop, 1)
    ballot_id = opened(coop, first.person)
    (late,) = voters(coop, 1)
    listener = coop.person()

    wanted = {SHARE: 7_100}
    refusals = {
        person.user_id: coop.post(f"/ballots/{ballot_id}/votes/draft", person, {"values": wanted})
        for person in (late.person, listener)
    }
    assert {refused.status_code for refused in refusals.values()} == {403}
    assert refusals[late.person.user_id].json()["type"] == "/problems/no-vote-in-this-ballot"
    assert refusals[listener.user_id].json()["type"] == "/problems/members-only"
    assert ballot(coop, ballot_id)["electorate"]["total_weight"] == 1


def test_without_members_who_may_vote_there_is_nothing_to_open(coop: Coop) -> None:
    (only,) = voters(coop, 1)
    ballot_id = proposed(coop, only.person)
    chain = coop.chain()
    chain.broadcast(chain.build_removal(only.address).raw)
    coop.mine()
    coop.worker.sweep()
    assert_stopped(coop, ballot_id, "nobody may vote")


def test_a_node_that_is_down_delays_the_opening_and_at_last_stops_it(coop: Coop) -> None:
    (person,) = voters(coop, 1)
    ballot_id = proposed(coop, person.person)
    coop.node.is_down = True
    coop.worker.sweep()
    assert ballot(coop, ballot_id)["state"] == "preparing"
    coop.node.be_honest()
    coop.worker.sweep()
    assert ballot(coop, ballot_id)["state"] == "open"

    second = proposed(coop, person.person, ["plays"])
    coop.node.is_down = True
    coop.worker.sweep()
    coop.clock.advance(timedelta(days=2))
    coop.worker.sweep()
    assert_stopped(coop, second, "The node does not answer")
    assert "127.0.0.1" not in ballot(coop, second)["stopped_because"]


@pytest.mark.parametrize(
    ("method", "result", "because"),
    [
        ("eth_chainId", "0x1", "expected 31337"),
        ("eth_getCode", "0x", "no contract at the configured address"),
        ("eth_getCode", "0x6000", "not the code"),
    ],
)
@pytest.mark.parametrize("at", ["the opening", "the close"])
def test_another_chain_or_code_stops_the_ballot(coop: Coop, method: str, result: str, because: str, at: str) -> None:
    (person,) = voters(coop, 1)
    let_close(coop, 0)
    opened(coop, person.person, ["motion"])  # from then on the contract's code is known
    if at == "the opening":
        ballot_id = proposed(coop, person.person)
        coop.node.lie(method, result)
        coop.worker.sweep()
    else:
        ballot_id = opened(coop, person.person)
        voted(coop, ballot_id, person, 7_200)
        coop.node.lie(method, result)
        let_close(coop)
    coop.node.be_honest()
    coop.worker.sweep()
    assert_stopped(coop, ballot_id, because)


def test_a_fork_below_the_snapshot_stops_an_open_ballot(coop: Coop) -> None:
    (person,) = voters(coop, 1)
    ballot_id = opened(coop, person.person)
    number = hex(ballot(coop, ballot_id)["electorate"]["block_number"])
    coop.node.answers["eth_getBlockByNumber"] = lambda params, truth: (
        truth() | {"hash": "0x" + "11" * 32} if params[0] == number else truth()
    )
    let_close(coop)
    assert_stopped(coop, ballot_id, "no longer part of the chain")
    with engine().connect() as conn:
        batch = conn.exec_driver_sql("select number from ledger.log_batch where closed_at is null").scalar_one()
        ((kind, told),) = counting.told_in(conn, batch)
    assert (kind, told["ballot"]) == ("ballot_stopped", str(ballot_id))
    assert entries.parse(entries.encode(kind, told))
    assert "no longer part of the chain" in told["because"]


@pytest.mark.parametrize(
    "alter",
    [
        "update coop.ballot_seat set member_class = 'worker' where token_id = 1",
        "update coop.ballot_seat set delegate = (select address from coop.ballot_seat where token_id = 2)"
        " where token_id = 1",
        "update coop.ballot_seat set address = '0x000000000000000000000000000000000000dEaD' where token_id = 1",
        "update coop.ballot_seat set since = since - 1 where token_id = 1",
        "delete from coop.ballot_seat where token_id = 1",
    ],
)
def test_seats_altered_here_stop_the_ballot(coop: Coop, alter: str) -> None:
    people = voters(coop, 2)
    ballot_id = opened(coop, people[0].person)
    coop.execute(alter)
    let_close(coop)
    assert_stopped(coop, ballot_id, "do not add up")


# --- Voting ---


def test_the_vote_with_the_highest_number_holds_and_all_are_kept(coop: Coop) -> None:
    (person,) = voters(coop, 1)
    ballot_id = opened(coop, person.person)
    answers = [voted(coop, ballot_id, person, value) for value in (7_500, 7_200, 6_900)]
    assert [answer["nonce"] for answer in answers] == [1, 2, 3]
    assert ballot(coop, ballot_id, person.person)["own"]["values"] == {SHARE: 6_900}
    assert ballot(coop, ballot_id)["own"] is None
    let_close(coop)
    assert [counted["values"] for counted in ballot(coop, ballot_id)["votes"]] == [[6_900]]
    assert coop.row("select count(*) as cast from coop.ballot_vote").cast == 3


def test_the_same_vote_again_is_the_same_vote_and_another_tab_is_told_the_next_number(coop: Coop) -> None:
    (person,) = voters(coop, 1)
    ballot_id = opened(coop, person.person)
    tabs = {value: draft(coop, ballot_id, person.person, {SHARE: value}) for value in (7_100, 7_200)}
    bodies = {value: signed(person.wallet, drafted, {SHARE: value}) for value, drafted in tabs.items()}
    path = f"/ballots/{ballot_id}/votes"
    first, again = (coop.post(path, person.person, bodies[7_100]) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["cast_at"] == again.json()["cast_at"]
    other = coop.post(path, person.person, bodies[7_200])
    assert (other.status_code, other.json()["type"], other.json()["next_nonce"]) == (
        409,
        "/problems/vote-superseded",
        2,
    )
    assert ballot(coop, ballot_id, person.person)["own"]["values"] == {SHARE: 7_100}


@pytest.mark.parametrize("value", [4_999, 9_001, -1, 10**15])
def test_a_number_out_of_bounds_is_no_vote(coop: Coop, value: int) -> None:
    (person,) = voters(coop, 1)
    ballot_id = opened(coop, person.person)
    refused = coop.post(f"/ballots/{ballot_id}/votes/draft", person.person, {"values": {SHARE: value}})
    assert (refused.status_code, refused.json()["type"]) == (400, "/problems/values-refused")


def test_what_is_no_vote_at_all(coop: Coop) -> None:
    (person,) = voters(coop, 1)
    ballot_id = opened(coop, person.person)
    path = f"/ballots/{ballot_id}/votes/draft"
    malformed: list[Any] = [{SHARE: 7_000.5}, {SHARE: "7000"}, {SHARE: None}, {SHARE: True}, {}, {SHARE: 10**30}]
    assert [coop.post(path, person.person, {"values": values}).status_code for values in malformed] == [422] * 6
    for values in ({"plays": 9}, {SHARE: 7_000, "plays": 9}):
        refused = coop.post(path, person.person, {"values": values})
        assert (refused.status_code, refused.json()["type"]) == (400, "/problems/values-refused")


def test_numbers_off_their_quantum_and_cut_points_out_of_order_are_no_vote(coop: Coop) -> None:
    (person,) = voters(coop, 1)
    prices = opened(coop, person.person, ["first_price_micro"])
    funds = opened(coop, person.person, ["community_cut_bp", "reserve_cut_bp"])
    for ballot_id, values in (
        (prices, {"first_price_micro": 2_500}),
        (funds, {"community_cut_bp": 3_000, "reserve_cut_bp": 2_000}),
    ):
        refused = coop.post(f"/ballots/{ballot_id}/votes/draft", person.person, {"values": values})
        assert (refused.status_code, refused.json()["type"]) == (400, "/problems/values-refused")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("chainId", 1),
        ("verifyingContract", "0x000000000000000000000000000000000000dEaD"),
        ("name", "Another Co-op's Ballot"),
        ("ballot", "0x" + "ab" * 16),
        ("nonce", 7),
        ("deadline", 4_000_000_000),
        ("value", 7_201),
        ("parameter", "plays"),
    ],
)
def test_a_vote_signed_for_anything_else_is_refused(coop: Coop, field: str, value: Any) -> None:
    (person,) = voters(coop, 1)
    ballot_id = opened(coop, person.person)
    drafted = draft(coop, ballot_id, person.person, {SHARE: 7_200})
    data = drafted["typed_data"]
    for part in (data["domain"], data["message"], data["message"]["choices"][0]):
        if field in part:
            part[field] = value
    body = signed(person.wallet, drafted, {SHARE: 7_200})
    refused = coop.post(f"/ballots/{ballot_id}/votes", person.person, body)
    assert (refused.status_code, refused.json()["type"]) == (400, "/problems/signature-refused")
    assert ballot(coop, ballot_id)["voted"] == 0


def test_a_signature_of_another_form_or_of_somebody_else_is_refused(coop: Coop) -> None:
    (person,) = voters(coop, 1)
    ballot_id = opened(coop, person.person)
    drafted = draft(coop, ballot_id, person.person, {SHARE: 7_200})
    body = signed(person.wallet, drafted, {SHARE: 7_200})
    r, s, v = body["signature"][2:66], int(body["signature"][66:130], 16), body["signature"][130:]
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    flipped = {"1b": "1c", "1c": "1b"}[v]
    wrong = {
        "the other s": f"0x{r}{order - s:064x}{flipped}",
        "v of 0 or 1": f"0x{r}{s:064x}{int(v, 16) - 27:02x}",
        "nothing": "0x" + "00" * 65,
        "a stranger's": signed(Account.create(), drafted, {SHARE: 7_200})["signature"],
    }
    path = f"/ballots/{ballot_id}/votes"
    for what, signature in wrong.items():
        refused = coop.post(path, person.person, body | {"signature": signature})
        assert (refused.status_code, refused.json()["type"]) == (400, "/problems/signature-refused"), what
    assert coop.post(path, person.person, body | {"signature": body["signature"][:-2]}).status_code == 422
    assert coop.post(path, person.person, body).status_code == 201


def test_a_vote_after_its_own_deadline_is_refused(coop: Coop) -> None:
    (person,) = voters(coop, 1)
    ballot_id = opened(coop, person.person)
    drafted = draft(coop, ballot_id, person.person, {SHARE: 7_200})
    drafted["deadline"] = drafted["typed_data"]["message"]["deadline"] = int(coop.clock.now().timestamp())
    refused = coop.post(f"/ballots/{ballot_id}/votes", person.person, signed(person.wallet, drafted, {SHARE: 7_200}))
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/vote-expired")


def test_votes_are_taken_only_while_it_is_open(coop: Coop) -> None:
    (person,) = voters(coop, 1)
    ballot_id = proposed(coop, person.person)
    path, body = f"/ballots/{ballot_id}/votes/draft", {"values": {SHARE: 7_100}}
    before = coop.post(path, person.person, body)
    coop.worker.sweep()
    drafted = draft(coop, ballot_id, person.person, {SHARE: 7_100})
    coop.clock.advance(timedelta(seconds=DAY_S))
    over = coop.post(f"/ballots/{ballot_id}/votes", person.person, signed(person.wallet, drafted, {SHARE: 7_100}))
    coop.worker.sweep()
    counted = coop.post(path, person.person, body)
    assert [answer.status_code for answer in (before, over, counted)] == [409] * 3
    assert {answer.json()["type"] for answer in (before, over, counted)} == {"/problems/ballot-not-open"}


def test_a_vote_can_be_replaced_only_so_often(coop: Coop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voting, "VOTES_PER_MEMBER_MAX", 2)
    (person,) = voters(coop, 1)
    ballot_id = opened(coop, person.person)
    codes = [vote(coop, ballot_id, person, value).status_code for value in (7_100, 7_200, 7_300)]
    assert codes == [201, 201, 409]


def test_who_votes_at_the_last_moment_puts_the_close_off_and_not_for_ever(
    coop: Coop, monkeypatch: pytest.MonkeyPatch
) -> None:
    (person,) = voters(coop, 1)
    _constitution(monkeypatch, quiet_seconds=3_600, extension_seconds_max=5_400)
    ballot_id = opened(coop, person.person)
    closes_at = coop.clock.now() + timedelta(seconds=DAY_S)
    early = voted(coop, ballot_id, person, 7_100)
    coop.clock.advance(timedelta(seconds=DAY_S - 60))
    late = voted(coop, ballot_id, person, 7_200)
    coop.clock.advance(timedelta(seconds=3_600 - 60))
    latest = voted(coop, ballot_id, person, 7_300)

    def seconds_after(answer: Any) -> float:
        from datetime import datetime

        return (datetime.fromisoformat(answer["closes_at"]) - closes_at).total_seconds()

    assert [seconds_after(answer) for answer in (early, late, latest)] == [0, 3_540, 5_400]


def test_a_vote_with_a_kept_key_takes_the_members_own_passkey_over_its_hash(coop: Coop) -> None:
    (person,) = coop.members(1)
    passkey = _with_passkey(coop, person)
    ballot_id = opened(coop, person)
    drafted = draft(coop, ballot_id, person, {SHARE: 7_200})
    assert drafted["typed_data"] is None
    body = {"values": {SHARE: 7_200}, "nonce": drafted["nonce"], "deadline": drafted["deadline"]}
    path = f"/ballots/{ballot_id}/votes"

    without = coop.post(path, person, body)
    other = coop.post(path, person, body | {"assertion": passkey.signed_digest(b"\1" * 32)})
    assert {without.status_code, other.status_code} <= {400, 403}
    assert ballot(coop, ballot_id)["voted"] == 0
    cast = coop.post(path, person, body | {"assertion": passkey.signed(drafted["passkey_options"])})
    assert cast.status_code == 201, cast.text

    let_close(coop)
    told = ballot(coop, ballot_id)
    assert told["votes"][0]["with_kept_key"]
    assert (told["tally"]["kept_key_weight"], told["tally"]["cast_weight"]) == (1, 1)
    assert coop.row("select evidence from coop.ballot_vote").evidence


def _with_passkey(coop: Coop, person: Person) -> Authenticator:
    passkey = Authenticator()
    asked = coop.in_session("post", "/passkeys/options", person, {"password": PASSWORD})
    assert asked.status_code == 200, asked.text
    made = passkey.made(asked.json()["options"])
    answer = coop.in_session("post", "/passkeys", person, {"name": "Mine", "credential": made})
    assert answer.status_code == 201, answer.text
    return passkey


def test_votes_are_published_at_the_close_and_not_before(coop: Coop) -> None:
    people = voters(coop, 3)
    ballot_id = opened(coop, people[0].person)
    for person, value in zip(people, (7_100, 7_300, 8_000), strict=True):
        voted(coop, ballot_id, person, value)
    while_open = ballot(coop, ballot_id)
    assert (while_open["votes"], while_open["tally"], while_open["voted"]) == (None, None, 3)
    assert coop.client.get(f"/api/v1/ballots/{ballot_id}/votes").json()["type"] == "/problems/ballot-not-counted"

    let_close(coop)
    closed = ballot(coop, ballot_id)
    pages = [coop.get(f"/ballots/{ballot_id}/votes?limit=2")]
    pages.append(coop.get(f"/ballots/{ballot_id}/votes?limit=2&cursor={pages[0]['next_cursor']}"))
    assert pages[0]["items"] + pages[1]["items"] == closed["votes"]
    assert {one["address"]: one["values"] for one in closed["votes"]} == dict(
        zip([person.address for person in people], ([7_100], [7_300], [8_000]), strict=True)
    )


def test_a_delegate_votes_for_who_does_not_and_never_for_who_does(coop: Coop) -> None:
    people = voters(coop, 4)
    for person in people[1:3]:
        delegate(coop, person, people[0].address)
    ballot_id = opened(coop, people[3].person)
    assert ballot(coop, ballot_id, people[1].person)["own"]["delegate"] == people[0].address
    voted(coop, ballot_id, people[0], 7_400)
    voted(coop, ballot_id, people[1], 6_600)  # her own, whatever her delegate votes
    let_close(coop)
    closed = ballot(coop, ballot_id)
    assert closed["tally"]["cast_weight"] == 3
    assert closed["questions"][0]["median"] == 7_400
    with engine().connect() as conn:
        told = dict(counting.told_in(conn, closed["tally"]["log_batch"]))
    assert told["delegations"]["delegations"] == [
        {"address": people[2].address, "member_class": "listener", "delegate": people[0].address}
    ]
    with transaction() as session:
        everybody = [person.address for person in people]
        assert service.carried(session, ballot_id, everybody) == {people[0].address: 1}


# --- The count and its effect ---


def test_the_result_takes_effect_with_the_next_epoch_once_the_timelock_is_over(coop: Coop) -> None:
    people = voters(coop, 3)
    ballot_id = opened(coop, people[0].person)
    for person, value in zip(people, (7_100, 7_300, 8_000), strict=True):
        voted(coop, ballot_id, person, value)
    before = coop.get("/rates")
    let_close(coop)

    closed = ballot(coop, ballot_id)
    assert (closed["state"], closed["questions"][0]["result"], closed["tally"]["phantom_weight"]) == (
        "closed",
        7_300,
        0,
    )
    assert closed["tally"]["effective_epoch"] is None
    assert (coop.get("/rates"), versions()) == (before, UNCHANGED)

    let_take_effect(coop)
    effective, decided = ballot(coop, ballot_id), coop.get("/rates")
    assert effective["state"] == "effective"
    assert effective["tally"]["effective_from"] == "2026-12-01T00:00:00Z"
    assert decided["in_force"] == before["in_force"]
    coming = decided["coming"]
    assert (coming[SHARE], coming["decided_by"]["rates"]) == (7_300, f"ballot:{ballot_id}")
    assert (coming["community_cut_bp"], coming["reserve_cut_bp"]) == (1_000, 3_000)
    assert coming["electorates"]["rates"] == effective["electorate"]
    assert coming["decided_by"]["tariff"] == "founding"
    written = registry().decision_of(ballot_id)
    assert written.rates.artist_share_bp == 7_300
    assert written.result_hash.hex() == effective["tally"]["result_hash"]
    assert versions() == {**UNCHANGED, "rates": 2}


def test_every_open_parameter_can_be_voted_on_at_once(coop: Coop) -> None:
    (person,) = voters(coop, 1)
    wanted = {
        "artist_share_bp": 7_100,
        "community_cut_bp": 1_200,
        "reserve_cut_bp": 3_300,
        "first_price_micro": 3_000,
        "plays": 8,
        "payout_minimum_minor": 900,
        "listen_ms_max": 40_000,
    }
    ballot_id = opened(coop, person.person, list(wanted))
    voted(coop, ballot_id, person, **wanted)
    let_close(coop)
    let_take_effect(coop)
    coming = coop.get("/rates")["coming"]
    assert {name: coming[name] for name in wanted} == wanted
    assert versions() == {"tariff": 2, "rates": 2, "rules": 2}


def test_a_motion_is_carried_by_more_than_half_and_a_tie_is_a_no(coop: Coop) -> None:
    people = voters(coop, 4)
    results = []
    for yes in (2, 3):
        ballot_id = opened(coop, people[0].person, ["motion"])
        for number, person in enumerate(people):
            voted(coop, ballot_id, person, motion=int(number < yes))
        let_close(coop)
        results.append(ballot(coop, ballot_id)["questions"][0]["result"])
        assert ballot(coop, ballot_id)["state"] == "closed"
    assert results == [0, 1]
    assert versions() == UNCHANGED


def test_the_largest_step(coop: Coop) -> None:
    (person,) = voters(coop, 1)
    ballot_id = opened(coop, person.person)
    voted(coop, ballot_id, person, 9_000)
    let_close(coop)
    (outcome,) = ballot(coop, ballot_id)["questions"]
    assert (outcome["median"], outcome["result"]) == (9_000, STATUS_QUO + BOUND.step_max)


def test_without_a_quorum_the_status_quo_pulls(coop: Coop) -> None:
    people = voters(coop, 15)
    ballot_id = opened(coop, people[0].person)
    voted(coop, ballot_id, people[0], 7_400)
    let_close(coop)
    told = ballot(coop, ballot_id)
    assert (told["tally"]["cast_weight"], told["tally"]["phantom_weight"]) == (1, 2)
    assert (told["questions"][0]["result"], told["state"]) == (STATUS_QUO, "closed")
    let_take_effect(coop, 3)
    assert versions() == UNCHANGED


def test_a_count_of_several_workers_at_once_is_one_count(coop: Coop) -> None:
    from workers import ballots

    (person,) = voters(coop, 1)
    ballot_id = opened(coop, person.person)
    voted(coop, ballot_id, person, 7_200)
    coop.clock.advance(timedelta(seconds=DAY_S))
    together = threading.Barrier(3)

    def count() -> None:
        together.wait()
        ballots.count(ballot_id)

    workers = [threading.Thread(target=count) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    closed = ballot(coop, ballot_id)
    ballots.count(ballot_id)
    assert ballot(coop, ballot_id) == closed
    let_take_effect(coop)
    assert versions() == {**UNCHANGED, "rates": 2}


def test_a_vote_under_way_is_counted_before_the_close(coop: Coop) -> None:
    """The count waits for a vote that came in time and is not committed yet."""
    from streamcoop.settings import settings
    from workers import ballots

    (person,) = voters(coop, 1)
    ballot_id = opened(coop, person.person)
    body = signed(person.wallet, draft(coop, ballot_id, person.person, {SHARE: 7_200}), {SHARE: 7_200})
    with transaction() as session:
        voting.cast(
            session,
            ballot_id,
            person.person.user_id,
            body["values"],
            body["nonce"],
            body["deadline"],
            bytes.fromhex(body["signature"][2:]),
            settings(),
            coop.clock.now(),
        )
        coop.clock.advance(timedelta(seconds=DAY_S))
        worker = threading.Thread(target=ballots.count, args=(ballot_id,))
        worker.start()
        assert until(something_waits_for_a_lock, DEADLINE_S, POLL_S)
    worker.join()
    assert ballot(coop, ballot_id)["questions"][0]["result"] == 7_200


def test_a_node_that_is_down_delays_the_count_and_at_last_stops_it(coop: Coop) -> None:
    (person,) = voters(coop, 1)
    ballot_id = opened(coop, person.person)
    voted(coop, ballot_id, person, 7_200)
    coop.node.is_down = True
    let_close(coop)
    assert (ballot(coop, ballot_id)["state"], versions()) == ("counting", UNCHANGED)
    coop.node.be_honest()
    coop.worker.sweep()
    assert ballot(coop, ballot_id)["questions"][0]["result"] == 7_200

    second = opened(coop, person.person, ["plays"])
    coop.node.is_down = True
    let_close(coop, 3 * DAY_S)
    stopped = ballot(coop, second)
    assert (stopped["state"], "The node does not answer" in stopped["stopped_because"]) == ("stopped", True)


def test_rates_changed_past_the_ballot_stop_it(coop: Coop) -> None:
    (person,) = voters(coop, 1)
    ballot_id = opened(coop, person.person)
    with transaction() as session:
        conn = session.connection()
        first = terms.founding(conn).first_epoch
        terms.adopt_rates(conn, Rates(6_900), first + 1, "test", coop.clock.now())
    let_close(coop)
    assert ballot(coop, ballot_id)["state"] == "stopped"
    assert coop.get("/rates")["coming"][SHARE] == 6_900


@pytest.mark.parametrize("step", ["intend", "confirm", "adopt", "found_written"])
def test_a_decision_that_is_killed_at_a_step_takes_effect_once(
    coop: Coop, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    ballot_id = decided(coop)
    real = getattr(effect, step)

    def killed_before(*given: Any) -> Any:
        monkeypatch.setattr(effect, step, killed_after)
        raise KeyboardInterrupt

    def killed_after(*given: Any) -> Any:
        monkeypatch.setattr(effect, step, real)
        real(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(effect, step, killed_before)
    for _ in range(16):
        try:
            coop.mine()
            coop.worker.sweep()
        except KeyboardInterrupt:
            continue
    assert ballot(coop, ballot_id)["state"] == "effective"
    assert versions() == {**UNCHANGED, "rates": 2}
    assert [one.ballot_id for one in registry().decisions()] == [ballot_id]


def test_a_decision_whose_sending_seems_to_have_failed_is_written_once(coop: Coop) -> None:
    ballot_id = decided(coop)
    coop.node.answers["eth_sendRawTransaction"] = taken_and_denied
    coop.worker.sweep()
    coop.node.be_honest()
    let_take_effect(coop)
    assert ballot(coop, ballot_id)["state"] == "effective"
    assert len(registry().decisions()) == 1


def test_a_decision_is_not_adopted_on_a_receipt_alone(coop: Coop) -> None:
    ballot_id = decided(coop)
    coop.node.answers["eth_getTransactionReceipt"] = failed_receipt
    coop.node.answers["eth_sendRawTransaction"] = lambda params, _: "0x" + "11" * 32
    let_take_effect(coop, 4)
    assert (ballot(coop, ballot_id)["state"], versions()) == ("closed", UNCHANGED)
    coop.node.be_honest()
    let_take_effect(coop)
    assert (ballot(coop, ballot_id)["state"], versions()) == ("effective", {**UNCHANGED, "rates": 2})


def test_a_chain_that_is_down_delays_the_effect_and_nothing_else(coop: Coop) -> None:
    ballot_id = decided(coop)
    coop.node.is_down = True
    let_take_effect_without_node(coop)
    told = ballot(coop, ballot_id)
    assert (told["state"], versions()) == ("closed", UNCHANGED)
    assert "The node does not answer" in told["tally"]["held_up_by"]
    coop.node.be_honest()
    let_take_effect(coop)
    assert ballot(coop, ballot_id)["state"] == "effective"
    assert ballot(coop, ballot_id)["tally"]["held_up_by"] is None


def let_take_effect_without_node(coop: Coop) -> None:
    for _ in range(3):
        coop.worker.sweep()


def test_another_registry_at_the_address_is_not_written_to(coop: Coop) -> None:
    registry()
    ballot_id = decided(coop)
    address = registry().address
    coop.node.answers["eth_getCode"] = lambda params, truth: (
        "0x6000" if params[0].lower() == address.lower() else truth()
    )
    let_take_effect(coop, 3)
    assert (ballot(coop, ballot_id)["state"], versions()) == ("closed", UNCHANGED)
    assert "not the code" in ballot(coop, ballot_id)["tally"]["held_up_by"]


def test_decisions_are_written_one_on_top_of_the_other(coop: Coop) -> None:
    (person,) = voters(coop, 1)
    share = opened(coop, person.person)
    plays = opened(coop, person.person, ["plays"])
    voted(coop, share, person, 7_400)
    voted(coop, plays, person, plays=8)
    let_close(coop)
    let_take_effect(coop, 24)
    coming = coop.get("/rates")["coming"]
    assert (coming[SHARE], coming["plays"]) == (7_400, 8)
    assert [ballot(coop, one)["state"] for one in (share, plays)] == ["effective", "effective"]
    first, second = registry().decisions()
    assert (first.rates.artist_share_bp, second.rates.artist_share_bp) == (7_400, 7_400)
    assert {first.rates.plays, second.rates.plays} == {9, 8}
