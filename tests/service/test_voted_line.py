"""From an application to a royalty line at the rate that members voted for, through the whole service and its chain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from streamcoop.demo.client import Json, Person, until
from streamcoop.embedded.temporary import Service
from tests.production import running_on_chosen_parts
from tests.whole_service import SETTINGS, a_passkey, admit, operator_of, play_at_once, published_track, somebody

SHARE = "artist_share_bp"
# Epochs of ten seconds with a grace of twenty, and a ballot of seconds.
WAIT_S = 180.0


@pytest.fixture
def service() -> Iterator[Service]:
    """One of its own: where others are members too, one vote may not decide."""
    with running_on_chosen_parts(SETTINGS) as running:
        yield running


def _in_state(path: str, someone: Person, state: str) -> Json:
    def found() -> Json | None:
        told = someone.get(path)
        assert told["state"] not in {"stopped", "refused"}, told
        return told if told["state"] == state else None

    return until(found, f"{path} {state}", WAIT_S)


def test_what_members_vote_is_what_the_next_epochs_line_is_paid_by(service: Service, tmp_path: Path) -> None:
    artist, member = somebody(service, "An artist").join(artist=True), somebody(service, "A member").join()
    track = published_track(artist, tmp_path)
    body = {"request_id": str(uuid4()), "listener_email": member.email, "amount_minor": 2_000}
    operator_of(service).post("/api/v1/treasury/topups", body)

    applied = member.post("/api/v1/membership", {"member_class": "listener"})
    admit(service, applied["id"])
    _in_state("/api/v1/membership", member, "member")
    _, authenticator = a_passkey(service, member)
    before = member.get("/api/v1/rates")["in_force"][SHARE]
    wanted = before + 100 if before < 8_000 else before - 100
    asked = {"title": "The artists' share", "text": "", "parameters": [SHARE], "open_for_seconds": 5}
    path = f"/api/v1/ballots/{member.post('/api/v1/ballots', asked)['id']}"
    _in_state(path, member, "open")
    values = {"values": {SHARE: wanted}}
    drafted = member.post(f"{path}/votes/draft", values)
    signed = {"nonce": drafted["nonce"], "deadline": drafted["deadline"]}
    assertion = authenticator.signed(drafted["passkey_options"])
    member.post(f"{path}/votes", values | signed | {"assertion": assertion})

    effective = _in_state(path, member, "effective")
    assert effective["questions"][0]["result"] == wanted
    voted_from = effective["tally"]["effective_epoch"]
    until(lambda: member.get("/api/v1/rates")["in_force"]["epoch"] >= voted_from or None, "its epoch", WAIT_S)
    assert member.get("/api/v1/rates")["in_force"][SHARE] == wanted
    play_at_once(member, track)

    def paid() -> Json | None:
        lines = artist.get("/api/v1/royalties/statement")["lines"]
        return next((line for line in lines if line["track_id"] == track), None)

    line = until(paid, "the line", WAIT_S)
    epoch = member.get(f"/api/v1/epochs/{line['epoch']}")
    assert epoch["epoch"] >= voted_from
    assert (epoch["artist_share_bp"], epoch["rates_decided_by"]) == (wanted, f"ballot:{effective['id']}")
    assert abs(line["royalty_micro"] * 10_000 - line["net_micro"] * wanted) < 10_000
