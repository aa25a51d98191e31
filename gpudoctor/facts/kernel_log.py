"""The kernel's log since the last boot, and the GPU events in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gpudoctor.facts.fact import Fact, fact, source
from gpudoctor.finding import Evidence


@dataclass(frozen=True, slots=True)
class KernelRecord:
    """One line that may concern this tool; its prefix is parsed off."""

    text: str  # the message, without time, host and level
    line: int  # 1-based, in the log it came from
    at: float | None  # seconds on the log's one clock (the epoch where it is known), for order and distance
    time: str | None  # as printed


@dataclass(frozen=True, slots=True)
class XidEvent:
    record: KernelRecord
    xid: int
    bus_id: str  # dddd:bb:dd.0
    mig: str | None  # "GPU-I:05" or "GPU-I:05 GPU-CI:00"
    pid: int | None
    process: str | None
    detail: str  # what stands after number, pid and name


@dataclass(frozen=True, slots=True)
class SxidEvent:
    record: KernelRecord
    sxid: int
    switch: str  # nvidia-nvswitch0
    bus_id: str
    fatal: bool | None  # None: the line does not say
    link: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class Reset:
    """GPUs start anew here: what came before counts only if it repeats."""

    record: KernelRecord
    bus_id: str | None  # None: every GPU (module loaded)
    how: Literal["module loaded", "recovery action cleared", "gpu reset"]


@fact
class KernelLog(Fact):
    origin: str  # /dev/kmsg, journal, /var/log/kern.log, or the name of a file that was given
    records: tuple[KernelRecord, ...] = source("{origin}")
    xids: tuple[XidEvent, ...] = source("{origin}")
    sxids: tuple[SxidEvent, ...] = source("{origin}")
    resets: tuple[Reset, ...] = source("{origin}")
    begins_at_boot: bool = source("{origin}")  # False: the ring was overwritten, earlier lines are lost
    driver_version: str | None = source("{origin}")  # from the module's load line

    def evidence(self, record: KernelRecord) -> Evidence:
        return Evidence(self.origin, record.text, record.line, record.time)
