"""What a machine answers to. Live, recording and recorded nodes implement `Node`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from gpudoctor.unread import Reading


class Output(NamedTuple):
    """What a command printed."""

    exit: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Stat:
    """A directory entry: its kind, owner and what the scanning user may do with it."""

    kind: Literal["file", "dir", "char", "block", "link", "other"]
    mode: int  # permission bits, 0o666
    uid: int
    gid: int
    major: int  # device number, 0 for what is no device
    minor: int
    readable: bool  # access(2) of the scanning user
    writable: bool


def sampled(key: str, sample: int) -> str:
    """The key in a recording of a surface that is asked more than once."""
    return f"{key} #{sample}" if sample else key


class NvmlCall(NamedTuple):
    """One call of NVML. `str()` of it is its key in a recording."""

    function: str  # nvmlDeviceGetTemperature
    gpu: int | None = None  # NVML index; its handle is the first argument
    args: tuple[int | str, ...] = ()
    sample: int = 0  # tells repeated calls of a counter apart

    def __str__(self) -> str:
        shown = [f"gpu {self.gpu}"] if self.gpu is not None else []
        text = f"{self.function}({', '.join([*shown, *map(str, self.args)])})"
        return sampled(text, self.sample)


class Node(Protocol):
    """A machine. Every verb returns a value or an `Unread`; none raises, none outlives its deadline.

    Paths are absolute and as the machine sees them: `--root` is the live node's own business.
    """

    kind: Literal["live", "recording"]
    name: str  # "live", or the recording's file name
    platform: str  # sys.platform of the machine: linux, darwin
    uid: int  # the user who scanned
    time: float  # seconds since the epoch at the scan's start
    sample_seconds: float  # how far apart its counters are read twice; 0: they are read once

    def read(self, path: str, sample: int = 0) -> Reading[bytes]:
        """A file's whole content. /dev/kmsg is read to its present end, one record a line.

        `sample` tells repeated reads of a counter apart, as in an NvmlCall.
        """
        ...

    def list(self, path: str) -> Reading[tuple[str, ...]]:
        """The names in a directory, sorted."""
        ...

    def link(self, path: str) -> Reading[str]:
        """A symbolic link's target, as written."""
        ...

    def stat(self, path: str) -> Reading[Stat]:
        """What kind of entry it is and who may use it."""
        ...

    def run(self, argv: Sequence[str], seconds: float = 5.0) -> Reading[Output]:
        """A command's output. Only for what no file says."""
        ...

    def nvml(self, calls: Sequence[NvmlCall]) -> tuple[Reading[Any], ...]:
        """The answers in the order of the calls, as plain JSON values; calls on several GPUs overlap."""
        ...
