"""Asking witnesses to cosign a head of this co-op's log (C2SP tlog-witness).

To ask is a write outside: a witness that has cosigned knows the head from then on, whether its answer arrives or not.
Asking again is always right: it tells the size it knows, and from there it cosigns the same head again.

No witness is believed: neither that it answers in time, nor with little, nor with a signature that holds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from queue import Empty, SimpleQueue

import httpx

from ledger.errors import NoteRefused
from ledger.note import Checkpoint, Note, Signature, number, parse_checkpoint, parse_note
from ledger.witness import COSIGNATURES_BYTES_MAX, Submission, Witness, cosigned

log = logging.getLogger(__name__)

# For all of them together: they are asked at once.
GATHER_S_MAX = 6.0
CONNECT_S_MAX = 2.0
ANSWER_S_MAX = 4.0
# Once with the size it was last known to have, once with the size it tells.
ASKS_MAX = 2
WITNESSES_MAX = 32

Prove = Callable[[int], list[bytes]]
"""An old size -> the proof that the head to be cosigned continues the tree of that size."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What came of asking. `lines` end in a newline each, and can be put below the checkpoint as they are."""

    lines: list[str]
    cosigned_by: frozenset[str]
    """The names of those whose cosignatures they are."""
    sizes: dict[str, int]
    """By name, what each is now known to know: for `known_sizes` the next time."""
    failures: dict[str, str]
    """By name, why there is no cosignature by it."""


def cosignatures(
    checkpoint_note: str,
    prove: Prove,
    witnesses: Sequence[Witness],
    known_sizes: Mapping[str, int],
    seconds_max: float = GATHER_S_MAX,
) -> Gathered:
    """Ask all witnesses to cosign a signed checkpoint, at once, and wait no longer than `seconds_max` for them.

    `known_sizes` tells by name how much of the log a witness was last known to have seen; one that is missing or wrong
    costs a second request. `prove` is called in the caller's thread, with sizes between none and the checkpoint's, once
    each; what it raises is raised. Every line of the result holds, by a key of the witness that was asked. A witness
    that fails is among the failures, and costs the others nothing.

    Raises NoteRefused if the note is no checkpoint, before anybody is asked; ValueError for too many witnesses.
    """
    note = parse_note(checkpoint_note.encode())
    asking = _Asking(note, parse_checkpoint(note.text), time.monotonic() + seconds_max)
    if len(witnesses) > WITNESSES_MAX:
        raise ValueError(f"more than {WITNESSES_MAX} witnesses")
    for witness in witnesses:
        # Daemons: one that hangs, in the resolver for instance, keeps neither the caller nor the process.
        threading.Thread(
            target=asking.ask, args=(witness, known_sizes.get(witness.name, 0)), name="asks a witness", daemon=True
        ).start()
    try:
        return asking.gathered(witnesses, prove)
    finally:
        asking.end()


