"""The page for members says what the code says: every kind, every field, and examples that are entries."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ledger import attestation, ballots, canonical, entries, founding, receipts, rotation, tiles
from ledger.constitution import Bound, Constitution
from ledger.verify.audit import _ORDER
from tests.ledger.log_factory import publish, story

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "log.md").read_text(encoding="utf-8")
ENTRIES, _, CONSTITUTION = (
    PAGE.partition("\n## Entries\n")[2].partition("\n## Openings\n")[0].partition("\n## The constitution\n")
)
KINDS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^### |\Z)", ENTRIES, re.MULTILINE | re.DOTALL))


def test_every_kind_of_entry_is_documented_and_nothing_else() -> None:
    assert list(KINDS) == list(entries.FORMS)


@pytest.mark.parametrize("kind", entries.FORMS)
def test_every_field_is_documented_and_shown_in_an_example(kind: str) -> None:
    assert re.findall(r"^\| `(\w+)` \| .+ \|$", KINDS[kind], re.MULTILINE) == list(entries.FORMS[kind])
    (example,) = re.findall(r"```json\n(.*?)```", KINDS[kind], re.DOTALL)
    found, fields = entries.parse(canonical.encode(json.loads(example)))
    assert found == kind
    assert fields.keys() - {"type", "v"} == entries.FORMS[kind].keys()


def test_every_rule_of_the_constitution_is_told() -> None:
    assert set(re.findall(r"`(\w+)`", CONSTITUTION)) == {
        *Constitution.__dataclass_fields__,
        *Bound.__dataclass_fields__,
    }


def test_what_a_vote_is_signed_for_is_told() -> None:
    told = ""
    for name in ("Vote", "Choice"):
        fields = ",".join(f"{field['type']} {field['name']}" for field in ballots.TYPES[name])
        told += f"{name}({fields})"
    assert told in PAGE
    assert f"`{ballots.DOMAIN_NAME}`, version `{ballots.DOMAIN_VERSION}`" in PAGE


def test_the_order_within_a_batch_is_told() -> None:
    told = ENTRIES.partition("Within a batch")[2].partition("\n\n")[0]
    kinds = [kind for kind in re.findall(r"`(\w+)`", told) if kind in entries.FORMS]
    assert kinds == [kind for kinds in _ORDER for kind in kinds]


def test_trees_openings_and_what_is_signed_are_told() -> None:
    for tree in (entries.PLAYS_TREE, entries.TOP_UPS_TREE, entries.GRANTS_TREE, entries.WALLETS_TREE):
        amounts = ", ".join(name.removesuffix("_micro") for name in tree.amounts)
        assert f"| `{tree.tag}` | {amounts} |" in PAGE
    for head in (attestation.HEAD, rotation.HEAD, founding.HEAD, receipts.PROMISE_HEAD, receipts.VOTE_PROMISE_HEAD):
        assert head in PAGE


def test_the_program_for_other_tools_runs(tmp_path: Path) -> None:
    named = story().entries
    publish(tmp_path, named)
    program = PAGE.partition("```python\n")[2].partition("```")[0]
    bundle = tmp_path / tiles.path(tiles.ENTRIES, 0, len(named))
    told = subprocess.run(
        [sys.executable, "-c", program, bundle], capture_output=True, text=True, check=True, timeout=60
    ).stdout.splitlines()
    tile = (tmp_path / tiles.path(0, 0, len(named))).read_bytes()
    assert "".join(line.split()[0] for line in told) == tile.hex()
    assert [line.split()[1] for line in told] == [kind for kind, _ in named]
