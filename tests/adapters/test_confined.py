"""What a confined child cannot do, tried from within one: by somebody who has taken it over."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from streamcoop.adapters import confine, confined

WAIT_S_MAX = 30
LIMITS = confined.Limits(cpu_s=2, wall_s=30, memory_bytes=256 << 20, file_bytes=1 << 20)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="namespaces, Landlock and filters of calls are Linux's")
FILTERED = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in confine.CALLS, reason="there is a filter for two machines"
)
# Runs a statement and tells how it ended, so that a child that was stopped cannot be taken for one that was not.
ATTEMPT = """
import ctypes, errno, json, os, signal, socket, sys
for name, attempt in json.loads(sys.argv[1]).items():
    try:
        exec(attempt)
        how = "done"
    except OSError as error:
        how = errno.errorcode[error.errno]
    except MemoryError:
        how = "MemoryError"
    with open("told", "a") as file:
        print(name, how, file=file)
"""


def run(folder: Path, script: str, limits: confined.Limits = LIMITS) -> confined.Outcome:
    return confined.run(["/bin/sh", "-c", script], limits, folder=folder, readable=[])


def attempt(folder: Path, limits: confined.Limits = LIMITS, **attempts: str) -> tuple[dict[str, str], confined.Outcome]:
    """How each statement of Python ended in one confined child."""
    python = Path(sys.executable)
    readable = [python.resolve().parent, Path(sys.prefix), Path(sys.base_prefix)]
    command = [str(python), "-I", "-S", "-c", ATTEMPT, json.dumps(attempts)]
    outcome = confined.run(command, limits, folder=folder, readable=readable)
    told = folder / "told"
    lines = told.read_text().splitlines() if told.exists() else []
    return dict(line.split(" ", 1) for line in lines), outcome


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S_MAX
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_endless_work_is_ended(tmp_path: Path) -> None:
    assert run(tmp_path, "while :; do :; done", replace(LIMITS, cpu_s=1)).ending == "cpu"
    assert run(tmp_path, "exec sleep 60", replace(LIMITS, wall_s=1)).ending == "wall"
    assert run(tmp_path, "while :; do echo much; done >&2", replace(LIMITS, wall_s=1)).ending in ("wall", "cpu")


def test_what_it_started_if_it_can_start_anything_ends_with_it(tmp_path: Path) -> None:
    outcome = run(tmp_path, "(sleep 300 & echo $! > left); exit 3")
    if "processes=one" in outcome.protections:
        assert not (tmp_path / "left").exists()
        return
    assert (outcome.ending, outcome.returncode) == ("exited", 3)
    pid = int((tmp_path / "left").read_text())
    _wait_until(lambda: not _alive(pid))


def test_the_environment_is_withheld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMCOOP_SECRET_KEY", "must not be seen")
    outcome = run(tmp_path, "export -p >&2; exec env >&2")
    assert outcome.ending == "exited"
    assert "STREAMCOOP" not in outcome.message
    assert "must not be seen" not in outcome.message


def test_a_file_cannot_grow_beyond_its_limit(tmp_path: Path) -> None:
    beyond = "open('big', 'wb', buffering=0).write(bytes(4 << 20))"
    # Python ignores the signal that would end it, and learns of the limit as an error.
    told, _ = attempt(tmp_path, first=beyond, second="open('big', 'ab', buffering=0).write(b'more')")
    assert (tmp_path / "big").stat().st_size == LIMITS.file_bytes
    assert told["second"] == "EFBIG"


def test_memory_cannot_be_taken_beyond_its_limit(tmp_path: Path) -> None:
    told, _ = attempt(tmp_path, within="bytearray(64 << 20)", beyond="bytearray(512 << 20)")
    assert told == {"within": "done", "beyond": "MemoryError"}


def test_files_cannot_be_opened_beyond_their_number(tmp_path: Path) -> None:
    beyond = f"""
kept = []
try:
    while len(kept) <= {LIMITS.open_files}: kept.append(os.dup(0))
finally:
    for descriptor in kept: os.close(descriptor)
"""
    told, _ = attempt(tmp_path, few="os.close(os.dup(0))", many=beyond)
    assert told == {"few": "done", "many": "EMFILE"}


def test_limits_cannot_be_raised_again(tmp_path: Path) -> None:
    # Root without its capabilities is nobody here.
    raising = """
