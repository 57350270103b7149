"""What is wrong with a field is told in a sentence, in the language of whoever filled it in."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from streamcoop import malformed
from streamcoop.accounts.schemas import NewUser
from streamcoop.catalogue.schemas import NewRelease, TrackChange
from streamcoop.language import language
from streamcoop.royalties.schemas import NewShare


@pytest.mark.parametrize(
    ("model", "payload", "field", "english", "indonesian"),
    [
        (NewRelease, {"kind": "single"}, "title", "This is needed.", "Ini wajib diisi."),
        (NewRelease, {"title": "  ", "kind": "ep"}, "title", "It must not be blank.", "Tidak boleh kosong."),
        (
            NewRelease,
            {"title": "x", "kind": "tape"},
            "kind",
            "This is none of what can be chosen.",
            "Ini bukan salah satu",
        ),
        (
            NewRelease,
            {"title": "x" * 301, "kind": "ep"},
            "title",
            "at most 300 characters",
            "paling banyak 300 karakter",
        ),
        (NewRelease, {"title": "x", "kind": "ep", "x": 1}, "x", "There is no such field.", "Tidak ada kolom"),
        (TrackChange, {"isrc": "nonsense"}, "isrc", "This is no valid ISRC", "Ini bukan ISRC"),
        (TrackChange, {"position": 0}, "position", "It has to be 1 or more.", "Harus 1 atau lebih."),
        (TrackChange, {"position": 1.5}, "position", "A whole number is needed.", "Harus bilangan bulat."),
        (
            NewShare,
            {"payee_email": "nobody", "share_bp": 1},
            "payee_email",
            "This is no e-mail",
            "Ini bukan alamat surel.",
        ),
        (NewUser, {"email": "a@b.example", "password": "short", "name": "x"}, "password", "at least 10", "sedikit 10"),
    ],
)
def test_a_field_that_is_wrong_is_told_so_that_one_can_mend_it(
    model: Any, payload: dict[str, Any], field: str, english: str, indonesian: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        model.model_validate(payload)
    (error,) = [each for each in refused.value.errors() if each["loc"][0] == field]
    assert english in malformed.said(error, language("en"))
    assert indonesian in malformed.said(error, language("id"))


def test_what_there_is_no_sentence_for_is_told_as_it_comes() -> None:
    errors = [
        {"type": "recursion_loop", "msg": "Recursion error", "loc": ("body",)},
        {"type": "string_too_long", "msg": "String should have at most 3 characters", "loc": ("query", "q")},
    ]
    for error in errors:
        assert malformed.said(error, language("id")) == error["msg"]
