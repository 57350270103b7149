"""Every text has its words in every language, with room for what it tells."""

from __future__ import annotations

import pytest

from streamcoop.language import asked_for
from tests.web import messages


@pytest.mark.parametrize("code", messages.CODES)
def test_every_text_is_translated_and_leaves_the_same_room(code: str) -> None:
    kept = messages.catalogue(code)
    missing, wrong = [], []
    for message, where in messages.texts():
        forms = message if isinstance(message, tuple) else (message,)
        known = kept.get(forms[0])
        told = known.string if known else ""
        translations = told if isinstance(told, tuple) else (told,)
        if not all(translations) or (known is not None and known.fuzzy):
            missing.append((where, forms[0]))
        elif any(messages.places(each) != messages.places(forms[-1]) for each in translations):
            wrong.append((where, forms[0]))
    assert missing == []
    assert wrong == []


@pytest.mark.parametrize("code", messages.CODES)
def test_nothing_is_translated_that_nobody_says(code: str) -> None:
    said = {message if isinstance(message, str) else message[0] for message, _ in messages.texts()}
    kept = {message.id if isinstance(message.id, str) else message.id[0] for message in messages.catalogue(code)}
    assert kept - said - {""} == set()


@pytest.mark.parametrize(
    ("cookie", "header", "code"),
    [
        (None, None, "en"),
        (None, "id", "id"),
        (None, "en;q=0.5, id;q=0.9", "id"),
        (None, "id;q=0, en", "en"),
        (None, "de-DE, *;q=0.1", "en"),
        ("id", "en", "id"),
        ("xx", "id", "id"),
        (None, ";;;,id;q=9,=" + "," * 5_000, "en"),
    ],
)
def test_the_language_is_the_chosen_one_else_the_first_that_is_asked_for(
    cookie: str | None, header: str | None, code: str
) -> None:
    assert asked_for(cookie, header).code == code
