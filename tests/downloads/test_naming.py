"""What files are called, whatever people have called their music."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamcoop.downloads import naming


@given(st.text())
def test_any_text_is_one_part_of_a_path_on_any_system(text: str) -> None:
    part = naming.part(text)
    assert part
    assert not set(part) & naming.FORBIDDEN
    assert part == part.strip(". ")
    assert part.isprintable()
    assert len(part.encode()) <= naming.NAME_BYTES_MAX + 1
    assert part.partition(".")[0].casefold() not in naming.DEVICES


def test_names_are_as_people_wrote_them_where_that_is_possible() -> None:
    assert naming.file_name("Ferry & the Night Boats", "Pulang", "mp3") == "Ferry & the Night Boats - Pulang.mp3"
    assert naming.file_name("AC/DC", "What?", "flac") == "AC_DC - What_.flac"
    assert naming.part("../../etc/passwd") == "_.._etc_passwd"
    assert naming.part("CON.mp3") == "_CON.mp3"
    assert naming.part(" .. ") == naming.NAMELESS


def test_no_two_files_of_an_archive_have_one_path_even_where_case_does_not_count() -> None:
    taken: set[str] = set()
    for title in ("Pulang", "PULANG", "pulang"):
        taken.add(naming.path_in_archive("Sari", "Hujan", 3, title, "mp3", taken).casefold())
    assert taken == {"sari/hujan/03 pulang.mp3", "sari/hujan/03 pulang (2).mp3", "sari/hujan/03 pulang (3).mp3"}
