"""What the contracts cost is what contracts/README.md says, within a tolerance. Printed where it is not."""

from __future__ import annotations

import re
from dataclasses import astuple, replace
from typing import Any

import pytest
from web3 import Web3

from streamcoop.adapters.typed_data import Office
from streamcoop.embedded.chain.evm import ANCHOR_FILE, CONTRACT_FILE, REGISTRY_FILE
from tests.contracts import test_anchor, test_rate_registry
from tests.contracts.register import ARTIST, DELAY_S, WORKER, Register, deploy, new_person
from tests.contracts.stand import artifact_of, fund, now, pass_time
from tests.contracts.stand import web3 as web3
from tests.contracts.test_compile import CONTRACTS

README = CONTRACTS / "README.md"
TOLERANCE = 0.05
"""Addresses and signatures have more or fewer zero bytes, which are cheaper; a node's estimate is no measurement."""
ROLL_SEATS = 20


def told() -> dict[str, int]:
    """The table's numbers by their first column."""
    rows = re.findall(r"^\| (.+?) \| ([\d,]+) \|$", README.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: int(number.replace(",", "")) for name, number in rows}


def membership_gas(coop: Register) -> dict[str, int]:
    used: dict[str, int] = {}

    def spend(name: str, call: Any) -> None:
        used[name] = coop.send(call)["gasUsed"]

    ada, bob, old, new = (new_person() for _ in range(4))
    coop.admit()
    spend("`admit`, for the first time", coop.admission(ada.address, ARTIST))
    for other in (bob, old):
        coop.admit(other.address)
    spend("`delegate`, by signature", coop.delegation(ada, bob.address))
    spend("`changeClass`", coop.ask.changeClass(ada.address, WORKER))
    spend("`rekey`", coop.rekeying(old, new))
    spend("`remove`", coop.ask.remove(ada.address))
    spend("`admit`, again", coop.admission(ada.address, ARTIST))
    spend("`announceChange`", coop.announcement(Office.OFFICER, new_person().address))
    spend("`withdrawChange`", coop.withdrawal(1))
    coop.send(coop.announcement(Office.OFFICER, new_person().address))
    pass_time(coop.web3, now(coop.web3) + DELAY_S)
    spend("`carryOutChange`", coop.ask.carryOutChange(2))
    for _ in range(ROLL_SEATS):
        coop.admit()
    time = coop.second()
    first = coop.ask.lastTokenId().call() - ROLL_SEATS + 1
    whole = coop.ask.roll(first, ROLL_SEATS, time).estimate_gas()
    none = coop.ask.roll(first, 0, time).estimate_gas()
    used["`roll`, each seat (a call: free)"] = (whole - none) // ROLL_SEATS
    return used


@pytest.fixture(scope="module")
def used(web3: Web3) -> dict[str, int]:
    recorder = new_person()
    fund(web3, recorder)
    gas = membership_gas(deploy(web3))
    book = test_rate_registry.deploy(web3, recorder)
    gas["`decide`, the first"] = book.send(book.decided(plays=10))["gasUsed"]
    gas["`decide`, another"] = book.send(book.decided(plays=10, listen_ms_max=30_000))["gasUsed"]
    log = test_anchor.deploy(web3, recorder)
    head = test_anchor.Head()
    for name in ("`anchor`, the first", "`anchor`, another"):
        sent = test_anchor.sent(web3, recorder, log.functions.anchor(*astuple(head)))
        gas[name] = sent["gasUsed"]
        head = replace(head, epoch=head.epoch + 1, size=head.size + 1)
    for file in (CONTRACT_FILE, REGISTRY_FILE, ANCHOR_FILE):
        gas[f"`{file.stem}`, bytes of code"] = len(artifact_of(file)["deployedBytecode"]) // 2 - 1
    return gas


def test_gas__is_what_the_readme_says(used: dict[str, int]) -> None:
    table = "\n".join(f"| {name} | {number:,} |" for name, number in used.items())
    known = told()
    strange = [
        name
        for name in used.keys() | known.keys()
        if abs(used.get(name, 0) - known.get(name, 0)) > TOLERANCE * known.get(name, 0)
    ]
    assert not strange, f"{strange}: write this table into {README.name}\n{table}"
