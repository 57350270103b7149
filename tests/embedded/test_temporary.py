"""The real service for the length of a block."""

import json
import urllib.request
from pathlib import Path

import psycopg
import pytest
from dotenv import dotenv_values

from streamcoop.embedded import process
from streamcoop.embedded.temporary import ServiceNotUp, running_service


def test_the_whole_service_runs_and_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMCOOP_COOP_NAME", "not for the service")
    with running_service({"STREAMCOOP_CURRENCY": "CHF"}) as service:
        settings = dotenv_values(service.data_dir / "service.env")
        assert settings["STREAMCOOP_CURRENCY"] == "CHF"
        assert "STREAMCOOP_COOP_NAME" not in settings
        with urllib.request.urlopen(f"{service.address}/readyz") as answer:
            assert answer.status == 200
        app_url = settings["STREAMCOOP_DATABASE_URL"]
        assert app_url is not None
        psycopg.connect(app_url).close()
        assert service.operator_email
        assert service.operator_password
        assert service.second_officer_email
        assert service.second_officer_password not in ("", service.operator_password)
        supervisor = int(json.loads((service.data_dir / "running.json").read_text())["process"])
    assert not process.is_running(supervisor)
    assert not process.in_folder(service.data_dir, "postgres")
    assert not service.data_dir.exists()


def test_a_service_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(ServiceNotUp, match="STREAMCOOP_NO_SUCH_SETTING"),
        running_service({"STREAMCOOP_NO_SUCH_SETTING": "1"}, data_dir=tmp_path / "data"),
    ):
        pytest.fail("it came up")
    assert not process.in_folder(tmp_path, "postgres")
