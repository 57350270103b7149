"""A program, not a library: takes rights away from itself, then becomes the command it was given.

    python -I -S confine.py '{"cpu_s": 10, ...}' command argument...

`confined.run` starts it. It exists apart so that the limits are set in a fresh, single-threaded process: doing it
between fork and exec (`preexec_fn`) can deadlock a parent that has threads. It imports the standard library only.

The first line on standard error says which protections this machine granted:
`confined: network=none files=landlock processes=one`. Resource limits always hold, for each process; the rest is as
good as the kernel permits. Where system calls can be filtered (any Linux of today on x86-64 or ARM64, root or not, in a
container or not) there is one process, so the limits hold for all of it, and no socket of any kind, which neither
Landlock nor a network namespace can say: a socket in the file system is beyond both.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import resource
import signal
import stat
import sys
from collections.abc import Iterable
from typing import TypedDict

STATUS_PREFIX = "confined:"
EXIT_NOT_STARTED = 127
NICENESS = 10

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
CAPABILITIES_MAX = 64
CAPABILITIES_KEPT = frozenset({1, 2})
"""CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: root must still reach folders that another user owns."""
NAMESPACED_NPROC_SINCE = (5, 14)
"""Before this kernel RLIMIT_NPROC counts the user's processes on the whole machine: no limit of ours can be right."""

LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_VERSION_FLAG = 1
LANDLOCK_RULE_PATH_BENEATH = 1
ACCESS_READ = 1 << 0 | 1 << 2 | 1 << 3
"""Execute, read a file, list a folder."""
ACCESS_LIST = 1 << 3
ACCESS_FILE = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14
"""The rights that make sense on a file rather than on a folder: execute, write, read, truncate."""
ACCESS_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
NET_SINCE, NET_TCP = 4, 0b11
SCOPE_SINCE, SCOPE_ALL = 6, 0b11


SECCOMP_MODE_FILTER = 2
SECCOMP_ALLOW = 0x7FFF0000
SECCOMP_ERRNO = 0x00050000
SECCOMP_KILL = 0x80000000
BPF_LOAD, BPF_EQUAL, BPF_AT_LEAST, BPF_BITS, BPF_RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER_AT, ARCHITECTURE_AT, FIRST_ARGUMENT_AT = 0, 4, 16
CLONE_THREAD = 0x00010000
X32_CALLS_FROM = 0x40000000
"""On x86-64, calls numbered from here on are those of a second interface, which would pass by a filter of numbers."""


class Calls(TypedDict):
    """One architecture's numbers of system calls."""

    architecture: int
    clone: int
    tgkill: int
    absent: list[int]
    denied: list[int]


# `clone3` is said to be absent: its flags cannot be looked at, and the C library then uses `clone`.
# Denied, in this order: socket, io_uring_setup (which can open sockets unseen), ptrace, process_vm_readv and _writev,
# pidfd_getfd, kill, tkill, pidfd_send_signal, rt_sigqueueinfo, rt_tgsigqueueinfo, keyctl, add_key, request_key, bpf,
# perf_event_open, userfaultfd, unshare, setns, mount; and on x86-64 fork and vfork, which ARM64 does not have.
# `tgkill` is how a program aborts itself, and is left for that.
CALLS: dict[str, Calls] = {
    "x86_64": {
        "architecture": 0xC000003E,
        "clone": 56,
        "tgkill": 234,
        "absent": [435],
        "denied": [
            *(41, 425, 101, 310, 311, 438, 62, 200, 424, 129, 297, 250, 248, 249, 321, 298, 323, 272, 308, 165),
            *(57, 58),
        ],
    },
    "aarch64": {
        "architecture": 0xC00000B7,
        "clone": 220,
        "tgkill": 131,
        "absent": [435],
        "denied": [198, 425, 117, 270, 271, 438, 129, 130, 424, 138, 240, 219, 217, 218, 280, 241, 282, 97, 268, 40],
    },
}


