"""`python -m tests.faults --seed N --rounds N`: rounds of faults, figures in build/faults.json. 1 if one failed."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from streamcoop.embedded.crew import SOUND_S
from streamcoop.embedded.plan import ROOT_FOLDER_MODE, source_root
from tests.faults import rounds
from tests.faults.load import Audience, StayedAway
from tests.faults.rounds import Plan, Rounds, Tally
from tests.faults.stand import Stand, running

REPORT = source_root() / "build" / "faults.json"
SLOWEST_TOLD = 8
SOUND_S_MAX = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Rounds of faults, replayable.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--only", type=int, metavar="ROUND", help="this round alone, as it was in a run of this seed")
    parser.add_argument("--each", action="store_true", help="one round of every kind instead of drawn ones")
    parser.add_argument("--report", type=Path, default=REPORT, help="where the figures go")
    given = parser.parse_args(arguments)
    # Whoever ends us means the service and its disks too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="streamcoop-faults-") as folder:
        # Where PostgreSQL has to run as another account, that one must get through.
        Path(folder).chmod(ROOT_FOLDER_MODE)
        root = Path(folder) / "data"
        with running(root) as stand:
            holds = False
            try:
                tally, played = _play(stand, given, Path(folder))
                holds = tally.holds
            finally:
                if not holds:
                    _keep_logs(root, given.report.parent)
    figures = {
        "seed": given.seed,
        "rounds": played,
        "kills": tally.kills,
        "lost": len(tally.found.lost),
        "doubled": len(tally.found.doubled),
        "unbalanced": len(tally.found.unbalanced),
        "recovery_s_max": round(tally.recovery_s_max, 2),
    }
    given.report.parent.mkdir(parents=True, exist_ok=True)
    given.report.write_text(json.dumps(figures) + "\n", encoding="utf-8")
    _tell(tally, figures)
    return 0 if tally.holds else 1


def _play(stand: Stand, given: argparse.Namespace, pieces: Path) -> tuple[Tally, int]:
    audience = Audience(stand, pieces)
    audience.open()
    deadline = time.monotonic() + SOUND_S_MAX
    while not stand.has_run_for(SOUND_S) and time.monotonic() < deadline:
        time.sleep(rounds.POLL_S)
    if not stand.small_disks:
        print("No disk may be mounted here: the rounds go without full disks.", flush=True)
    play = Rounds(stand, audience, lambda line: print(line, flush=True))
    audience.start(f"{given.seed}")
    played = 0
    try:
        for plan in _plans(stand, given):
            begun = time.monotonic()
            play.play(plan)
            played += 1
            told = ", ".join(f"{fault.kind} at {fault.at_s:.2f} s" for fault in plan.faults)
            seconds = play.tally.recoveries[-1][0]
            print(
                f"round {plan.number}: {told}; back after {seconds:.1f} s ({time.monotonic() - begun:.1f} s)",
                flush=True,
            )
    except StayedAway as away:
        print(f"the service stayed away: {away}", flush=True)
    finally:
        audience.close()
    play.finish(played)
    return play.tally, played


def _plans(stand: Stand, given: argparse.Namespace) -> list[Plan]:
    possible = rounds.kinds_on(stand)
    if given.each:
        return [rounds.draw(given.seed, number, possible, kind) for number, kind in enumerate(possible)]
    numbers = range(given.rounds) if given.only is None else [given.only]
    return [rounds.draw(given.seed, number, possible) for number in numbers]


def _keep_logs(root: Path, folder: Path) -> None:
    kept = folder / "faults-logs"
    kept.mkdir(parents=True, exist_ok=True)
    for log in (*(root / "logs").glob("*.log"), root / "supervisor.log"):
        (kept / log.name).write_bytes(log.read_bytes())
    print(f"The logs are kept in {kept}.", flush=True)


def _tell(tally: Tally, figures: dict[str, float]) -> None:
    print("\nstrikes")
    for kind, times in sorted(tally.strikes.items()):
        print(f"  {times:5}  {kind}")
    for step, times in sorted(tally.steps.items()):
        print(f"  {times:5}  died at: {step}")
    print("slowest recoveries")
    for seconds, number, what in sorted(tally.recoveries, reverse=True)[:SLOWEST_TOLD]:
        print(f"  {seconds:5.1f} s  round {number}: {what}")
    print(json.dumps(figures))


if __name__ == "__main__":
    sys.exit(main())
