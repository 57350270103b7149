"""The pages of docs/ that follow from the code: `python -m tests.reference_pages` writes their tables anew.

What stands around a table is written by hand and kept. `tests/test_repository.py` compares.
"""

from __future__ import annotations

import importlib
import json
import re
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from streamcoop import problems
from streamcoop.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[1]
CONFIGURATION = ROOT / "docs" / "configuration.md"
PROBLEMS = ROOT / "docs" / "problems.md"

DEFAULTS = {"data_dir": "one under your data home"}


def settings_table() -> str:
    """Every setting: its variable, its default and what it is for."""
    lines = ["| setting | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        lines.append(f"| `{PREFIX}{name.upper()}` | {_default(name, field)} | {field.description} |")
    return "\n".join(lines)


def _default(name: str, field: FieldInfo) -> str:
    if name in DEFAULTS:
        return DEFAULTS[name]
    if field.is_required():
        return "**required**"
    value: Any = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return "not set"
    shown = value.get_secret_value() if isinstance(value, SecretStr) else value
    return f"`{json.dumps(shown) if isinstance(shown, dict) else shown}`"


def problems_table() -> str:
    """Every kind of problem in the table of errors: its type, its status and its sentence."""
    importlib.import_module("streamcoop.app")  # brings in every feature, and each registers its own
    lines = ["| type | status | what went wrong |", "|---|---|---|"]
    for error, status in sorted(problems._STATUS.items(), key=lambda known: problems.slug(known[0])):
        sentence = " ".join((error.__doc__ or "").split())
        lines.append(f"| `/problems/{problems.slug(error)}` | {int(status)} {HTTPStatus(status).phrase} | {sentence} |")
    return "\n".join(lines)


TABLES = {CONFIGURATION: settings_table, PROBLEMS: problems_table}
_TABLE = re.compile(r"(?<=<!-- table -->\n)(.*?)(?=\n<!-- end -->)", re.DOTALL)


def table_in(page: Path) -> str:
    """The table as the page has it."""
    found = _TABLE.search(page.read_text(encoding="utf-8"))
    return found.group(1) if found else ""


def main() -> None:
    """Write the tables anew."""
    for page, table in TABLES.items():
        text = page.read_text(encoding="utf-8")
        page.write_text(_TABLE.sub(lambda _: table(), text), encoding="utf-8")  # noqa: B023  # called at once


if __name__ == "__main__":
    main()
