"""Ballots on the artists' share: from the weights in the contract to the rates of the next epoch."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from ledger import tally
from ledger.rates import ARTIST_SHARE_BP_MAX, ARTIST_SHARE_BP_MIN, ARTIST_SHARE_STEP_BP_MAX, Rates
from ledger.store import terms
from streamcoop.adapters.members import MemberClass
from streamcoop.database import engine, transaction
from streamcoop.embedded.process import until
from streamcoop.governance import schemas, service
from streamcoop.governance.models import BallotWeight
from streamcoop.membership import service as membership
from tests.membership.coop import Coop, Person

DAY_S = 86_400
A_MONTH = timedelta(days=31)
STATUS_QUO = 7_000
DEADLINE_S = 20.0
POLL_S = 0.02


def called(coop: Coop, closes_in_seconds: int = DAY_S) -> UUID:
    body = {"title": "What the artists get", "text": "Why.\nWhy not.", "closes_in_seconds": closes_in_seconds}
    answer = coop.post("/ballots", coop.operator, body)
    assert answer.status_code == 202, answer.text
    assert answer.json()["state"] == "preparing"
    return UUID(answer.json()["id"])


def opened(coop: Coop, closes_in_seconds: int = DAY_S) -> UUID:
    ballot_id = called(coop, closes_in_seconds)
    coop.worker.sweep()
    assert ballot(coop, ballot_id)["state"] == "open", ballot(coop, ballot_id)["stopped_because"]
    return ballot_id


def ballot(coop: Coop, ballot_id: UUID, person: Person | None = None) -> Any:
    return coop.get(f"/ballots/{ballot_id}", person)


def vote(coop: Coop, ballot_id: UUID, person: Person, value: int) -> Any:
    return coop.post(f"/ballots/{ballot_id}/votes", person, {"value": value})


def let_pass(coop: Coop, ballot_id: UUID) -> None:
    coop.clock.advance(timedelta(seconds=DAY_S))
    coop.worker.sweep()


def something_waits_for_a_lock() -> bool:
    waiting = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    with engine().connect() as conn:
        return conn.exec_driver_sql(waiting).first() is not None


def rates_rows() -> int:
    with engine().connect() as conn:
        return conn.exec_driver_sql("select count(*) from ledger.rates").scalar_one()


def assert_stopped(coop: Coop, ballot_id: UUID, because: str) -> None:
    """With that reason, and no rate has changed."""
    stopped = ballot(coop, ballot_id)
    assert (stopped["state"], stopped["tally"], stopped["votes"]) == ("stopped", None, None)
    assert because in stopped["stopped_because"]
    assert rates_rows() == 1
    assert coop.get("/rates")["coming"] is None


# --- Opening ---


def test_the_weights_are_those_of_the_contract(coop: Coop) -> None:
    people = coop.members(3)
    ballot_id = opened(coop)

    open_ballot = ballot(coop, ballot_id, people[0])
    snapshot = open_ballot["snapshot"]
    block = coop.chain()._web3.eth.get_block(snapshot["block_number"])
    with transaction() as session:
        weights = service.stored_weights(session, ballot_id)

    assert coop.supply() == snapshot["total_weight"] == 3
    assert (block["hash"].to_0x_hex(), block["timestamp"]) == (snapshot["block_hash"], snapshot["block_timestamp"])
    assert (snapshot["contract"], snapshot["chain_id"]) == (coop.contract, 31_337)
    assert snapshot["code_hash"] == coop.chain().check()[1]
    assert weights == {coop.get("/membership", person)["address"]: 1 for person in people}
    assert (open_ballot["status_quo"], open_ballot["lowest"], open_ballot["highest"], open_ballot["step_max"]) == (
        STATUS_QUO,
        ARTIST_SHARE_BP_MIN,
        ARTIST_SHARE_BP_MAX,
        ARTIST_SHARE_STEP_BP_MAX,
    )
    assert open_ballot["own"] == {"weight": 1, "value": None, "cast_at": None}
    assert datetime.fromisoformat(open_ballot["closes_at"]) == coop.clock.now() + timedelta(seconds=DAY_S)


def test_weights_are_stored_a_few_members_at_a_time_and_anew_at_each_try(
    coop: Coop, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = coop.members(3)
    monkeypatch.setattr(coop.worker, "WEIGHTS_A_TIME", 2)
    ballot_id = called(coop)
    # Left by a worker that was killed between two parts, of a block at which another was a member too.
    with transaction() as session:
        member_id = membership.member_of(session, people[0].user_id)
        session.add(BallotWeight(ballot_id=ballot_id, address="0x0", member_id=member_id, weight=1))
    coop.worker.sweep()
    assert ballot(coop, ballot_id)["state"] == "open"
    with transaction() as session:
        weights = service.stored_weights(session, ballot_id)
    assert weights == {coop.get("/membership", person)["address"]: 1 for person in people}


def test_the_task_opens_one(coop: Coop) -> None:
    coop.members(1)
    ballot_id = called(coop)
    coop.worker.read_weights(str(ballot_id))
    coop.worker.read_weights(str(ballot_id))
    assert ballot(coop, ballot_id)["snapshot"]["total_weight"] == 1


def test_a_member_of_the_contract_votes_before_her_admission_is_final_here(coop: Coop) -> None:
    person, member_id = coop.admitting()
    chain = coop.worker.registrar()
    coop.worker.intend(chain, member_id)
    coop.worker.send(chain, member_id)
    ballot_id = called(coop)

    coop.worker.read_weights(str(ballot_id))

    assert coop.state(member_id) == "admitting"
    assert vote(coop, ballot_id, person, 7_100).status_code == 201


def test_a_member_missing_here_stops_the_ballot(coop: Coop) -> None:
    people = coop.members(3)
    coop.execute("delete from coop.member where user_id = :id", id=people[0].user_id)
    ballot_id = called(coop)
    coop.worker.sweep()

    assert_stopped(coop, ballot_id, "do not add up")


def test_a_member_added_here_alone_has_no_weight(coop: Coop) -> None:
    coop.members(2)
    forged, member_id = coop.applicant()
    coop.execute("update coop.member set state = 'member' where id = :id", id=member_id)
    ballot_id = opened(coop)

    assert ballot(coop, ballot_id)["snapshot"]["total_weight"] == 2
    assert vote(coop, ballot_id, forged, 9_000).json()["type"] == "/problems/no-vote-in-this-ballot"


def test_a_member_admitted_past_this_service_stops_the_ballot(coop: Coop) -> None:
    coop.members(1)
    chain = coop.chain()
    chain.broadcast(chain.build_admission(coop.registrar.address, MemberClass.WORKER).raw)
    ballot_id = called(coop)
    coop.worker.sweep()

    assert_stopped(coop, ballot_id, "do not add up")


def test_without_members_there_is_nothing_to_open(coop: Coop) -> None:
    ballot_id = called(coop)
    coop.worker.sweep()
    assert_stopped(coop, ballot_id, "nobody is a member yet")


def test_a_node_that_is_down_delays_the_opening(coop: Coop) -> None:
    coop.members(1)
    ballot_id = called(coop)
    coop.node.is_down = True
    coop.worker.sweep()
    assert ballot(coop, ballot_id)["state"] == "preparing"

    coop.node.be_honest()
    coop.worker.sweep()
    assert ballot(coop, ballot_id)["state"] == "open"


def test_a_node_that_stays_down_stops_the_ballot(coop: Coop) -> None:
    coop.members(1)
    ballot_id = called(coop)
    coop.node.is_down = True
    coop.clock.advance(coop.worker.PREPARING_MAX)
    coop.worker.sweep()

    assert_stopped(coop, ballot_id, "The node does not answer")
    assert "127.0.0.1" not in ballot(coop, ballot_id)["stopped_because"]


def test_another_code_at_the_address_stops_the_next_ballot(coop: Coop) -> None:
    coop.members(1)
    let_pass(coop, opened(coop))
    second = called(coop)
    coop.node.lie("eth_getCode", "0x6000")
    coop.worker.sweep()

    stopped = ballot(coop, second)
    assert stopped["state"] == "stopped"
    assert "not the code" in stopped["stopped_because"]
    assert rates_rows() == 2


@pytest.mark.parametrize(
    ("method", "result", "because"),
    [("eth_chainId", "0x1", "expected 31337"), ("eth_getCode", "0x", "no contract at the configured address")],
)
def test_another_chain_stops_the_opening(coop: Coop, method: str, result: str, because: str) -> None:
    coop.members(1)
    ballot_id = called(coop)
    coop.node.lie(method, result)
    coop.worker.sweep()
    assert_stopped(coop, ballot_id, because)


def test_one_ballot_at_a_time(coop: Coop) -> None:
    coop.members(1)
    body = {"title": "Another", "closes_in_seconds": 1}
    first = called(coop)
    while_preparing = coop.post("/ballots", coop.operator, body)
    coop.worker.sweep()
    while_open = coop.post("/ballots", coop.operator, body)
    let_pass(coop, first)

    for refused in (while_preparing, while_open):
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/ballot-under-way")
    second = opened(coop)
    listed = coop.get("/ballots?limit=1")
    assert [one["id"] for one in listed["items"]] == [str(second)]
    assert [one["id"] for one in coop.get(f"/ballots?cursor={listed['next_cursor']}")["items"]] == [str(first)]


def test_malformed_ballots(coop: Coop) -> None:
    right = {"title": "A title", "closes_in_seconds": 60}
    wrong: list[dict[str, Any]] = [
        {"title": ""},
        {"title": "Two\nlines"},
        {"closes_in_seconds": schemas.BALLOT_S_MIN - 1},
        {"closes_in_seconds": schemas.BALLOT_S_MAX + 1},
        {"text": "a nought: \0"},
        {"text": "x" * (schemas.TEXT_LENGTH_MAX + 1)},
        {"parameter": "vat_bp"},
    ]
    codes = [coop.post("/ballots", coop.operator, right | fault).status_code for fault in wrong]
    assert codes == [422] * len(wrong)


def test_only_operators_call_ballots(coop: Coop) -> None:
    assert coop.post("/ballots", coop.person(), {"title": "Mine", "closes_in_seconds": 60}).status_code == 403


# --- Voting ---


def test_the_last_vote_holds_and_all_are_kept(coop: Coop) -> None:
    (person,) = coop.members(1)
    ballot_id = opened(coop)

    answers = [vote(coop, ballot_id, person, value) for value in (7_500, 7_200, 7_200, 6_900)]

    assert [answer.status_code for answer in answers] == [201] * 4
    assert ballot(coop, ballot_id, person)["own"]["value"] == 6_900
    assert ballot(coop, ballot_id)["own"] is None
    assert coop.row("select count(*) as cast from coop.ballot_vote").cast == 3
    let_pass(coop, ballot_id)
    assert [counted["value"] for counted in ballot(coop, ballot_id)["votes"]] == [6_900]


def test_a_vote_outside_the_bounds(coop: Coop) -> None:
    (person,) = coop.members(1)
    ballot_id = opened(coop)
    for value in (4_999, 9_001, -1, 10**30):
        refused = vote(coop, ballot_id, person, value)
        assert (refused.status_code, refused.json()["type"]) == (400, "/problems/vote-out-of-bounds")
        assert (refused.json()["lowest"], refused.json()["highest"]) == (5_000, 9_000)


def test_a_vote_that_is_no_whole_number(coop: Coop) -> None:
    (person,) = coop.members(1)
    ballot_id = opened(coop)
    values: list[Any] = [7_000.5, "7000", None, True]
    assert [vote(coop, ballot_id, person, value).status_code for value in values] == [422] * len(values)


def test_who_has_no_vote(coop: Coop) -> None:
    coop.members(1)
    ballot_id = opened(coop)
    (late,) = coop.members(1)
    applicant, _ = coop.applicant()
    listener = coop.person()

    refusals = {person.user_id: vote(coop, ballot_id, person, 7_100) for person in (late, applicant, listener)}

    assert {refused.status_code for refused in refusals.values()} == {403}
    assert refusals[late.user_id].json()["type"] == "/problems/no-vote-in-this-ballot"
    assert refusals[applicant.user_id].json()["type"] == "/problems/no-vote-in-this-ballot"
    assert refusals[listener.user_id].json()["type"] == "/problems/members-only"
    assert coop.client.post(f"/api/v1/ballots/{ballot_id}/votes", json={"value": 7_000}).status_code == 401
    assert vote(coop, UUID(int=7), late, 7_000).status_code == 404


def test_votes_are_taken_only_while_it_is_open(coop: Coop) -> None:
    (person,) = coop.members(1)
    ballot_id = called(coop)
    before = vote(coop, ballot_id, person, 7_100)
    coop.worker.sweep()
    coop.clock.advance(timedelta(seconds=DAY_S))
    over = vote(coop, ballot_id, person, 7_100)
    coop.worker.sweep()
    counted = vote(coop, ballot_id, person, 7_100)

    assert [answer.status_code for answer in (before, over, counted)] == [409] * 3
    assert counted.json()["type"] == "/problems/ballot-not-open"


def test_a_vote_can_be_replaced_only_so_often(coop: Coop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "VOTES_PER_MEMBER_MAX", 2)
    (person,) = coop.members(1)
    ballot_id = opened(coop)
    codes = [vote(coop, ballot_id, person, value).status_code for value in (7_100, 7_200, 7_200, 7_300)]
    assert codes == [201, 201, 201, 409]


def test_votes_are_published_at_the_close(coop: Coop) -> None:
    people = coop.members(3)
    ballot_id = opened(coop)
    for person, value in zip(people, (7_100, 7_300, 8_000), strict=True):
        vote(coop, ballot_id, person, value)
    while_open = ballot(coop, ballot_id)
    assert (while_open["votes"], while_open["tally"], while_open["cast_weight"]) == (None, None, 3)
    assert coop.client.get(f"/api/v1/ballots/{ballot_id}/votes").json()["type"] == "/problems/ballot-not-counted"

    let_pass(coop, ballot_id)

    closed = ballot(coop, ballot_id)
    pages = [coop.get(f"/ballots/{ballot_id}/votes?limit=2")]
    pages.append(coop.get(f"/ballots/{ballot_id}/votes?limit=2&cursor={pages[0]['next_cursor']}"))
    again = tally.count(
        [tally.Vote(one["value"], one["weight"]) for one in closed["votes"]],
        status_quo=closed["status_quo"],
        quorum=tally.quorum_weight(closed["snapshot"]["total_weight"], closed["quorum_bp"]),
        bounds=tally.Bounds(closed["lowest"], closed["highest"], closed["step_max"]),
    )
    assert pages[0]["items"] + pages[1]["items"] == closed["votes"]
    assert {one["address"] for one in closed["votes"]} == {
        coop.get("/membership", person)["address"] for person in people
    }
    assert {name: closed["tally"][name] for name in ("result", "median", "cast_weight", "phantom_weight")} == {
        name: getattr(again, name) for name in ("result", "median", "cast_weight", "phantom_weight")
    }


# --- Closing ---


def test_the_result_takes_effect_with_the_next_epoch(coop: Coop) -> None:
    people = coop.members(3)
    ballot_id = opened(coop)
    for person, value in zip(people, (7_100, 7_300, 8_000), strict=True):
        vote(coop, ballot_id, person, value)
    before = coop.get("/rates")
    coop.worker.sweep()
    assert ballot(coop, ballot_id)["state"] == "open"

    let_pass(coop, ballot_id)
    closed, decided = ballot(coop, ballot_id), coop.get("/rates")

    assert (before["in_force"]["artist_share_bp"], before["coming"]) == (STATUS_QUO, None)
    assert not before["in_force"]["weights_read_from_contract"]
    assert (closed["state"], closed["tally"]["result"], closed["tally"]["phantom_weight"]) == ("closed", 7_300, 0)
    assert closed["tally"]["effective_from"] == "2026-12-01T00:00:00Z"
    assert decided["in_force"] == before["in_force"]
    coming = decided["coming"]
    assert (coming["artist_share_bp"], coming["decided_by"]) == (7_300, f"ballot:{ballot_id}")
    assert (coming["community_cut_bp"], coming["reserve_cut_bp"]) == (1_000, 3_000)
    assert coming["weights_read_from_contract"]
    assert coming["snapshot"] == closed["snapshot"]
    assert coming["version"] == closed["tally"]["rates_version"]

    coop.clock.advance(A_MONTH)
    effective = coop.get("/rates")
    assert (effective["in_force"]["artist_share_bp"], effective["coming"]) == (7_300, None)


def test_the_funds_keep_their_cuts(coop: Coop) -> None:
    (person,) = coop.members(1)
    with transaction() as session:
        conn = session.connection()
        first = terms.founding(conn).first_epoch
        terms.adopt_rates(conn, Rates(7_000, 2_500, 6_000), first + 1, "test", coop.clock.now())
    ballot_id = opened(coop)
    vote(coop, ballot_id, person, 7_250)
    let_pass(coop, ballot_id)

    coming = coop.get("/rates")["coming"]
    assert [coming[name] for name in ("artist_share_bp", "community_cut_bp", "reserve_cut_bp")] == [7_250, 2_500, 6_000]


def test_the_largest_step(coop: Coop) -> None:
    (person,) = coop.members(1)
    ballot_id = opened(coop)
    vote(coop, ballot_id, person, 9_000)
    let_pass(coop, ballot_id)

    outcome = ballot(coop, ballot_id)["tally"]
    assert (outcome["median"], outcome["result"]) == (9_000, STATUS_QUO + ARTIST_SHARE_STEP_BP_MAX)


def test_a_second_ballot_starts_from_what_the_first_decided(coop: Coop) -> None:
    (person,) = coop.members(1)
    first = opened(coop)
    vote(coop, first, person, 7_400)
    let_pass(coop, first)
    second = opened(coop)
    vote(coop, second, person, 7_100)
    let_pass(coop, second)

    assert ballot(coop, second)["status_quo"] == 7_400
    assert coop.get("/rates")["coming"]["artist_share_bp"] == 7_100


def test_without_a_quorum_the_status_quo_pulls(coop: Coop) -> None:
    people = coop.members(15)
    ballot_id = opened(coop)
    vote(coop, ballot_id, people[0], 7_400)
    let_pass(coop, ballot_id)

    outcome = ballot(coop, ballot_id)["tally"]
    assert (outcome["cast_weight"], outcome["phantom_weight"]) == (1, 2)
    assert (outcome["median"], outcome["result"]) == (STATUS_QUO, STATUS_QUO)


def test_nobody_votes(coop: Coop) -> None:
    coop.members(1)
    ballot_id = opened(coop)
    let_pass(coop, ballot_id)
    assert ballot(coop, ballot_id)["tally"]["result"] == STATUS_QUO


def test_closing_twice_changes_nothing(coop: Coop) -> None:
    (person,) = coop.members(1)
    ballot_id = opened(coop)
    vote(coop, ballot_id, person, 7_200)
    coop.clock.advance(timedelta(seconds=DAY_S))
    together = threading.Barrier(3)

    def close() -> None:
        together.wait()
        coop.worker.close(ballot_id)

    workers = [threading.Thread(target=close) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    closed = ballot(coop, ballot_id)
    coop.worker.close(ballot_id)
    coop.worker.sweep()

    assert ballot(coop, ballot_id) == closed
    assert rates_rows() == 2


def test_a_count_and_its_rates_stand_or_fall_together(coop: Coop, monkeypatch: pytest.MonkeyPatch) -> None:
    coop.members(1)
    ballot_id = opened(coop)
    coop.clock.advance(timedelta(seconds=DAY_S))

    def killed(*_: Any) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(terms, "adopt_rates", killed)
        with pytest.raises(KeyboardInterrupt):
            coop.worker.sweep()
    assert (ballot(coop, ballot_id)["state"], rates_rows()) == ("open", 1)

    coop.worker.sweep()
    assert (ballot(coop, ballot_id)["state"], rates_rows()) == ("closed", 2)


def test_a_node_that_is_down_delays_the_count(coop: Coop) -> None:
    (person,) = coop.members(1)
    ballot_id = opened(coop)
    vote(coop, ballot_id, person, 7_200)
    coop.node.is_down = True
    let_pass(coop, ballot_id)
    assert (ballot(coop, ballot_id)["state"], rates_rows()) == ("open", 1)

    coop.node.be_honest()
    coop.worker.sweep()
    assert ballot(coop, ballot_id)["tally"]["result"] == 7_200


def test_a_node_that_stays_down_stops_the_count(coop: Coop) -> None:
    coop.members(1)
    ballot_id = opened(coop)
    coop.node.is_down = True
    coop.clock.advance(timedelta(seconds=DAY_S) + coop.worker.COUNTING_MAX)
    coop.worker.sweep()
    assert_stopped(coop, ballot_id, "The node does not answer")


@pytest.mark.parametrize(
    ("method", "result", "because"),
    [
        ("eth_chainId", "0x1", "expected 31337"),
        ("eth_getCode", "0x6000", "not the code"),
        ("eth_getCode", "0x", "no contract at the configured address"),
    ],
)
def test_another_chain_at_the_close_stops_the_ballot(coop: Coop, method: str, result: str, because: str) -> None:
    (person,) = coop.members(1)
    ballot_id = opened(coop)
    vote(coop, ballot_id, person, 7_200)
    coop.node.lie(method, result)
    let_pass(coop, ballot_id)
    coop.node.be_honest()
    coop.worker.sweep()

    assert_stopped(coop, ballot_id, because)


def test_a_fork_below_the_snapshot_stops_the_ballot(coop: Coop) -> None:
    coop.members(1)
    ballot_id = opened(coop)
    number = hex(ballot(coop, ballot_id)["snapshot"]["block_number"])
    coop.node.answers["eth_getBlockByNumber"] = lambda params, truth: (
        truth() | {"hash": "0x" + "11" * 32} if params[0] == number else truth()
    )
    let_pass(coop, ballot_id)

    assert_stopped(coop, ballot_id, "no longer part of the chain")


def test_weights_altered_here_stop_the_ballot(coop: Coop) -> None:
    people = coop.members(2)
    ballot_id = opened(coop)
    vote(coop, ballot_id, people[0], 7_200)
    coop.execute("update coop.ballot_weight set weight = 2 where ballot_id = :id", id=ballot_id)
    let_pass(coop, ballot_id)

    assert_stopped(coop, ballot_id, "other weights than at the opening")


def test_rates_changed_past_the_ballot_stop_it(coop: Coop) -> None:
    coop.members(1)
    ballot_id = opened(coop)
    with transaction() as session:
        conn = session.connection()
        first = terms.founding(conn).first_epoch
        terms.adopt_rates(conn, Rates(6_900), first + 1, "test", coop.clock.now())
    let_pass(coop, ballot_id)

    assert ballot(coop, ballot_id)["state"] == "stopped"
    assert coop.get("/rates")["coming"]["artist_share_bp"] == 6_900


def test_a_vote_under_way_is_counted_before_the_close(coop: Coop) -> None:
    """The count waits for a vote that came in time and is not committed yet."""
    (person,) = coop.members(1)
    ballot_id = opened(coop)
    with transaction() as session:
        service.vote(session, ballot_id, person.user_id, 7_200, coop.clock.now())
        coop.clock.advance(timedelta(seconds=DAY_S))
        counting = threading.Thread(target=coop.worker.close, args=(ballot_id,))
        counting.start()
        assert until(something_waits_for_a_lock, DEADLINE_S, POLL_S)
    counting.join()

    assert ballot(coop, ballot_id)["tally"]["result"] == 7_200
