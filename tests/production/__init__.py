"""The service on the parts that `docker-compose.yml` names, as Debian, PyPI and npm have them, without containers.

`TEST_PARTS=production` (see `make test-production-parts`) makes the tests use it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager

from streamcoop.embedded.temporary import Service, running_service

IS_CHOSEN = os.environ.get("TEST_PARTS") == "production"
SUPERVISORS = {True: "tests.production", False: "streamcoop.embedded.supervisor"}


def running_on_chosen_parts(settings: Mapping[str, str]) -> AbstractContextManager[Service]:
    """The whole service on the parts that this run of the tests is about."""
    return running_service(settings, module=SUPERVISORS[IS_CHOSEN])
