"""`python -m benchmarks`: every figure beside its control, as a table and in build/bench.json."""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Bench, Figure

SEED = 1844  # Rochdale
WIDTH = 170
RESULTS = Path("build/bench.json")
# Each module has `run(bench) -> Iterator[Figure]`, and needs nothing of the others.
WORKS = (
    *("recording", "settling", "closing", "requests", "audio", "listeners", "growth", "verifying", "tallying"),
    "publishing",
)


def main() -> None:
    """Run what is asked for. The exit status says nothing of the bars: a benchmark is read, not passed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute instead of half an hour; not for quoting")
    parser.add_argument("--seed", type=int, default=SEED, help="of the synthetic data")
    parser.add_argument("works", nargs="*", choices=[*WORKS, []], default=[], help="only these")
    given = parser.parse_args()
    # Whoever ends us means the servers and folders too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH)
    begun = time.monotonic()
    figures: list[Figure] = []
    for name in given.works or WORKS:
        console.print(f"[bold]{name}[/bold]")
        bench = Bench(given.quick, given.seed, lambda line: console.print(f"  [dim]{line}[/dim]"))
        for figure in importlib.import_module(f"benchmarks.{name}").run(bench):
            figures.append(figure)
            console.print(f"  {figure.work}: {figure.value:,.4g} {figure.unit}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([f.as_json() for f in figures], indent=2, ensure_ascii=False) + "\n", "utf-8")
    _print(console, figures)
    console.print(f"{time.monotonic() - begun:.0f} s. Also in {RESULTS}.")


def _print(console: Console, figures: list[Figure]) -> None:
    table = Table("work", "figure", "control", "ratio", "bar", "")
    for f in figures:
        control = f"{f.control}: {f.control_value:,.4g}" if f.control_value is not None else (f.control or "")
        verdict = {True: "[green]holds[/green]", False: "[red]missed[/red]", None: ""}[f.holds]
        told = f.bar.told(f.unit) if f.bar else ""
        ratio = "" if f.ratio is None else f"{f.ratio:.3g}"
        table.add_row(f.work, f"{f.value:,.4g} {f.unit}", control, ratio, told, verdict)
    console.print(table)


if __name__ == "__main__":
    main()
