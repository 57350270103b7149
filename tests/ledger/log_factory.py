"""A small co-op whose every play, credit and royalty is known, and its log: valid, then changed as a test asks.

Ids, salts and keys come from one seed, so the log of a seed is always the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from eth_keys import keys as curve

from ledger import attestation, ballots, counting, entries, founding, receipts, sumtree
from ledger.ballots import Form, Seat, SignedVote
from ledger.constitution import KINDS, Constitution, numbers_of
from ledger.counting import Counted
from ledger.entries import Entry
from ledger.merkle import consistency_proof, inclusion_proof
from ledger.money import CreditPrice
from ledger.note import Checkpoint, KeyType, SigningKey, signed
from ledger.rates import NetFactors, Rates
from ledger.receipts import Promise, VotePromise
from ledger.royalties import Share, Terms, track_royalties
from ledger.rules import Rules
from ledger.sumtree import Kind, Leaf, SumTree
from ledger.tariff import Tariff
from ledger.tiles import Edge, TiledTree

ORIGIN = "coop.example/log"
EPOCH = 2026 * 12 + 2
FOUNDED_AT = 1_772_323_200
"""The first of March 2026, and the epoch it begins."""
DAY_S = 86_400
TARIFF = Tariff()
CONSTITUTION = Constitution(class_quorum_bp={"listener": 0, "artist": 4_000, "worker": 0}, delegation_cap=3)
CHAIN_ID, CONTRACT = 31_337, "0x" + "Ab" * 20
PRICE = CreditPrice(1_000_000)

Named = tuple[str, Entry]


def key(name: str, kind: KeyType = KeyType.ED25519) -> SigningKey:
    """A signing key that its name decides."""
    return SigningKey(name, kind, Random(f"{name}{kind}").randbytes(32))


KEYS = [key(ORIGIN), key(ORIGIN, KeyType.ML_DSA_44)]
VERIFIERS = tuple(each.verifier for each in KEYS)
OFFICERS = [key("coop.example/treasurer"), key("coop.example/chair")]
WITNESSES = [key(f"witness{n}.example", KeyType.ED25519_COSIGNATURE) for n in (1, 2)]
FOUNDERS = [key("founder.example")]
NOTE = founding.written(
    founding.FoundingNote(
        ORIGIN,
        keys=VERIFIERS,
        founders=tuple(each.verifier for each in FOUNDERS),
        officers=tuple(each.verifier for each in OFFICERS),
        constitution=CONSTITUTION.hash,
        chain=(("chain_id", str(CHAIN_ID)), ("membership", CONTRACT)),
        witnesses=tuple(each.verifier for each in WITNESSES),
    ),
    [*KEYS, *FOUNDERS],
)


@dataclass(frozen=True, slots=True)
class Play:
    """A private play row."""

    play: UUID
    listener: UUID
    track: UUID
    epoch: int
    ordinal: int
    price_micro: int
    salt: bytes

    @property
    def told(self) -> dict[str, Any]:
        """Its opening as a receipt tells it."""
        return {
            "play": str(self.play),
            "listener": str(self.listener),
            "track": str(self.track),
            "epoch": self.epoch,
            "ordinal": self.ordinal,
            "kind": "play",
            "price_micro": self.price_micro,
        }

    @property
    def commitment(self) -> bytes:
        """What its leaf commits to."""
        opening = entries.play_opening(
            self.play, self.listener, self.track, self.epoch, self.ordinal, "play", self.price_micro
        )
        return sumtree.commitment(self.salt, opening)

    @property
    def leaf(self) -> Leaf:
        """Its leaf."""
        return Leaf(self.commitment, (self.price_micro,))


@dataclass(slots=True)
class Wallet:
    """A wallet since the last seal."""

    opening_micro: int = 0
    in_micro: int = 0
    spent_micro: int = 0

    @property
    def closing_micro(self) -> int:
        """What is in it."""
        return self.opening_micro + self.in_micro - self.spent_micro


@dataclass(frozen=True, slots=True)
class Split:
    """A split with the payees' names in the clear."""

    split: UUID
    effective_epoch: int
    payees: tuple[UUID, ...]
    salts: tuple[bytes, ...]
    shares: tuple[Share, ...]


