"""The audit: every entry in its place, every equation between entries, entry after entry.

What is kept in mind grows with tracks, splits and held lines, and by one number an entry; never with plays.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from ledger import attestation, entries, rotation
from ledger.constitution import KINDS, CeilingTooHigh, Constitution, UnsuitableConstitution
from ledger.entries import Entry
from ledger.epochs import Calendar
from ledger.errors import DomainError, EntryRefused, NoteRefused, SharesDoNotAddUp
from ledger.money import CreditPrice, UnsuitableCreditPrice
from ledger.note import VerifierKey
from ledger.rates import NetFactors, Rates
from ledger.royalties import Share, Terms, TrackRoyalties, check_split, track_royalties
from ledger.rules import Rules, UnsuitableRules
from ledger.sumtree import EMPTY_HASH
from ledger.tariff import Tariff, UnsuitableTariff
from ledger.verify.anchors import Sealed
from ledger.verify.ballots import Ballot, Ballots
from ledger.verify.report import LINES_MAX, EpochTotals, Findings, ShownLine, label
from ledger.verify.terms import T, Versions

FOUNDING = "founding"
DECIDED_BY_BALLOT = "ballot:"

# Within a batch, kinds stand in this order, and of each kind its keys in theirs.
_ORDER = (
    (entries.TARIFF,),
    (entries.RATES,),
    (entries.RULES,),
    (entries.NET_FACTORS,),
    (entries.ATTESTATION,),
    (entries.KEYS,),
    (entries.TRACK,),
    (entries.SPLIT,),
    (entries.PLAYS,),
    (entries.TOP_UPS,),
    (entries.GRANTS,),
    (entries.PAYOUTS,),
    (entries.SHARES,),
    (entries.BALLOT, entries.VOTES, entries.DELEGATIONS),
    (entries.BALLOT_STOPPED,),
    (entries.RELEASE,),
    (entries.ROYALTIES, entries.LATE),
    (entries.WALLETS,),
    (entries.SEAL,),
)
_PLACES = {kind: place for place, kinds in enumerate(_ORDER) for kind in kinds}
_AFTER_BALLOT = (entries.VOTES, entries.DELEGATIONS)
_PLAYS_PLACE = _PLACES[entries.PLAYS]
_KEYS: dict[str, tuple[str, ...]] = {
    entries.TARIFF: ("version",),
    entries.RATES: ("version",),
    entries.RULES: ("version",),
    entries.NET_FACTORS: ("version",),
    entries.ATTESTATION: ("epoch",),
    entries.TRACK: ("track",),
    entries.SPLIT: ("split",),
    entries.PLAYS: ("epoch", "track"),
    entries.BALLOT: ("ballot",),
    entries.BALLOT_STOPPED: ("ballot",),
    entries.RELEASE: ("closed_in", "epoch", "track", "payee"),
    entries.ROYALTIES: ("closed_in", "epoch", "track"),
    entries.LATE: ("closed_in", "epoch", "track"),
}

# Nearly all entries of a log are plays: this is the one way to write them, and spares taking JSON apart.
_DIGITS = rb"([1-9][0-9]{0,14})"
_PLAYS = re.compile(
    rb'\{"batch":' + _DIGITS + rb',"count":' + _DIGITS + rb',"epoch":(0|-?[1-9][0-9]{0,14}),"root":"([0-9a-f]{64})",'
    rb'"sum_micro":' + _DIGITS + rb',"track":"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})",'
    rb'"type":"plays","v":1\}'
).fullmatch
# Of a root so many digits tell it from every other: 120 bits.
_ROOT_DIGITS = 30


Plays = tuple[int, int, str, int, int, str]
"""Of a `plays` entry: batch, epoch, track, count, sum_micro and root."""


def read_plays(data: bytes) -> Plays | None:
    """The fields of a `plays` entry as `entries.parse` has them; None for what it has to look at itself."""
    found = _PLAYS(data)
    if found is None:
        return None
    batch, count, epoch, root, sum_micro, track = found.groups()
    return int(batch), int(epoch), track.decode(), int(count), int(sum_micro), root.decode()


@dataclass(frozen=True, slots=True)
class _Split:
    effective_epoch: int
    split: str
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class _Adopted:
    """Terms that a ballot decided, by what an entry says."""

    at: int
    kind: str
    ballot: str
    version: int
    effective_epoch: int


@dataclass(slots=True)
class _Batch:
    """What only counts within a batch."""

    number: int = 0
    opened_at: int = 0
    closed_at: int = 0
    place: tuple[int | str, ...] = ()
    closes: set[int] = field(default_factory=set)
    wallets: Entry | None = None
    is_sealed: bool = False
    # A ballot may be counted in the batch that tells its effect, and stands behind it there.
    adopted: list[_Adopted] = field(default_factory=list)


@dataclass(slots=True)
class _SinceSeal:
    """What a seal has to add up to."""

    totals: EpochTotals
    spent_micro: int = 0
    in_micro: int = 0


class Audit:
    """Takes the entries of a log one after the other, and notes what does not hold.

    `keys` are the log's keys as far as they are known, `officers` those of the founding note, if there is one; `shown`
    is the label of the epoch whose royalty lines are kept to be shown. `ballots` counts them again.
    """

    def __init__(
        self,
        findings: Findings,
        keys: Iterable[VerifierKey],
        officers: Collection[VerifierKey] | None = None,
        shown: str | None = None,
        ballots: Ballots | None = None,
    ) -> None:
        self._findings, self._officers, self._shown = findings, officers, shown
        self.ballots = ballots or Ballots(findings)
        self.keys = list(keys)
        self.all_keys = set(self.keys)
        self._pinned = set(self.keys)
        self._doubts: list[tuple[int, str]] = []
        self.founding: Entry = {}
        self._origin: str | None = None
        self.calendar = Calendar()
        self._price = CreditPrice(1_000_000)
        self.at = -1
        self.kinds: Counter[str] = Counter()
        self.epochs: list[EpochTotals] = []
        self.sealed: dict[int, Sealed] = {}
        self.lines: list[ShownLine] = []
        self.lines_left_out = 0
        self.batches = 0
        self.last_closed_at = 0
        self.unvoted: list[str] = []
        self._batch = _Batch()
        self._tariffs: Versions[Tariff] = Versions()
        self._rates: Versions[Rates] = Versions()
        self._rules: Versions[Rules] = Versions()
        self._versions: dict[str, Versions[Tariff] | Versions[Rates] | Versions[Rules]] = {
            entries.TARIFF: self._tariffs,
            entries.RATES: self._rates,
            entries.RULES: self._rules,
        }
        # By kind and version the ballot that is said to have decided them.
        self._decided_by: dict[tuple[str, int], str] = {}
        self._factors: Versions[NetFactors] = Versions()
        # No change of terms may reach back to these: the highest epoch of which plays, or a seal, were seen.
        self._played_epoch: int | None = None
        self._sealed_epoch: int | None = None
        self._tracks: set[str] = set()
        self._splits: dict[str, list[_Split]] = {}
        self._pending: dict[int, dict[str, int]] = {}
        self._roots: set[int] = set()
        self._held: dict[tuple[int, int, str, str], int | None] = {}
        self._since = _SinceSeal(EpochTotals(0))
        self._closing_micro = 0
        self._bank_micro = 0
        self._shares_micro = 0
        self._banks: dict[int, tuple[int, int, EpochTotals]] = {}
        self._take_of: dict[str, Callable[[Entry], None]] = {
            entries.TARIFF: self._take_tariff,
            entries.RATES: self._take_rates,
            entries.RULES: self._take_rules,
            entries.NET_FACTORS: self._take_net_factors,
            entries.ATTESTATION: self._take_attestation,
            entries.KEYS: self._take_keys,
            entries.TRACK: self._take_track,
            entries.SPLIT: self._take_split,
            entries.PLAYS: self._take_plays,
            entries.TOP_UPS: self._take_top_ups,
            entries.GRANTS: self._take_grants,
            entries.PAYOUTS: self._take_payouts,
            entries.SHARES: self._take_shares,
            entries.BALLOT: self._take_ballot,
            entries.VOTES: lambda entry: self.ballots.take_votes(self.at, entry),
            entries.DELEGATIONS: lambda entry: self.ballots.take_delegations(self.at, entry),
            entries.BALLOT_STOPPED: self._take_ballot_stopped,
            entries.RELEASE: self._take_release,
            entries.ROYALTIES: self._take_royalties,
            entries.LATE: self._take_late,
            entries.WALLETS: self._take_wallets,
            entries.SEAL: self._take_seal,
        }

    def take(self, data: bytes) -> None:
        """The next entry."""
        self.at += 1
        plays = read_plays(data)
        if plays is not None and not self.ballots.is_counting and self.at:
            self._add_plays(*plays)
            return
        try:
            kind, entry = entries.parse(data)
        except EntryRefused as refused:
            self._wrong("forms", str(refused))
            return
        self.kinds[kind] += 1
        if (self.at == 0) != (kind == entries.FOUNDING):
            self._wrong("order", "the founding is entry 0 and nothing else is", entries.FOUNDING, kind)
        if kind not in _AFTER_BALLOT:
            self.ballots.end()
        if kind == entries.FOUNDING:
            self._take_founding(entry)
        elif kind == entries.BATCH:
            self._take_batch(entry)
        else:
            key = [entry[name] for name in _KEYS.get(kind, ())]
            self._require_place(kind, (_PLACES[kind], *key), entry.get("batch"))
            self._take_of[kind](entry)

    def go_on_as(self, origin: str, keys: Iterable[VerifierKey]) -> None:
        """From the next entry on the log has another name and other keys, as its founding note says."""
        self._origin, self.keys = origin, list(keys)
        self.all_keys.update(self.keys)
        self._pinned.update(self.keys)

    def end(self) -> None:
        """There are no more entries."""
        self.ballots.end()
        self._end_batch()
        for at, said in self._doubts:
            self._wrong("keys", said, at=at)

    def waiting(self) -> dict[int, int]:
        """Micro-credits that were played and are not shared out yet, by epoch."""
        sums = {epoch: sum(tracks.values()) for epoch, tracks in self._pending.items()}
        return {epoch: sum_micro for epoch, sum_micro in sums.items() if sum_micro}

    def _wrong(self, check: str, what: str, expected: object = "", found: object = "", at: int | None = None) -> None:
        self._findings.add(check, self.at if at is None else at, what, expected, found)

    def _require(self, check: str, what: str, expected: object, found: object) -> None:
        if expected != found:
            self._findings.add(check, self.at, what, expected, found)

    # --- Order ---

    def _require_place(self, kind: str, place: tuple[int | str, ...], number: int | None) -> None:
        """Whether an entry is where it may be in its batch, and says to be of that batch if it says so."""
        batch = self._batch
        if not batch.number:
            self._wrong("order", f"a {kind} before the first batch")
        # Votes follow their ballot, which looks after them.
        if kind not in _AFTER_BALLOT:
            if place <= batch.place:
                told = f"a {kind} out of its order within the batch, or twice"
                self._wrong("order", told, f"after {batch.place}", place)
            batch.place = place
        if batch.is_sealed and kind != entries.SEAL:
            self._wrong("order", f"a {kind} after the batch's seal")
        # An attestation is of a batch before.
        if number is not None and number != batch.number and kind != entries.ATTESTATION:
            self._wrong("order", f"a {kind} of another batch", batch.number, number)

    def _take_founding(self, entry: Entry) -> None:
        if self.founding:
            return
        self.founding = entry
        self.calendar = Calendar(entry["epoch_seconds"], entry["first_epoch"])
        try:
            self._price = CreditPrice(entry["credit_price_micro"])
        except UnsuitableCreditPrice:
            self._wrong("terms", "a price of a credit that has no exact value in money")
        try:
            self.ballots.constitution = Constitution.of_json(entry["constitution"])
        except UnsuitableConstitution as refused:
            self._wrong("founding", f"a constitution that cannot be one: {refused}")

    def _take_batch(self, entry: Entry) -> None:
        self._end_batch()
        if entry["batch"] <= self._batch.number:
            self._wrong("order", "batches are numbered upwards", f"over {self._batch.number}", entry["batch"])
        if entry["opened_at"] > entry["closed_at"]:
            self._wrong("order", "a batch that closed before it opened", entry["opened_at"], entry["closed_at"])
        self._batch = _Batch(entry["batch"], entry["opened_at"], entry["closed_at"])
        self.batches += 1
        self.last_closed_at = max(self.last_closed_at, entry["closed_at"])

    def _end_batch(self) -> None:
        batch = self._batch
        for adopted in batch.adopted:
            self._require_decided(adopted)
        self.ballots.end_batch(self._before_ballot)
        if not batch.is_sealed and (batch.wallets or self._since.totals.tracks):
            self._wrong("seals", f"batch {batch.number} shares out an epoch and does not seal it")

    # --- Terms ---

    def _take_tariff(self, entry: Entry) -> None:
        try:
            tariff = Tariff(entry["first_price_micro"], entry["plays"])
        except UnsuitableTariff:
            self._wrong("terms", "a tariff that cannot be one")
            return
        self._adopt_voted(entries.TARIFF, self._tariffs, entry, tariff)

    def _take_rates(self, entry: Entry) -> None:
        try:
            rates = Rates(entry["artist_share_bp"], entry["community_cut_bp"], entry["reserve_cut_bp"])
        except SharesDoNotAddUp:
            self._wrong("terms", "rates that do not add up")
            return
        self._adopt_voted(entries.RATES, self._rates, entry, rates)

    def _take_rules(self, entry: Entry) -> None:
        try:
            rules = Rules(entry["payout_minimum_minor"], entry["listen_ms_max"])
        except UnsuitableRules:
            self._wrong("terms", "rules that cannot be any")
            return
        self._adopt_voted(entries.RULES, self._rules, entry, rules)

    def _adopt_voted(self, kind: str, versions: Versions[T], entry: Entry, terms: T) -> None:
        """Terms that members vote on: within the constitution, and by a ballot or told as not voted on."""
        self._adopt(versions, entry, terms)
        for name in KINDS[kind]:
            bound = self.ballots.constitution.parameters[name]
            if not bound.permits(entry[name]):
                self._wrong("terms", f"{kind} outside the constitution's bounds", f"{name}: {bound}", entry[name])
        decided_by, version = entry["decided_by"], entry["version"]
        if decided_by.startswith(DECIDED_BY_BALLOT):
            ballot = decided_by.removeprefix(DECIDED_BY_BALLOT)
            self._decided_by[kind, version] = ballot
            self._batch.adopted.append(_Adopted(self.at, kind, ballot, version, entry["effective_epoch"]))
        elif decided_by != FOUNDING:
            self.unvoted.append(f"{kind} of version {version}, decided by {decided_by}")

    def _take_net_factors(self, entry: Entry) -> None:
        try:
            factors = NetFactors(entry["vat_bp"], entry["fees_bp"], entry["licensing_bp"])
        except SharesDoNotAddUp:
            self._wrong("terms", "net factors that leave nothing")
            return
        try:
            self.ballots.constitution.require_covered(factors)
        except CeilingTooHigh as refused:
            self._wrong("terms", str(refused))
        self._adopt(self._factors, entry, factors)

    def _adopt(self, versions: Versions[T], entry: Entry, terms: T) -> None:
        """Terms reach forward only: what was played or closed under others stays under them."""
        version, effective_epoch = entry["version"], entry["effective_epoch"]
        if entry["decided_by"] == FOUNDING:
            first_epoch = self.founding.get("first_epoch")
            if versions or effective_epoch != first_epoch:
                self._wrong(
                    "terms", "terms of the founding are the first, from the first epoch on", first_epoch, version
                )
        elif not versions:
            self._wrong("terms", "the first terms are of the founding", FOUNDING, entry["decided_by"])
        else:
            reached = [epoch for epoch in (self._played_epoch, self._sealed_epoch) if epoch is not None]
            if reached and effective_epoch <= max(reached):
                self._wrong(
                    "terms", "terms that change an epoch which has begun", f"after {max(reached)}", effective_epoch
                )
            elif self._starts_at(effective_epoch) <= self._batch.opened_at:
                self._wrong("terms", "terms of an epoch that had begun before their batch", "", effective_epoch)
        if version <= versions.latest:
            self._wrong("terms", "versions of terms ascend", f"over {versions.latest}", version)
        versions.add(version, effective_epoch, terms)

    def _starts_at(self, epoch: int) -> int:
        """When an epoch begins; long ago where no calendar holds it."""
        try:
            return int(self.calendar.starts_at(epoch).timestamp())
        except (OverflowError, ValueError, OSError):
            return 0

    def _before_ballot(self, ballot: Ballot) -> dict[str, int]:
        """What was in force in the epoch after a ballot's opening, by open parameter, or was to be by then."""
        opened_at = ballot.entry["opened_at"]
        try:
            epoch = self.calendar.epoch_at(datetime.fromtimestamp(opened_at, UTC)) + 1
        except (OverflowError, ValueError, OSError):
            return {}

        def was_known(kind: str, version: int) -> bool:
            by = self._decided_by.get((kind, version))
            other = self.ballots.counted.get(by) if by is not None else None
            return by is None or (other is not None and other.entry["closed_at"] <= opened_at)

        return {
            name: getattr(terms, name)
            for kind, versions in self._versions.items()
            if (terms := versions.in_force_of(epoch, partial(was_known, kind))) is not None
            for name in KINDS[kind]
        }

    def _require_decided(self, told: _Adopted) -> None:
        versions = self._versions[told.kind]
        adopted, before = (
            {name: getattr(terms, name) for name in KINDS[told.kind]} if terms is not None else {}
            for terms in (versions.of(told.version), versions.before(told.version))
        )
        effective = told.effective_epoch, self._starts_at(told.effective_epoch)
        self.ballots.adopt(told.at, told.kind, told.ballot, adopted, before, effective)

    # --- Keys and officers ---

    def _take_keys(self, entry: Entry) -> None:
        origin = self._origin or self.founding.get("origin", "")
        try:
            new = rotation.keys_of(origin, entry["keys"])
            if not self._pinned.intersection(new):
                rotation.handed_over(origin, entry["keys"], entry["signatures"], self.keys)
            else:
                # Who was told a later key knows none of the earlier: its signature on the head vouches for this entry.
                self._doubts.clear()
        except NoteRefused as refused:
            self._doubts.append((self.at, f"the log's keys were not handed over as they should be: {refused}"))
            return
        self.keys = new
        self.all_keys.update(new)

    def _take_attestation(self, entry: Entry) -> None:
        epoch, bank_micro = entry["epoch"], entry["bank_micro"]
        told = attestation.text(
            self.founding.get("origin", ""), epoch, entry["batch"], bank_micro, self.founding.get("currency", "")
        )
        try:
            signers = attestation.verified(told, entry["officers"], entry["signatures"])
        except NoteRefused as refused:
            self._wrong("attestations", f"the bank attestation is not signed as it should be: {refused}")
            return
        sealed = self._banks.get(epoch)
        if sealed is None:
            self._wrong("attestations", "an attestation of an epoch that is not sealed", "a sealed epoch", epoch)
            return
        batch, running_micro, totals = sealed
        self._require("attestations", "the attestation is of another batch than the seal", batch, entry["batch"])
        self._require("attestations", "the bank held another sum than came in and went out", running_micro, bank_micro)
        if totals.attested_by:
            self._wrong("attestations", "an epoch is attested twice")
        strangers = [] if self._officers is None else attestation.strangers(signers, self._officers)
        if strangers:
            self._wrong("attestations", f"not officers of the founding note: {', '.join(strangers)}")
            return
        unvouched = " (no founding note vouches for them)" if self._officers is None else ""
        totals.attested_by = [f"{key.name}{unvouched}" for key in signers]

    # --- Tracks and splits ---

    def _take_track(self, entry: Entry) -> None:
        if entry["track"] in self._tracks:
            self._wrong("splits", "a track is told twice", "", entry["track"])
        self._tracks.add(entry["track"])

    def _take_split(self, entry: Entry) -> None:
        track, split, effective_epoch = entry["track"], entry["split"], entry["effective_epoch"]
        # May come before its track, which is told when it is first played.
        splits = self._splits.setdefault(track, [])
        shares = tuple(Share(share["payee"], share["share_bp"]) for share in entry["payees"])
        try:
            check_split(shares)
        except SharesDoNotAddUp as refused:
            self._wrong("splits", f"a split that is not whole: {refused}")
            return
        if split == track:
            first_epoch = self.founding.get("first_epoch")
            self._require("splits", "a track's own split is of the first epoch", first_epoch, effective_epoch)
            if track not in self._tracks:
                self._wrong("splits", "a track's own split before the track", "", track)
        elif self._sealed_epoch is not None and effective_epoch <= self._sealed_epoch:
            self._wrong("splits", "a split that changes a closed epoch", f"after {self._sealed_epoch}", effective_epoch)
        if any(before.split == split for before in splits):
            self._wrong("splits", "a split is told twice", "", split)
        splits.append(_Split(effective_epoch, track if split == track else split, shares))

    def _split_of(self, track: str, epoch: int) -> _Split | None:
        in_force = [split for split in self._splits.get(track, ()) if split.effective_epoch <= epoch]
        return max(in_force, key=lambda split: (split.effective_epoch, split.split), default=None)

    # --- What happened ---

    def _take_plays(self, entry: Entry) -> None:
        epoch, track = entry["epoch"], entry["track"]
        self._count_plays(epoch, track, entry["count"], entry["sum_micro"], entry["root"])

    def _add_plays(self, batch: int, epoch: int, track: str, count: int, sum_micro: int, root: str) -> None:
        """The same as taking the entry: nearly all of a log's go this way."""
        self.kinds[entries.PLAYS] += 1
        self._require_place(entries.PLAYS, (_PLAYS_PLACE, epoch, track), batch)
        self._count_plays(epoch, track, count, sum_micro, root)

    def _count_plays(self, epoch: int, track: str, count: int, sum_micro: int, root: str) -> None:
        if track not in self._tracks:
            self._wrong("plays", "plays of a track that was not told before", "", track)
        if epoch < self.calendar.first:
            self._wrong("plays", "plays of an epoch before the founding", f"from {self.calendar.first}", epoch)
        tariff = self._tariffs.in_force(epoch)
        if tariff is None:
            self._wrong("plays", "plays under no tariff", "", epoch)
        elif not count <= sum_micro <= count * tariff.total_micro:
            self._wrong(
                "plays", "plays that cannot have cost this", f"{count} to {count * tariff.total_micro}", sum_micro
            )
        self._require_fresh(root)
        pending = self._pending.setdefault(epoch, {})
        pending[track] = pending.get(track, 0) + sum_micro
        self._since.spent_micro += sum_micro
        if self._played_epoch is None or epoch > self._played_epoch:
            self._played_epoch = epoch

    def _require_fresh(self, root: str) -> None:
        """No tree stands in the log twice: its salts are fresh, so its root is."""
        told = int(root[:_ROOT_DIGITS], 16)
        if told in self._roots:
            self._wrong("plays", "a tree that stood in the log before: an entry was used again", "", root)
        self._roots.add(told)

    def _take_top_ups(self, entry: Entry) -> None:
        self._require_fresh(entry["root"])
        if (value_micro := self._value_micro(entry["credits_micro"])) > entry["money_micro"]:
            self._wrong("credits", "credits were sold for less than their price", value_micro, entry["money_micro"])
        self._since.in_micro += entry["credits_micro"]
        self._bank_micro += entry["money_micro"]

    def _take_grants(self, entry: Entry) -> None:
        self._require_fresh(entry["root"])
        self._since.in_micro += entry["credits_micro"]

    def _take_payouts(self, entry: Entry) -> None:
        self._bank_micro -= entry["money_micro"]

    def _take_shares(self, entry: Entry) -> None:
        change_micro = entry["paid_micro"] - entry["refunded_micro"]
        self._bank_micro += change_micro
        self._shares_micro += change_micro
        if self._shares_micro < 0:
            self._wrong("attestations", "more member shares were paid back than paid", 0, self._shares_micro)

    def _value_micro(self, credits_micro: int) -> int:
        try:
            return self._price.value_micro(credits_micro)
        except ValueError as inexact:
            self._wrong("credits", str(inexact))
            return 0

    # --- Ballots ---

    def _take_ballot(self, entry: Entry) -> None:
        self.ballots.begin(self.at, entry, self._batch.closed_at)

    def _take_ballot_stopped(self, entry: Entry) -> None:
        self.ballots.take_stopped(self.at, entry, self._batch.closed_at)

    # --- Share-outs ---

    def _take_royalties(self, entry: Entry) -> None:
        self._require("royalties", "royalties are closed in their own epoch", entry["epoch"], entry["closed_in"])
        self._share_out(entry)

    def _take_late(self, entry: Entry) -> None:
        if entry["epoch"] >= entry["closed_in"]:
            self._wrong(
                "royalties", "late plays are of an earlier epoch", f"before {entry['closed_in']}", entry["epoch"]
            )
        self._share_out(entry)

    def _share_out(self, entry: Entry) -> None:
        epoch, track = entry["epoch"], entry["track"]
        if self._sealed_epoch is not None and entry["closed_in"] <= self._sealed_epoch:
            self._wrong(
                "royalties", "a share-out of a close that is sealed", f"after {self._sealed_epoch}", entry["closed_in"]
            )
        self._batch.closes.add(entry["closed_in"])
        collected_micro = self._pending.get(epoch, {}).pop(track, 0)
        self._require("royalties", "not what the track's plays add up to", collected_micro, entry["collected_micro"])
        split = self._split_of(track, epoch)
        recomputed = self._recomputed(entry, split)
        if split is not None:
            self._require("royalties", "another split than the one in force", split.split, entry["split"])
        if recomputed is not None and split is not None:
            self._require_recomputed(entry, recomputed)
            self._keep_lines(entry, split)
        totals = self._since.totals
        totals.tracks += 1
        totals.collected_micro += entry["collected_micro"]
        totals.gross_micro += entry["gross_micro"]
        totals.royalties_micro += sum(line["amount_micro"] for line in entry["lines"])
        totals.held_micro += sum(line["amount_micro"] for line in entry["lines"] if line["held_because"] is not None)
        for into, amounts in ((totals.deductions, entry["deductions"]), (totals.funds, entry["funds"])):
            for name, amount in amounts.items():
                into[name] = into.get(name, 0) + amount

    def _recomputed(self, entry: Entry, split: _Split | None) -> TrackRoyalties | None:
        epoch, track = entry["epoch"], entry["track"]
        factors, rates = self._factors.in_force(epoch), self._rates.in_force(epoch)
        if split is None or factors is None or rates is None:
            self._wrong("royalties", "a share-out for which no terms or no split are in force", "", track)
            return None
        terms = Terms(self._price, factors, rates)
        try:
            return track_royalties(entry["collected_micro"], split.shares, terms, epoch=epoch, track=track)
        except (DomainError, ValueError) as refused:
            self._wrong("royalties", f"a share-out that cannot be recomputed: {refused}")
            return None

    def _require_recomputed(self, entry: Entry, recomputed: TrackRoyalties) -> None:
        for name, expected in (
            ("gross_micro", recomputed.gross_micro),
            ("deductions", recomputed.deductions),
            ("net_micro", recomputed.net_micro),
            ("artists_micro", recomputed.artists_micro),
            ("funds", recomputed.funds),
        ):
            self._require("royalties", f"another {name} than the terms give", expected, entry[name])
        amounts = [line.amount_micro for line in recomputed.lines]
        found = [line["amount_micro"] for line in entry["lines"]]
        self._require("royalties", "other lines than the split gives", amounts, found)

    def _keep_lines(self, entry: Entry, split: _Split) -> None:
        """Held lines are to be released one day; those of the epoch asked for are to be shown."""
        epoch, track, closed_in = entry["epoch"], entry["track"], entry["closed_in"]
        is_shown = self._shown is not None and label(self.calendar, epoch) == self._shown
        for share, line in zip(split.shares, entry["lines"], strict=False):
            amount_micro, held_because = line["amount_micro"], line["held_because"]
            if held_because is not None:
                self._held[closed_in, epoch, track, share.payee] = amount_micro
            if is_shown and len(self.lines) < LINES_MAX:
                shown = (track, closed_in, entry["collected_micro"], share.payee, share.share_bp)
                self.lines.append(ShownLine(*shown, amount_micro, held_because))
            elif is_shown:
                self.lines_left_out += 1

    def _take_release(self, entry: Entry) -> None:
        key = entry["closed_in"], entry["epoch"], entry["track"], entry["payee"]
        if key not in self._held:
            self._wrong("releases", "a line is released that was not held", "", key)
            return
        held_micro = self._held[key]
        if held_micro is None:
            self._wrong("releases", "a line is released twice", "", key)
            return
        self._require("releases", "another amount is released than was held", held_micro, entry["amount_micro"])
        self._held[key] = None

    # --- Seals ---

    def _take_wallets(self, entry: Entry) -> None:
        self._batch.wallets = entry
        before, received, spent, after = (
            entry[name] for name in ("opening_micro", "in_micro", "spent_micro", "closing_micro")
        )
        self._require("wallets", "wallets open with another sum than they closed with", self._closing_micro, before)
        self._require("wallets", "wallets got another sum than top-ups and grants", self._since.in_micro, received)
        self._require("wallets", "wallets spent another sum than the plays cost", self._since.spent_micro, spent)
        self._require("wallets", "the wallets do not add up", before + received - spent, after)
        if entry["count"]:
            self._require_fresh(entry["root"])
        elif any((before, received, spent, after)) or entry["root"] != EMPTY_HASH.hex():
            self._wrong("wallets", "no wallets, and yet there is something in them")
        self._closing_micro = after

    def _take_seal(self, entry: Entry) -> None:
        epoch, totals, wallets = entry["epoch"], self._since.totals, self._batch.wallets
        if self._sealed_epoch is not None and epoch <= self._sealed_epoch:
            self._wrong("seals", "epochs are sealed in their order, once", f"after {self._sealed_epoch}", epoch)
        if wallets is None:
            self._wrong("seals", "a seal without the wallets before it")
        else:
            self._require("seals", "the wallets before the seal are of another epoch", epoch, wallets["epoch"])
        self._require_shared_out(epoch)
        for name in ("tracks", "collected_micro", "gross_micro", "royalties_micro", "held_micro"):
            self._require("seals", f"another {name} than the share-outs come to", getattr(totals, name), entry[name])
        for name in ("deductions", "funds"):
            added, told = _without_nothing(getattr(totals, name)), _without_nothing(entry[name])
            self._require("seals", f"other {name} than the share-outs come to", added, told)
        totals.epoch, totals.batch = epoch, self._batch.number
        if wallets is not None:
            totals.wallets, totals.closing_micro = wallets["count"], wallets["closing_micro"]
        self.epochs.append(totals)
        self.sealed.setdefault(epoch, Sealed(self.at, totals))
        self._banks[epoch] = self._batch.number, self._bank_micro, totals
        self._batch.is_sealed = True
        self._since = _SinceSeal(EpochTotals(0))
        self._sealed_epoch = epoch if self._sealed_epoch is None else max(epoch, self._sealed_epoch)

    def _require_shared_out(self, epoch: int) -> None:
        """Of epochs that are over nothing waits to be shared out."""
        for played in sorted(self._pending):
            if played > epoch:
                break
            for track, sum_micro in self._pending.pop(played).items():
                self._wrong("royalties", f"plays of track {track} in epoch {played} are paid to nobody", sum_micro, 0)
        latest = max(self._batch.closes, default=epoch)
        if latest > epoch:
            self._wrong("seals", "share-outs of a later close than is sealed", epoch, latest)


def _without_nothing(amounts: dict[str, int]) -> dict[str, int]:
    return {name: amount for name, amount in amounts.items() if amount}
