"""A few hundred cases of each campaign in every run; thousands by `make fuzz`."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamcoop.embedded.temporary import Service, running_service
from tests.fuzz import ranges, stage, tokens, uploads
from tests.fuzz.campaign import Campaign, CaseFailed

INSPECTED, SENT, RANGES, TOKENS = 200, 20, 600, 300


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running_service(stage.SETTINGS) as running:
        yield running


@pytest.fixture
def campaign() -> Campaign:
    """Other cases in each run; a failure says which."""
    return Campaign(secrets.randbits(32))


def test_mutated_files_are_taken_or_refused_in_the_catalogues_words(campaign: Campaign) -> None:
    uploads.inspect_many(campaign, INSPECTED)
    campaign.require_no_failure()
    assert campaign.figures["upload cases"] == INSPECTED
    assert campaign.figures["accepted"]


@pytest.mark.timeout(1800)
def test_mutated_uploads_become_tracks_that_are_ready_or_failed_or_none(campaign: Campaign, service: Service) -> None:
    uploads.upload_many(campaign, service, SENT)
    campaign.require_no_failure()


def test_every_range_is_answered_to_the_byte(campaign: Campaign, service: Service, tmp_path: Path) -> None:
    ranges.ask_many(campaign, service.address, stage.resources(service, tmp_path), RANGES)
    campaign.require_no_failure()
    assert any(what.endswith("a part") for what in campaign.figures)


def test_tampered_tokens_sessions_and_json_are_refused(campaign: Campaign, service: Service, tmp_path: Path) -> None:
    tokens.tamper(campaign, stage.target(service, tmp_path), TOKENS)
    campaign.require_no_failure()


def test_a_case_that_fails_is_kept_with_how_to_replay_it(
    campaign: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with campaign.case("upload", 7, b"content", "mp3 → truncated"):
        raise ValueError("a fault")
    (kept,) = Path("build/fuzz").glob("*.bin")
    assert kept.read_bytes() == b"content"
    said = kept.with_suffix(".txt").read_text(encoding="utf-8")
    assert f"-m tests.fuzz --file {kept}" in said
    assert "ValueError: a fault" in said
    with pytest.raises(CaseFailed, match="a fault"):
        campaign.require_no_failure()


def test_the_same_seed_makes_the_same_cases() -> None:
    resource = ranges.Resource("any", "/", None, bytes(1_000))
    once, again = (
        [ranges.asked_by(Campaign(1).rng("range", number), resource) for number in range(100)] for _ in range(2)
    )
    assert once == again
