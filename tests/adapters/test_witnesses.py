"""Asking witnesses: one that is dead, stalls, lies or talks without end keeps the others' cosignatures from nobody."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from ledger import note
from ledger.errors import NoteRefused
from ledger.note import KeyType, SigningKey
from ledger.witness import COSIGNATURES_BYTES_MAX, COSIGNING, Known, Verdict, Witness, decide, parse_submission
from streamcoop.adapters import witnesses
from streamcoop.adapters.witnesses import Gathered, cosignatures
from tests.witness.stand import Log

SIZE = 21
SECONDS = 1.5
END_S_MAX = 20.0
LOG = Log("coop.example/log")
Answer = Callable[[socket.socket, str], None]


def keys(name: str) -> list[SigningKey]:
    return [SigningKey(name, kind, b"w" * 32) for kind in sorted(COSIGNING)]


def said(status: str, body: str = "", *headers: str, media_type: str = "text/plain") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body.encode())}", f"Content-Type: {media_type}", *headers]
    return ("\r\n".join(lines) + f"\r\n\r\n{body}").encode()


@dataclass
class Played:
    """A witness on a socket, as a test plays it: answers to one request after the other, the last for all further."""

    name: str
    answers: list[Answer]
    port: int = 0
    bodies: list[str] = field(default_factory=list)

    @property
    def witness(self) -> Witness:
        own = tuple(key.verifier for key in keys(self.name))
        return Witness(self.name, own, f"http://127.0.0.1:{self.port}/prefix")

    def serve(self, connection: socket.socket) -> None:
        # Whoever is let go of in the middle is not to be told more.
        with connection, suppress(OSError):
            while body := _body_of(connection):
                answer = self.answers[min(len(self.bodies), len(self.answers) - 1)]
                self.bodies.append(body)
                answer(connection, body)


def _body_of(connection: socket.socket) -> str:
    read = b""
    while b"\r\n\r\n" not in read:
        more = connection.recv(1 << 16)
        if not more:
            return ""
        read += more
    head, _, body = read.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /prefix/add-checkpoint HTTP/1.1\r\n")
    length = int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")).split()[1])
    while len(body) < length:
        body += connection.recv(1 << 16)
    return body.decode()


@contextmanager
def played(name: str, *answers: Answer) -> Iterator[Played]:
    with socket.create_server(("127.0.0.1", 0)) as door:
        one = Played(name, list(answers), door.getsockname()[1])

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=one.serve, args=(door.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield one
        finally:
            door.shutdown(socket.SHUT_RDWR)


def lines_of(name: str, text: str, at: int = 1_790_000_000) -> str:
    return "".join(str(key.sign(text, at)) for key in keys(name))


def honest(name: str, known: int = 0) -> Answer:
    """One that has seen so many entries, and decides as witnesses do."""
    seen = [Known(tuple(LOG.verifiers), known, LOG.head(known).root, LOG.signed(known))]

    def answer(connection: socket.socket, body: str) -> None:
        submission = parse_submission(body.encode())
        decided = decide(submission, seen[0])
        if decided.verdict is Verdict.STALE:
            connection.sendall(said("409 Conflict", f"{seen[0].size}\n", media_type="text/x.tlog.size"))
        elif decided.verdict is Verdict.COSIGNED:
            seen[0] = Known(seen[0].keys, submission.head.size, submission.head.root, decided.note)
            connection.sendall(said("200 OK", lines_of(name, submission.note.text)))
        else:
            connection.sendall(said(f"{int(decided.verdict)} No"))

    return answer


def fixed(answer: bytes) -> Answer:
    return lambda connection, _: connection.sendall(answer)


def silent(connection: socket.socket, _: str) -> None:
    connection.recv(1)


def dripping(begun: bytes) -> Answer:
    """A byte at a time, each before anybody's patience with one byte is over."""

    def answer(connection: socket.socket, _: str) -> None:
        connection.sendall(begun)
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)

    return answer


