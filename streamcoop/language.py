"""The languages people are spoken to in: which one somebody asked for, and what a text is called in it.

Texts stand in the code and in the templates in English; `locale/<code>.po` has them in another language. A text that
is missing there is shown in English, and a test fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

from babel import Locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations
from starlette.requests import HTTPConnection

COOKIE = "streamcoop_language"
NAMES: Mapping[str, str] = {"en": "English", "id": "Bahasa Indonesia"}
DEFAULT = "en"
FOLDER = Path(__file__).with_name("locale")
# Of an Accept-Language header: no browser sends more, and nobody makes us read more.
RANGES_MAX = 20
_RANGE = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]{1,40})?\s*(?:;\s*q=([01](?:\.\d{0,3})?))?\s*").fullmatch


@dataclass(frozen=True, slots=True, eq=False)
class Language:
    """A language: its code as `lang` attributes have it, its rules for numbers and dates, and its texts."""

    code: str
    locale: Locale
    translations: NullTranslations

    @property
    def name(self) -> str:
        """What its speakers call it."""
        return NAMES[self.code]

    def said(self, text: str) -> str:
        """A text in this language; in English where it has none."""
        return str(self.translations.gettext(text)) if text else text


@cache
def language(code: str) -> Language:
    """A language by its code, the default where it is none of ours."""
    code = code if code in NAMES else DEFAULT
    locale = Locale.parse("en_GB" if code == DEFAULT else code)
    return Language(code, locale, _translations(code))


def _translations(code: str) -> NullTranslations:
    if code == DEFAULT:
        return NullTranslations()
    with (FOLDER / f"{code}.po").open("rb") as file:
        catalogue = read_po(file, locale=code)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(compiled)


def of_request(request: HTTPConnection) -> Language:
    """The language a request asks for."""
    return asked_for(request.cookies.get(COOKIE), request.headers.get("accept-language"))


def asked_for(cookie: str | None, accept_language: str | None) -> Language:
    """The language somebody chose, else the first of ours that her browser would have."""
    if cookie in NAMES:
        return language(str(cookie))
    wanted = sorted(_ranges(accept_language or ""), key=lambda each: -each[1])
    return language(next((code for code, quality in wanted if code in NAMES and quality > 0), DEFAULT))


def _ranges(accept_language: str) -> Iterator[tuple[str, float]]:
    """Languages and their qualities (RFC 9110, 12.5.4); what is none is passed over."""
    for text in accept_language.split(",")[:RANGES_MAX]:
        if found := _RANGE(text):
            yield found[1].lower(), float(found[2] or 1)
