"""The check of our dependencies notices what it is for."""

from __future__ import annotations

from importlib.metadata import Distribution
from pathlib import Path

import pytest

from tests import dependencies

HASH = "--hash=sha256:" + "0" * 64


def test_what_we_ship_is_pinned_and_may_be_shipped() -> None:
    assert dependencies.main() == 0


@pytest.mark.parametrize(
    ("line", "is_pinned"),
    [
        (f"good==1.0 \\\n    {HASH}", True),
        (f'good[extra]==1.0 ; sys_platform == "linux" \\\n    {HASH}', True),
        ("unhashed==1.0", False),
        ("short==1.0 --hash=sha256:00", False),
        (f"loose>=1.0 {HASH}", False),
        (f"any==1.* {HASH}", False),
        (f"elsewhere @ https://example.org/a.whl {HASH}", False),
        ("-e .", False),
    ],
)
def test_a_requirement_is_pinned_by_one_version_and_a_hash(line: str, is_pinned: bool) -> None:
    assert (dependencies.unpinned(line) == []) is is_pinned


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ("MIT", True),
        ("Apache-2.0 AND MIT", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("GPL-2.0-only OR MIT", True),
        ("GPL-2.0-only", False),
        ("MIT AND SSPL-1.0", False),
        ("Proprietary", False),
        ("nothing", False),
    ],
)
def test_a_licence_that_is_not_known_to_fit_does_not(expression: str, fits: bool) -> None:
    assert dependencies.is_compatible(expression) is fits


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ("License-Expression: ISC\nClassifier: License :: OSI Approved :: MIT License\n", "ISC"),
        ("Classifier: License :: OSI Approved :: BSD License\n", "BSD-3-Clause"),
        ("License: MIT\n", "MIT"),
        ("Summary: says nothing\n", "nothing"),
    ],
)
def test_a_package_is_taken_at_its_word(tmp_path: Path, metadata: str, told: str) -> None:
    folder = tmp_path / "a-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: a\nVersion: 1.0\n{metadata}")
    assert dependencies.licence(Distribution.at(folder)) == told
