"""Rounds of faults: each is drawn from the seed and its own number, so any of them can be tried again alone."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from random import Random

import psycopg
from celery import Celery

from streamcoop.demo.client import until
from tests.faults import checks, kinds
from tests.faults.checks import Found, PublishedLog
from tests.faults.kinds import AT_A_STEP, KINDS, Struck
from tests.faults.load import GIVE_UP_S, Audience, Listener, Play, StayedAway
from tests.faults.stand import PARTS, Stand, backends

RECOVERY_S_MAX = 30.0
AT_S_MAX = 0.3
HOLD_S_MAX = 0.7
# How long a round waits for a part to come to the step that it is to die at.
STEP_S_MAX = 2.0
POLL_S = 0.02
# How many faults a round has at once, by weight.
FAULTS_AT_ONCE = (1, 1, 1, 2, 2, 3)
# There are more steps than other kinds of fault.
OFTEN_A_STEP = 0.2
OFTEN_A_CLOSE, OFTEN_AN_UPLOAD, OFTEN_AN_ADMISSION = 0.3, 0.08, 0.08
# What lasts is waited for at the end, at a clock that goes ahead: renderings that failed are tried again after 1, 4, 16
# and so on minutes.
FINISH_S_MAX = 120.0
# A clock that was set forward has closed hundreds of epochs, each with a batch: the log may be behind, but goes on.
LOG_STANDS_S_MAX = 30.0
AHEAD_S = (0, 15 * 60, 3_600, 3 * 3_600, 6 * 3_600)
# After each round the receipts of so many plays are kept, and held against the log from then on.
RECEIPTS_A_ROUND, RECEIPTS_AT_THE_END = 5, 100
CLOSE_DUE = "workers.royalties.close_due"
BROKER_S_MAX = 2


@dataclass(frozen=True)
class Fault:
    """One fault of a round: when it strikes, how long it is held if it lasts, and the seed of its own choices."""

    kind: str
    at_s: float
    hold_s: float
    seed: float

    @property
    def rng(self) -> Random:
        """For the choices of the strike, the same at every try."""
        return Random(self.seed)  # replayable, not secret


@dataclass(frozen=True)
class Plan:
    """What happens in a round."""

    number: int
    faults: Sequence[Fault]
    also: Sequence[str]


@dataclass
class Tally:
    """What came of all rounds."""

    kills: int = 0
    found: Found = field(default_factory=Found)
    strikes: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    recoveries: list[tuple[float, int, str]] = field(default_factory=list)

    @property
    def recovery_s_max(self) -> float:
        """The slowest recovery of all."""
        return max((seconds for seconds, _, _ in self.recoveries), default=0.0)

    @property
    def holds(self) -> bool:
        """Whether nothing went wrong."""
        return not self.found and self.recovery_s_max <= RECOVERY_S_MAX


def draw(seed: int, number: int, of: Sequence[str], first: str | None = None) -> Plan:
    """The plan of a round, the same whenever it is drawn. `of` are the kinds to draw from; `first` is one of them."""
    rng = Random(f"{seed}:{number}")  # replayable, not secret
    count = 1 if first else rng.choice(FAULTS_AT_ONCE)
    faults = []
    for _ in range(count):
        kind = first or (AT_A_STEP if rng.random() < OFTEN_A_STEP else rng.choice(of))
        faults.append(Fault(kind, rng.uniform(0, AT_S_MAX), rng.uniform(0, HOLD_S_MAX), rng.random()))
    chances = {"close": OFTEN_A_CLOSE, "upload": OFTEN_AN_UPLOAD, "admission": OFTEN_AN_ADMISSION}
    also = [work for work, chance in chances.items() if rng.random() < chance]
    also += [kinds.step_of(fault.rng)[0].work for fault in faults if fault.kind == AT_A_STEP]
    return Plan(number, sorted(faults, key=lambda fault: fault.at_s), sorted(set(also)))


def kinds_on(stand: Stand) -> list[str]:
    """The kinds that can be tried on this machine."""
    return [kind for kind in (*KINDS, AT_A_STEP) if stand.small_disks or kind not in kinds.ON_DISK]


class Rounds:
    """Plays rounds on a stand and keeps the tally."""

    def __init__(self, stand: Stand, audience: Audience, say: Callable[[str], None]) -> None:
        self.stand, self.audience, self.say = stand, audience, say
        self.tally = Tally()
        self._probe = Listener(audience, random.Random(0))  # she never chooses
        self._noted = self._broken = 0
        self._broker = Celery("faults", broker=stand.setting("BROKER_URL"), set_as_current=False)
        self._broker.conf.broker_connection_timeout = BROKER_S_MAX
        self._broker.conf.broker_transport_options = {"init_extension": False, "pool_timeout": BROKER_S_MAX}

    def play(self, plan: Plan) -> None:
        """One round: strike, take back, wait until the service is back by itself, and look whether all is there."""
        self._probe.prepare()
        for work in plan.also:
            self._begin(work, plan.number)
        begun = time.monotonic()
        shifted = any(fault.kind in kinds.CLOCKS for fault in plan.faults)
        with self._struck(plan.faults, begun) as waiting:
            self._wait_for_steps(waiting)
            if shifted:
                self._recovered(plan, "at the clock that was set")
        self._recovered(plan, "")
        self._look(plan)

    def _begin(self, work: str, number: int) -> None:
        if work == "close":
            self.audience.also(self._ask_for_closes, "close")
        elif work == "upload":
            self.audience.also(lambda: self.audience.upload(number), f"upload of round {number}")
        elif work == "admission":
            self.audience.also(self.audience.admit, f"admission of round {number}")
        elif work == "top-up":
            self.audience.also(lambda: self.audience.top_up(self._probe.device), f"top-up of round {number}")

    def _ask_for_closes(self) -> None:
        try:
            self._broker.send_task(CLOSE_DUE, queue="royalties", retry=False)
        except Exception as error:  # each transport has errors of its own; the timetable asks too
            self.say(f"  the broker took no task: {type(error).__name__}")

    @contextmanager
    def _struck(self, faults: Sequence[Fault], begun: float) -> Iterator[list[str]]:
        """Strike, and take back what lasts; only clocks stay as they were set for the length of the block.

        Yields the steps that somebody is to come to.
        """
        lasting: list[tuple[float, Struck]] = []
        clocks: list[Struck] = []
        steps = []
        for fault in faults:
            time.sleep(max(0.0, begun + fault.at_s - time.monotonic()))
            if fault.kind == AT_A_STEP:
                step, whole_part = kinds.step_of(fault.rng)
                self.stand.levers.arm(step.name, whole_part)
                steps.append(step.name)
            else:
                struck = KINDS[fault.kind](self.stand, fault.rng)
                if fault.kind in kinds.CLOCKS:
                    clocks.append(struck)
                else:
                    lasting.append((fault.at_s + fault.hold_s, struck))
                self.tally.kills += struck.kills
            self.tally.strikes[fault.kind] += 1
        for until_s, struck in sorted(lasting, key=itemgetter(0)):
            time.sleep(max(0.0, begun + until_s - time.monotonic()))
            struck.take_back()
        yield steps
        for struck in clocks:
            struck.take_back()

    def _wait_for_steps(self, steps: Sequence[str]) -> None:
        armed = [step for step in steps if self.stand.levers.is_armed(step)]
        deadline = time.monotonic() + STEP_S_MAX
        while armed and time.monotonic() < deadline:
            time.sleep(POLL_S)
            armed = [step for step in armed if self.stand.levers.is_armed(step)]
        self.stand.levers.disarm()
        for step in steps:
            if step not in armed:
                self.tally.kills += 1
                self.tally.steps[step] += 1

    def _recovered(self, plan: Plan, how: str) -> None:
        """Wait until a fresh play is acknowledged and settled, and note how long it took."""
        begun = time.monotonic()
        try:
            while (play := self._probe.play()) is None:
                continue
            while not self._probe.is_settled():
                if time.monotonic() - begun > GIVE_UP_S:
                    raise StayedAway("its settling")
                time.sleep(POLL_S)
        except StayedAway as error:
            play = None
            self.say(f"round {plan.number}: {error}")
        seconds = time.monotonic() - begun
        what = ", ".join([*(fault.kind for fault in plan.faults), *([how] if how else [])])
        self.tally.recoveries.append((seconds, plan.number, what))
        if play is None:
            raise StayedAway(what)

    def _look(self, plan: Plan) -> None:
        noted = len(self.audience.notes.plays)
        self._take(plan.number, checks.look(self.stand.database, self.audience.notes, self._noted))
        some = Random(plan.number).sample(range(noted), min(noted, RECEIPTS_A_ROUND))  # replayable, not secret
        self._audit(plan.number, [self.audience.notes.plays[place] for place in some])
        self._noted = noted

    def _audit(self, number: int, plays: Sequence[Play]) -> None:
        log = PublishedLog(
            objects=self.stand.places.objects,
            origin=self.stand.setting("LOG_ORIGIN"),
            secret=self.stand.setting("LOG_KEY"),
            receipts=self.audience.receipts,
        )
        self._take(number, log.look(self.stand.database, plays))

    def _take(self, number: int, found: Found) -> None:
        broken = self.audience.notes.broken[self._broken :]
        self._broken += len(broken)
        found.lost += broken
        for name in ("lost", "doubled", "unbalanced"):
            for line in getattr(found, name):
                self.say(f"round {number}: {name}: {line}")
        self.tally.found += found

    def _all_runs(self) -> bool:
        try:
            backends(self.stand.superuser_url)
        except psycopg.OperationalError:
            return False
        return all(map(self.stand.part, PARTS))

    def _untold(self) -> list[str]:
        """The plays that are not in the log, once it goes on no more."""
        published, since = -1, time.monotonic()
        while (left := checks.untold(self.stand.database, self.audience.notes)) and (
            time.monotonic() - since < LOG_STANDS_S_MAX
        ):
            if (count := checks.published(self.stand.database)) != published:
                published, since = count, time.monotonic()
            time.sleep(POLL_S * 10)
        return left

    def finish(self, number: int) -> None:
        """After the last round: all parts run, all that was begun comes to its end, and every promise is looked at."""
        until(lambda: self._all_runs() or None, "all parts to run", RECOVERY_S_MAX)
        untold = self._untold()
        begun = time.monotonic()
        for ahead_s in AHEAD_S:
            self.stand.levers.set_clocks(ahead_s)
            deadline = begun + FINISH_S_MAX if ahead_s == AHEAD_S[-1] else time.monotonic() + FINISH_S_MAX / 8
            while (left := checks.unfinished(self.stand.database, self.audience.notes)) and time.monotonic() < deadline:
                time.sleep(POLL_S * 10)
            if not left:
                break
        self.stand.levers.reset_clocks()
        found = checks.look(self.stand.database, self.audience.notes)
        found += checks.look_at_wallets(self.stand.database, self.audience.notes)
        found.lost += left + untold
        self._audit(number, self.audience.notes.plays[-RECEIPTS_AT_THE_END:])
        chain = self.stand.setting("CHAIN_RPC_URL"), self.stand.setting("MEMBERSHIP_CONTRACT")
        found += checks.look_at_tokens(self.stand.database, *chain)
        self._take(number, found)
