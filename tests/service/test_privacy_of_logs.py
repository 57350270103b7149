"""What the logs must not tell, after all that the other tests of this folder have done to the service."""

from __future__ import annotations

import re

from tests.service.coop import PRICES_MICRO, Coop, read

LOGS = ("api", "worker", "media", "postgres", "beat")
_WORDS = re.compile(r"[A-Za-z0-9_.@+-]+")
_SECRET = re.compile(r"\b(?:scs|sct)_[A-Za-z0-9_-]{20,}")


def test_no_log_holds_a_secret_an_address_or_who_played_what(coop: Coop) -> None:
    track = coop.a_published_track(3.0)
    listener = coop.a_listener(PRICES_MICRO[0])
    device = listener.api_token()
    device.pay(track)
    device.hear(device.open(track))
    device.hear({"stream_url": f"/stream/{device.open(track)['play_token']}/more"})
    listener.http.get("/api/v1/me", headers={"Authorization": "Bearer scs_" + "x" * 43})
    coop.visitor.post("/api/v1/users", json={"email": listener.email, "password": listener.password, "name": "Twin"})
    coop.settled(listener)

    traces = coop.traces
    for name in LOGS:
        path = coop.service.data_dir / "logs" / f"{name}.log"
        if not path.exists():
            continue
        text = read(path)
        words = set(_WORDS.findall(text))
        assert not words & traces.secrets, f"{name}.log holds a secret"
        assert not words & traces.emails, f"{name}.log holds an e-mail address"
        assert "people.streamcoop.example" not in text, f"{name}.log holds an e-mail address"
        assert not _SECRET.search(text), f"{name}.log holds a session's or token's secret"
        for line in text.splitlines():
            said = set(_WORDS.findall(line))
            assert not (said & traces.listeners and said & traces.tracks), f"{name}.log tells who played what: {line}"


def test_an_access_log_names_routes_and_not_addresses(coop: Coop) -> None:
    text = read(coop.service.data_dir / "logs" / "api.log")
    assert "/stream/{play_token}" in text
    assert not re.search(r"/stream/[A-Za-z0-9_-]{20,}", text)
    assert not re.search(r"/tracks/[0-9a-f]{8}-", text)
