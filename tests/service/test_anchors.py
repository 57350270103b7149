"""The contract of the log's anchors is there from the first start on, whoever reads it."""

from __future__ import annotations

from streamcoop.adapters.anchors import read_anchors
from tests.service.coop import Coop
from tests.whole_service import setting


def test_an_auditor_finds_the_contract_of_this_log(coop: Coop) -> None:
    settings = {name: setting(coop.service, name) for name in ("CHAIN_RPC_URL", "ANCHOR_CONTRACT", "LOG_ORIGIN")}
    # No epoch ends while these tests run.
    assert read_anchors(settings["CHAIN_RPC_URL"], settings["ANCHOR_CONTRACT"], origin=settings["LOG_ORIGIN"]) == []