class Confinement(TypedDict):
    """What `confined.Limits` sends across: seconds, bytes and counts, and the paths that may be touched."""

    cpu_s: int
    memory_bytes: int
    file_bytes: int
    open_files: int
    processes: int
    parent_pid: int
    readable: list[str]
    listable: list[str]
    writable: list[str]


class RulesetAttr(ctypes.Structure):
    """struct landlock_ruleset_attr."""

    _fields_ = [("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class PathBeneathAttr(ctypes.Structure):
    """struct landlock_path_beneath_attr, which the kernel declares packed."""

    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


class Instruction(ctypes.Structure):
    """struct sock_filter."""

    _fields_ = [
        ("code", ctypes.c_uint16),
        ("yes", ctypes.c_uint8),
        ("no", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    ]


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(Instruction))]


def limit(kind: int, soft: int, hard: int | None = None) -> None:
    """Lower a resource limit; never above what this process was itself given."""
    ceiling = resource.getrlimit(kind)[1]
    wanted = soft if hard is None else hard
    top = wanted if ceiling == resource.RLIM_INFINITY else min(wanted, ceiling)
    resource.setrlimit(kind, (min(soft, top), top))


def leave_network(libc: ctypes.CDLL) -> str:
    """Enter an empty network namespace. Returns "user+net", "net" or "" for what was permitted.

    Root skips the user namespace: in it, it could no longer read what other users own.
    """
    if os.geteuid() != 0 and libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0:
        return "user+net"
    return "net" if libc.unshare(CLONE_NEWNET) == 0 else ""


def drop_capabilities(libc: ctypes.CDLL) -> None:
    """Leave no capability to the next program except those to reach files; matters to root alone."""
    for capability in range(CAPABILITIES_MAX):
        if capability not in CAPABILITIES_KEPT:
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def allow_paths(libc: ctypes.CDLL, ruleset: int, paths: Iterable[str], access: int) -> None:
    """Add what exists of `paths` to the ruleset. A missing one needs no right."""
    for path in paths:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        folder = stat.S_ISDIR(os.fstat(fd).st_mode)
        attr = PathBeneathAttr(access if folder else access & ACCESS_FILE, fd)
        libc.syscall(LANDLOCK_ADD_RULE, ruleset, LANDLOCK_RULE_PATH_BENEATH, ctypes.byref(attr), 0)
        os.close(fd)


def restrict_files(libc: ctypes.CDLL, terms: Confinement) -> int:
    """Landlock: nothing but what the terms list can be opened, no TCP, no signals to others.

    Returns the kernel's Landlock version, 0 where there is none.
    """
    version = libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_VERSION_FLAG)
    if version < 1:
        return 0
    access = ACCESS_BY_VERSION[min(version, max(ACCESS_BY_VERSION))]
    attr = RulesetAttr(access, NET_TCP if version >= NET_SINCE else 0, SCOPE_ALL if version >= SCOPE_SINCE else 0)
    # Older kernels refuse a structure with fields they do not know.
    size = 24 if version >= SCOPE_SINCE else 16 if version >= NET_SINCE else 8
    ruleset = libc.syscall(LANDLOCK_CREATE_RULESET, ctypes.byref(attr), size, 0)
    if ruleset < 0:
        return 0
    allow_paths(libc, ruleset, terms["readable"], ACCESS_READ)
    allow_paths(libc, ruleset, terms["listable"], ACCESS_LIST)
    allow_paths(libc, ruleset, terms["writable"], access)
    done = libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
    return int(version) if done == 0 else 0


