"""Verifying a published log: how long a member's own machine takes over a million entries, and how much memory.

The log is a co-op's of several epochs, most of it plays by track and batch, with every share-out and seal. Of its sum
trees there are roots only: whoever has a line in one checks it. The audit runs in a process of its own, over files.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from statistics import median
from uuid import UUID

from benchmarks.figures import Bench, Figure, at_most
from ledger import entries
from ledger.constitution import Constitution
from ledger.entries import Entry
from ledger.money import CreditPrice
from ledger.note import Checkpoint, KeyType, SigningKey, signed
from ledger.rates import NetFactors, Rates
from ledger.royalties import Share, Terms, track_royalties
from ledger.tiles import Edge, Tile
from ledger.verify import run as audits
from ledger.verify.reading import open_log
from ledger.verify.report import HOLDS

ORIGIN = "bench.example/log"
ENTRIES, ENTRIES_QUICK = 1_000_000, 20_000
EPOCH, EPOCHS, BATCHES_AN_EPOCH = 24_320, 3, 30
# Of a hundred entries so many are plays; the others tell tracks, splits and share-outs.
PLAYS_PERCENT = 90
SECONDS_MAX = 20
MEMORY_MB_MAX = 500
MB = 1_000_000
DAY_S = 86_400
TERMS = Terms(CreditPrice(1_000_000), NetFactors(1_900, 200, {"GEMA": 500}), Rates())
KEYS = [SigningKey(ORIGIN, kind, bytes([kind]) * 32) for kind in (KeyType.ED25519, KeyType.ML_DSA_44)]


def run(bench: Bench) -> Iterator[Figure]:
    """Seconds and memory for the whole log, beside hashing and nothing else of the same entries."""
    size = bench.size(ENTRIES, ENTRIES_QUICK)
    with tempfile.TemporaryDirectory(prefix="streamcoop-verifying-") as folder:
        bench.say(f"writing a log of {size:,} entries")
        written = _publish(Path(folder), _log(size, Random(bench.seed)))  # noqa: S311
        audits_of, hashings = [], []
        for _ in range(bench.runs):
            audits_of.append(_apart(_audit, folder))
            hashings.append(_apart(_hash, folder))
    seconds, hashing_s = median(each.seconds for each in audits_of), median(each.seconds for each in hashings)
    memory = max(each.peak_bytes for each in audits_of) / MB
    control = "the same entries hashed and nothing else"
    yield Figure("entries verified", written / seconds, "entries/s", control, written / hashing_s)
    yield Figure(f"a log of {written:,} entries verified", seconds, "s", control, hashing_s, at_most(SECONDS_MAX))
    yield Figure(f"memory of verifying {written:,} entries", memory, "MB", bar=at_most(MEMORY_MB_MAX))


# --- In a process of its own ---


@dataclass(frozen=True, slots=True)
class _Took:
    seconds: float
    peak_bytes: int


def _apart(work: Callable[[str], _Took], folder: str) -> _Took:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(work, folder).result()


def _audit(folder: str) -> _Took:
    begun = time.perf_counter()
    asked = audits.Asked(tuple(key.verifier for key in KEYS))
    report = audits.verify(open_log(folder), asked, int(time.time()))
    if report.verdict != HOLDS:
        raise RuntimeError(f"the log does not hold: {[*map(str, report.findings.first[:3])]} {report.unreadable}")
    return _Took(time.perf_counter() - begun, _peak_bytes())


def _hash(folder: str) -> _Took:
    """What any auditor must do at least: read every bundle and hash its entries."""
    begun = time.perf_counter()
    for bundle in sorted((Path(folder) / "tile" / "entries").rglob("*")):
        if bundle.is_file():
            data, place = bundle.read_bytes(), 0
            while place < len(data):
                end = place + 2 + int.from_bytes(data[place : place + 2], "big")
                sha256(data[place + 2 : end]).digest()
                place = end
    return _Took(time.perf_counter() - begun, _peak_bytes())


def _peak_bytes() -> int:
    """The most this process ever had in memory, by the kernel's count."""
    status = Path("/proc/self/status").read_text("ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


# --- The log ---


def _publish(folder: Path, log: Iterator[bytes]) -> int:
    edge = Edge()
    made: set[Path] = set()
    for entry in log:
        for tile in edge.append(entry):
            _write(folder, tile, made)
    for tile in edge.partial():
        _write(folder, tile, made)
    head = Checkpoint(ORIGIN, edge.size, edge.root())
    (folder / "checkpoint").write_text(str(signed(str(head), KEYS, int(time.time()))), encoding="utf-8")
    return edge.size


def _write(folder: Path, tile: Tile, made: set[Path]) -> None:
    file = folder / tile.path
    if file.parent not in made:
        file.parent.mkdir(parents=True, exist_ok=True)
        made.add(file.parent)
    file.write_bytes(tile.data)


def _log(size: int, chance: Random) -> Iterator[bytes]:
    """About `size` entries."""
    plays_a_batch = size * PLAYS_PERCENT // 100 // (EPOCHS * BATCHES_AN_EPOCH)
    others = size - plays_a_batch * EPOCHS * BATCHES_AN_EPOCH
    # Of each track: itself, its split and a share-out an epoch.
    tracks = sorted(str(UUID(int=chance.getrandbits(128), version=4)) for _ in range(others // (2 + EPOCHS)))
    splits = {track: _split(chance) for track in tracks}
    yield from _beginning(tracks, splits, chance)
    closing_micro = 0
    for number in range(1, EPOCHS * BATCHES_AN_EPOCH + 1):
        epoch, day = EPOCH + (number - 1) // BATCHES_AN_EPOCH, (number - 1) % BATCHES_AN_EPOCH
        if day == 0:
            pending: dict[str, int] = {}
        if number > 1:
            yield _batch(number)
        for track in sorted(chance.sample(tracks, min(plays_a_batch, len(tracks)))):
            count = chance.randrange(1, 200)
            sum_micro = 2_000 * count * chance.randrange(1, 20)
            pending[track] = pending.get(track, 0) + sum_micro
            yield entries.encode(entries.PLAYS, _plays(number, epoch, track, count, sum_micro, chance))
        if day == BATCHES_AN_EPOCH - 1:
            yield from _close(number, epoch, pending, splits, closing_micro, chance)


def _beginning(tracks: list[str], splits: dict[str, tuple[Share, ...]], chance: Random) -> Iterator[bytes]:
    yield entries.encode(
        entries.FOUNDING,
        {
            "origin": ORIGIN,
            "coop": "Benchmark Co-op",
            "currency": "EUR",
            "minor_digits": 2,
            "credit_price_micro": TERMS.credit_price.money_micro,
            "epoch_seconds": 0,
            "first_epoch": EPOCH,
            "founded_at": DAY_S,
            "constitution": Constitution().as_json(),
        },
    )
    yield _batch(1)
    head = {"version": 1, "effective_epoch": EPOCH, "decided_by": "founding"}
    rates, factors = TERMS.rates, TERMS.net_factors
    yield entries.encode(entries.TARIFF, {**head, "first_price_micro": 2_000, "plays": 9})
    yield entries.encode(
        entries.RATES,
        {
            **head,
            "artist_share_bp": rates.artist_share_bp,
            "community_cut_bp": rates.community_cut_bp,
            "reserve_cut_bp": rates.reserve_cut_bp,
        },
    )
    yield entries.encode(entries.RULES, {**head, "payout_minimum_minor": 1_000, "listen_ms_max": 45_000})
    told = {"vat_bp": factors.vat_bp, "fees_bp": factors.fees_bp, "licensing_bp": factors.licensing_bp}
    yield entries.encode(entries.NET_FACTORS, {**head, **told})
    for track in tracks:
        artist = str(UUID(int=chance.getrandbits(128), version=4))
        yield entries.encode(entries.TRACK, {"track": track, "artist": artist, "sha256": chance.randbytes(32).hex()})
    for track in tracks:
        payees = [{"payee": share.payee, "share_bp": share.share_bp} for share in splits[track]]
        yield entries.encode(
            entries.SPLIT, {"split": track, "track": track, "effective_epoch": EPOCH, "payees": payees}
        )


def _batch(number: int) -> bytes:
    return entries.encode(
        entries.BATCH, {"batch": number, "opened_at": number * DAY_S, "closed_at": (number + 1) * DAY_S}
    )


def _split(chance: Random) -> tuple[Share, ...]:
    first = chance.choice((10_000, 6_000, 5_000))
    shares = (first,) if first == 10_000 else (first, 10_000 - first)
    return tuple(Share(chance.randbytes(32).hex(), share_bp) for share_bp in shares)


def _plays(batch: int, epoch: int, track: str, count: int, sum_micro: int, chance: Random) -> Entry:
    root = chance.randbytes(32).hex()
    return {"batch": batch, "epoch": epoch, "track": track, "count": count, "sum_micro": sum_micro, "root": root}


def _close(
    batch: int,
    epoch: int,
    pending: dict[str, int],
    splits: dict[str, tuple[Share, ...]],
    closing_micro: int,
    chance: Random,
) -> Iterator[bytes]:
    """What was collected is paid for at once by as much that comes in, so that wallets end as they began."""
    spent_micro = sum(pending.values())
    came = {"count": 1, "credits_micro": spent_micro, "root": chance.randbytes(32).hex()}
    yield entries.encode(entries.TOP_UPS, {"batch": batch, "money_micro": spent_micro, **came})
    seal: Entry = {"tracks": len(pending), "collected_micro": spent_micro, "deductions": {}, "funds": {}}
    seal |= {"gross_micro": 0, "royalties_micro": 0, "held_micro": 0}
    for track in sorted(pending):
        paid = track_royalties(pending[track], splits[track], TERMS, epoch=epoch, track=track)
        seal["gross_micro"] += paid.gross_micro
        seal["royalties_micro"] += paid.artists_micro
        for name, amounts in (("deductions", paid.deductions), ("funds", paid.funds)):
            for code, amount in amounts.items():
                seal[name][code] = seal[name].get(code, 0) + amount
        shared = {
            "closed_in": epoch,
            "epoch": epoch,
            "track": track,
            "collected_micro": pending[track],
            "split": track,
            "gross_micro": paid.gross_micro,
            "deductions": paid.deductions,
            "net_micro": paid.net_micro,
            "artists_micro": paid.artists_micro,
            "funds": paid.funds,
            "lines": [{"amount_micro": line.amount_micro, "held_because": None} for line in paid.lines],
        }
        yield entries.encode(entries.ROYALTIES, shared)
    wallets = {"opening_micro": closing_micro, "in_micro": spent_micro, "spent_micro": spent_micro}
    root = chance.randbytes(32).hex()
    yield entries.encode(
        entries.WALLETS, {"epoch": epoch, "count": 1, **wallets, "closing_micro": closing_micro, "root": root}
    )
    yield entries.encode(entries.SEAL, {"epoch": epoch, "batch": batch, **seal})
