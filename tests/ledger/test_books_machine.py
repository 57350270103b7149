"""The books against a model in plain Python: any sequence of what members and the co-op do leaves both equal.

And whatever is done, a listener and the artist she is hand in glove with get out no more than she paid in.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, text

from ledger import accounts
from ledger.accounts import Account
from ledger.errors import InsufficientBalance
from ledger.grants import grant_limit_micro
from ledger.ids import new_id
from ledger.money import MICRO, PRICE_QUANTUM_MICRO, CreditPrice
from ledger.rates import NetFactors, Rates
from ledger.recording import Claim, Kind, Recorded, Standing, apply, decide, quote
from ledger.royalties import Share, Terms, track_royalties
from ledger.store import closing, crediting, posting, settling, terms
from ledger.store.closing import PlaysUnsettled
from ledger.store.posting import Transfer
from ledger.store.recording import Outcome, record
from ledger.store.terms import Founding
from ledger.tariff import Progress, Tariff
from tests.conftest import Database
from tests.ledger.factories import (
    ARTIST_SHARE_BP_MAX,
    EPOCH,
    any_tariff,
    balance_micro,
    claim,
    close,
    connect,
    findings,
    found,
    founding,
    record_now,
    settle_all,
    solo,
    splits_from,
    top_up_transfers,
)

CloneDatabase = Callable[[], AbstractContextManager[Database]]

LISTENERS = [UUID(int=0x10 + n) for n in range(3)]
PAYEES = [UUID(int=0xA0 + n) for n in range(3)]
TRACKS = [UUID(int=0x70 + n) for n in range(12)]
# The first listener is a pair with the first payee: she plays nothing else, and nobody else plays his tracks.
PLAYED_BY = {LISTENERS[0]: TRACKS[:6], LISTENERS[1]: TRACKS[6:], LISTENERS[2]: TRACKS[6:]}
SPLITS: dict[UUID, Sequence[Share]] = {
    **dict.fromkeys(TRACKS[:3], solo(PAYEES[0])),
    **dict.fromkeys(TRACKS[3:6], solo(PAYEES[0], "tax form missing")),
    **dict.fromkeys(TRACKS[6:9], (Share(str(PAYEES[1]), 6_667), Share(str(PAYEES[2]), 3_333))),
    **dict.fromkeys(TRACKS[9:], (Share(str(PAYEES[1]), 5_000, "disputed"), Share(str(PAYEES[2]), 5_000))),
}
TARIFFS = [Tariff(2_000, 3), Tariff(50_000, 4), Tariff(100_000, 3), Tariff(300_000, 2)]
MINOR_MICRO = 10_000

listeners, payees = st.sampled_from(LISTENERS), st.sampled_from(PAYEES)
quanta = st.integers(1, 9_000).map(lambda thousandths: thousandths * PRICE_QUANTUM_MICRO)
one_in_five = st.integers(0, 4).map(lambda number: number == 0)
# Which of her tracks, a play or a buy-out, opened in the epoch before, with a quote that is out of date.
sprees = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["play", "play", "play", "buyout"]), one_in_five, one_in_five),
    min_size=2,
    max_size=8,
)


@dataclass
class Model:
    """What the books should say, kept in dictionaries."""

    price: CreditPrice
    factors: NetFactors
    tariffs: dict[int, Tariff]
    rates: dict[int, Rates]
    epoch: int = EPOCH
    next_to_close: int = EPOCH
    balances: Counter[str] = field(default_factory=Counter)
    spendable: dict[UUID, Standing] = field(default_factory=lambda: {listener: Standing(0) for listener in LISTENERS})
    waiting: list[Claim] = field(default_factory=list)
    collected: Counter[tuple[int, UUID]] = field(default_factory=Counter)
    held: Counter[tuple[UUID, UUID]] = field(default_factory=Counter)
    credited: Counter[UUID] = field(default_factory=Counter)
    topped_up: Counter[UUID] = field(default_factory=Counter)
    granted: Counter[UUID] = field(default_factory=Counter)
    latest_payment: dict[tuple[UUID, UUID], int] = field(default_factory=dict)

    def move(self, *transfers: Transfer) -> None:
        for transfer in transfers:
            self.balances[transfer.debit.code] -= transfer.amount_micro
            self.balances[transfer.credit.code] += transfer.amount_micro

    def tariff_in(self, epoch: int) -> Tariff:
        return self.tariffs[max(e for e in self.tariffs if e <= epoch)]

    def progress(self, listener: UUID, track: UUID, epoch: int) -> Progress:
        """How far she is in an epoch: an owner too if she was one under any tariff since her latest payment."""
        paid = self.spendable[listener].progress.get(track, Progress())
        since = self.latest_payment.get((listener, track), epoch)
        epochs = range(since, max(since, epoch) + 1)
        return replace(paid, owned=any(self.tariff_in(each).owns(paid) for each in epochs))

    def terms_in(self, epoch: int) -> Terms:
        return Terms(self.price, self.factors, self.rates[max(e for e in self.rates if e <= epoch)])

    def settle(self, batch: int) -> int:
        settled, self.waiting = self.waiting[:batch], self.waiting[batch:]
        for play in settled:
            wallet, track = accounts.wallet(play.listener_id), accounts.track(play.track_id, play.epoch)
            self.move(Transfer(wallet, track, play.price_micro))
            self.collected[play.epoch, play.track_id] += play.price_micro
        return len(settled)

    def close(self) -> None:
        for (epoch, track), collected_micro in sorted(self.collected.items()):
            if epoch > self.next_to_close:
                continue
            del self.collected[epoch, track]
            self.move(Transfer(accounts.track(track, epoch), accounts.CREDITS_CONSUMED, collected_micro))
            royalties = track_royalties(
                collected_micro, SPLITS[track], self.terms_in(epoch), epoch=epoch, track=str(track)
            )
            for code, amount_micro in (royalties.deductions | royalties.funds).items():
                self.pay(accounts.named(code), amount_micro)
            for line in royalties.lines:
                payee = UUID(line.payee)
                self.credited[payee] += line.amount_micro
                if line.held_because is None:
                    self.pay(accounts.royalty(payee), line.amount_micro)
                else:
                    self.pay(accounts.held(track), line.amount_micro)
                    self.held[track, payee] += line.amount_micro
        self.next_to_close += 1

    def pay(self, account: Account, amount_micro: int) -> None:
        self.move(Transfer(accounts.TOPUPS_CLEARING, account, amount_micro))


class BooksMachine(RuleBasedStateMachine):
    """Does to PostgreSQL and to the model the same things."""

    def __init__(self, cloned_database: CloneDatabase) -> None:
        super().__init__()
        self.open = ExitStack()
        database = self.open.enter_context(cloned_database())
        self.engine: Engine = database.engine
        self.runner = self.open.enter_context(asyncio.Runner())
        self.hot = self.runner.run(connect(database.app_url))
        self.answers: list[Outcome] = []

    @initialize(
        price=st.integers(1, 200).map(lambda cents: CreditPrice(cents * MINOR_MICRO)),
        factors=st.sampled_from([NetFactors(), NetFactors(1_900, 150, {"GEMA": 700})]),
        tariff=st.sampled_from(TARIFFS),
        rates=st.sampled_from([Rates(9_000, 10_000, 10_000), Rates(8_999, 3_333, 6_666), Rates(5_000)]),
        first_month=st.tuples(*[st.tuples(quanta, sprees)] * len(LISTENERS)),
    )
    def found(
        self,
        price: CreditPrice,
        factors: NetFactors,
        tariff: Tariff,
        rates: Rates,
        first_month: tuple[tuple[int, list[tuple[int, Kind, bool, bool]]], ...],
    ) -> None:
        """Found the co-op and let everybody play for a month, so that there is something in each account."""
        self.founded: Founding = found(
            self.engine, founding(credit_price_micro=price.money_micro), tariff=tariff, rates=rates, factors=factors
        )
        self.model = Model(price, factors, {EPOCH: tariff}, {EPOCH: rates})
        for listener, (credits_micro, spree) in zip(LISTENERS, first_month, strict=True):
            self.top_up(listener, credits_micro)
            self.play(listener, spree)
        self.close(chunk=2, deaths=[1], early=False)

    @property
    def now(self) -> datetime:
        """Some days into the epoch: the one before may be closed."""
        return self.founded.calendar.starts_at(self.model.epoch) + timedelta(days=3)

    def post(self, kind: str, *transfers: Transfer) -> None:
        key = new_id()
        for again in (False, True):
            with self.engine.begin() as conn:
                assert posting.post(conn, key, kind, transfers, self.now).repeated is again
        self.model.move(*transfers)

    def give(self, kind: Literal["top-up", "grant"], listener: UUID, *transfers: Transfer) -> None:
        key = new_id()
        for again in (False, True):
            with self.engine.begin() as conn:
                assert crediting.give(conn, key, kind, listener, transfers, self.now).repeated is again
        self.model.move(*transfers)

    @rule(listener=listeners, credits_micro=quanta)
    def top_up(self, listener: UUID, credits_micro: int) -> None:
        self.give("top-up", listener, *top_up_transfers(listener, credits_micro, self.model.price.money_micro))
        self.model.topped_up[listener] += credits_micro
        self.model.spendable[listener].balance_micro += credits_micro

    def grant_transfers(self, listener: UUID, credits_micro: int) -> list[Transfer]:
        money_micro = self.model.price.value_micro(credits_micro)
        return [
            Transfer(accounts.COMMUNITY, accounts.TOPUPS_CLEARING, money_micro),
            Transfer(accounts.CREDITS_ISSUED, accounts.GRANTS, credits_micro),
            Transfer(accounts.GRANTS, accounts.wallet(listener), credits_micro),
        ]

    def in_community_micro(self) -> int:
        """The credits that the community fund could pay for, in whole quanta."""
        credits_micro, _ = self.model.price.credits_for(self.model.balances["coop:community"])
        return credits_micro // PRICE_QUANTUM_MICRO * PRICE_QUANTUM_MICRO

    def grantable_micro(self, listener: UUID) -> int:
        limit_micro = grant_limit_micro(
            self.model.topped_up[listener], self.model.granted[listener], ARTIST_SHARE_BP_MAX
        )
        return min(limit_micro, self.in_community_micro())

    @rule(data=st.data())
    @precondition(lambda self: any(map(self.grantable_micro, LISTENERS)))
    def grant_all_that_may_be_granted(self, data: st.DataObject) -> None:
        listener = data.draw(st.sampled_from([listener for listener in LISTENERS if self.grantable_micro(listener)]))
        too_much = self.grant_transfers(listener, self.in_community_micro() + PRICE_QUANTUM_MICRO)
        with pytest.raises(InsufficientBalance), self.engine.begin() as conn:
            posting.post(conn, new_id(), "grant", too_much, self.now)
        credits_micro = self.grantable_micro(listener)
        self.give("grant", listener, *self.grant_transfers(listener, credits_micro))
        self.model.granted[listener] += credits_micro
        self.model.spendable[listener].balance_micro += credits_micro

    @rule(listener=listeners, spree=sprees)
    def play(self, listener: UUID, spree: list[tuple[int, Kind, bool, bool]]) -> None:
        standing = self.model.spendable[listener]
        for choice, kind, belated, stale in spree:
            track, epoch = PLAYED_BY[listener][choice], max(EPOCH, self.model.epoch - belated)
            tariff = self.model.tariff_in(epoch)
            progress = self.model.progress(listener, track, epoch)
            ordinal, price_micro = quote(kind, progress, tariff)
            asked = claim(listener, track, ordinal + stale, max(price_micro, PRICE_QUANTUM_MICRO), kind, epoch=epoch)
            expected = decide(asked, replace(standing, progress={track: progress}), tariff)
            [outcome] = self.runner.run(record(self.hot, [asked], any_tariff(tariff), self.now))
            assert outcome == Outcome(expected, self.now if isinstance(expected, Recorded) else None)
            if isinstance(expected, Recorded):
                apply(expected, standing, tariff)
                latest = self.model.latest_payment.get((listener, track), epoch)
                self.model.latest_payment[listener, track] = max(latest, epoch)
                self.model.waiting.append(asked)
                self.answers.append(outcome)

    @rule(data=st.data())
    @precondition(lambda self: self.answers)
    def ask_again(self, data: st.DataObject) -> None:
        first = data.draw(st.sampled_from(self.answers))
        [again] = self.runner.run(record(self.hot, [first.decision.claim], self.model.tariff_in, self.now))
        assert again == Outcome(first.decision, first.recorded_at, repeated=True)

    @rule(batch=st.integers(1, 6))
    @precondition(lambda self: self.model.waiting)
    def settle(self, batch: int) -> None:
        with self.engine.begin() as conn:
            assert settling.settle(conn, self.now, batch) == self.model.settle(batch)

    @rule()
    def begin_the_next_epoch(self) -> None:
        self.model.epoch += 1

    @rule(tariff=st.sampled_from(TARIFFS))
    def change_the_tariff(self, tariff: Tariff) -> None:
        with self.engine.begin() as conn:
            terms.adopt_tariff(conn, tariff, self.model.epoch + 1, "ballot:1", self.now)
        self.model.tariffs[self.model.epoch + 1] = tariff

    @rule(rates=st.sampled_from([Rates(9_000, 10_000, 10_000), Rates(7_001, 5_000, 5_001), Rates(5_000)]))
    def change_the_rates(self, rates: Rates) -> None:
        with self.engine.begin() as conn:
            terms.adopt_rates(conn, rates, self.model.epoch + 1, "ballot:2", self.now)
        self.model.rates[self.model.epoch + 1] = rates

    @rule(chunk=st.integers(1, 3), deaths=st.lists(st.integers(0, 2), max_size=2), early=one_in_five)
    def close(self, chunk: int, deaths: list[int], early: bool) -> None:
        epoch = self.model.next_to_close
        if epoch == self.model.epoch:
            self.begin_the_next_epoch()
        if not early:
            assert settle_all(self.engine, self.now) == self.model.settle(len(self.model.waiting))
        if any(play.epoch <= epoch for play in self.model.waiting):
            with pytest.raises(PlaysUnsettled):
                close(self.engine, self.founded, epoch, splits_from(SPLITS), self.now)
            return
        for chunks_max in deaths:
            close(self.engine, self.founded, epoch, splits_from(SPLITS), self.now, chunk=1, chunks_max=chunks_max)
        assert close(self.engine, self.founded, epoch, splits_from(SPLITS), self.now, chunk=chunk)
        self.model.close()

    @rule(data=st.data())
    @precondition(lambda self: self.model.held)
    def release(self, data: st.DataObject) -> None:
        track, payee = data.draw(st.sampled_from(sorted(self.model.held)))
        amount_micro = self.model.held.pop((track, payee))
        with self.engine.begin() as conn:
            assert closing.release(conn, track, payee, self.now) == amount_micro
            assert closing.release(conn, track, payee, self.now) == 0
        self.model.move(Transfer(accounts.held(track), accounts.royalty(payee), amount_micro))

    @rule(payee=payees)
    @precondition(lambda self: self.model.credited)
    def pay_out(self, payee: UUID) -> None:
        if amount_micro := self.model.balances[accounts.royalty(payee).code] // MINOR_MICRO * MINOR_MICRO:
            self.post("payout", Transfer(accounts.royalty(payee), accounts.PAYOUTS_CLEARING, amount_micro))
            self.post("payout-confirmed", Transfer(accounts.PAYOUTS_CLEARING, accounts.BANK, amount_micro))

    @invariant()
    def the_balances_are_the_models(self) -> None:
        with self.engine.connect() as conn:
            kept = conn.execute(text("select code, balance_micro from ledger.account where balance_micro <> 0")).all()
        assert {row.code: row.balance_micro for row in kept} == {c: m for c, m in self.model.balances.items() if m}

    @invariant()
    def no_listener_and_artist_profit(self) -> None:
        with self.engine.connect() as conn:
            rows = conn.execute(text("select payee, sum(amount_micro)::bigint from ledger.royalty_line group by payee"))
            credited = Counter({payee: int(micro) for payee, micro in rows})
        assert credited == self.model.credited
        paid_in = {listener: self.model.price.value_micro(self.model.topped_up[listener]) for listener in LISTENERS}
        assert credited[PAYEES[0]] <= paid_in[LISTENERS[0]]
        assert sum(credited.values()) <= sum(paid_in.values())

    def teardown(self) -> None:
        try:
            if hasattr(self, "model"):
                self.everything_is_settled_and_adds_up()
        finally:
            self.runner.run(self.hot.close())
            self.open.close()

    def everything_is_settled_and_adds_up(self) -> None:
        assert not findings(self.engine)
        assert settle_all(self.engine, self.now) == self.model.settle(len(self.model.waiting))
        self.the_balances_are_the_models()
        assert not findings(self.engine)
        with self.engine.connect() as conn:
            rows: Sequence[Any] = conn.execute(text("select * from ledger.progress")).all()
        progress = {(r.listener_id, r.track_id): Progress(r.plays, r.paid_micro, r.owned_at is not None) for r in rows}
        assert progress == {
            (listener, track): made
            for listener, standing in self.model.spendable.items()
            for track, made in standing.progress.items()
        }


def test_the_books_are_those_of_the_model_whatever_is_done(cloned_database: CloneDatabase) -> None:
    modest = settings(max_examples=settings().max_examples // 4, stateful_step_count=60)
    run_state_machine_as_test(lambda: BooksMachine(cloned_database), settings=modest)  # type: ignore[arg-type]


@pytest.mark.parametrize("quanta_too_many", [0, 1])
def test_a_pair_that_does_its_best_comes_out_even_and_by_a_larger_grant_would_profit(
    database: Database, quanta_too_many: int
) -> None:
    # Every play costs a credit, the artists have the highest share and the community fund all the rest.
    one_play = Tariff(1_000_000, 1)
    founded = found(database.engine, tariff=one_play, rates=Rates(9_000, 10_000, 10_000))
    [listener, other, _], [artist, stranger, _] = LISTENERS, PAYEES
    own, strange = ([UUID(int=at + n) for n in range(11)] for at in (0x100, 0x200))
    splits_of = splits_from({t: solo(artist) for t in own} | {t: solo(stranger) for t in strange})

    def play_all(who: UUID, played: Sequence[UUID], epoch: int, tariff: Tariff = one_play) -> None:
        claims = [claim(who, track, 1, tariff.total_micro, epoch=epoch) for track in played]
        assert all(isinstance(o.decision, Recorded) for o in record_now(database.app_url, claims, tariff))

    def credit(kind: Literal["top-up", "grant"], who: UUID, transfers: Sequence[Transfer]) -> None:
        with database.engine.begin() as conn:
            crediting.give(conn, new_id(), kind, who, transfers, founded.founded_at)

    credit("top-up", other, top_up_transfers(other, 11 * MICRO))
    play_all(other, strange, EPOCH)
    settle_all(database.engine)
    assert close(database.engine, founded, EPOCH, splits_of)

    paid_in_micro = 9 * MICRO
    granted_micro = grant_limit_micro(paid_in_micro, 0, ARTIST_SHARE_BP_MAX) + quanta_too_many * PRICE_QUANTUM_MICRO
    credit("top-up", listener, top_up_transfers(listener, paid_in_micro))
    credit(
        "grant",
        listener,
        [
            Transfer(accounts.COMMUNITY, accounts.TOPUPS_CLEARING, granted_micro),
            Transfer(accounts.CREDITS_ISSUED, accounts.GRANTS, granted_micro),
            Transfer(accounts.GRANTS, accounts.wallet(listener), granted_micro),
        ],
    )
    play_all(listener, own[:10], EPOCH + 1)
    if quanta_too_many:
        play_all(listener, own[10:], EPOCH + 1, Tariff(PRICE_QUANTUM_MICRO, 1))
    settle_all(database.engine)
    assert close(database.engine, founded, EPOCH + 1, splits_of)
    assert balance_micro(database.engine, accounts.wallet(listener)) == 0
    profit_micro = balance_micro(database.engine, accounts.royalty(artist)) - paid_in_micro
    assert profit_micro == quanta_too_many * PRICE_QUANTUM_MICRO * 9 // 10
    assert not findings(database.engine)
