"""Recording on PostgreSQL: whatever races, nobody overdraws, nobody is charged twice, and answers stay the first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import text

from ledger import accounts
from ledger.ids import lowest_id, new_id, uuid7
from ledger.recording import Claim, Recorded, Refused, Standing
from ledger.store import partitions, settling
from ledger.store.recording import BATCH_MAX, Outcome, lock_key, record, standings_of
from ledger.tariff import Progress, Tariff
from tests.conftest import Database
from tests.ledger.factories import (
    EPOCH,
    NOW,
    any_tariff,
    balance_micro,
    claim,
    connect,
    findings,
    listener_with,
    record_now,
    settle_all,
    top_up,
)

pytestmark = pytest.mark.usefixtures("founded")

Answer = TypeVar("Answer")
Connection = psycopg.AsyncConnection[Any]
TARIFF = Tariff()


def on_connections(
    app_url: str, count: int, work: Callable[[Connection, int], Coroutine[Any, Any, Answer]]
) -> list[Answer]:
    """Run `work` on several connections at once."""

    async def one(number: int) -> Answer:
        async with await connect(app_url) as conn:
            return await work(conn, number)

    async def all_at_once() -> list[Answer]:
        return await asyncio.gather(*(one(number) for number in range(count)))

    return asyncio.run(all_at_once())


def recorded(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if isinstance(outcome.decision, Recorded)]


def reasons(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.decision.reason for outcome in outcomes if isinstance(outcome.decision, Refused)]


def test_a_play_is_recorded_with_its_ordinal_price_epoch_and_salt(database: Database) -> None:
    listener, track = listener_with(database.engine, 1_000_000), uuid4()
    asked = claim(listener, track)
    assert record_now(database.app_url, [asked]) == [Outcome(Recorded(asked, completes=False), NOW)]
    with database.engine.connect() as conn:
        play = conn.execute(text("select * from ledger.play")).one()
        assert settling.unsettled(conn) == (1, NOW)
    assert (play.id, play.listener_id, play.track_id) == (asked.play_id, listener, track)
    assert (play.kind, play.ordinal, play.price_micro, play.epoch) == ("play", 1, 2_000, EPOCH)
    assert (len(play.salt), play.completes, play.recorded_at) == (32, False, NOW)


def test_a_replay_gets_the_first_answer_before_and_after_settling(database: Database) -> None:
    listener, track = listener_with(database.engine, 2_000), uuid4()
    asked = claim(listener, track)
    [first] = record_now(database.app_url, [asked])
    for settle in (False, True):
        if settle:
            settle_all(database.engine)
        later = NOW + timedelta(days=40)
        again = record_now(database.app_url, [asked, asked], now=later)
        assert again == [Outcome(first.decision, NOW, repeated=True)] * 2
    assert balance_micro(database.engine, accounts.wallet(listener)) == 0
    assert not findings(database.engine)


@pytest.mark.parametrize("field", ["listener_id", "track_id", "kind", "ordinal", "price_micro"])
def test_a_play_id_with_another_content_is_refused(database: Database, field: str) -> None:
    listener, other = (listener_with(database.engine, 5_000_000) for _ in range(2))
    asked = claim(listener, uuid4())
    record_now(database.app_url, [asked])
    content: dict[str, Any] = {name: getattr(asked, name) for name in Claim.__slots__}
    changes = {"listener_id": other, "track_id": uuid4(), "kind": "buyout", "ordinal": 2, "price_micro": 4_000}
    changed = Claim(**content | {field: changes[field]})
    assert record_now(database.app_url, [changed]) == [Outcome(Refused(changed, "id-reused"), None)]


def test_one_play_asked_for_twice_in_a_batch_counts_once(database: Database) -> None:
    listener = listener_with(database.engine, 10_000)
    asked = claim(listener, uuid4())
    other = Claim(asked.play_id, listener, uuid4(), "play", 1, 2_000, EPOCH)
    first, again, reused = record_now(database.app_url, [asked, asked, other])
    assert first == Outcome(Recorded(asked, completes=False), NOW)
    assert again == Outcome(first.decision, NOW, repeated=True)
    assert reused == Outcome(Refused(other, "id-reused"), None)
    settle_all(database.engine)
    assert balance_micro(database.engine, accounts.wallet(listener)) == 8_000


def test_claims_of_a_batch_are_decided_in_their_order_repeated_ones_too(database: Database) -> None:
    listener = listener_with(database.engine, 2_000)
    first, second = claim(listener, uuid4()), claim(listener, uuid4())
    outcomes = record_now(database.app_url, [first, second, first])
    assert [isinstance(outcome.decision, Recorded) for outcome in outcomes] == [True, False, True]


def test_a_refused_claims_id_with_another_content_is_refused_for_what_it_is(database: Database) -> None:
    listener = listener_with(database.engine, 1_000)
    asked = claim(listener, uuid4())
    other = Claim(asked.play_id, listener, uuid4(), "play", 1, 2_000, EPOCH)
    outcomes = record_now(database.app_url, [asked, asked, other])
    assert reasons(outcomes) == ["insufficient-credit", "insufficient-credit", "id-reused"]
    assert [outcome.decision.claim for outcome in outcomes] == [asked, asked, other]


def test_a_refused_play_can_be_asked_for_again_once_there_is_credit(database: Database) -> None:
    poor = uuid4()
    asked = claim(poor, uuid4())
    assert reasons(record_now(database.app_url, [asked])) == ["insufficient-credit"]
    with database.engine.begin() as conn:
        top_up(conn, poor, 2_000)
    assert record_now(database.app_url, [asked]) == [Outcome(Recorded(asked, completes=False), NOW)]


def test_ten_thousand_tokens_opened_on_a_five_hundredth_of_a_credit_make_one_play(database: Database) -> None:
    listener, track = listener_with(database.engine, 2_000), uuid4()
    tokens = [claim(listener, track if number % 2 else uuid4()) for number in range(10_000)]
    batches = [tokens[at : at + BATCH_MAX] for at in range(0, len(tokens), BATCH_MAX)]

    async def work(conn: Connection, number: int) -> list[Outcome]:
        return [o for batch in batches[number::4] for o in await record(conn, batch, any_tariff(), NOW)]

    outcomes = [outcome for answers in on_connections(database.app_url, 4, work) for outcome in answers]
    assert len(outcomes) == 10_000
    assert len(recorded(outcomes)) == 1
    settle_all(database.engine)
    assert balance_micro(database.engine, accounts.wallet(listener)) == 0
    assert not findings(database.engine)


def test_batches_racing_from_many_connections_spend_a_wallet_to_the_unit_and_no_further(database: Database) -> None:
    listeners = [listener_with(database.engine, 50_000) for _ in range(3)]

    async def work(conn: Connection, number: int) -> list[Outcome]:
        outcomes = []
        for turn in range(10):
            asked = [claim(listeners[(number + turn + n) % 3], uuid4()) for n in range(6)]
            outcomes += await record(conn, asked, any_tariff(), NOW)
            if turn % 3 == number % 3:
                await asyncio.to_thread(settle_all, database.engine)
        return outcomes

    outcomes = [outcome for answers in on_connections(database.app_url, 6, work) for outcome in answers]
    assert len(recorded(outcomes)) == 3 * 25
    assert set(reasons(outcomes)) == {"insufficient-credit"}
    settle_all(database.engine)
    assert [balance_micro(database.engine, accounts.wallet(listener)) for listener in listeners] == [0, 0, 0]
    assert not findings(database.engine)


def test_devices_that_play_one_track_at_once_pay_each_ordinal_once(database: Database) -> None:
    listener, track = listener_with(database.engine, 5_000_000), uuid4()

    async def device(conn: Connection, number: int) -> list[Outcome]:
        ordinal, price_micro, outcomes = 1, 2_000, []
        while price_micro:
            [outcome] = await record(conn, [claim(listener, track, ordinal, price_micro)], any_tariff(), NOW)
            outcomes.append(outcome)
            decision = outcome.decision
            ordinal += isinstance(decision, Recorded)
            price_micro = TARIFF.price_micro(ordinal)
            if isinstance(decision, Refused):
                ordinal, price_micro = decision.ordinal, decision.price_micro
        return outcomes

    outcomes = [outcome for answers in on_connections(database.app_url, 4, device) for outcome in answers]
    assert sorted(o.decision.claim.ordinal for o in recorded(outcomes)) == list(range(1, 10))
    assert set(reasons(outcomes)) <= {"price-moved", "already-owned"}
    settle_all(database.engine)
    assert balance_micro(database.engine, accounts.wallet(listener)) == 5_000_000 - TARIFF.total_micro
    assert not findings(database.engine)


def test_one_request_sent_by_many_connections_at_once_is_charged_once(database: Database) -> None:
    listener = listener_with(database.engine, 1_000_000)
    asked = claim(listener, uuid4())

    async def send(conn: Connection, number: int) -> Outcome:
        [outcome] = await record(conn, [asked], any_tariff(), NOW + timedelta(seconds=number))
        return outcome

    outcomes = on_connections(database.app_url, 8, send)
    assert len({outcome.recorded_at for outcome in outcomes}) == 1
    assert all(isinstance(outcome.decision, Recorded) for outcome in outcomes)
    assert sorted(outcome.repeated for outcome in outcomes) == [False] + [True] * 7
    settle_all(database.engine)
    assert balance_micro(database.engine, accounts.wallet(listener)) == 998_000


def test_a_buyout_and_a_play_at_once_never_pay_for_the_same_thing(database: Database) -> None:
    for _ in range(5):
        listener, track = listener_with(database.engine, 3_000_000), uuid4()
        asked = [claim(listener, track), claim(listener, track, 1, TARIFF.total_micro, "buyout")]

        async def send(conn: Connection, number: int, asked: Sequence[Claim] = asked) -> list[Outcome]:
            return await record(conn, [asked[number]], any_tariff(), NOW)

        outcomes = [outcome for answers in on_connections(database.app_url, 2, send) for outcome in answers]
        [counted] = recorded(outcomes)
        assert reasons(outcomes) == (["already-owned"] if counted.decision.claim.kind == "buyout" else ["price-moved"])
    settle_all(database.engine)
    assert not findings(database.engine)


def test_what_is_recorded_and_not_settled_counts_towards_everything(database: Database) -> None:
    listener, track = listener_with(database.engine, 10_000), uuid4()
    with database.engine.begin() as conn:
        conn.execute(text("insert into ledger.listener values (:id, 8000, 3)"), {"id": listener})
    plays = [claim(listener, track, n, TARIFF.price_micro(n)) for n in (1, 2)]
    assert len(recorded([o for play in plays for o in record_now(database.app_url, [play])])) == 2
    for settle in (False, True):
        if settle:
            settle_all(database.engine)
        third = record_now(database.app_url, [claim(listener, track, 3, 8_000)])
        again = record_now(database.app_url, [claim(listener, track, 2, 4_000)])
        dear = record_now(database.app_url, [claim(listener, uuid4(), 1, 1_022_000, "buyout")])
        small = record_now(database.app_url, [claim(listener, uuid4(), 1, 4_000)], Tariff(4_000))
        assert reasons(third + again + dear + small) == ["stopped-before", "price-moved", "over-budget", "over-budget"]
        assert small[0].decision == Refused(small[0].decision.claim, "over-budget", 1, 4_000, 2_000)


def test_a_quote_sees_what_is_recorded_whether_settled_or_not(database: Database) -> None:
    listener, track = listener_with(database.engine, 1_050_000), uuid4()
    with database.engine.begin() as conn:
        conn.execute(text("insert into ledger.listener values (:id, 2000000, 7)"), {"id": listener})
    plays = [claim(listener, track), claim(listener, uuid4(), 1, 1_022_000, "buyout")]
    record_now(database.app_url, plays)

    async def look(conn: Connection, _: int) -> list[Standing]:
        return [(await standings_of(conn, [(listener, asked.track_id)], asked.epoch, NOW))[listener] for asked in plays]

    for settle in (False, True):
        if settle:
            settle_all(database.engine)
        [standings] = on_connections(database.app_url, 1, look)
        assert standings == [
            Standing(26_000, 1_024_000, 2_000_000, 7, {track: Progress(1, 2_000)}),
            Standing(26_000, 1_024_000, 2_000_000, 7, {plays[1].track_id: Progress(0, 1_022_000, True)}),
        ]


def test_a_budget_begins_anew_with_the_calendar_month_the_play_is_recorded_in(database: Database) -> None:
    listener = listener_with(database.engine, 1_000_000)
    with database.engine.begin() as conn:
        conn.execute(text("insert into ledger.listener values (:id, 2000, null)"), {"id": listener})
    last = datetime(2026, 3, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    outcomes = [
        record_now(database.app_url, [claim(listener, uuid4())], now=at)[0]
        for at in (last, last, last + timedelta(microseconds=1))
    ]
    assert [isinstance(outcome.decision, Recorded) for outcome in outcomes] == [True, False, True]
    settle_all(database.engine)
    with database.engine.connect() as conn:
        spent = conn.execute(text("select month, spent_micro from ledger.spending order by month")).all()
    assert [tuple(row) for row in spent] == [(EPOCH, 2_000), (EPOCH + 1, 2_000)]


def test_ownership_not_yet_settled_is_ownership(database: Database) -> None:
    listener, track = listener_with(database.engine, 2_000_000), uuid4()
    bought = record_now(database.app_url, [claim(listener, track, 1, 1_022_000, "buyout")])
    assert recorded(bought)
    dearer = Tariff(4_000)
    assert reasons(record_now(database.app_url, [claim(listener, track, 1, 4_000)], dearer)) == ["already-owned"]
    settle_all(database.engine)
    assert reasons(record_now(database.app_url, [claim(listener, track, 1, 4_000)], dearer)) == ["already-owned"]


def test_listeners_do_not_see_each_others_credit(database: Database) -> None:
    rich, poor = listener_with(database.engine, 1_000_000), uuid4()
    track = uuid4()
    first, second = record_now(database.app_url, [claim(rich, track), claim(poor, track)])
    assert isinstance(first.decision, Recorded)
    assert reasons([second]) == ["insufficient-credit"]


@pytest.mark.parametrize("size", [0, BATCH_MAX + 1])
def test_a_batch_has_a_size(database: Database, size: int) -> None:
    listener = uuid4()
    with pytest.raises(ValueError, match="a batch has"):
        record_now(database.app_url, [claim(listener, uuid4()) for _ in range(size)])


def test_what_fails_inside_a_batch_records_nothing_and_frees_the_lock(database: Database) -> None:
    listener = listener_with(database.engine, 1_000_000)

    def no_terms(_epoch: int) -> Tariff:
        raise LookupError

    async def fail_then_record(conn: Connection, _: int) -> list[Outcome]:
        with pytest.raises(LookupError):
            await record(conn, [claim(listener, uuid4())], no_terms, NOW)
        return await record(conn, [claim(listener, uuid4())], any_tariff(), NOW)

    [outcomes] = on_connections(database.app_url, 1, fail_then_record)
    assert len(recorded(outcomes)) == 1
    with database.engine.connect() as conn:
        assert settling.unsettled(conn)[0] == 1


def test_lock_keys_are_signed_words_that_differ() -> None:
    keys = {lock_key(uuid7(1, chance << 40)) for chance in range(1_000)}
    assert len(keys) == 1_000
    assert all(-(2**63) <= key < 2**63 for key in keys)
    assert all(lock_key(UUID(int=number)) in range(-(2**63), 2**63) for number in (0, 2**64 - 1, 2**128 - 1))


def test_a_batch_waits_for_whoever_holds_the_listeners_lock(database: Database) -> None:
    listener = listener_with(database.engine, 2_000)

    async def work(conn: Connection, _: int) -> list[Outcome]:
        async with await connect(database.app_url) as holder, await connect(database.superuser_url) as watcher:
            async with holder.transaction():
                await holder.execute("select pg_advisory_xact_lock(%s)", (lock_key(listener),))
                waiting = asyncio.create_task(record(conn, [claim(listener, uuid4())], any_tariff(), NOW))
                await _until_blocked(watcher, conn.info.backend_pid)
                await holder.execute(
                    "update ledger.account set balance_micro = 0 where code = %s", (f"wallet:{listener}",)
                )
            return await waiting

    [outcomes] = on_connections(database.app_url, 1, work)
    # It looked only after the lock was free.
    assert reasons(outcomes) == ["insufficient-credit"]


async def _until_blocked(watcher: Connection, pid: int) -> None:
    """Return once that backend waits for a lock."""
    found: Any = None
    while found != (True,):
        found = await (await watcher.execute("select pg_blocking_pids(%s) <> '{}'", (pid,))).fetchone()


def test_plays_go_to_the_partition_of_the_month_they_were_opened_in(database: Database) -> None:
    with database.engine.begin() as conn:
        made = partitions.ensure_partitions(conn, NOW, months_ahead=1)
        assert made == ["play_2026_03", "play_2026_04"]
        assert partitions.ensure_partitions(conn, NOW, months_ahead=2) == ["play_2026_05"]
    listener = listener_with(database.engine, 1_000_000)
    april = datetime(2026, 4, 1, tzinfo=UTC)
    instants = {
        "play_rest": datetime(2026, 2, 28, 23, 59, 59, 999_000, tzinfo=UTC),
        "play_2026_03": april - timedelta(milliseconds=1),
        "play_2026_04": april,
    }
    for at in instants.values():
        id_ = uuid7(int(at.timestamp() * 1_000), new_id().int)
        assert recorded(record_now(database.app_url, [claim(listener, uuid4(), play_id=id_)], now=at))
    with database.engine.connect() as conn:
        rows = conn.execute(text("select tableoid::regclass::text, id from ledger.play order by id")).all()
    assert [table for table, _ in rows] == [f"ledger.{name}" for name in instants]


def test_a_month_whose_plays_came_before_its_partition_stays_where_it_is(database: Database) -> None:
    listener = listener_with(database.engine, 1_000_000)
    early = lowest_id(NOW)
    assert recorded(record_now(database.app_url, [claim(listener, uuid4(), play_id=early)]))
    with database.engine.begin() as conn:
        assert partitions.ensure_partitions(conn, NOW, months_ahead=1) == ["play_2026_04"]
    assert record_now(database.app_url, [claim(listener, uuid4(), play_id=early)])
    assert not findings(database.engine)


def test_only_partitions_of_plays_can_be_made(database: Database) -> None:
    low, high = lowest_id(NOW), lowest_id(NOW + timedelta(days=1))
    with (
        psycopg.connect(database.app_url, autocommit=True) as connection,
        pytest.raises(psycopg.errors.RaiseException, match="not the name"),
    ):
        connection.execute("select ledger.add_play_partition(%s, %s, %s)", ("transfer", low, high))
