"""What is wrong with a field of a payload, in words that whoever filled it in can act on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamcoop.language import Language

# By pydantic's type of error; {…} is a fact that it tells.
SENTENCES: Mapping[str, str] = {
    "missing": "This is needed.",
    "string_too_short": "It is too short: at least {min_length} characters.",
    "string_too_long": "It is too long: at most {max_length} characters.",
    "string_type": "This has to be text.",
    "string_pattern_mismatch": "This does not have the form it should.",
    "greater_than": "It has to be more than {gt}.",
    "greater_than_equal": "It has to be {ge} or more.",
    "less_than": "It has to be less than {lt}.",
    "less_than_equal": "It may be {le} at most.",
    "int_type": "A whole number is needed.",
    "int_parsing": "A whole number is needed.",
    "int_from_float": "A whole number is needed.",
    "bool_type": "This is yes or no.",
    "bool_parsing": "This is yes or no.",
    "date_type": "A date is needed.",
    "date_parsing": "A date is needed.",
    "date_from_datetime_parsing": "A date is needed.",
    "uuid_parsing": "This names nothing here.",
    "uuid_type": "This names nothing here.",
    "literal_error": "This is none of what can be chosen.",
    "too_short": "There have to be {min_length} or more.",
    "too_long": "There may be {max_length} at most.",
    "extra_forbidden": "There is no such field.",
}
EMAIL = "This is no e-mail address."
# What our own validators say.
OWN: Mapping[str, str] = {
    "must not be blank": "It must not be blank.",
    "not a valid ISRC": "This is no valid ISRC: two letters, three letters or digits, and seven digits.",
    "not valid Unicode": "There are signs in it that are none.",
    "must be valid Unicode": "There are signs in it that are none.",
    "control characters are not allowed": "There are control characters in it.",
    "control characters other than line breaks and tabs are not allowed": "There are control characters in it.",
    "not an address with a valid checksum (EIP-55)": "This is no address, or there is a slip in it.",
    "this address is nobody's": "This address is nobody’s.",
}


def texts() -> set[str]:
    """All that is said here."""
    return {*SENTENCES.values(), *OWN.values(), EMAIL}


def said(error: Mapping[str, Any], spoken: Language) -> str:
    """One of pydantic's errors in the language that is spoken; as pydantic tells it where there is no such sentence, or
    not the fact that belongs into it.
    """
    facts, kind = error.get("ctx", {}), error["type"]
    if kind == "value_error":
        sentence = EMAIL if "reason" in facts else OWN.get(str(facts.get("error")))
    elif kind in {"too_short", "too_long"} and isinstance(error.get("input"), str):
        # It counts a text that a validator of ours has gone over as it counts a list.
        sentence = SENTENCES[f"string_{kind}"]
    else:
        sentence = SENTENCES.get(kind)
    try:
        return spoken.said(sentence).format_map(facts) if sentence else str(error["msg"])
    except KeyError:
        return str(error["msg"])
