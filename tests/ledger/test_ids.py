"""Time-ordered ids: later ids sort later, and a partition's lower bound parts them to the millisecond."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ledger.ids import lowest_id, minted_ms, new_id, uuid7

EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)
times_ms = st.integers(0, 2**43)
randomness = st.integers(0, 2**80 - 1)


@given(times_ms, randomness)
def test_an_id_is_a_uuid_of_version_seven_that_tells_when_it_was_minted(at_ms: int, chance: int) -> None:
    id_ = uuid7(at_ms, chance)
    assert (id_.version, id_.variant) == (7, "specified in RFC 4122")
    assert minted_ms(id_) == at_ms


@given(times_ms, times_ms, randomness, randomness)
def test_ids_sort_by_the_time_they_were_minted(one_ms: int, other_ms: int, one: int, other: int) -> None:
    if one_ms != other_ms:
        assert (uuid7(one_ms, one) < uuid7(other_ms, other)) == (one_ms < other_ms)


@given(times_ms, randomness)
def test_the_lowest_id_of_an_instant_parts_what_was_minted_before_and_after(at_ms: int, chance: int) -> None:
    low = lowest_id(EPOCH_START + timedelta(milliseconds=at_ms))
    assert low <= uuid7(at_ms, chance)
    if at_ms:
        assert uuid7(at_ms - 1, chance) < low


def test_fresh_ids_differ_and_are_of_now() -> None:
    before_ms = int(datetime.now(UTC).timestamp() * 1_000) - 1
    ids = {new_id() for _ in range(1_000)}
    assert len(ids) == 1_000
    assert all(before_ms <= minted_ms(id_) <= before_ms + 60_000 for id_ in ids)


def test_the_example_of_the_standard() -> None:
    # RFC 9562, appendix A.6.
    assert str(uuid7(0x017F22E279B0, (0xCC3 << 64) | 0x18C4DC0C0C07398F)) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
