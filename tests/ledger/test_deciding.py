"""The decision whether a play counts: every reason to refuse, and claims that race each other in one batch."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.recording import Claim, Decision, Kind, Recorded, Refused, Standing, apply, decide, decide_batch, quote
from ledger.tariff import Progress, Tariff
from tests.ledger.factories import any_tariff, claim

TARIFF = Tariff()
LISTENER, TRACK = uuid4(), uuid4()
RICH = 10_000_000
THREE_PLAYS = Progress(3, 14_000)


def standing(balance_micro: int = RICH, progress: Progress | None = None, **limits: int | None) -> Standing:
    return Standing(balance_micro, progress={TRACK: progress} if progress else {}, **limits)  # type: ignore[arg-type]


def asked(ordinal: int = 1, price_micro: int = 2_000, kind: Kind = "play") -> Claim:
    return claim(LISTENER, TRACK, ordinal, price_micro, kind)


def test_a_play_as_quoted_counts() -> None:
    first = asked()
    assert decide(first, standing(2_000), TARIFF) == Recorded(first, completes=False)


def test_the_ninth_play_completes() -> None:
    ninth = asked(9, 512_000)
    assert decide(ninth, standing(progress=Progress(8, 510_000)), TARIFF) == Recorded(ninth, completes=True)


def test_buying_now_completes() -> None:
    now = asked(4, 1_008_000, "buyout")
    assert decide(now, standing(progress=Progress(3, 14_000)), TARIFF) == Recorded(now, completes=True)


@pytest.mark.parametrize(
    ("what", "held", "refusal"),
    [
        (asked(), standing(1_999), ("insufficient-credit", 1, 2_000, 1)),
        (asked(), standing(0), ("insufficient-credit", 1, 2_000, 2_000)),
        (asked(1, 1_022_000, "buyout"), standing(1_000_000), ("insufficient-credit", 1, 1_022_000, 22_000)),
        (asked(), standing(monthly_budget_micro=1_000), ("over-budget", 1, 2_000, 1_000)),
        (asked(), standing(monthly_budget_micro=9_000, spent_in_month_micro=8_000), ("over-budget", 1, 2_000, 1_000)),
        (asked(1, 1_022_000, "buyout"), standing(monthly_budget_micro=0), ("over-budget", 1, 1_022_000, 1_022_000)),
        (asked(), standing(stop_before_ordinal=1), ("stopped-before", 1, 2_000, 0)),
        (asked(4, 16_000), standing(progress=THREE_PLAYS, stop_before_ordinal=3), ("stopped-before", 4, 16_000, 0)),
        (asked(), standing(progress=Progress(1, 2_000)), ("price-moved", 2, 4_000, 0)),
        (asked(2, 4_000), standing(), ("price-moved", 1, 2_000, 0)),
        (asked(1, 1_000), standing(), ("price-moved", 1, 2_000, 0)),
        (asked(1, 1_022_000, "buyout"), standing(progress=Progress(1, 2_000)), ("price-moved", 2, 1_020_000, 0)),
        (asked(10, 1_000), standing(progress=Progress(9, 1_022_000, True)), ("already-owned", 0, 0, 0)),
        (asked(10, 1_000), standing(progress=Progress(9, 1_022_000)), ("already-owned", 0, 0, 0)),
        (asked(2, 0, "buyout"), standing(progress=Progress(1, 1_022_000, True)), ("already-owned", 0, 0, 0)),
    ],
)  # fmt: skip
def test_what_is_refused_says_why_and_what_it_would_be_now(
    what: Claim, held: Standing, refusal: tuple[str, int, int, int]
) -> None:
    reason, ordinal, price_micro, missing_micro = refusal
    assert decide(what, held, TARIFF) == Refused(what, reason, ordinal, price_micro, missing_micro)  # type: ignore[arg-type]


def test_what_exactly_suffices_counts() -> None:
    held = standing(2_000, monthly_budget_micro=10_000, spent_in_month_micro=8_000, stop_before_ordinal=2)
    assert isinstance(decide(asked(), held, TARIFF), Recorded)


def test_stopping_before_a_play_does_not_stop_buying() -> None:
    assert isinstance(decide(asked(1, 1_022_000, "buyout"), standing(stop_before_ordinal=1), TARIFF), Recorded)


def test_deciding_changes_nothing() -> None:
    held = standing(2_000)
    decide(asked(), held, TARIFF)
    assert held == standing(2_000)


def decided(claims: list[Claim], held: Standing) -> list[Decision]:
    return decide_batch(claims, {LISTENER: held}, any_tariff(TARIFF))


def test_of_nine_tokens_opened_together_one_counts_and_the_others_hear_the_new_price() -> None:
    first, *others = decided([asked() for _ in range(9)], standing())
    assert isinstance(first, Recorded)
    assert [(d.reason, d.ordinal, d.price_micro) for d in others if isinstance(d, Refused)] == [
        ("price-moved", 2, 4_000)
    ] * 8


def test_nine_plays_in_order_in_one_batch_come_to_ownership() -> None:
    claims = [asked(n, TARIFF.price_micro(n)) for n in range(1, 10)]
    held = standing(1_022_000)
    decisions = decided([*claims, asked(10, 1_000)], held)
    assert [d.completes for d in decisions if isinstance(d, Recorded)] == [False] * 8 + [True]
    assert isinstance(decisions[-1], Refused)
    assert decisions[-1].reason == "already-owned"
    assert (held.balance_micro, held.spent_in_month_micro) == (0, 1_022_000)


def test_a_play_that_comes_after_a_buyout_is_refused_as_owned() -> None:
    bought, played = decided([asked(1, 1_022_000, "buyout"), asked()], standing())
    assert isinstance(bought, Recorded)
    assert isinstance(played, Refused)
    assert played.reason == "already-owned"


def test_a_buyout_that_comes_after_a_play_hears_what_is_left() -> None:
    played, bought = decided([asked(), asked(1, 1_022_000, "buyout")], standing())
    assert isinstance(played, Recorded)
    assert isinstance(bought, Refused)
    assert (bought.reason, bought.ordinal, bought.price_micro) == ("price-moved", 2, 1_020_000)


def test_an_epochs_claims_are_decided_by_its_own_tariff() -> None:
    tariffs = {1: Tariff(2_000), 2: Tariff(3_000)}
    old = Claim(uuid4(), LISTENER, TRACK, "play", 1, 2_000, epoch=1)
    new = Claim(uuid4(), LISTENER, uuid4(), "play", 1, 3_000, epoch=2)
    assert all(isinstance(d, Recorded) for d in decide_batch([old, new], {LISTENER: standing()}, tariffs.__getitem__))


tracks = st.sampled_from([UUID(int=n) for n in range(3)])
shopping = st.lists(st.tuples(tracks, st.sampled_from(["play", "buyout"]), st.booleans()), max_size=30)


@given(shopping, st.integers(0, 3_000_000), st.none() | st.integers(0, 3_000_000), st.none() | st.integers(1, 10))
def test_nobody_spends_what_is_not_there_however_claims_are_mixed(
    shopping: list[tuple[UUID, Kind, bool]], balance_micro: int, budget_micro: int | None, stop: int | None
) -> None:
    held = Standing(balance_micro, 0, budget_micro, stop)
    paid: dict[UUID, int] = {}
    for track, kind, honest in shopping:
        ordinal, price_micro = quote(kind, held.progress.get(track, Progress()), TARIFF)
        what = claim(LISTENER, track, ordinal, price_micro if honest else price_micro // 2, kind)
        decision = decide(what, held, TARIFF)
        if isinstance(decision, Recorded):
            assert honest
            apply(decision, held, TARIFF)
            paid[track] = paid.get(track, 0) + price_micro
    assert held.balance_micro >= 0
    assert held.balance_micro + held.spent_in_month_micro == balance_micro
    assert budget_micro is None or held.spent_in_month_micro <= budget_micro
    assert sum(paid.values()) == held.spent_in_month_micro
    assert max(paid.values(), default=0) <= TARIFF.total_micro