def gathered(*asked: Witness, known: dict[str, int] | None = None, seconds: float = SECONDS) -> Gathered:
    proven: list[int] = []

    def prove(old: int) -> list[bytes]:
        assert threading.current_thread() is here
        proven.append(old)
        return LOG.proof(old, SIZE)

    here = threading.current_thread()
    begun = time.monotonic()
    found = cosignatures(str(LOG.signed(SIZE)), prove, asked, known or {}, seconds)
    assert time.monotonic() - begun < seconds + 1
    assert sorted(proven) == sorted(set(proven))
    assert all(0 < old < SIZE for old in proven)
    if found.lines:
        # Put below the checkpoint they make a note all of whose signatures hold.
        whole = note.parse_note(f"{LOG.signed(SIZE)}{''.join(found.lines)}".encode())
        own = [key for one in asked for key in one.keys]
        assert len(note.verified(whole, [*LOG.verifiers, *own])) == len(whole.signatures)
    return found


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    until = time.monotonic() + END_S_MAX
    while any(thread.name == "asks a witness" for thread in threading.enumerate()):
        assert time.monotonic() < until, "a thread still asks"
        time.sleep(0.02)


@pytest.mark.parametrize("known", [0, 5, SIZE])
@pytest.mark.parametrize("told", [None, 0, 3, SIZE, SIZE + 1])
def test_whatever_was_known_of_a_witness_it_cosigns_after_two_requests_at_the_most(
    known: int, told: int | None
) -> None:
    with played("w.example/w", honest("w.example/w", known)) as one:
        found = gathered(one.witness, known={} if told is None else {one.name: told})
        assert found.cosigned_by == {one.name}
        assert (len(found.lines), found.sizes, found.failures) == (2, {one.name: SIZE}, {})
        right_at_once = (told if told is not None and told <= SIZE else 0) == known
        assert len(one.bodies) == (1 if right_at_once else 2)


def test_of_many_witnesses_the_good_ones_count_and_the_others_are_told_of() -> None:
    with (
        played("a.example/w", honest("a.example/w")) as good,
        played("b.example/w", silent) as mute,
        played("c.example/w", fixed(said("500 Internal Server Error"))) as failing,
        played("d.example/w", honest("d.example/w", 4)) as behind,
    ):
        with socket.create_server(("127.0.0.1", 0)) as door:
            free = door.getsockname()[1]
        dead = Witness("e.example/w", good.witness.keys, f"http://127.0.0.1:{free}")
        lost = Witness("f.example/w", good.witness.keys, "http://nowhere.invalid")
        asked = [one.witness for one in (good, mute, failing, behind)]
        found = gathered(*asked, dead, lost)
        assert found.cosigned_by == {good.name, behind.name}
        assert found.sizes == {good.name: SIZE, behind.name: SIZE}
        assert set(found.failures) == {mute.name, failing.name, dead.name, lost.name}
        assert found.failures[mute.name] == "no answer in time"
        assert found.failures[failing.name] == "answered 500"


