"""What founders type, and what it stands for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.constitution import PARAMETERS
from streamcoop.embedded import choices
from streamcoop.embedded.choices import Chosen, NotYetRight, choose
from streamcoop.founding import founding_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PEOPLE = {"operator_email": "rina@coop.example", "second_officer_email": "budi@coop.example"}
RUPIAHS = {
    "currency": "IDR",
    "credit_price_minor": "20000",
    "payout_minimum_minor": "100000",
    "share_minor": "150000",
    "payout_minimum_minor.lowest": "10000",
    "payout_minimum_minor.highest": "1000000",
    "payout_minimum_minor.step_max": "50000",
}


def chosen(fixed: frozenset[str] = frozenset(), **typed: str) -> Chosen:
    return choose({**choices.usual(PEOPLE), **typed}, fixed, NOW)


def wrong(**typed: str) -> dict[str, str]:
    with pytest.raises(NotYetRight) as refusal:
        chosen(**typed)
    return {name: why.kind for name, why in refusal.value.wrong.items()}


def test_what_nobody_touches_founds_the_usual_coop() -> None:
    assert chosen().founding == founding_of(choices.configured(), NOW)


def test_every_setting_that_is_told_founds_the_same_coop_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    first = chosen(
        coop_name="Musik Bersama", quorum_bp="12.5", **{"plays.highest": "11", "quorum.artist": "3"}, **RUPIAHS
    )
    for line in choices.as_environment(first.settings):
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, value)
    again = founding_of(choices.configured(), NOW)
    assert again == first.founding
    assert (again.coop_name, again.currency, again.minor_digits) == ("Musik Bersama", "IDR", 0)
    assert again.constitution.quorum_bp == 1_250
    assert again.constitution.class_quorum_bp["artist"] == 300
    assert again.constitution.parameters["plays"].highest == 11
    assert again.credit_price.value_micro(1_000_000) == 20_000_000_000


def test_amounts_in_euros_are_asked_for_again_in_another_currency() -> None:
    assert wrong(currency="IDR") == dict.fromkeys(choices.AMOUNTS, "euros")
    assert chosen(**RUPIAHS).configured.share_minor == 150_000


@pytest.mark.parametrize(
    ("field", "typed", "kind"),
    [
        ("coop_name", "  ", "name"),
        ("coop_name", "x" * 101, "name"),
        ("log_origin", "two words", "form"),
        ("currency", "XXX", "currency"),
        ("credit_price_minor", "", "missing"),
        ("credit_price_minor", "0", "low"),
        ("credit_price_minor", "1.255", "finer"),
        ("vat_bp", "eleven", "number"),
        ("vat_bp", "NaN", "number"),
        ("vat_bp", "Infinity", "number"),
        ("vat_bp", "-1", "low"),
        ("vat_bp", "51", "high"),
        ("quorum_bp", "100.01", "high"),
        ("artist_share_bp", "95", "outside"),
        ("supporters_min", "0", "low"),
        ("waiting_seconds", "9" * 30, "number"),
        ("operator_email", "nobody", "email"),
        ("second_officer_email", "Rina@coop.example", "same"),
        ("plays.lowest", "13", "bound"),
        ("first_price_micro.lowest", "0.0015", "bound"),
        ("reserve_cut_bp.lowest", "-1", "bound"),
        ("community_cut_bp.lowest", "50", "funds"),
    ],
)
def test_what_is_wrong_is_told_beside_its_field(field: str, typed: str, kind: str) -> None:
    assert wrong(**{field: typed}) == {field: kind}


def test_what_is_wrong_with_all_of_it_is_told_as_well() -> None:
    assert wrong(**{"plays.step_max": "0"}) == {"plays.lowest": "bound"}
    assert wrong(ballot_seconds_min="91") == {"ballot_seconds_max": "times"}
    assert wrong(**{"artist_share_bp.highest": "100"}) == {"": "ceiling"}
    assert wrong(**{"plays.highest": "99"}) == {"": "constitution"}


def test_what_the_environment_says_is_neither_asked_nor_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMCOOP_QUORUM_BP", "3333")
    settled = chosen(frozenset({"quorum_bp"}), quorum_bp="nonsense")
    assert "QUORUM_BP" not in settled.settings
    assert settled.founding.constitution.quorum_bp == 3_333


def test_every_number_members_vote_on_has_its_limits_in_the_form() -> None:
    assert set(choices.LIMITS) <= set(choices.usual(PEOPLE))
    assert choices.PARAMETER_UNITS.keys() == set(PARAMETERS)


@given(st.sampled_from(sorted(choices.usual(PEOPLE))), st.text(max_size=30))
def test_whatever_is_typed_is_understood_or_refused(field: str, typed: str) -> None:
    told: object
    try:
        told = chosen(**{field: typed}).founding
    except NotYetRight as refusal:
        told = refusal.wrong
    assert told
