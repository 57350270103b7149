"""What a chain says of a log, held against the log. Whoever asks the chain stands outside: here it is values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ledger.errors import DomainError
from ledger.verify.report import EpochTotals, Findings


class NoAnchors(DomainError):
    """The anchors cannot be read from the chain."""


@dataclass(frozen=True, slots=True)
class Anchored:
    """What a chain has of an epoch: the log had `size` entries under `root` once it was sealed, with these totals."""

    epoch: int
    size: int
    root: bytes
    gross_micro: int
    royalties_micro: int


class ReadAnchors(Protocol):
    """Whoever can ask a chain, as `ledger.verify.command` needs it."""

    def __call__(
        self, rpc_url: str, contract: str, *, origin: str, chain_id: int | None, code_hash: str | None
    ) -> Sequence[Anchored]:
        """Every anchor of the contract, of this log and no other, on this chain. Raises NoAnchors."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """An epoch's totals, and where its seal stands."""

    at: int
    totals: EpochTotals


def compare(
    anchors: Sequence[Anchored],
    sealed: Mapping[int, Sealed],
    roots: Mapping[int, bytes],
    size: int,
    findings: Findings,
    *,
    is_whole: bool,
) -> tuple[list[int], list[int]]:
    """The sealed epochs that are anchored, and those that are not yet; what contradicts becomes a finding.

    `roots` are those at the anchors' sizes, as far as the log of `size` was read: to its end if it `is_whole`.
    """
    told = {anchor.epoch: anchor for anchor in anchors}
    for anchor in anchors:
        _compare_root(anchor, roots, size, findings)
        if anchor.epoch in sealed:
            _compare_totals(anchor, sealed[anchor.epoch], findings)
        elif is_whole:
            findings.add("anchors", None, f"FORK: epoch {anchor.epoch} is anchored, and the log does not seal it")
    latest = max(told, default=None)
    if latest is not None:
        for epoch in sealed:
            if epoch < latest and epoch not in told:
                said = f"epoch {epoch} is not anchored, and a later one is"
                findings.add("anchors", sealed[epoch].at, said, "", latest)
    return [epoch for epoch in sealed if epoch in told], [
        epoch for epoch in sealed if epoch not in told and (latest is None or epoch > latest)
    ]


def _compare_root(anchor: Anchored, roots: Mapping[int, bytes], size: int, findings: Findings) -> None:
    of = f"as epoch {anchor.epoch} was anchored"
    if anchor.size > size:
        findings.add("anchors", None, f"FORK: the log is shorter than {of}", anchor.size, size)
    elif anchor.size in roots and roots[anchor.size] != anchor.root:
        found = roots[anchor.size].hex()
        findings.add("anchors", None, f"FORK: the log does not begin {of}", anchor.root.hex(), found)


def _compare_totals(anchor: Anchored, sealed: Sealed, findings: Findings) -> None:
    if anchor.size <= sealed.at:
        said = f"FORK: epoch {anchor.epoch} was anchored before it is sealed"
        findings.add("anchors", sealed.at, said, f"over {sealed.at}", anchor.size)
    for name in ("gross_micro", "royalties_micro"):
        expected, found = getattr(anchor, name), getattr(sealed.totals, name)
        if expected != found:
            said = f"FORK: epoch {anchor.epoch} was anchored with another {name}"
            findings.add("anchors", sealed.at, said, expected, found)