@dataclass(frozen=True)
class Member:
    """A member with a wallet; `delegate` is another's address, or her own."""

    key: curve.PrivateKey
    member_class: str
    delegate: str

    @property
    def address(self) -> str:
        """Her address, as people write it."""
        return str(self.key.public_key.to_checksum_address())

    @property
    def seat(self) -> Seat:
        """Her seat."""
        return Seat(self.address, self.member_class, self.delegate)

    def vote(
        self, form: Form, values: Sequence[int], deadline: int, nonce: int = 1, *, is_kept: bool = False
    ) -> SignedVote:
        """Her signed vote."""
        digest = ballots.digest(form, values, nonce, deadline)
        signed_ = self.key.sign_msg_hash(digest).to_bytes()
        signature = signed_[:64] + bytes([27 + signed_[64]])
        return SignedVote(self.address, tuple(values), nonce, deadline, signature, is_kept)


@dataclass
class Maker:
    """The co-op's books as far as its log needs them. `entries` grows batch by batch."""

    seed: int = 1844
    epoch: int = EPOCH
    entries: list[Named] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = Random(self.seed)
        self.number = 0
        self.plays: list[Play] = []
        self.wallets: dict[UUID, Wallet] = {}
        self.splits: dict[UUID, list[Split]] = {}
        self.terms: list[tuple[int, Terms]] = []
        self.bank_micro = 0
        # What is known of a tree to whoever made it: by its root.
        self.trees: dict[str, SumTree] = {}
        self.wallet_salts: dict[tuple[UUID, int], bytes] = {}
        self._ordinals: dict[tuple[UUID, UUID], int] = {}
        self._new: list[Play] = []
        self._credits: dict[str, list[Leaf]] = {entries.TOP_UPS: [], entries.GRANTS: []}
        self._payouts: list[int] = []
        self._shares: list[int] = []
        self._pending: dict[tuple[int, UUID], int] = {}
        self._told: dict[str, list[Entry]] = {}
        self._ballots: list[Counted] = []
        # Of the last seal its batch, and the bank then.
        self._last_seal: tuple[int, int] | None = None
        self.entries.append((entries.FOUNDING, self._founding()))

    def id(self) -> UUID:
        """A fresh id."""
        return UUID(int=self.chance.getrandbits(128), version=4)

    def _founding(self) -> Entry:
        return {
            "origin": ORIGIN,
            "coop": "Test Co-op",
            "currency": "EUR",
            "minor_digits": 2,
            "credit_price_micro": PRICE.money_micro,
            "epoch_seconds": 0,
            "first_epoch": EPOCH,
            "founded_at": FOUNDED_AT,
            "constitution": CONSTITUTION.as_json(),
        }

    # --- What happens ---

    def tell(self, kind: str, entry: Entry) -> None:
        """An entry of the coming batch, made by hand."""
        self._told.setdefault(kind, []).append(entry)

    def adopt(self, version: int, effective_epoch: int, rates: Rates, factors: NetFactors, decided_by: str) -> None:
        """Rates and net factors from an epoch on."""
        head = {"version": version, "effective_epoch": effective_epoch, "decided_by": decided_by}
        if version == 1:
            self.tell(entries.TARIFF, {**head, "first_price_micro": TARIFF.first_price_micro, "plays": TARIFF.plays})
            self.tell(entries.RULES, {**head, "payout_minimum_minor": 1_000, "listen_ms_max": 45_000})
        self.tell(
            entries.RATES,
            {
                **head,
                "artist_share_bp": rates.artist_share_bp,
                "community_cut_bp": rates.community_cut_bp,
                "reserve_cut_bp": rates.reserve_cut_bp,
            },
        )
        if not self.terms or self.terms[-1][1].net_factors != factors:
            told = {"vat_bp": factors.vat_bp, "fees_bp": factors.fees_bp, "licensing_bp": dict(factors.licensing_bp)}
            self.tell(entries.NET_FACTORS, {**head, "decided_by": decided_by.partition(":")[0], **told})
        self.terms.append((effective_epoch, Terms(PRICE, factors, rates)))

    def track(self, *shares_bp: int) -> UUID:
        """A new track and its first split."""
        track = self.id()
        self.tell(
            entries.TRACK, {"track": str(track), "artist": str(self.id()), "sha256": self.chance.randbytes(32).hex()}
        )
        self.splits[track] = []
        self.split(track, EPOCH, *shares_bp, split=track)
        return track

    def split(self, track: UUID, effective_epoch: int, *shares_bp: int, split: UUID | None = None) -> Split:
        """Another split of a track."""
        split = split or self.id()
        payees = tuple(self.id() for _ in shares_bp)
        salts = tuple(self.chance.randbytes(32) for _ in shares_bp)
        names = [
            sumtree.commitment(salt, entries.payee_opening(payee, split)).hex()
            for salt, payee in zip(salts, payees, strict=True)
        ]
        shares = tuple(Share(name, bp) for name, bp in zip(names, shares_bp, strict=True))
        made = Split(split, effective_epoch, payees, salts, shares)
        self.splits[track].append(made)
        told = [{"payee": share.payee, "share_bp": share.share_bp} for share in shares]
        self.tell(
            entries.SPLIT,
            {"split": str(split), "track": str(track), "effective_epoch": effective_epoch, "payees": told},
        )
        return made

    def listener(self, credits_micro: int) -> UUID:
        """A new listener who paid for credits."""
        listener = self.id()
        self.wallets[listener] = Wallet()
        self.top_up(listener, credits_micro)
        return listener

    def top_up(self, listener: UUID, credits_micro: int) -> None:
        """Credits that were paid for."""
        money_micro = PRICE.value_micro(credits_micro)
        opening = entries.credit_opening(self.id(), listener, "top-up", credits_micro, money_micro)
        self._credits[entries.TOP_UPS].append(
            Leaf(sumtree.commitment(self.chance.randbytes(32), opening), (credits_micro, money_micro))
        )
        self.wallets[listener].in_micro += credits_micro
        self.bank_micro += money_micro

    def grant(self, listener: UUID, credits_micro: int) -> None:
        """Credits as a present."""
        opening = entries.credit_opening(self.id(), listener, "grant", credits_micro, 0)
        self._credits[entries.GRANTS].append(
            Leaf(sumtree.commitment(self.chance.randbytes(32), opening), (credits_micro,))
        )
        self.wallets[listener].in_micro += credits_micro

    def pay_out(self, money_micro: int) -> None:
        """Money leaves the bank for a payee."""
        self._payouts.append(money_micro)
        self.bank_micro -= money_micro

    def share(self, paid_micro: int) -> None:
        """A member's share is paid at the bank; below zero, paid back."""
        self._shares.append(paid_micro)
        self.bank_micro += paid_micro

    def play(self, listener: UUID, track: UUID, epoch: int | None = None, price_micro: int | None = None) -> Play:
        """The listener's next play of a track."""
        ordinal = self._ordinals.get((listener, track), 0) + 1
        self._ordinals[listener, track] = ordinal
        if price_micro is None:
            price_micro = TARIFF.price_micro(ordinal)
        epoch = self.epoch if epoch is None else epoch
        played = Play(self.id(), listener, track, epoch, ordinal, price_micro, self.chance.randbytes(32))
        self.plays.append(played)
        self._new.append(played)
        return played

    def members(self, *classes: str, delegations: Mapping[int, int] | None = None) -> list[Member]:
        """Members of these classes; by `delegations` one has delegated to another, by their places."""
        keys = [curve.PrivateKey(self.chance.randbytes(32)) for _ in classes]
        addresses = [key.public_key.to_checksum_address() for key in keys]
        to = delegations or {}
        return [
            Member(key, member_class, addresses[to.get(n, n)])
            for n, (key, member_class) in enumerate(zip(keys, classes, strict=True))
        ]

    def ballot(
        self,
        status_quo: Mapping[str, int],
        members: Sequence[Member],
        wanted: Mapping[int, Sequence[int]],
        constitution: Constitution = CONSTITUTION,
        kept: Sequence[int] = (),
        **changes: Any,
    ) -> Counted:
        """A ballot that is counted at the end of the coming batch, and what members, by their places, wanted in it."""
        form = Form(self.id(), tuple(status_quo), CHAIN_ID, CONTRACT)
        closed_at = FOUNDED_AT + (self.number + 1) * DAY_S
        about: dict[str, Any] = {
            "text": "Shall it change?",
            "opened_at": closed_at - 3 * DAY_S,
            "closed_at": closed_at,
            "block_number": 12,
            "block_hash": "0x" + self.chance.randbytes(32).hex(),
            "block_timestamp": FOUNDED_AT - 60,
        }
        asked = counting.Ballot(form, status_quo=status_quo, **about | changes)
        votes = [members[n].vote(form, values, closed_at, is_kept=n in kept) for n, values in wanted.items()]
        counted = counting.counted(asked, [member.seat for member in members], votes, constitution)
        self._ballots.append(counted)
        return counted

    def stop_ballot(self, because: str) -> UUID:
        """A ballot that took votes and was stopped in the coming batch."""
        ballot_id, stopped_at = self.id(), FOUNDED_AT + (self.number + 1) * DAY_S
        opened_at = stopped_at - DAY_S
        self.tell(
            entries.BALLOT_STOPPED,
            {"ballot": str(ballot_id), "opened_at": opened_at, "stopped_at": stopped_at, "because": because},
        )
        return ballot_id

    def decide(
        self, version: int, kind: str, effective_epoch: int, counted: Counted, before: Mapping[str, int]
    ) -> None:
        """The terms of one kind that a ballot led to."""
        results = {name: outcome.result for name, outcome in counted.tally.outcomes.items()}
        numbers = {name: {**before, **results}[name] for name in KINDS[kind]}
        head = {"version": version, "effective_epoch": effective_epoch, "decided_by": decided_by(counted)}
        self.tell(kind, {**head, **numbers})

    def attest(self, epoch: int, bank_micro: int | None = None, officers: Sequence[SigningKey] = OFFICERS) -> None:
        """Two officers say what the bank held at the close of an epoch."""
        assert self._last_seal is not None
        batch, then_micro = self._last_seal
        bank_micro = then_micro if bank_micro is None else bank_micro
        told = attestation.text(ORIGIN, epoch, batch, bank_micro, "EUR")
        self.tell(
            entries.ATTESTATION,
            {
                "epoch": epoch,
                "batch": batch,
                "bank_micro": bank_micro,
                "officers": [str(officer.verifier) for officer in officers],
                "signatures": [attestation.signature(officer, told) for officer in officers],
            },
        )

    # --- The log ---

    def end_batch(self, seals: int | None = None, *, skip: int = 0) -> None:
        """The entries of the batch that ends now; with the close of the epoch it `seals`, if any."""
        self.number += 1 + skip
        opened_at = FOUNDED_AT + (self.number - 1) * DAY_S
        self._tell(entries.BATCH, batch=self.number, opened_at=opened_at, closed_at=opened_at + DAY_S)
        for kind in (
            *(entries.TARIFF, entries.RATES, entries.RULES, entries.NET_FACTORS, entries.ATTESTATION, entries.KEYS),
            *(entries.TRACK, entries.SPLIT),
        ):
            ids = {entries.TRACK: "track", entries.SPLIT: "split"}
            for entry in sorted(self._told.get(kind, []), key=lambda e, kind=kind: str(e.get(ids.get(kind, ""), ""))):
                self._tell(kind, **entry)
        self._tell_plays()
        self._tell_credits()
        if self._payouts:
            self._tell(entries.PAYOUTS, batch=self.number, count=len(self._payouts), money_micro=sum(self._payouts))
        if self._shares:
            paid_micro = sum(share for share in self._shares if share > 0)
            refunded_micro = paid_micro - sum(self._shares)
            told = {"paid_micro": paid_micro, "refunded_micro": refunded_micro}
            self._tell(entries.SHARES, batch=self.number, count=len(self._shares), **told)
        for counted in sorted(self._ballots, key=lambda each: str(each.ballot.form.ballot_id)):
            self.entries += counted.entries()
        for entry in self._told.get(entries.BALLOT_STOPPED, []):
            self._tell(entries.BALLOT_STOPPED, **entry)
        for entry in self._told.get(entries.RELEASE, []):
            self._tell(entries.RELEASE, **entry)
        self._new, self._payouts, self._shares, self._ballots, self._told = [], [], [], [], {}
        if seals is not None:
            self._close(seals)

    def _tell(self, kind: str, **entry: Any) -> None:
        self.entries.append((kind, entry))

    def _tree(self, kind: Kind, leaves: list[Leaf]) -> Entry:
        tree = SumTree(kind, sorted(leaves, key=lambda leaf: leaf.commitment))
        self.trees[tree.root.hash.hex()] = tree
        return {"count": tree.root.count, "root": tree.root.hash.hex()}

    def _tell_plays(self) -> None:
        places = sorted({(play.epoch, str(play.track), play.track) for play in self._new})
        for epoch, told, track in places:
            played = [play for play in self._new if (play.epoch, play.track) == (epoch, track)]
            sum_micro = sum(play.price_micro for play in played)
            tree = self._tree(entries.PLAYS_TREE, [play.leaf for play in played])
            self._tell(entries.PLAYS, batch=self.number, epoch=epoch, track=told, sum_micro=sum_micro, **tree)
            self._pending[epoch, track] = self._pending.get((epoch, track), 0) + sum_micro
        for play in self._new:
            self.wallets[play.listener].spent_micro += play.price_micro

    def _tell_credits(self) -> None:
        for kind, tree in ((entries.TOP_UPS, entries.TOP_UPS_TREE), (entries.GRANTS, entries.GRANTS_TREE)):
            leaves = self._credits[kind]
            if leaves:
                sums = {name: sum(leaf.amounts[n] for leaf in leaves) for n, name in enumerate(tree.amounts)}
                self._tell(kind, batch=self.number, **sums, **self._tree(tree, leaves))
        self._credits = {kind: [] for kind in self._credits}

    def _close(self, epoch: int) -> None:
        shared = []
        for (played, told, track), collected in sorted(
            ((played, str(track), track), collected) for (played, track), collected in self._pending.items()
        ):
            if played <= epoch:
                entry = self._share_out(epoch, played, track, collected)
                shared.append(entry)
                self._tell(entries.ROYALTIES if played == epoch else entries.LATE, **entry)
                del self._pending[played, UUID(told)]
        self._tell(entries.WALLETS, epoch=epoch, **self._close_wallets(epoch))
        self._tell(entries.SEAL, epoch=epoch, batch=self.number, **sealed(shared))
        self._last_seal = self.number, self.bank_micro

    def _share_out(self, closed_in: int, epoch: int, track: UUID, collected_micro: int) -> Entry:
        split = max(
            (split for split in self.splits[track] if split.effective_epoch <= epoch),
            key=lambda split: (split.effective_epoch, str(split.split)),
        )
        terms = [terms for begun, terms in self.terms if begun <= epoch][-1]
        paid = track_royalties(collected_micro, split.shares, terms, epoch=epoch, track=str(track))
        return {
            "closed_in": closed_in,
            "epoch": epoch,
            "track": str(track),
            "collected_micro": collected_micro,
            "split": str(split.split),
            "gross_micro": paid.gross_micro,
            "deductions": paid.deductions,
            "net_micro": paid.net_micro,
            "artists_micro": paid.artists_micro,
            "funds": paid.funds,
            "lines": [
                {"amount_micro": line.amount_micro, "held_because": None if n else "no-consent"}
                for n, line in enumerate(paid.lines)
            ],
        }

    def _close_wallets(self, epoch: int) -> Entry:
        leaves = []
        for listener, wallet in self.wallets.items():
            salt = self.wallet_salts[listener, epoch] = self.chance.randbytes(32)
            amounts = wallet.opening_micro, wallet.in_micro, wallet.spent_micro, wallet.closing_micro
            leaves.append(Leaf(sumtree.commitment(salt, entries.wallet_opening(listener, epoch)), amounts))
            self.wallets[listener] = Wallet(wallet.closing_micro)
        sums = {name: sum(leaf.amounts[n] for leaf in leaves) for n, name in enumerate(entries.WALLETS_TREE.amounts)}
        return {**sums, **self._tree(entries.WALLETS_TREE, leaves)}