import resource
try: resource.setrlimit(resource.RLIMIT_{0}, (1 << 50, 1 << 50))
except ValueError: raise PermissionError(errno.EPERM, "")
"""
    names = ("AS", "CPU", "FSIZE", "NOFILE")
    told, _ = attempt(tmp_path, **{name: raising.format(name) for name in names})
    assert told == dict.fromkeys(names, "EPERM")


@FILTERED
def test_no_socket_of_any_kind_can_be_opened(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as here:
        here.bind(str(tmp_path / "door"))
        here.listen()
        told, outcome = attempt(
            tmp_path,
            tcp="socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
            udp="socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
            tcp6="socket.socket(socket.AF_INET6, socket.SOCK_STREAM)",
            # In its own folder: neither Landlock nor a network namespace would be in the way.
            unix="socket.socket(socket.AF_UNIX).connect('door')",
            netlink="socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
            ring=(
                "libc = ctypes.CDLL(None, use_errno=True)\n"
                "if libc.syscall(425, 8, ctypes.create_string_buffer(200)) < 0: raise OSError(ctypes.get_errno(), '')"
            ),
        )
    assert set(told.values()) == {"EPERM"}, told
    assert len(told) == 6
    assert {"network=none", "processes=one"} <= set(outcome.protections)


@FILTERED
def test_no_other_process_can_be_started_signalled_or_looked_into(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as bystander:
        told, outcome = attempt(
            tmp_path,
            fork="os.fork()",
            spawn="os.posix_spawn('/bin/true', ['true'], {})",
            kill=f"os.kill({bystander.pid}, signal.SIGKILL)",
            service=f"os.kill({os.getpid()}, signal.SIGTERM)",
            thread=(
                "libc = ctypes.CDLL(None, use_errno=True)\n"
                f"if libc.syscall({confine.CALLS[platform.machine()]['tgkill']}, {bystander.pid}, {bystander.pid}, 9): "
                "raise OSError(ctypes.get_errno(), '')"
            ),
            trace=(
                "libc = ctypes.CDLL(None, use_errno=True)\n"
                f"if libc.ptrace(16, {bystander.pid}, None, None) < 0: raise OSError(ctypes.get_errno(), '')"
            ),
        )
        assert bystander.poll() is None
        bystander.kill()
    assert set(told.values()) == {"EPERM"}, (told, outcome)
    assert len(told) == 6


@FILTERED
def test_threads_are_left_to_it(tmp_path: Path) -> None:
    told, _ = attempt(
        tmp_path,
        thread="import threading; t = threading.Thread(target=os.getpid); t.start(); t.join()",
        abort="os.abort()",
    )
    assert told == {"thread": "done"}


@LINUX
def test_nothing_outside_its_folder_can_be_read_listed_or_changed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    secret = outside / "service.env"
    secret.write_text("STREAMCOOP_SECRET_KEY='secret'")
    (inside / "link").symlink_to(secret)
    told, outcome = attempt(
        inside,
        read=f"open({str(secret)!r})",
        link="open('link')",
        parent="open('../outside/service.env')",
        list=f"os.listdir({str(outside)!r})",
        write=f"open({str(outside / 'new')!r}, 'w')",
        remove=f"os.unlink({str(secret)!r})",
        move=f"os.rename('told', {str(outside / 'told')!r})",
        passwords="open('/etc/shadow')",
        environment=f"open('/proc/{os.getpid()}/environ')",
        memory=f"open('/proc/{os.getpid()}/mem')",
        own="open('own', 'w').write('fine')",
    )
    if "files=landlock" not in outcome.protections:
        pytest.skip(f"this kernel granted only {outcome.protections}")
    assert told.pop("own") == "done"
    assert set(told.values()) <= {"EACCES", "EXDEV"}, told
    assert len(told) == 10
    assert sorted(path.name for path in outside.iterdir()) == ["service.env"]


@LINUX
def test_a_service_that_is_killed_leaves_nothing_running(tmp_path: Path) -> None:
    script = "echo $$ > pid.new; while ! test -s pid.new; do :; done; exec sleep 300"
    service = (
        "import pathlib; from streamcoop.adapters import confined; "
        f"confined.run(['/bin/sh', '-c', {script!r}], confined.Limits(5, 300, 1 << 28, 1 << 20), "
        f"folder=pathlib.Path({str(tmp_path)!r}), readable=[])"
    )
    written = tmp_path / "pid.new"
    with subprocess.Popen([sys.executable, "-c", service], cwd=confined.PACKAGE.parent) as parent:
        _wait_until(lambda: written.exists() and written.read_text().endswith("\n"))
        parent.kill()
    pid = int(written.read_text())
    _wait_until(lambda: not _alive(pid))


SYSTEM_PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin")
# Tells `confine` its parent's id, which is known only after the account has changed.
CONFINED = (
    "import json, os, sys; terms = json.loads(sys.argv[2]) | {'parent_pid': os.getppid()}; "
    "os.execv(sys.executable, [sys.executable, '-I', '-S', sys.argv[1], json.dumps(terms), *sys.argv[3:]])"
)


@FILTERED
@pytest.mark.skipif(os.geteuid() != 0 or not SYSTEM_PYTHON, reason="only root can become somebody else")
def test_an_account_that_may_make_no_namespaces_has_no_network_and_no_other_process_either() -> None:
    """As the service is in a container: nobody in particular, without a capability."""
    terms = {
        **dataclasses.asdict(LIMITS),
        "readable": [*confined.SYSTEM_LIBRARIES, "/bin"],
        "listable": [],
    }
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--no-new-privs"]
    with tempfile.TemporaryDirectory(prefix="streamcoop-tests-") as folder:
        Path(folder).chmod(0o777)
        program = Path(folder, "confine.py")
        shutil.copyfile(confine.__file__, program)
        sent = [str(program), json.dumps(terms | {"writable": [folder]})]
        script = "/bin/true && echo forked >&2"
        done = subprocess.run(
            [*nobody, str(SYSTEM_PYTHON), "-c", CONFINED, *sent, "/bin/sh", "-c", script],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=WAIT_S_MAX,
        )
    granted = done.stderr.splitlines()[0].split()
    assert granted[0] == confine.STATUS_PREFIX, done.stderr
    assert {"network=none", "processes=one"} <= set(granted)
    assert "forked" not in done.stderr
    assert done.returncode != 0


def test_a_program_that_is_missing_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(confined.ProgramNotStarted):
        confined.run([str(tmp_path / "none")], LIMITS, folder=tmp_path, readable=[])
    assert confine.EXIT_NOT_STARTED == 127