@pytest.mark.parametrize(
    "answer",
    {
        "nothing": silent,
        "a header a byte at a time": dripping(b"HTTP/1.1 200 OK\r\nX-Long: "),
        "a body a byte at a time": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"),
        "an end": lambda connection, _: connection.shutdown(socket.SHUT_RDWR),
        "half an answer": fixed(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nhalf"),
        "no HTTP": fixed(b"220 mail.example\r\n\r\n"),
    }.items(),
    ids=lambda case: case[0],
)
def test_one_that_stalls_is_waited_for_no_longer_than_said(answer: tuple[str, Answer]) -> None:
    with played("w.example/w", answer[1]) as one, played("v.example/w", honest("v.example/w")) as other:
        found = gathered(one.witness, other.witness)
        assert found.cosigned_by == {other.name}
        assert one.name in found.failures


def _lies() -> dict[str, bytes]:
    text, name = str(LOG.head(SIZE)), "w.example/w"
    stranger = SigningKey(name, KeyType.ED25519_COSIGNATURE, b"x" * 32)
    return {
        "nothing": said("200 OK"),
        "a page": said("200 OK", "<html>\n"),
        "a stranger's line": said("200 OK", str(stranger.sign(text, 1))),
        "another head": said("200 OK", lines_of(name, str(LOG.head(SIZE - 1)))),
        "another root": said("200 OK", lines_of(name, str(LOG.head(SIZE, 2)))),
        "one line that holds and one that does not": said(
            "200 OK",
            str(keys(name)[0].sign(text, 1)) + str(keys(name)[1].sign(str(LOG.head(1)), 1)),
        ),
        "no time": said("200 OK", lines_of(name, text, 0)),
        "another status": said("201 Created", lines_of(name, text)),
        "a redirect": said("307 Temporary Redirect", "", "Location: http://127.0.0.1:1/"),
        "packed": said("200 OK", "\u001f\u008b", "Content-Encoding: gzip"),
        "more than an answer": said("200 OK", lines_of(name, text) + "x" * COSIGNATURES_BYTES_MAX),
        "a size of its own": said("409 Conflict", "7\n"),
        "a size that is no number": said("409 Conflict", "-1\n"),
        "a size that is a page": said("409 Conflict", "<html>\n"),
        "a size beyond the head": said("409 Conflict", f"{SIZE + 1}\n"),
        "the largest size": said("409 Conflict", f"{2**63}\n"),
    }


@pytest.mark.parametrize("lie", _lies().values(), ids=_lies())
def test_one_that_lies_gives_nothing_that_is_believed(lie: bytes) -> None:
    with played("w.example/w", fixed(lie)) as one, played("v.example/w", honest("v.example/w")) as other:
        found = gathered(one.witness, other.witness)
        assert found.cosigned_by == {other.name}
        assert len(found.lines) == 2
        assert one.name in found.failures
        assert len(one.bodies) <= witnesses.ASKS_MAX


def test_a_redirect_is_not_followed() -> None:
    with played("v.example/w", honest("v.example/w")) as other:
        there = said("308 Permanent Redirect", "", f"Location: {other.witness.url}/add-checkpoint")
        with played("w.example/w", fixed(there)) as one:
            assert gathered(one.witness).failures == {one.name: "answered 308"}
        assert other.bodies == []


def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    def endless(connection: socket.socket, _: str) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    with played("w.example/w", endless) as one:
        assert gathered(one.witness).failures == {one.name: "the answer is too long"}


def test_one_that_knows_more_is_told_of_with_what_it_knows() -> None:
    with played("w.example/w", honest("w.example/w", SIZE + 5)) as one:
        found = gathered(one.witness)
        assert (found.lines, found.sizes) == ([], {one.name: SIZE + 5})
        assert str(SIZE + 5) in found.failures[one.name]


def test_one_that_a_fork_was_shown_refuses_this_head() -> None:
    forked = Known(tuple(LOG.verifiers), 6, LOG.head(6, 2).root, LOG.signed(6, 2))

    def answer(connection: socket.socket, body: str) -> None:
        verdict = decide(parse_submission(body.encode()), forked).verdict
        told = ("409 Conflict", "6\n") if verdict is Verdict.STALE else (f"{int(verdict)} No", "")
        connection.sendall(said(*told))

    with played("w.example/w", answer) as one:
        assert gathered(one.witness).failures == {one.name: "answered 422"}


def test_what_the_maker_of_proofs_raises_is_raised_and_nobody_is_left_waiting() -> None:
    def no_proof(old: int) -> list[bytes]:
        raise FileNotFoundError(f"tile/0/{old}")

    with played("w.example/w", honest("w.example/w", 3)) as one, pytest.raises(FileNotFoundError):
        cosignatures(str(LOG.signed(SIZE)), no_proof, [one.witness], {}, SECONDS)


def test_nobody_is_asked_for_what_is_no_checkpoint_or_by_nobody() -> None:
    with played("w.example/w", honest("w.example/w")) as one:
        with pytest.raises(NoteRefused):
            cosignatures("text\n", lambda _: [], [one.witness], {})
        with pytest.raises(ValueError, match="more than"):
            cosignatures(str(LOG.signed(SIZE)), lambda _: [], [one.witness] * (witnesses.WITNESSES_MAX + 1), {})
        assert one.bodies == []
    assert gathered() == Gathered([], frozenset(), {}, {})