def sealed(shared: Sequence[Entry]) -> Entry:
    """What share-outs come to, as a seal tells it."""
    totals: Entry = {"tracks": len(shared), "deductions": {}, "funds": {}}
    for name in ("collected_micro", "gross_micro"):
        totals[name] = sum(entry[name] for entry in shared)
    for name in ("deductions", "funds"):
        for entry in shared:
            for code, amount in entry[name].items():
                totals[name][code] = totals[name].get(code, 0) + amount
    lines = [line for entry in shared for line in entry["lines"]]
    totals["royalties_micro"] = sum(line["amount_micro"] for line in lines)
    totals["held_micro"] = sum(line["amount_micro"] for line in lines if line["held_because"])
    return totals


# --- A story ---


@dataclass
class Story:
    """Three listeners, two tracks, two closed epochs, one under way; and what came between."""

    maker: Maker
    ann: UUID
    ben: UUID
    song: UUID
    tune: UUID

    @property
    def entries(self) -> list[Named]:
        """Its log."""
        return self.maker.entries


def story(seed: int = 1844, then: Callable[[Story], None] = lambda _: None) -> Story:
    """The story of a seed; `then` may do something in its first batch."""
    maker = Maker(seed)
    maker.adopt(1, EPOCH, Rates(), NetFactors(1_900, 200, {"GEMA": 500}), "founding")
    song, tune = maker.track(6_000, 4_000), maker.track(10_000)
    told = Story(maker, maker.listener(5_000_000), maker.listener(3_000_000), song, tune)
    for track in (song, song, tune):
        maker.play(told.ann, track)
    maker.play(told.ben, song)
    maker.grant(told.ben, 50_000)
    then(told)
    maker.end_batch()
    maker.play(told.ben, tune)
    maker.play(told.ann, song)
    maker.end_batch(EPOCH)
    maker.epoch = EPOCH + 1
    maker.attest(EPOCH)
    members = maker.members(*MEMBERS, delegations=DELEGATIONS)
    share = maker.ballot({"artist_share_bp": 7_000}, members, {0: [8_000], 1: [7_400], 2: [7_300]}, kept=[2])
    maker.adopt(2, EPOCH + 2, Rates(7_400), NetFactors(1_900, 200, {"GEMA": 500}), decided_by(share))
    maker.split(song, EPOCH + 1, 2_500, 7_500)
    maker.play(told.ann, song)
    maker.play(told.ben, song, EPOCH)
    maker.pay_out(4_000)
    for paid_micro in (10_000_000, 10_000_000, -10_000_000):
        maker.share(paid_micro)
    maker.tell(entries.RELEASE, _release(maker, song))
    maker.end_batch()
    maker.top_up(told.ann, 1_000_000)
    maker.play(told.ann, tune)
    maker.end_batch(EPOCH + 1, skip=1)
    maker.epoch = EPOCH + 2
    maker.attest(EPOCH + 1)
    maker.play(told.ann, tune)
    before = numbers_of(TARIFF, Rates(7_400), Rules())
    both = maker.ballot(
        {"listen_ms_max": 45_000, "plays": 9}, members, {0: [30_000, 8], 3: [40_000, 9], 5: [38_000, 10]}
    )
    maker.decide(2, entries.RULES, EPOCH + 3, both, before)
    maker.ballot({"motion": 0}, members, {0: [1], 1: [1], 4: [0]})
    maker.end_batch()
    return told


