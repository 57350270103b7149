"""`streamcoop demo`: the main job, end to end, and figures that add up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamcoop.embedded.plan import Places
from streamcoop.embedded.temporary import Service
from tests.whole_service import operator_of

DEMO_S_MAX = 280
KEYS = {
    "plays_recorded",
    "plays_settled",
    "credits_spent_micro",
    "gross_value_micro",
    "taxes_and_fees_micro",
    "royalties_micro",
    "coop_income_micro",
    "tracks_owned",
    "royalty_lines",
    "books_balanced",
    "artist_share_bp",
    "members",
    "ballots",
    "votes",
    "artist_share_before_bp",
    "artist_share_after_bp",
    "registry_agrees",
    "weights_read_from_contract",
    "log_size",
    "log_verified",
    "receipts_verified",
    "wallet_lines_verified",
}


@pytest.mark.timeout(DEMO_S_MAX + 120)
def test_the_demos_figures_add_up(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "demo.json"
    command = [sys.executable, "-m", "streamcoop.cli", "demo", "--json", file, "--address", service.address]
    command += ["--operator-email", service.operator_email]
    places = Places(service.data_dir)
    command += ["--operator-password-file", places.operator_password]
    command += ["--second-officer-email", service.second_officer_email]
    command += ["--second-officer-password-file", places.second_officer_password]
    environment = os.environ | {"STREAMCOOP_DATA_DIR": str(service.data_dir)}
    told = subprocess.run(command, capture_output=True, text=True, timeout=DEMO_S_MAX, env=environment)
    assert told.returncode == 0, told.stdout + told.stderr
    figures = json.loads(file.read_text(encoding="utf-8"))
    assert set(figures) == KEYS
    price_micro = operator_of(service).get("/api/v1/books")["credit_price_micro"]
    gross_micro = figures["gross_value_micro"]
    assert gross_micro * 1_000_000 == figures["credits_spent_micro"] * price_micro
    assert gross_micro == (figures["taxes_and_fees_micro"] + figures["royalties_micro"] + figures["coop_income_micro"])
    assert figures["plays_recorded"] == figures["plays_settled"] > 9
    assert figures["tracks_owned"] == 2
    assert figures["royalty_lines"] >= 7, "each of the seven tracks was played"
    assert figures["royalties_micro"] > figures["coop_income_micro"] > 0
    assert figures["books_balanced"] is True
    assert figures["weights_read_from_contract"] is True
    # Others may have voted on this service before.
    assert 5_000 <= figures["artist_share_after_bp"] <= 9_000
    assert figures["artist_share_before_bp"] != figures["artist_share_after_bp"]
    assert figures["artist_share_bp"] == figures["artist_share_after_bp"]
    assert figures["members"] >= 7, "all of the story's people are members"
    assert figures["ballots"] >= 1
    assert figures["votes"] == 6, "all but one vote"
    assert figures["registry_agrees"] is True
    assert "The books balance" in told.stdout
    assert figures["log_verified"] is True, told.stdout
    assert figures["log_size"] > 20
    assert figures["receipts_verified"] == figures["plays_recorded"]
    assert figures["wallet_lines_verified"] >= 4, "each listener has a line at least"


def test_a_demo_that_cannot_be_given_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "streamcoop.cli", "demo", "--address", "http://127.0.0.1:1"]
    unsaid = subprocess.run(command, capture_output=True, text=True, timeout=DEMO_S_MAX)
    assert (unsaid.returncode, "--operator" in unsaid.stderr) == (2, True), unsaid.stderr
    (tmp_path / "password").write_text("whatever it is")
    for who in ("operator", "second-officer"):
        command += [f"--{who}-email", "o@streamcoop.example", f"--{who}-password-file", str(tmp_path / "password")]
    away = subprocess.run(command, capture_output=True, text=True, timeout=DEMO_S_MAX)
    assert away.returncode == 1
    assert "Traceback" not in away.stderr
    assert away.stderr.startswith("Error: ")
