"""`python -m tests.fuzz --seed N --cases N`: uploads, ranges and tokens, against a service started for it."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from streamcoop.embedded.temporary import running_service
from tests.fuzz import ranges, stage, tokens, uploads
from tests.fuzz.campaign import Campaign

KINDS = ("uploads", "http", "ranges", "tokens")
CASES = 3_000
HTTP_SHARE = 10
"""One upload in so many also goes over HTTP and is rendered: that takes seconds each."""
RANGES_PER_CASE = 2
SEED_BITS = 32


def main() -> int:
    """Run the campaigns and print their figures; 1 if a case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seed", type=int, default=None, help="the same seed makes the same cases")
    parser.add_argument("--cases", type=int, default=CASES, help="uploads to inspect; other counts follow from it")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--file", type=Path, help="inspect this file, once, instead")
    asked = parser.parse_args()
    if asked.file:
        print(uploads.inspected(asked.file.read_bytes()))
        return 0
    campaign = Campaign(secrets.randbits(SEED_BITS) if asked.seed is None else asked.seed)
    print(f"seed {campaign.seed}", flush=True)
    if "uploads" in asked.kinds:
        uploads.inspect_many(campaign, asked.cases)
    if set(asked.kinds) & {"http", "ranges", "tokens"}:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, running_service(stage.SETTINGS) as service:
            if "ranges" in asked.kinds:
                resources = stage.resources(service, Path(folder))
                ranges.ask_many(campaign, service.address, resources, asked.cases * RANGES_PER_CASE)
            if "tokens" in asked.kinds:
                tokens.tamper(campaign, stage.target(service, Path(folder)), asked.cases)
            if "http" in asked.kinds:
                uploads.upload_many(campaign, service, asked.cases // HTTP_SHARE)
    print(campaign.summary())
    return 1 if campaign.failures else 0


if __name__ == "__main__":
    sys.exit(main())