MEMBERS = (*["listener"] * 5, *["artist"] * 3, "worker", "listener")
DELEGATIONS = {5: 1, 6: 0, 8: 9}
"""The first artist to a listener who votes, the second to another, a worker to somebody who does not."""


def decided_by(counted: Counted) -> str:
    """How terms tell the ballot they are of."""
    return f"ballot:{counted.ballot.form.ballot_id}"


def _release(maker: Maker, track: UUID) -> Entry:
    entry = next(entry for kind, entry in maker.entries if kind == entries.ROYALTIES and entry["track"] == str(track))
    return {
        "closed_in": entry["closed_in"],
        "epoch": entry["epoch"],
        "track": str(track),
        "payee": maker.splits[track][0].shares[0].payee,
        "amount_micro": entry["lines"][0]["amount_micro"],
    }


# --- Publishing ---


@dataclass
class Published:
    """A log as files in a folder, and what its writer can make of it."""

    folder: Path
    data: list[bytes]
    checkpoint: str

    @property
    def tree(self) -> TiledTree:
        """Its tree."""
        return TiledTree(len(self.data), lambda path: (self.folder / path).read_bytes())

    def proof(self, extra: bytes, entry: bytes) -> str:
        """A tlog-proof of an entry."""
        index = self.data.index(entry)
        return receipts.build(extra, index, inclusion_proof(index, len(self.data), self.tree.subtree), self.checkpoint)

    def consistency(self, old: int) -> list[bytes]:
        """That it begins with the log of `old` entries."""
        return consistency_proof(old, len(self.data), self.tree.subtree)


