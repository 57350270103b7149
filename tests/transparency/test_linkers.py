"""Who reads the log learns of two plays' listener what track, batch, count and sum say, and nothing from all else."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from ledger import entries
from ledger.tiles import ENTRIES, entries_of, path, width_of
from tests.transparency import linkers
from tests.transparency.linkers import ADVERSARIES, LINED_UP, LISTENERS, PAGE, TABLE, Figures, Play
from tests.transparency.press import Press


@pytest.fixture(scope="module")
def found() -> dict[int, Figures]:
    return {listeners: linkers.figures(listeners) for listeners in LISTENERS}


@pytest.mark.parametrize("adversary", ADVERSARIES)
@pytest.mark.parametrize("listeners", LISTENERS)
def test_order_time_and_sizes_tell_no_more_than_the_content(
    found: dict[int, Figures], listeners: int, adversary: str
) -> None:
    assert not found[listeners].does_better(adversary), found[listeners]


@pytest.mark.parametrize("listeners", LISTENERS)
def test_the_same_adversary_finds_most_of_it_where_each_play_is_told_within_the_second(
    found: dict[int, Figures], listeners: int
) -> None:
    """Otherwise finding nothing would mean nothing."""
    figures = found[listeners]
    assert figures.each_an_entry > 0.8 > 2 * figures.by_content > 2 / LINED_UP


def test_the_page_has_the_figures(found: dict[int, Figures]) -> None:
    [shown] = TABLE.findall(PAGE.read_text(encoding="utf-8"))
    assert shown == f"{linkers.table(list(found.values()))}\n", "python -m tests.transparency.linkers writes it anew"


def test_the_simulation_tells_plays_as_the_service_does(press: Press) -> None:
    label = press.label
    kyai = label.person("Kyai", "artist")
    tracks, people = [label.track(kyai) for _ in range(3)], [label.listener() for _ in range(3)]
    for person in people:
        for track in tracks:
            label.play(person, track, 2)
    batch = press.end_batch()
    head = press.publish(end=False)
    assert head is not None
    width = width_of(0, 0, head.size)
    data = (press.log / path(ENTRIES, 0, width)).read_bytes()
    published = [entry for entry in entries_of(data, width) if entries.parse(entry)[0] == entries.PLAYS]
    with label.database.engine.connect() as conn:
        columns = "id, listener_id, track_id, ordinal, price_micro, salt, epoch"
        rows = conn.execute(text(f"select {columns} from ledger.play"))
        plays = [(Play(*row[:5], bytes(row.salt), 0), row.epoch) for row in rows]
    assert len(plays) == 18
    told = list(linkers.told(batch, plays[0][1], [play for play, _ in plays]))
    assert [entry for entry, _ in told] == published
    leaves = label.rows("select play_id from ledger.log_play order by track_id, commitment")
    assert [play.play for _, of_entry in told for play in of_entry] == [row.play_id for row in leaves]