def call_filter(calls: Calls, own_pid: int) -> list[tuple[int, int, int, int]]:
    """The filter as (code, instructions to skip if so, if not, operand): what it does not name is allowed."""
    refuse, absent = SECCOMP_ERRNO | errno.EPERM, SECCOMP_ERRNO | errno.ENOSYS
    program = [
        (BPF_LOAD, 0, 0, ARCHITECTURE_AT),
        (BPF_EQUAL, 1, 0, calls["architecture"]),
        (BPF_RETURN, 0, 0, SECCOMP_KILL),
        (BPF_LOAD, 0, 0, NUMBER_AT),
        (BPF_AT_LEAST, 0, 1, X32_CALLS_FROM),
        (BPF_RETURN, 0, 0, SECCOMP_KILL),
    ]
    for numbers, answer in ((calls["denied"], refuse), (calls["absent"], absent)):
        for number in numbers:
            program += [(BPF_EQUAL, 0, 1, number), (BPF_RETURN, 0, 0, answer)]
    return [
        *program,
        (BPF_EQUAL, 0, 3, calls["clone"]),
        (BPF_LOAD, 0, 0, FIRST_ARGUMENT_AT),
        (BPF_BITS, 4, 0, CLONE_THREAD),
        (BPF_RETURN, 0, 0, refuse),
        (BPF_EQUAL, 0, 2, calls["tgkill"]),
        (BPF_LOAD, 0, 0, FIRST_ARGUMENT_AT),
        (BPF_EQUAL, 0, 1, own_pid),
        (BPF_RETURN, 0, 0, SECCOMP_ALLOW),
        (BPF_RETURN, 0, 0, refuse),
    ]


def restrict_calls(libc: ctypes.CDLL) -> bool:
    """No sockets, no other process, no look into one. After PR_SET_NO_NEW_PRIVS. Returns whether the kernel agreed."""
    # A 32-bit interpreter on a 64-bit kernel makes other calls: the filter would end it.
    if platform.machine() not in CALLS or sys.maxsize <= 1 << 32:
        return False
    written = call_filter(CALLS[platform.machine()], os.getpid())
    program = Program(len(written), (Instruction * len(written))(*(Instruction(*one) for one in written)))
    return bool(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


def kernel_version() -> tuple[int, int]:
    """Major and minor number of the running kernel, (0, 0) if it cannot be told."""
    major, _, rest = platform.release().partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)


def confine_on_linux(terms: Confinement) -> str:
    """Everything that only Linux offers. Returns the line of what was granted."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != terms["parent_pid"]:
        sys.exit(EXIT_NOT_STARTED)  # the parent died before the line above took effect
    namespace = leave_network(libc)
    if namespace == "user+net" and kernel_version() >= NAMESPACED_NPROC_SINCE:
        limit(resource.RLIMIT_NPROC, terms["processes"])
    if os.geteuid() == 0:
        drop_capabilities(libc)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    landlock = restrict_files(libc, terms)
    filtered = restrict_calls(libc)
    network = "none" if namespace or filtered else "no-tcp" if landlock >= NET_SINCE else "shared"
    files, processes = "landlock" if landlock else "shared", "one" if filtered else "several"
    return f"network={network} files={files} processes={processes}"


def main(arguments: list[str]) -> None:
    """Confine this process by the terms in the first argument, then run the rest as a command, without environment."""
    terms: Confinement = json.loads(arguments[0])
    command = arguments[1:]
    os.nice(NICENESS)
    granted = confine_on_linux(terms) if sys.platform == "linux" else "network=shared files=shared processes=several"
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, terms["file_bytes"])
    limit(resource.RLIMIT_NOFILE, terms["open_files"])
    # One second between the signal that can be caught and the one that cannot.
    limit(resource.RLIMIT_CPU, terms["cpu_s"], terms["cpu_s"] + 1)
    limit(resource.RLIMIT_AS, terms["memory_bytes"])
    print(STATUS_PREFIX, granted, file=sys.stderr, flush=True)
    try:
        os.execve(command[0], command, {})  # noqa: S606  # no shell is wanted
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        sys.exit(EXIT_NOT_STARTED)


if __name__ == "__main__":
    main(sys.argv[1:])