def publish(
    folder: Path,
    named: Sequence[Named] | Sequence[bytes],
    keys: Sequence[SigningKey] = tuple(KEYS),
    witnesses: Sequence[SigningKey] = (),
    note: str | None = NOTE,
) -> Published:
    """Write a log of these entries as tlog-tiles has it; entries as bytes are taken as they are."""
    data = [entry if isinstance(entry, bytes) else entries.encode(*entry) for entry in named]
    edge = Edge()
    for entry in data:
        _write(folder, ((tile.path, tile.data) for tile in edge.append(entry)))
    _write(folder, ((tile.path, tile.data) for tile in edge.partial()))
    head = Checkpoint(ORIGIN, edge.size, edge.root())
    checkpoint = str(signed(str(head), [*keys, *witnesses], FOUNDED_AT + len(data)))
    _write(folder, [("checkpoint", checkpoint.encode())])
    if note is not None:
        _write(folder, [("founding", note.encode())])
    return Published(folder, data, checkpoint)


def _write(folder: Path, files: Iterator[tuple[str, bytes]] | Sequence[tuple[str, bytes]]) -> None:
    for path, data in files:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


# --- What members keep ---


def play_receipt(maker: Maker, published: Published, play: Play, told: Mapping[str, Any] | None = None) -> str:
    """The receipt of a play; `told` in place of its own opening."""
    for data in published.data:
        kind, entry = entries.parse(data)
        tree = maker.trees.get(entry.get("root", "")) if kind == entries.PLAYS else None
        if tree is not None and play.leaf in tree.leaves:
            index = tree.leaves.index(play.leaf)
            extra = receipts.play_extra(data, index, tree.path(index), play.salt, told or play.told)
            return published.proof(extra, data)
    raise LookupError(play)


