"""Amounts typed in the browser become what the books know, exactly."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest

from ledger.money import MICRO, CreditPrice

MODULE = Path(__file__).parents[2] / "streamcoop" / "web" / "static" / "amounts.js"
RUN = """
const { creditsFor } = await import(process.argv[1]);
let given = "";
for await (const chunk of process.stdin) given += chunk;
console.log(JSON.stringify(JSON.parse(given).map(([typed, price]) => creditsFor(typed, price))));
"""
PRICES = (1_000, 10_000, 1_250_000, 999_000, 15_000_000_000)


def credits_for(cases: list[tuple[str, int]]) -> list[int | None]:
    """What the module makes of what was typed at a price each; None for what is no number."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node is installed: nothing here can run the browser's modules")
    command = [node, "--input-type=module", "--eval", RUN, MODULE.as_uri()]
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    told: list[int | None] = json.loads(done.stdout)
    return told


def test_money_becomes_the_credits_that_it_buys() -> None:
    random = Random(11)
    amounts = [random.randrange(10 ** random.randrange(1, 11)) for _ in range(300)]
    cases = [(amount, random.choice(PRICES)) for amount in amounts]
    typed = [(f"{amount // MICRO}.{amount % MICRO:06}", price) for amount, price in cases]
    assert credits_for(typed) == [CreditPrice(price).credits_for(amount)[0] for amount, price in cases]


def test_it_may_be_typed_in_any_way_that_a_field_for_numbers_takes() -> None:
    typed = ["12.5", "12.50", " 12.5 ", "12.", "0", "1e1", "12.5000009", "-1", "twelve", ""]
    credits = [10_000_000, 10_000_000, 10_000_000, 9_600_000, 0, 8_000_000, 10_000_000, None, None, 0]
    assert credits_for([(text, 1_250_000) for text in typed]) == credits
