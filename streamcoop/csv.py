"""Statements as CSV (RFC 4180)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from fastapi import Response

# A spreadsheet takes text that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_of(columns: Iterable[str], rows: Iterable[dict[str, object]]) -> str:
    """Rows as CSV. Text that a spreadsheet would take for a formula is marked as text by an apostrophe."""
    written = io.StringIO()
    writer = csv.DictWriter(written, fieldnames=list(columns), lineterminator="\r\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _inert(value) for name, value in row.items()})
    return written.getvalue()


def _inert(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def csv_response(written: str, name: str) -> Response:
    """CSV as a download."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"', "Cache-Control": "private, no-store"}
    return Response(written, media_type="text/csv; charset=utf-8", headers=headers)
