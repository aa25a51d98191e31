"""Runs a program of the system, and none of anybody else, until its deadline."""

from __future__ import annotations

import os
import selectors
import signal
import stat
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress

from gpudoctor.node.gaps import gap_of_errno
from gpudoctor.node.surface import Output
from gpudoctor.unread import Gap, Reading, Unread

FOLDERS = (
    "/usr/bin",
    "/bin",
    "/usr/sbin",
    "/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/run/current-system/sw/bin",
    "/usr/lib/wsl/lib",
)
MOST = 32 << 20
ENVIRONMENT = {"PATH": ":".join(FOLDERS), "LC_ALL": "C", "LANG": "C", "TERM": "dumb", "SYSTEMD_COLORS": "0"}


def run(argv: Sequence[str], seconds: float) -> Reading[Output]:
    where = " ".join(argv)
    program = find(argv[0])
    if isinstance(program, Unread):
        return program
    try:
        process = subprocess.Popen(  # noqa: S603 (a system program, found in a fixed folder)
            [program, *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        gap, detail, remedy = gap_of_errno(error.errno or 0)
        return Unread(gap, where, detail, remedy)
    output = _heard(process, time.monotonic() + seconds)
    if output is None:
        _end(process)
        return Unread(Gap.TIMED_OUT, where, f"did not end within {seconds:g} s, or prints more than {MOST >> 20} MiB")
    return output


def _heard(process: subprocess.Popen[bytes], until: float) -> Output | None:
    assert process.stdout is not None
    assert process.stderr is not None
    heard = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as both, process.stdout, process.stderr:
        for pipe in heard:
            both.register(pipe, selectors.EVENT_READ)
        while both.get_map():
            ready = both.select(max(0.0, until - time.monotonic()))
            if not ready:
                return None
            for key, _ in ready:
                pipe = process.stdout if key.fileobj is process.stdout else process.stderr
                data = os.read(key.fd, 1 << 16)
                heard[pipe] += data
                if not data:
                    both.unregister(pipe)
                if len(heard[pipe]) > MOST:
                    return None
        try:
            code = process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            return None
        return Output(code, bytes(heard[process.stdout]), bytes(heard[process.stderr]))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill its session, and do not wait for what sleeps in the kernel."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        process.returncode = -signal.SIGKILL  # it is dead to us; else its destructor complains


def find(name: str) -> str | Unread:
    """A program in a folder of the system. For root only one that nobody but root can change."""
    folder, base = os.path.split(name)
    if folder and folder not in FOLDERS:
        return Unread(Gap.UNSUPPORTED, name, "is no program of the system")
    for place in [folder] if folder else FOLDERS:
        path = f"{place}/{base}"
        try:
            entry = os.stat(path)
        except OSError:
            continue
        if not stat.S_ISREG(entry.st_mode) or not os.access(path, os.X_OK):
            continue
        if os.geteuid() == 0 and (entry.st_uid != 0 or entry.st_mode & 0o002):
            return Unread(Gap.DENIED, path, "is not run as root: others may change it")
        return path
    return Unread(Gap.ABSENT, name, "is not installed")
