"""Every text that people read, and its catalogues: `python -m tests.web.messages` brings them up to date."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from streamcoop import app as _all_features  # noqa: F401  # each adds its refusals to the table
from streamcoop import language, malformed
from streamcoop.problems import refusals
from streamcoop.web.pages import TEMPLATES

CODES = sorted(set(language.NAMES) - {language.DEFAULT})
# Of a catalogue's head: whose it is and when it was written, git tells.
UNSAID = tuple(
    f'"{name}' for name in ("Project-Id", "Report-", "POT-", "PO-", "Last-", "Language-Team", "Generated-By")
)
_PLACE = re.compile(r"%\(\w+\)[sd]|\{\w+\}")


def texts() -> Iterator[tuple[str | tuple[str, ...], str]]:
    """What templates say, and the sentences of refusals and of malformed fields; each with where it stands."""
    options = {"**": {"trimmed": "true", "silent": "false"}}
    methods = [("**", "jinja2.ext:babel_extract")]
    for file, _, message, _, _ in extract_from_dir(TEMPLATES, methods, options):
        yield message, f"templates/{file}"
    for error in sorted(refusals(), key=lambda kind: kind.__name__):
        yield (error.__doc__ or "").strip(), error.__name__
    for sentence in sorted(malformed.texts()):
        yield sentence, "malformed"


def catalogue(code: str) -> Catalog:
    """The catalogue of a language as it stands in the repository."""
    with path(code).open("rb") as file:
        return read_po(file, locale=code)


def path(code: str) -> Path:
    """Where it stands."""
    return language.FOLDER / f"{code}.po"


def places(text: str) -> list[str]:
    """What a text leaves room for."""
    return sorted(_PLACE.findall(text))


def renewed(code: str) -> Catalog:
    """The catalogue with a place for every text and for no other: what was translated stays so."""
    kept, made = catalogue(code), Catalog(locale=code, charset="utf-8", header_comment="", fuzzy=False)
    for message, where in texts():
        known = kept.get(message if isinstance(message, str) else message[0])
        made.add(message, known.string if known else None, locations=[(where, 0)])
    return made


def main() -> None:
    """Write all catalogues anew."""
    for code in CODES:
        written = BytesIO()
        made = renewed(code)
        write_po(written, made, width=120, sort_output=True, omit_header=False, include_lineno=False)
        lines = written.getvalue().decode().splitlines(keepends=True)
        path(code).write_text("".join(line for line in lines if not line.startswith(UNSAID)), encoding="utf-8")
        missing = [message.id for message in made if message.id and not message.string]
        print(f"{code}: {len(made)} texts, {len(missing)} without a translation")


if __name__ == "__main__":
    main()
