"""`add-checkpoint` to the letter of C2SP tlog-witness, asked of a running service."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from ledger import note
from ledger.merkle import EMPTY_ROOT, leaf_hash
from ledger.note import Checkpoint, KeyType, Note, parse_note
from ledger.witness import REQUEST_BYTES_MAX, cosigned, verify_fork
from tests.conftest import Database
from tests.witness.stand import NOW_S, Log, Service, running

TEXT = "text/plain; charset=utf-8"
STORM = 24


def require_cosigned(witness: Service, log: Log, size: int, answer: httpx.Response) -> Note:
    """The head with the log's signatures and the witness's, all of which hold and tell a time."""
    assert (answer.status_code, answer.headers["content-type"]) == (200, TEXT), answer.text
    assert answer.text.endswith("\n")
    assert all(line.startswith("\u2014 ") for line in answer.text.splitlines())
    ours = log.signed(size)
    whole = parse_note(f"{ours}{answer.text}".encode())
    keys = witness.keys
    found = note.verified(whole, [*log.verifiers, *keys])
    times = {one.key: one.time for one in found if one.key in keys}
    assert {key.type for key in times} == {KeyType.ED25519_COSIGNATURE, KeyType.ML_DSA_44}
    assert all(one is not None and abs(one - time.time()) < 60 for one in times.values())
    assert len(cosigned(answer.content, ours, keys)) == 2
    return whole


def require_stale(answer: httpx.Response, size: int) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (409, "text/x.tlog.size")
    assert answer.content == b"%d\n" % size


def require_refused(answer: httpx.Response, status: int) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, TEXT), answer.text
    assert "\u2014" not in answer.text


def test_a_log_that_grows_is_cosigned_all_along(witness: Service, log: Log) -> None:
    old = 0
    for size in (0, 1, 2, 3, 3, 7, 8, 300):
        require_cosigned(witness, log, size, witness.add(log.asks(old, size)))
        old = size
        assert witness.known(log) == (size, log.head(size).root)
    assert witness.kept(log) == []


def test_an_old_size_that_is_not_the_known_one_is_answered_with_it(witness: Service, log: Log) -> None:
    require_stale(witness.add(log.asks(1, 5)), 0)
    require_cosigned(witness, log, 5, witness.add(log.asks(0, 5)))
    for old in (0, 3, 6):
        require_stale(witness.add(log.asks(old, 9)), 5)
    require_stale(witness.add(log.asks(0, 5)), 5)
    assert witness.known(log)[0] == 5


def test_an_unknown_log_is_not_found_whoever_signed(witness: Service) -> None:
    require_refused(witness.add(Log().asks(0, 5)), 404)


def test_a_head_that_no_key_of_the_log_signed_is_forbidden(witness: Service, log: Log) -> None:
    stranger = Log(log.origin, kinds=(KeyType.ED25519_COSIGNATURE,))
    require_refused(witness.add(stranger.asks(0, 5)), 403)
    # Also one that asks for what cannot be: the signature comes first.
    require_refused(witness.add(stranger.asks(9, 5)), 403)
    spoilt = log.asks(0, 5).replace(str(log.signed(5).signatures[0]), str(log.signed(6).signatures[0]))
    require_refused(witness.add(spoilt), 403)
    assert witness.known(log)[0] == 0


def test_signatures_of_strangers_are_passed_over(witness: Service, log: Log) -> None:
    stranger = Log(log.origin, kinds=(KeyType.ED25519_COSIGNATURE,)).signed(5).signatures[0]
    require_cosigned(witness, log, 5, witness.add(log.asks(0, 5) + str(stranger)))


def test_an_old_size_beyond_the_head_is_a_bad_request(witness: Service, log: Log) -> None:
    require_refused(witness.add(log.asks(6, 5)), 400)


@pytest.mark.parametrize(
    "proof",
    {
        "none": [],
        "too short": slice(-1),
        "too long": [EMPTY_ROOT],
        "turned round": slice(None, None, -1),
        "of other hashes": [EMPTY_ROOT] * 3,
    }.items(),
    ids=lambda case: case[0],
)
def test_a_proof_that_fails_is_unprocessable(
    witness: Service, log: Log, proof: tuple[str, list[bytes] | slice]
) -> None:
    require_cosigned(witness, log, 6, witness.add(log.asks(0, 6)))
    right = log.proof(6, 11)
    wrong = right[proof[1]] if isinstance(proof[1], slice) else proof[1]
    lines = "".join(f"{note.b64(one)}\n" for one in wrong)
    require_refused(witness.add(f"old 6\n{lines}\n{log.signed(11)}"), 422)
    assert witness.known(log)[0] == 6
    require_cosigned(witness, log, 11, witness.add(log.asks(6, 11)))


def test_a_proof_where_none_belongs_is_unprocessable(witness: Service, log: Log) -> None:
    line = note.b64(EMPTY_ROOT)
    require_refused(witness.add(f"old 0\n{line}\n\n{log.signed(6)}"), 422)
    require_cosigned(witness, log, 6, witness.add(log.asks(0, 6)))
    require_refused(witness.add(f"old 6\n{line}\n\n{log.signed(6)}"), 422)


def test_the_empty_tree_with_another_root_is_unprocessable(witness: Service, log: Log) -> None:
    other = str(Checkpoint(log.origin, 0, leaf_hash(b"")))
    require_refused(witness.add(f"old 0\n\n{note.signed(other, log.keys[:1], NOW_S)}"), 422)
    require_cosigned(witness, log, 0, witness.add(log.asks(0, 0)))


OF_ANOTHER_FORM = {
    "empty": "",
    "no empty line": "old 0\n",
    "no checkpoint": "old 0\n\n",
    "no old size": "old\n\n",
    "a leading zero": "old 00\n\n",
    "a sign": "old -1\n\n",
    "a hash of three bytes": "old 0\nAAAA\n\n",
    "CR LF": "old 0\r\n\r\n",
    "64 lines of proof": "old 0\n" + f"{note.b64(EMPTY_ROOT)}\n" * 64 + "\n",
}


@pytest.mark.parametrize("body", OF_ANOTHER_FORM.values(), ids=OF_ANOTHER_FORM)
def test_a_body_of_another_form_is_a_bad_request(witness: Service, log: Log, body: str) -> None:
    signed = str(log.signed(5)) if body.endswith("\n\n") and body != "old 0\n\n" else ""
    require_refused(witness.add(body + signed), 400)


def test_a_checkpoint_with_extension_lines_is_cosigned_with_them(witness: Service, log: Log) -> None:
    ours = note.signed(f"{log.head(5)}extension\n", log.keys, NOW_S)
    answer = witness.add(f"old 0\n\n{ours}")
    assert len(cosigned(answer.content, ours, witness.keys)) == 2
    require_refused(witness.add(f"old 5\n\n{log.signed(5)}".replace(f"{log.head(5)}", f"{log.head(5)}\n")), 400)
    require_cosigned(witness, log, 5, witness.add(log.asks(5, 5)))


def test_bytes_that_are_no_text_are_a_bad_request(witness: Service) -> None:
    for body in (b"\xff" * 100, b"old 0\n\n\xff\n0\n\n", b"\x00", b"old 0\n\n" + b"\n" * 1000):
        require_refused(witness.add(body), 400)


def test_a_body_beyond_the_limit_is_not_read_to_its_end(witness: Service, log: Log) -> None:
    require_refused(witness.add(log.asks(0, 5) + "x" * REQUEST_BYTES_MAX), 413)
    within = log.asks(0, 5)
    require_refused(witness.add(within + "x" * (REQUEST_BYTES_MAX - len(within.encode()))), 400)


@pytest.mark.parametrize("media_type", ["", "application/json", "application/x-www-form-urlencoded", "nonsense"])
def test_the_type_of_the_body_does_not_matter(witness: Service, log: Log, media_type: str) -> None:
    require_cosigned(witness, log, 5, witness.add(log.asks(0, 5), **{"Content-Type": media_type}))


def test_only_post_is_answered(witness: Service) -> None:
    for method in ("GET", "PUT", "HEAD"):
        assert witness.http.request(method, "/witness/add-checkpoint").status_code == 405


def test_one_key_of_a_log_is_enough_and_further_keys_can_be_added(witness: Service) -> None:
    log = Log(kinds=(KeyType.ED25519,))
    witness.knows(log)
    require_cosigned(witness, log, 3, witness.add(log.asks(0, 3)))
    turned = Log(log.origin, kinds=(KeyType.ML_DSA_44,))
    require_refused(witness.add(turned.asks(3, 5)), 403)
    witness.knows(turned)
    require_cosigned(witness, turned, 5, witness.add(turned.asks(3, 5)))
    require_cosigned(witness, log, 7, witness.add(log.asks(5, 7)))


def test_the_last_head_can_be_read_with_all_its_signatures(witness: Service, log: Log) -> None:
    path = f"/witness/{sha256(log.origin.encode()).hexdigest()}/checkpoint"
    require_refused(witness.http.get(path), 404)
    for old, size in ((0, 4), (4, 9)):
        stranger = Log(log.origin, kinds=(KeyType.ED25519_COSIGNATURE,)).signed(size).signatures[0]
        given = witness.add(log.asks(old, size) + str(stranger))
        told = witness.http.get(path)
        assert (told.status_code, told.headers["content-type"]) == (200, TEXT)
        assert told.text.endswith(given.text)
        read = parse_note(told.content)
        assert len(note.verified(read, [*log.verifiers, *witness.keys])) == len(read.signatures) == 4
    require_refused(witness.http.get(f"/witness/{'0' * 64}/checkpoint"), 404)
    require_refused(witness.http.get(f"/witness/{log.origin.split('/', maxsplit=1)[0]}/checkpoint"), 404)


# --- At once ---


def test_of_two_heads_of_one_size_at_once_exactly_one_is_cosigned(witness: Service) -> None:
    for round_ in range(4):
        log = Log()
        witness.knows(log)
        require_cosigned(witness, log, 3, witness.add(log.asks(0, 3)))
        bodies = {fork: log.asks(3, 7, fork) for fork in range(3, 7)}
        with ThreadPoolExecutor(STORM) as pool:
            asked = [(fork, body) for _ in range(STORM // 4) for fork, body in bodies.items()]
            answers = list(pool.map(lambda one: (one[0], witness.add(one[1])), asked))
        given = {fork for fork, answer in answers if answer.status_code == 200}
        assert len(given) == 1, round_
        assert witness.known(log) == (7, log.head(7, given.pop()).root)
        assert sum(answer.status_code == 200 for _, answer in answers) == 1
        for _, answer in answers:
            if answer.status_code != 200:
                require_stale(answer, 7)
        # The other three show what the log has done.
        assert [(shows, size) for shows, size, _ in witness.kept(log)] == [(True, 7)] * 3


def test_sizes_and_times_never_go_back_however_many_ask_at_once(witness: Service, log: Log) -> None:
    with ThreadPoolExecutor(STORM) as pool:
        answers = list(pool.map(lambda size: (size, witness.add(log.asks(0, size))), range(1, STORM)))
    cosigned_now = [size for size, answer in answers if answer.status_code == 200]
    assert len(cosigned_now) == 1
    assert witness.known(log) == (cosigned_now[0], log.head(cosigned_now[0]).root)


def test_no_two_inconsistent_heads_are_ever_cosigned(witness: Service, log: Log) -> None:
    """Two branches of a forked log ask against one another, each as well as it can."""
    stood: list[tuple[int, int | None]] = []

    def grow(fork: int | None) -> None:
        for size in range(4, 20):
            for _ in range(3):
                known, _root = witness.known(log)
                if known <= size and witness.add(log.asks(known, size, fork)).status_code == 200:
                    stood.append((size, fork))
                    break

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(grow, (2, 3)))
    # Before the fork both are one log; from 4 entries on only one of them was cosigned.
    assert len({fork for _, fork in stood}) == 1
    assert any(shows for shows, _, _ in witness.kept(log))


# --- Forks ---


def test_a_fork_is_refused_and_what_shows_it_is_kept_once(witness: Service, log: Log) -> None:
    require_cosigned(witness, log, 6, witness.add(log.asks(0, 6)))
    for _ in range(3):
        require_refused(witness.add(log.asks(6, 6, 2)), 422)
        require_refused(witness.add(log.asks(6, 9, 2)), 422)
        require_stale(witness.add(log.asks(0, 6, 3)), 6)
    kept = witness.kept(log)
    assert [(shows, size) for shows, size, _ in kept] == [(True, 6), (True, 6), (True, 9)]
    for _, size, text in kept:
        evidence = verify_fork(text, log.verifiers)
        assert evidence.first.text == str(log.head(6)) or size == 6
    assert witness.known(log) == (6, log.head(6).root)
    require_cosigned(witness, log, 7, witness.add(log.asks(6, 7)))


def test_a_rollback_is_refused_and_kept_apart_from_forks(witness: Service, log: Log) -> None:
    require_cosigned(witness, log, 6, witness.add(log.asks(0, 6)))
    require_stale(witness.add(log.asks(0, 4)), 6)
    require_refused(witness.add(log.asks(6, 5)), 400)
    assert [(shows, size) for shows, size, _ in witness.kept(log)] == [(False, 4), (False, 5)]
    assert witness.known(log) == (6, log.head(6).root)


def test_a_stranger_can_make_it_keep_nothing(witness: Service, log: Log) -> None:
    require_cosigned(witness, log, 6, witness.add(log.asks(0, 6)))
    stranger = Log(log.origin, kinds=(KeyType.ED25519_COSIGNATURE,))
    for size in range(1, 9):
        witness.add(stranger.asks(6, size, 1))
    assert witness.kept(log) == []


def test_the_operator_sees_the_logs_and_their_forks(
    cloned_database: Callable[[], AbstractContextManager[Database]], tmp_path: Path
) -> None:
    log = Log(kinds=(KeyType.ED25519,))
    name = "Coop.example/w"
    with cloned_database() as database, running(database, tmp_path, WITNESS_NAME=name) as witness:
        added = witness.command("add", str(log.verifiers[0]))
        assert (added.exit_code, added.stdout) == (0, f"{log.origin} is witnessed.\n")
        assert witness.command("add", str(log.verifiers[0])).exit_code == 0
        assert witness.rows("select keys from coop.witnessed_log") == [([str(log.verifiers[0])],)]
        wrong = witness.command("add", f"{log.verifiers[0]}x")
        assert wrong.exit_code == 1
        assert "base 64" in wrong.stderr
        assert witness.command("list").stdout == f"{log.origin}: nothing cosigned\n"
        require_cosigned(witness, log, 1234, witness.add(log.asks(0, 1234)))
        assert f"{log.origin}: 1,234 entries, cosigned 20" in witness.command("list").stdout
        assert witness.command("evidence", log.origin).exit_code == 1
        assert witness.forks() == (0, None)
        witness.add(log.asks(1234, 1234, 3))
        forked, last_at = witness.forks()
        assert forked == 1
        assert last_at is not None
        assert abs(last_at.timestamp() - time.time()) < 60
        seen = witness.command("list")
        assert seen.exit_code == 1
        assert "IT HAS FORKED" in seen.stdout
        verify_fork(witness.command("evidence", log.origin).stdout, log.verifiers)
        keys = witness.command("keys").stdout.splitlines()
        assert [line.split("+")[0] for line in keys] == [name, name]
        assert all(line.endswith(f" {witness.prefix}") for line in keys)


def test_without_a_key_the_service_is_no_witness(
    cloned_database: Callable[[], AbstractContextManager[Database]], tmp_path: Path
) -> None:
    log = Log()
    with cloned_database() as database, running(database, tmp_path, WITNESS_KEY="") as witness:
        witness.knows(log)
        require_refused(witness.add(log.asks(0, 3)), 404)
        assert witness.known(log)[0] == 0
        told = witness.command("keys")
        assert told.exit_code == 1
        assert "STREAMCOOP_WITNESS_KEY" in told.stderr


# --- Kills ---


def test_what_was_cosigned_is_known_after_any_kill_and_asking_again_gets_it(
    cloned_database: Callable[[], AbstractContextManager[Database]], tmp_path: Path
) -> None:
    """Killed as soon as the head is stored, whether or not the answer has left."""
    log = Log()
    with cloned_database() as database, running(database, tmp_path) as witness:
        witness.knows(log)
        keys, old = witness.keys, 0
        for size in (3, 6, 11):
            with ThreadPoolExecutor(1) as pool:
                asking = pool.submit(witness.add, log.asks(old, size))
                until = time.monotonic() + 30
                while witness.known(log)[0] != size:
                    assert time.monotonic() < until
                witness.kill()
                lost = asking.exception()
            assert lost is None or isinstance(lost, httpx.TransportError)
            witness.start()
            # A repeated request is told how far the witness is; asked from there it cosigns the same head again.
            require_stale(witness.add(log.asks(old, size)), size)
            again = witness.add(log.asks(size, size))
            assert len(cosigned(again.content, log.signed(size), keys)) == 2
            require_refused(witness.add(log.asks(size, size, 1)), 422)
            old = size
