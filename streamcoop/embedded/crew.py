"""The running parts of one service: started in order, restarted when they die, stopped in reverse."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from streamcoop.embedded import guardian, process
from streamcoop.embedded.process import Child, StopSteps

POLL_S = 0.1
# A part that has lived this long once is sound: from then on it is restarted for ever.
SOUND_S = 10.0
# A part that was never sound is given up after this many deaths.
DEATHS_MAX = 4
BACKOFF_S = 0.25
# Short: what kept it from running (a full disk) may be over at any moment, and the others wait for it.
BACKOFF_S_MAX = 5.0


class CrewError(Exception):
    """The service cannot be brought up, or kept up."""


class KeepsDying(CrewError):
    """A part has died again and again without ever having run for a while."""


class NotReady(CrewError):
    """A part runs, but was not ready in time."""


class CommandFailed(CrewError):
    """A command that must succeed before the service starts did not."""


class StopAsked(Exception):
    """Somebody asked the service to stop while it was starting."""


@dataclass(frozen=True)
class Part:
    """How one part of the service is started, recognised as ready, and stopped.

    `launch` returns without waiting; it is called again when the part has died. `ready` is asked often
    and answers at once. A part that is not `guarded` is left to its own death signal if we are killed.
    `stopped` is called once the part has been stopped for good. Parts that need not stop one after the other
    are marked `stops_with_previous`, each but the first of them.
    """

    name: str
    launch: Callable[[], Child]
    log: Path
    stop_steps: StopSteps
    ready: Callable[[], bool] = lambda: True
    ready_s_max: float = 60.0
    guarded: bool = True
    stopped: Callable[[], None] = lambda: None
    stops_with_previous: bool = False


@dataclass
class _Running:
    part: Part
    process: Child
    launched_at: float
    deaths: int = 0
    sound: bool = False
    restart_at: float | None = None


def backoff_s(deaths: int) -> float:
    """The pause before a restart after this many deaths in a row: doubling, `BACKOFF_S_MAX` at the most."""
    return float(min(BACKOFF_S * 2 ** min(deaths - 1, 16), BACKOFF_S_MAX))


@dataclass
class Crew:
    """Use from one thread that lives as long as the service: children die with the thread that started them.

    `stop_asked` is how the crew learns, while it waits, that the service is to stop.
    """

    guardian: process.Guardian
    stop_asked: Callable[[], bool]
    say: Callable[[str], None]
    _running: list[_Running] = field(default_factory=list)

    def start(self, part: Part) -> None:
        """Start the part and return once it is ready, looking after those started before meanwhile.

        Raises `KeepsDying`, `NotReady`, or `StopAsked`.
        """
        entry = _Running(part, self._launch(part), time.monotonic())
        self._running.append(entry)
        deadline = time.monotonic() + part.ready_s_max
        while entry.process.poll() is not None or not part.ready():
            self.watch()
            if time.monotonic() >= deadline:
                raise NotReady(
                    f"{part.name} was not ready after {part.ready_s_max:g} s. The end of {part.log}:\n"
                    f"{process.last_lines(part.log)}"
                )
            self.pause()

    def run_once(
        self,
        name: str,
        launch: Callable[[], Child],
        log: Path,
        wait_s_max: float,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """Run a command to its end, and `look` often meanwhile. Raises `CommandFailed` if it fails or takes longer, or
        `StopAsked`.
        """
        child = launch()
        self.guardian.watch(child.pid)
        deadline = time.monotonic() + wait_s_max
        try:
            while child.poll() is None:
                if time.monotonic() >= deadline:
                    raise CommandFailed(f"{name} took longer than {wait_s_max:g} s; its output is in {log}")
                self.watch()
                look()
                self.pause()
        finally:
            process.stop(child, process.KILL_STEPS)
            self.guardian.forget(child.pid)
        if child.returncode != 0:
            raise CommandFailed(f"{name} ended with {child.returncode}. The end of {log}:\n{process.last_lines(log)}")

    def watch(self) -> None:
        """Notice who has died, and restart whose pause is over. Raises `KeepsDying`."""
        now = time.monotonic()
        for entry in self._running:
            if entry.restart_at is not None:
                if now >= entry.restart_at:
                    entry.process, entry.launched_at, entry.restart_at = self._launch(entry.part), now, None
            elif entry.process.poll() is not None:
                self._bury(entry, now)

    def pause(self) -> None:
        """Wait a moment. Raises `StopAsked` once the service is to stop."""
        time.sleep(POLL_S)
        if self.stop_asked():
            raise StopAsked

    def stop(self) -> None:
        """Stop all parts, last started first, each within the bounds of its `stop_steps`."""
        while self._running:
            together = [self._running.pop()]
            while together[-1].part.stops_with_previous and self._running:
                together.append(self._running.pop())
            with ThreadPoolExecutor(len(together)) as pool:
                for ended in pool.map(self._stop, together):
                    self.guardian.forget(ended.process.pid)
                    ended.part.stopped()

    def _stop(self, entry: _Running) -> _Running:
        try:
            process.stop(entry.process, entry.part.stop_steps)
        except subprocess.TimeoutExpired:
            # Not even SIGKILL: it hangs in the kernel. The others are stopped all the same.
            self.say(f"{entry.part.name} (process {entry.process.pid}) does not end; leaving it to the kernel")
        return entry

    def _launch(self, part: Part) -> Child:
        child = part.launch()
        if part.guarded:
            self.guardian.watch(child.pid)
        return child

    def _bury(self, entry: _Running, now: float) -> None:
        guardian.kill_group(entry.process.pid)
        self.guardian.forget(entry.process.pid)
        lived_long = now - entry.launched_at >= SOUND_S
        entry.sound = entry.sound or lived_long
        entry.deaths = 1 if lived_long else entry.deaths + 1
        part, status = entry.part, entry.process.returncode
        if entry.deaths >= DEATHS_MAX and not entry.sound:
            raise KeepsDying(
                f"{part.name} keeps dying at its start (last with {status}). The end of {part.log}:\n"
                f"{process.last_lines(part.log)}"
            )
        wait_s = backoff_s(entry.deaths)
        entry.restart_at = now + wait_s
        self.say(f"{part.name} ended with {status}; starting it again in {wait_s:g} s (see {part.log})")


def command_launcher(
    command: Sequence[str], log: Path, env: dict[str, str], cwd: Path, output: Path | None = None
) -> Callable[[], Child]:
    """A `launch` that runs the command with its output appended to `log`.

    With `output`, standard output goes to that file instead, which is emptied at every start.
    """

    def launch() -> Child:
        with process.open_log(log) as errors:
            if output is None:
                return process.spawn(command, output=errors, env=env, cwd=cwd)
            output.unlink(missing_ok=True)
            with process.open_log(output) as answers:
                return process.spawn(command, output=answers, errors=errors, env=env, cwd=cwd)

    return launch
