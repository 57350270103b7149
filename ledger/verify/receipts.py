"""A member's own receipts and promises, held against the log: what only she can check."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from ledger import receipts
from ledger.errors import DomainError
from ledger.note import VerifierKey, parse_note
from ledger.receipts import RECEIPT_BYTES_MAX, PlayReceipt, Promise, Proof, Receipt, VotePromise, WalletReceipt
from ledger.verify.ballots import Ballots
from ledger.verify.reading import Unreadable
from ledger.verify.report import Findings, ReceiptOutcome, instant

RECEIPTS_MAX = 100_000
RECEIPT_SUFFIX, PROMISE_SUFFIX = ".tlog-proof", ".promise"


@dataclass(slots=True)
class Collection:
    """The files of a folder, taken apart; what cannot be is kept as a failure of its file."""

    proofs: dict[str, Proof] = field(default_factory=dict)
    promises: dict[str, bytes] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def sizes(self) -> set[int]:
        """The sizes of the heads that the receipts are under."""
        return {proof.head.size for proof in self.proofs.values()}

    @property
    def votes(self) -> frozenset[tuple[str, str]]:
        """The ballots and addresses that the promises are of, whoever signed them."""
        return frozenset(
            (str(told.ballot), told.address)
            for data in self.promises.values()
            if isinstance(told := _promised(data), VotePromise)
        )


def _promised(data: bytes) -> Promise | VotePromise | None:
    try:
        return receipts.parse_promise(parse_note(data))
    except DomainError:
        return None


def collect(folder: Path) -> Collection:
    """The receipts and promises in a folder. Raises Unreadable where there is none, or there are too many."""
    found = Collection()
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix in (RECEIPT_SUFFIX, PROMISE_SUFFIX))
    except OSError as failed:
        raise Unreadable(reason=failed.strerror or "it cannot be read", at=str(folder)) from failed
    if len(files) > RECEIPTS_MAX:
        raise Unreadable(reason="more receipts than are checked at once", at=str(folder), receipts_max=RECEIPTS_MAX)
    for file in files:
        try:
            data = _read(file)
            if file.suffix == PROMISE_SUFFIX:
                found.promises[file.name] = data
            else:
                found.proofs[file.name] = receipts.parse(data)
        except (DomainError, OSError) as refused:
            found.failures[file.name] = str(refused)
    return found


def _read(file: Path) -> bytes:
    if not file.is_file():
        raise Unreadable(reason="not a file", at=file.name)
    with file.open("rb") as opened:
        return opened.read(RECEIPT_BYTES_MAX + 1)


@dataclass(frozen=True, slots=True)
class Fork:
    """A receipt whose signed head is of another log than the one that is published."""

    file: str
    proof: Proof


class Held:
    """Holds a collection against a log of `size` entries that has sealed these epochs, in their order.

    `before` are the logs that it goes on from, by name, and how many entries it has of each. `are_all`: the collection
    has a receipt of each of the member's plays. `ballots` has the log's votes that she has promises of.
    """

    def __init__(
        self,
        collection: Collection,
        findings: Findings,
        *,
        origin: str,
        before: Mapping[str, int],
        keys: Iterable[VerifierKey],
        size: int,
        sealed: Sequence[int],
        are_all: bool,
        ballots: Ballots,
    ) -> None:
        self._collection, self._findings = collection, findings
        self._sizes, self._keys, self._origin = {**before, origin: size}, list(keys), origin
        self._are_all, self._ballots = are_all, ballots
        self._sealed = {epoch: place for place, epoch in enumerate(sealed)}
        self.outcomes: list[ReceiptOutcome] = []
        self.forks: list[Fork] = []
        self._shown: dict[str, Receipt] = {}

    def check(self, roots: dict[int, bytes], until: int) -> None:
        """Check every file; `roots` are the log's at the sizes of the receipts' heads, `until` is now in seconds."""
        for file, said in self._collection.failures.items():
            self._fail(file, "file", said)
        for file, proof in self._collection.proofs.items():
            self._check_receipt(file, proof, roots)
        self._check_wallets()
        for file, data in self._collection.promises.items():
            self._check_promise(file, data, until)

    def _fail(self, file: str, kind: str, said: str) -> None:
        self.outcomes.append(ReceiptOutcome(file, kind, False, said))
        self._findings.add("receipts", None, f"{file}: {said}")

    def _pass(self, file: str, kind: str, said: str) -> None:
        self.outcomes.append(ReceiptOutcome(file, kind, True, said))

    def _keys_of(self, origin: str) -> list[VerifierKey]:
        """A key speaks for the log that it bears the name of, and for no other."""
        return [key for key in self._keys if key.name == origin]

    def _check_receipt(self, file: str, proof: Proof, roots: dict[int, bytes]) -> None:
        head = proof.head
        if head.origin not in self._sizes:
            self._fail(file, "receipt", f"a receipt of another log: {head.origin}")
            return
        try:
            shown = receipts.verify(proof, self._keys_of(head.origin))
        except DomainError as refused:
            self._fail(file, "receipt", f"the receipt does not hold: {refused}")
            return
        size = self._sizes[head.origin]
        if head.origin != self._origin and head.size > size:
            said = f"a head of {head.origin} beyond its last good one: it shows nothing any more, ask for a new receipt"
            self._fail(file, "receipt", said)
            return
        if head.size > size:
            self.forks.append(Fork(file, proof))
            self._fail(file, "receipt", f"its signed head has {head.size} entries, the published log {size}")
            return
        if roots.get(head.size) != head.root:
            if head.origin == self._origin:
                self.forks.append(Fork(file, proof))
            self._fail(file, "receipt", "its signed head is of another log than the published one: a fork")
            return
        self._shown[file] = shown
        if isinstance(shown, PlayReceipt):
            self._pass(file, "play", f"play {shown.ordinal} of track {shown.track}, {shown.price_micro} micro-credits")
        elif isinstance(shown, WalletReceipt):
            self._pass(file, "wallet", f"spent {shown.spent_micro}, left {shown.closing_micro} micro-credits")
        else:
            self._pass(file, "payee", f"{shown.share_bp} basis points of track {shown.track}")

    # --- Wallets ---

    def _check_wallets(self) -> None:
        """Each listener's lines follow one another, and no more was played than her line says was spent."""
        lines: dict[UUID, list[tuple[str, WalletReceipt]]] = defaultdict(list)
        for file, shown in self._shown.items():
            if isinstance(shown, WalletReceipt):
                lines[shown.listener].append((file, shown))
        for listener, told in lines.items():
            # One play may have several receipts, under several heads.
            plays = {
                shown.play: (shown.at, shown.price_micro) for shown in self._of_plays() if shown.listener == listener
            }
            begin, place, closing_micro = -1, -1, 0
            for file, line in sorted(told, key=lambda each: each[1].at):
                # Where a line between is missing, nothing is known of how the wallet opened.
                if self._sealed.get(line.epoch) == place + 1:
                    spent_micro = sum(price for at, price in plays.values() if begin < at < line.at)
                    self._check_line(file, line, closing_micro, spent_micro)
                begin, place, closing_micro = line.at, self._sealed.get(line.epoch, place), line.closing_micro

    def _check_line(self, file: str, line: WalletReceipt, closing_micro: int, spent_micro: int) -> None:
        if closing_micro != line.opening_micro:
            self._fail(file, "wallet", f"opens with {line.opening_micro} and closed with {closing_micro} before")
        if spent_micro > line.spent_micro or (self._are_all and spent_micro < line.spent_micro):
            self._fail(file, "wallet", f"says {line.spent_micro} were spent, the receipts of plays {spent_micro}")

    def _of_plays(self) -> Iterator[PlayReceipt]:
        return (shown for shown in self._shown.values() if isinstance(shown, PlayReceipt))

    # --- Promises ---

    def _check_promise(self, file: str, data: bytes, until: int) -> None:
        try:
            told = receipts.parse_promise(parse_note(data))
            if told.origin not in self._sizes:
                self._fail(file, "promise", f"a promise of another log: {told.origin}")
                return
            receipts.verify_promise(data, self._keys_of(told.origin))
        except DomainError as refused:
            self._fail(file, "promise", f"the promise does not hold: {refused}")
            return
        if isinstance(told, VotePromise):
            self._check_vote(file, told, until)
        else:
            self._check_play(file, told, until)

    def _check_play(self, file: str, told: Promise, until: int) -> None:
        kept = [shown for shown in self._of_plays() if shown.commitment == told.commitment]
        if kept and kept[0].price_micro != told.price_micro:
            said = f"promised at {told.price_micro} micro-credits, published at {kept[0].price_micro}"
            self._fail(file, "promise", said)
        elif kept:
            self._pass(file, "promise", "kept")
        elif told.publish_by < until:
            self._fail(file, "promise", f"to be published by {instant(told.publish_by)}, and no receipt shows it")
        else:
            self._pass(file, "promise", f"to be published by {instant(told.publish_by)}")

    def _check_vote(self, file: str, told: VotePromise, until: int) -> None:
        """A vote that was taken is counted, unless its member has voted again since, or the ballot was stopped."""
        ballot, cast = str(told.ballot), self._ballots.cast.get((str(told.ballot), told.address))
        if ballot in self._ballots.stopped:
            self._pass(file, "vote", f"ballot {ballot} was stopped and counted for nobody")
        elif ballot not in self._ballots.counted:
            if told.publish_by < until:
                said = (
                    f"ballot {ballot} was to be counted by {instant(told.publish_by)}, and the log has no count of it"
                )
                self._fail(file, "vote", said)
            else:
                self._pass(file, "vote", f"ballot {ballot} is to be counted by {instant(told.publish_by)}")
        elif cast is None:
            self._fail(file, "vote", f"vote {told.nonce} of {told.address} was dropped from ballot {ballot}")
        elif cast.nonce < told.nonce:
            self._fail(file, "vote", f"vote {told.nonce} of {told.address} was taken, and {cast.nonce} is counted")
        elif cast.nonce == told.nonce and cast.digest != told.digest:
            self._fail(file, "vote", f"vote {told.nonce} of {told.address} is counted with another content")
        elif cast.nonce == told.nonce:
            self._pass(file, "vote", f"vote {told.nonce} of {told.address} is counted in ballot {ballot}")
        else:
            self._pass(file, "vote", f"vote {told.nonce} of {told.address} was replaced by {cast.nonce}")
