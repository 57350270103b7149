"""A co-op whose log is anchored: that of the membership's tests, with a contract for anchors beside the members'."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from streamcoop.adapters.anchors import AnchorRecord, Anchors
from streamcoop.anchoring import service
from streamcoop.database import transaction
from streamcoop.settings import settings
from tests.embedded.chain_process import LOG_ORIGIN
from tests.membership.coop import Chain, Coop, deploy_anchors
from tests.membership.coop import chain as chain
from tests.membership.coop import coop as coop

FIRST = 24_323


@dataclass(frozen=True)
class Head:
    """What the publisher has anchored of an epoch."""

    epoch: int = FIRST
    size: int = 1_000
    root: bytes = b"\x11" * 32
    gross_micro: int = 900_000_000
    royalties_micro: int = 600_000_000

    @property
    def next(self) -> Head:
        return replace(self, epoch=self.epoch + 1, size=self.size + 500, root=bytes(reversed(range(32))))


@dataclass
class Anchorage:
    """The co-op, its contract of anchors, and the worker that carries them."""

    coop: Coop
    contract: str
    worker: Any

    def intend(self, head: Head) -> None:
        with transaction() as session:
            values = head.size, head.root, head.gross_micro, head.royalties_micro
            service.intend_anchor(session, head.epoch, *values, self.coop.clock.now())

    def sweep(self) -> None:
        self.coop.worker.sweep()

    def connected(self) -> Anchors:
        """As the worker reaches the contract, through the node that may misbehave."""
        connected: Anchors = self.worker.anchors(self.contract)
        return connected

    def elsewhere(self) -> Anchors:
        """The same contract and key, past the node in between."""
        key = f"0x{self.coop.registrar.key.hex()}"
        return Anchors.connect(self.coop.node.upstream, self.contract, registrar_key=key)

    def row(self, epoch: int = FIRST) -> Any:
        return self.coop.row("select * from coop.anchor where epoch = :epoch", epoch=epoch)

    def stored(self, epoch: int = FIRST) -> Any:
        statement = "select * from coop.chain_transaction where purpose = 'anchor' and subject = :subject"
        return self.coop.row(statement, subject=service.subject_of(epoch))

    def told(self) -> list[Head]:
        """What the contract has, in its order."""
        return [_head(record) for record in self.elsewhere().records()]

    def require_anchored(self, *heads: Head) -> None:
        """In the contract, in this order and by one transaction each; and so it is known here."""
        assert self.told() == list(heads)
        for head in heads:
            assert self.row(head.epoch).confirmed_at is not None
            assert self.row(head.epoch).held_up_by is None
            assert self.stored(head.epoch).state == "confirmed"


def _head(record: AnchorRecord) -> Head:
    return Head(record.epoch, record.size, record.root, record.gross_micro, record.royalties_micro)


@pytest.fixture
def anchorage(coop: Coop, chain: Chain, monkeypatch: pytest.MonkeyPatch) -> Anchorage:
    from workers import anchors

    contract = deploy_anchors(chain)
    monkeypatch.setenv("STREAMCOOP_ANCHOR_CONTRACT", contract)
    monkeypatch.setenv("STREAMCOOP_LOG_ORIGIN", LOG_ORIGIN)
    settings.cache_clear()
    return Anchorage(coop, contract, anchors)
