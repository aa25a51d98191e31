"""The child process that calls NVML, and reads what may block in the kernel. It can be abandoned.

A command is a line of JSON: [number, lane, function, gpu, args], or [number, lane, "read", null, [path]].
An answer is [number, kind, ...]; number -1 is nvmlInit's. Lanes run side by side, each in its order.
Imports as little as it can before NVML is up.
"""

from __future__ import annotations

import os
from _thread import allocate_lock, start_new_thread

TYPE_CHECKING = False  # typing itself takes 6 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

COMMANDS, ANSWERS = 3, 4
INIT = -1
LIBRARY = "libnvidia-ml.so.1"
LARGEST_FILE = 4 << 20
LARGEST_ANSWER = 32 << 20
ADDRESS_SPACE = 16 << 30  # an absurd count in a struct must not become an allocation that takes the host down


def main(with_nvml: bool = True) -> None:
    _detach()
    from gpudoctor.node.passive import confine

    lanes: dict[str, Lane] = {}
    nvml = Nvml(confine())
    if with_nvml:
        start_new_thread(nvml.start, ())
    held = b""
    while data := os.read(COMMANDS, 1 << 16):
        *lines, held = (held + data).split(b"\n")
        for line in lines:
            _dispatch(line, lanes, nvml)
    os._exit(0)  # the parent is gone; a lane may be stuck for ever


def _dispatch(line: bytes, lanes: dict[str, Lane], nvml: Nvml) -> None:
    import json

    number, name, function, gpu, args = json.loads(line)
    lane = lanes.get(name)
    if lane is None:
        lane = lanes[name] = Lane()
    if function == "read":
        lane.put(lambda: answer(number, *read(args[0])))
    else:
        lane.put(lambda: answer(number, *nvml.call(function, gpu, args)))


class Lane:
    """Runs what it is given, one after the other."""

    def __init__(self) -> None:
        from _queue import SimpleQueue

        self._todo: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.put = self._todo.put
        start_new_thread(self._run, ())

    def _run(self) -> None:
        while True:
            self._todo.get()()


class Nvml:
    def __init__(self, passive: bool) -> None:
        self._passive = passive
        self._up = allocate_lock()
        self._up.acquire()
        self._calls: Any = None

    def start(self) -> None:
        start_new_thread(_warm, (self._passive,))
        outcome = self._initialise()
        answer(INIT, *outcome)
        if outcome[0] == "ok":
            self._up.release()

    def _initialise(self) -> tuple[Any, ...]:
        try:
            from gpudoctor.node import calls
        except ImportError as error:
            return ("unsupported", f"the Python package nvidia-ml-py is not usable: {error}")
        if not self._passive and not may_load():
            return ("nvml", "NVML_ERROR_DRIVER_NOT_LOADED", "not asked, for NVML would load the kernel module")
        self._calls = calls
        return tuple(calls.attempt("nvmlInit", None, ()))

    def call(self, function: str, gpu: int | None, args: list[Any]) -> tuple[Any, ...]:
        with self._up:  # no call before nvmlInit has answered
            pass
        return tuple(self._calls.attempt(function, gpu, args))


def may_load() -> bool:
    """Whether NVML finds its kernel module loaded, so that it need not be kept from loading it."""
    return os.path.exists("/proc/driver/nvidia/version") or os.path.exists("/dev/dxg") or os.geteuid() != 0


def _warm(passive: bool) -> None:
    """Load and start NVML while Python still imports its bindings; NVML counts its starts."""
    import ctypes

    if passive or may_load():
        try:
            ctypes.CDLL(LIBRARY).nvmlInitWithFlags(0)
        except (OSError, AttributeError):
            return  # the bindings meet the same fault, and name it


def read(path: str) -> tuple[Any, ...]:
    from gpudoctor.node.descriptor import read_file
    from gpudoctor.node.numa_maps import read_numa_maps

    try:
        held = read_numa_maps(path) if path.endswith("/numa_maps") else read_file(path, LARGEST_FILE)
        return ("ok", held.decode("latin-1"))
    except OSError as error:
        return ("os", error.errno)


_one_at_a_time = allocate_lock()


def answer(number: int, *outcome: Any) -> None:
    import json

    try:
        line = json.dumps([number, *outcome], allow_nan=False)
    except (ValueError, TypeError) as error:
        line = json.dumps([number, "malformed", f"{type(error).__name__}: {error}"])
    if len(line) > LARGEST_ANSWER:
        line = json.dumps([number, "malformed", f"an answer of {len(line)} bytes"])
    data = memoryview(line.encode() + b"\n")
    with _one_at_a_time:
        while data:
            data = data[os.write(ANSWERS, data) :]


def _detach() -> None:
    """Hold nothing of whoever runs us: a terminal, a pipe, a folder, a core file in it."""
    import resource

    os.setsid()
    os.chdir("/")
    os.closerange(ANSWERS + 1, 65536)
    for descriptor in (COMMANDS, ANSWERS):
        os.set_inheritable(descriptor, False)
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    # 1 also keeps a core_pattern that pipes from being run; 0 does not, see core(5)
    small = 1 if most == resource.RLIM_INFINITY or most > 0 else 0
    resource.setrlimit(resource.RLIMIT_CORE, (small, small))
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY or most > ADDRESS_SPACE:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, most))


if __name__ == "__main__":
    main()
