"""A certificate is read back as it was made, in the one way there is to write it, and only where the log signed it."""

from __future__ import annotations

import dataclasses
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import certificate
from ledger.certificate import DAY_S, HEAD, Certificate
from ledger.errors import NoteRefused
from ledger.note import SEED_BYTES, KeyType, Note, SigningKey, parse_note, signed

ORIGIN = "log.example/coop"
KEYS = [SigningKey(ORIGIN, kind, bytes([kind]) * SEED_BYTES) for kind in (KeyType.ED25519, KeyType.ML_DSA_44)]
VERIFIERS = [key.verifier for key in KEYS]
TOLD = Certificate(
    origin=ORIGIN,
    track=UUID(int=1),
    sha256=bytes(range(32)),
    title='Pagi "di Solo"',
    artist="Kyai Guntur",
    owned_at=20_000 * DAY_S,
    certificate=UUID(int=2),
)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def test_a_certificate_is_what_the_page_says() -> None:
    text, _, signatures = certificate.make(TOLD, KEYS).rpartition("\n\n")
    assert text.splitlines() == [
        HEAD,
        ORIGIN,
        "track 00000000-0000-0000-0000-000000000001",
        f"sha256 {bytes(range(32)).hex()}",
        'title "Pagi \\"di Solo\\""',
        'artist "Kyai Guntur"',
        "owned_at 1728000000",
        "certificate 00000000-0000-0000-0000-000000000002",
    ]
    assert signatures.startswith(f"— {ORIGIN} ")
    assert signatures.count("\n") == 1, "by the Ed25519 key alone"


@given(title=ANY_TEXT, artist=ANY_TEXT, owned_at=st.integers(0, 10**10), track=st.uuids(), certificate_id=st.uuids())
def test_what_was_made_is_read_back(title: str, artist: str, owned_at: int, track: UUID, certificate_id: UUID) -> None:
    told = dataclasses.replace(
        TOLD, title=title, artist=artist, owned_at=owned_at, track=track, certificate=certificate_id
    )
    made = certificate.make(told, KEYS)
    assert made.isascii() or "—" in made
    read = certificate.verify(made.encode(), VERIFIERS)
    assert read == dataclasses.replace(told, owned_at=owned_at - owned_at % DAY_S), "a day, and no time of it"


@pytest.mark.parametrize("place", range(8))
def test_a_certificate_that_was_changed_is_refused(place: int) -> None:
    lines = certificate.make(TOLD, KEYS).split("\n")
    lines[place] = lines[place].replace("o", "0") if "o" in lines[place] else lines[place] + "0"
    with pytest.raises(NoteRefused):
        certificate.verify("\n".join(lines).encode(), VERIFIERS)


def test_a_certificate_of_a_key_that_is_not_the_logs_is_refused() -> None:
    stranger = SigningKey(ORIGIN, KeyType.ED25519, bytes(SEED_BYTES))
    with pytest.raises(NoteRefused):
        certificate.verify(certificate.make(TOLD, [stranger]).encode(), VERIFIERS)


@pytest.mark.parametrize(
    "change",
    [
        ("title ", 'title  "Pagi"\ntitle '),
        ('title "', 'title  "'),
        ('artist "Kyai Guntur"', "artist 1"),
        ('artist "Kyai Guntur"', 'artist "Kyai\\u0020Guntur"'),
        ('artist "Kyai Guntur"', f'artist "{"a" * 1_001}"'),
        ("owned_at 1728000000", "owned_at 1728000001"),
        ("owned_at 1728000000", "owned_at -1"),
        ("sha256 00", "sha256 0"),
        (HEAD, "streamcoop certificate v2"),
        (ORIGIN, "a log"),
        ("track ", "recording "),
    ],
    ids=str,
)
def test_what_the_log_signed_and_is_no_certificate_is_refused(change: tuple[str, str]) -> None:
    """Its keys sign other notes too: none of them may be taken for one."""
    text = str(TOLD).replace(*change)
    assert text != str(TOLD)
    with pytest.raises(NoteRefused):
        certificate.verify(str(signed(text, KEYS[:1], 0)).encode(), VERIFIERS)


def test_a_note_is_parsed_apart_from_its_signatures() -> None:
    assert certificate.parse(Note(str(TOLD), ())) == TOLD
    assert certificate.parse(parse_note(certificate.make(TOLD, KEYS).encode())) == TOLD