def wallet_receipt(
    maker: Maker, published: Published, listener: UUID, epoch: int, salt: bytes | None = None, place: int | None = None
) -> str:
    """The receipt of a wallet's line; by default the listener's own place and salt."""
    for data in published.data:
        kind, entry = entries.parse(data)
        if kind == entries.WALLETS and entry["epoch"] == epoch:
            tree = maker.trees[entry["root"]]
            salt = salt or maker.wallet_salts[listener, epoch]
            own = sumtree.commitment(salt, entries.wallet_opening(listener, epoch))
            if place is None:
                place = next(n for n, leaf in enumerate(tree.leaves) if leaf.commitment == own)
            opening = {"listener": str(listener), "epoch": epoch}
            amounts = tree.leaves[place].amounts
            return published.proof(receipts.wallet_extra(data, place, tree.path(place), salt, opening, amounts), data)
    raise LookupError(listener)


def payee_receipt(published: Published, split: Split, place: int) -> str:
    """The receipt of a payee's part in a split."""
    for data in published.data:
        kind, entry = entries.parse(data)
        if kind == entries.SPLIT and entry["split"] == str(split.split):
            opening = {"payee": str(split.payees[place]), "split": str(split.split)}
            return published.proof(receipts.payee_extra(data, split.salts[place], opening), data)
    raise LookupError(split)


def promise(play: Play, publish_by: int = FOUNDED_AT + DAY_S) -> str:
    """What its listener was told when the play was recorded."""
    return receipts.promise(Promise(ORIGIN, play.commitment, play.price_micro, publish_by), KEYS[:1])


def vote_promise(counted: Counted, vote: SignedVote, publish_by: int = FOUNDED_AT + 9 * DAY_S) -> str:
    """What a member was told when she cast a vote of the ballot."""
    digest = ballots.digest(counted.ballot.form, vote.values, vote.nonce, vote.deadline)
    told = (counted.ballot.form.ballot_id, vote.address.lower(), digest, vote.nonce, FOUNDED_AT, publish_by)
    return receipts.promise(VotePromise(ORIGIN, *told), KEYS[:1])
