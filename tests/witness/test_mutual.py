"""Two co-ops that witness one another, over real sockets: each asks the other for its own log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from ledger import note
from ledger.note import parse_note
from ledger.witness import assurance, k_of_n, parse_witnesses
from streamcoop.adapters.witnesses import Gathered, cosignatures
from tests.conftest import Database
from tests.witness.stand import Log, Service, running

Pair = list[tuple[Log, Service]]


@pytest.fixture
def coops(
    cloned_database: Callable[[], AbstractContextManager[Database]], tmp_path: Path
) -> Iterator[list[tuple[Log, Service]]]:
    """Each with a log of its own, named to the other by its operator."""
    logs = [Log("one.example/log"), Log("two.example/log")]
    with ExitStack() as standing:
        services = []
        for log in logs:
            folder = tmp_path / log.origin.split(".")[0]
            folder.mkdir()
            database = standing.enter_context(cloned_database())
            name = log.origin.replace("log", "witness")
            services.append(standing.enter_context(running(database, folder, WITNESS_NAME=name)))
        for log, other in zip(logs, reversed(services), strict=True):
            for key in log.verifiers:
                assert other.command("add", str(key)).exit_code == 0
        yield list(zip(logs, services, strict=True))


def gathered(log: Log, size: int, other: Service, known: dict[str, int], fork: int | None = None) -> Gathered:
    """As a publisher asks, with the witness as its own command prints it."""
    witnesses = parse_witnesses(other.command("keys").stdout.splitlines())
    return cosignatures(str(log.signed(size, fork)), lambda old: log.proof(old, size, fork), witnesses, known, 30.0)


def test_each_cosigns_the_others_log_and_nobody_a_fork(coops: Pair) -> None:
    (one, first), (two, second) = coops
    for log, other in ((one, second), (two, first)):
        known: dict[str, int] = {}
        for size in (1, 4, 4, 30):
            found = gathered(log, size, other, known)
            known = found.sizes
            assert (found.failures, known) == ({}, {other.witness.name: size})
            whole = parse_note(f"{log.signed(size)}{''.join(found.lines)}".encode())
            cosigned = note.verified(whole, [*log.verifiers, *other.keys])
            told = assurance(k_of_n(1, {other.witness.name: other.keys}), cosigned)
            assert (told.is_enough, told.cosigned, told.witnesses) == (True, 1, 1)
        # Whatever a forked log says its witness knows.
        for old in ({}, known):
            assert gathered(log, 40, other, old, fork=20).failures == {other.witness.name: "answered 422"}
        assert [shows for shows, _, _ in other.kept(log)] == [True]
        assert gathered(log, 31, other, {}).cosigned_by == {other.witness.name}


def test_a_witness_that_is_restarted_knows_what_it_knew(coops: Pair) -> None:
    (one, _), (_, other) = coops
    assert gathered(one, 12, other, {}).cosigned_by
    other.kill()
    assert set(gathered(one, 15, other, {}).failures) == {other.witness.name}
    other.start()
    assert gathered(one, 13, other, {}, fork=5).failures == {other.witness.name: "answered 422"}
    found = gathered(one, 15, other, {})
    assert found.sizes == {other.witness.name: 15}