class _NotCosigned(Exception):
    """Why there is no cosignature."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What a witness told in the end."""

    name: str
    signatures: tuple[Signature, ...] = ()
    size: int | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A thread waits for the proof from a size on."""

    old: int
    proof: SimpleQueue[tuple[bytes, ...]] = field(default_factory=SimpleQueue)


@dataclass
class _Asked:
    """A witness that is being asked: from which size, and the last it told."""

    witness: Witness
    old: int
    size: int | None = None


@dataclass
class _Asking:
    """One head being asked about, by as many threads as there are witnesses."""

    note: Note
    head: Checkpoint
    until: float
    said: SimpleQueue[_Told | _Wanted] = field(default_factory=SimpleQueue)
    clients: list[httpx.Client] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_over: bool = False

    def left_s(self) -> float:
        return max(self.until - time.monotonic(), 0)

    def gathered(self, witnesses: Sequence[Witness], prove: Prove) -> Gathered:
        """What has been told by the end. Makes the proofs that are asked for meanwhile."""
        told: dict[str, _Told] = {}
        proofs: dict[int, tuple[bytes, ...]] = {}
        while len(told) < len(witnesses):
            try:
                said = self.said.get(timeout=self.left_s())
            except Empty:
                break
            if isinstance(said, _Wanted):
                if said.old not in proofs:
                    proofs[said.old] = tuple(prove(said.old))
                said.proof.put(proofs[said.old])
            else:
                told[said.name] = said
        for witness in witnesses:
            told.setdefault(witness.name, _Told(witness.name, failure="no answer in time"))
        in_order = [told[witness.name] for witness in witnesses]
        for one in in_order:
            if one.failure:
                log.warning("a witness did not cosign", extra={"witness": one.name, "reason": one.failure})
        return Gathered(
            [str(signature) for one in in_order for signature in one.signatures],
            frozenset(one.name for one in in_order if one.signatures),
            {one.name: one.size for one in in_order if one.size is not None},
            {one.name: one.failure for one in in_order if one.failure},
        )

    def end(self) -> None:
        """Let go of those that have not answered: their threads end as their connections do."""
        with self.lock:
            self.is_over = True
        for client in self.clients:
            client.close()

    def ask(self, witness: Witness, known: int) -> None:
        """Ask one witness, and tell what came of it, whatever that is."""
        asked = _Asked(witness, known if known <= self.head.size else 0)
        try:
            self.said.put(_Told(witness.name, self._cosigned(asked), self.head.size))
        except (_NotCosigned, NoteRefused) as failure:
            self.said.put(_Told(witness.name, size=asked.size, failure=str(failure)))
        except Exception as failure:
            if not isinstance(failure, httpx.HTTPError) and not self.is_over:
                log.exception("asking a witness failed", extra={"witness": witness.name})
            self.said.put(_Told(witness.name, size=asked.size, failure=f"{type(failure).__name__}: {failure}"))

    def _cosigned(self, asked: _Asked) -> tuple[Signature, ...]:
        with self._client() as client:
            for _ in range(ASKS_MAX):
                status, answer = self._answer(client, asked)
                if status == HTTPStatus.OK:
                    return cosigned(answer, self.note, asked.witness.keys)
                if status != HTTPStatus.CONFLICT:
                    raise _NotCosigned(f"answered {status}")
                asked.size = number(answer.decode("ascii", "replace").removesuffix("\n"))
                if asked.size > self.head.size:
                    raise _NotCosigned(f"knows a head of {asked.size} entries")
                asked.old = asked.size
            raise _NotCosigned("told another size each time")

    def _client(self) -> httpx.Client:
        with self.lock:
            if self.is_over:
                raise _NotCosigned("no answer in time")
            # Redirects are not followed: a witness is where its operator said.
            self.clients.append(httpx.Client(timeout=httpx.Timeout(ANSWER_S_MAX, connect=CONNECT_S_MAX)))
            return self.clients[-1]

    def _answer(self, client: httpx.Client, asked: _Asked) -> tuple[int, bytes]:
        body = str(Submission(asked.old, self._proof(asked.old), self.note, self.head)).encode()
        # Packed, a short answer could become a long one.
        headers = {"Content-Type": "text/plain; charset=utf-8", "Accept-Encoding": "identity"}
        url = f"{asked.witness.url}/add-checkpoint"
        with client.stream("POST", url, content=body, headers=headers) as response:
            answer = bytearray()
            for chunk in response.iter_raw():
                answer += chunk
                if len(answer) > COSIGNATURES_BYTES_MAX:
                    raise _NotCosigned("the answer is too long")
            return response.status_code, bytes(answer)

    def _proof(self, old: int) -> tuple[bytes, ...]:
        if old in (0, self.head.size):
            return ()
        wanted = _Wanted(old)
        self.said.put(wanted)
        try:
            return wanted.proof.get(timeout=self.left_s())
        except Empty:
            raise _NotCosigned("no proof in time") from None
