"""A worker process seen from the parent: its pid and its two pipes. Nothing here ever waits."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from gpudoctor.node.worker import ANSWERS, COMMANDS

_MAIN = "import sys; sys.path += sys.argv[1:]; from gpudoctor.node.worker import main; main()"
_MAIN_WITHOUT_NVML = _MAIN.replace("main()", "main(False)")
LONGEST_LINE = 64 << 20


class Child:
    def __init__(self, nvml: bool = True) -> None:
        commands, self.commands = _pipe()
        self.answers, answers = _pipe()
        silence = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
        pipes = [(os.POSIX_SPAWN_DUP2, commands, COMMANDS), (os.POSIX_SPAWN_DUP2, answers, ANSWERS)]
        argv = [sys.executable, "-I", "-S", "-B", "-c", _MAIN if nvml else _MAIN_WITHOUT_NVML, *_paths()]
        try:
            self.pid = os.posix_spawn(
                sys.executable, argv, {**os.environ, "LC_ALL": "C"}, file_actions=[*silence, *pipes]
            )
        except BaseException:
            self._close()
            raise
        finally:
            os.close(commands)
            os.close(answers)
        os.set_blocking(self.commands, False)
        os.set_blocking(self.answers, False)
        self.status: int | None = None  # as of waitpid(2); None while it runs
        self._unsent = bytearray()
        self._held = bytearray()

    def send(self, *command: Any) -> None:
        self._unsent += json.dumps(command).encode() + b"\n"
        self.flush()

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def flush(self) -> None:
        while self._unsent:
            try:
                written = os.write(self.commands, self._unsent)
            except BlockingIOError:
                return
            except BrokenPipeError:  # it died; the end of its answers says so
                self._unsent.clear()
                return
            del self._unsent[:written]

    def receive(self) -> Iterator[list[Any]]:
        """What it has answered by now. Raises EOFError at its end, ValueError where it talks nonsense."""
        while True:
            try:
                data = os.read(self.answers, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                raise EOFError
            self._held += data
            if len(self._held) > LONGEST_LINE:
                raise ValueError("an endless answer")
            if b"\n" in data:
                *lines, rest = bytes(self._held).split(b"\n")
                self._held = bytearray(rest)
                for line in lines:
                    yield json.loads(line)

    def kill(self) -> None:
        """SIGKILL, and do not wait: a thread in uninterruptible sleep dies when the driver lets it."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        finally:
            self._close()

    def reap(self) -> bool:
        """Whether it has ended; if so `status` tells how."""
        if self.status is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else waited for it
                pid, status = self.pid, 0
            self.status = status if pid else None
        return self.status is not None

    def fate(self) -> str:
        """How it ended, in words."""
        if self.status is None:
            return "it closed its pipe"
        if os.WIFSIGNALED(self.status):
            number = os.WTERMSIG(self.status)
            return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        return f"exit {os.waitstatus_to_exitcode(self.status)}"

    def sleeps(self) -> str:
        """Where its threads sleep that no signal wakes, in words; empty where none does."""
        where: set[str] = set()
        try:
            for thread in os.listdir(f"/proc/{self.pid}/task"):
                with open(f"/proc/{self.pid}/task/{thread}/stat") as stat:
                    if stat.read().rpartition(")")[2].split()[:1] != ["D"]:
                        continue
                with open(f"/proc/{self.pid}/task/{thread}/wchan") as wchan:
                    where.add(wchan.read().strip("0\n"))
        except OSError:  # it has ended, or may not be looked at
            return ""
        places = ", ".join(sorted(where - {""}))
        return f" (it sleeps in the kernel, state D{f' in {places}' if places else ''})" if where else ""

    def _close(self) -> None:
        for descriptor in (self.commands, self.answers):
            if descriptor >= 0:
                os.close(descriptor)
        self.commands = self.answers = -1


def _pipe() -> tuple[int, int]:
    """Away from 0 to 4, which the child's own are to become."""
    ends = os.pipe()
    read, write = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 16) for end in ends)
    for end in ends:
        os.close(end)
    return read, write


def _paths() -> list[str]:
    """Where the child finds this package and the bindings; it looks nowhere else."""
    found = [os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))]
    bindings = importlib.util.find_spec("pynvml")
    if bindings is not None and bindings.origin is not None:
        found.append(os.path.dirname(bindings.origin))
    return found
