"""The kernel's log since the last boot, and the GPU events in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Union

import msgspec

from gpudoctor.facts.fact import Fact, fact, source
from gpudoctor.finding import Evidence
from gpudoctor.unread import Gap, Unread


class KernelRecord(msgspec.Struct, frozen=True):
    """One line that may concern this tool; its prefix is parsed off."""

    text: str  # the message, without time, host and level
    line: int  # 1-based, in the log it came from
    at: float | None  # seconds on the log's one clock (the epoch where it is known), for order and distance
    time: str | None  # as printed, or of bare seconds the instant in UTC where the boot's is known


class SmFault(msgspec.Struct, frozen=True):
    """Xid 13: which streaming multiprocessor raised it."""

    gpc: int
    tpc: int
    sm: int
    what: str  # "Misaligned Address"


class MmuFault(msgspec.Struct, frozen=True):
    """Xid 31."""

    engine: str  # "GRAPHICS GPC1 GPCCLIENT_T1_8"
    address: int | None
    fault: str | None  # FAULT_PDE, FAULT_PTE, ...
    access: str | None  # ACCESS_TYPE_VIRT_WRITE


class Remapping(msgspec.Struct, frozen=True):
    """Xid 63, 64: a row, page or bank of memory is taken out of use."""

    state: Literal["pending", "failed", "already pending", "recorded"]
    scheme: Literal["row", "page", "other"]
    reason: str


class Containment(msgspec.Struct, frozen=True):
    """Xid 94, 95: where a memory error struck, and what the driver says it needs."""

    contained: bool
    unit: str  # "LTC TAG (0x2,0x0)"
    reset: bool | None  # RST
    drain_and_reset: bool | None  # D-RST


class NvlinkRegisters(msgspec.Struct, frozen=True):
    """Xid 74: NVLink 4 and older."""

    link: int | None
    registers: tuple[int, ...]  # seven or eight words


class Nvlink5Error(msgspec.Struct, frozen=True):
    """Xid 144 to 150."""

    unit: str  # RLW_REMAP, NETIR_LINK_EVT, ...
    fatal: bool
    link: int | None  # None: the line says -1
    interrupt: int | None  # intrInfo
    error_status: int | None


class RecoveryChange(msgspec.Struct, frozen=True):
    """Xid 154: what the driver now wants done, as NVML numbers it, and as printed."""

    before: int
    after: int
    text: str  # "GPU Reset Required"


XidDetail = Union[SmFault, MmuFault, Remapping, Containment, NvlinkRegisters, Nvlink5Error, RecoveryChange]


class XidEvent(msgspec.Struct, frozen=True):
    record: KernelRecord
    xid: int
    bus_id: str  # dddd:bb:dd.0
    mig: str | None  # "GPU-I:05" or "GPU-I:05 GPU-CI:00"
    pid: int | None
    process: str | None
    detail: str  # what stands after number, pid and name
    says: XidDetail | None = None  # the detail, where its form is known
    previous: int | None = None  # "caused by previous Xid N"


class SxidEvent(msgspec.Struct, frozen=True):
    record: KernelRecord
    sxid: int
    switch: str  # nvidia-nvswitch0
    bus_id: str
    fatal: bool | None  # None: the line does not say
    link: int | None
    detail: str


class Reset(msgspec.Struct, frozen=True):
    """GPUs start anew here: what came before counts only if it repeats."""

    record: KernelRecord
    bus_id: str | None  # None: every GPU (module loaded)
    how: Literal["module loaded", "recovery action cleared", "gpu reset"]


def first_and_last(records: Sequence[KernelRecord]) -> tuple[KernelRecord, ...]:
    """The first three and the last: what a report shows of many."""
    return (*records[:3], *records[3:][-1:])


@fact
class KernelLog(Fact):
    origin: str  # /dev/kmsg, journal, /var/log/kern.log, or the name of a file that was given
    records: tuple[KernelRecord, ...] = source("{origin}")
    xids: tuple[XidEvent, ...] = source("{origin}")
    sxids: tuple[SxidEvent, ...] = source("{origin}")
    resets: tuple[Reset, ...] = source("{origin}")
    begins_at_boot: bool = source("{origin}")  # False: the ring was overwritten, earlier lines are lost
    driver_version: str | None = source("{origin}")  # from the module's load line
    dropped: int = source("{origin}", default=0)  # records left out of the middle of a huge log

    def evidence(self, record: KernelRecord) -> Evidence:
        return Evidence(self.origin, record.text, record.line, record.time)

    def excerpt(self, records: Sequence[KernelRecord]) -> tuple[Evidence, ...]:
        return tuple(self.evidence(record) for record in first_and_last(records))

    def incomplete(self) -> Unread | None:
        if self.origin != "/dev/kmsg" or self.begins_at_boot:
            return None
        missing = "its first lines since the boot are overwritten, and nothing is in the rest"
        remedy = "let this user read the journal: group systemd-journal or adm, or root"
        return Unread(Gap.ABSENT, self.origin, missing, remedy)

    def since(self, seconds: float) -> KernelLog:
        """What happened at or after this instant; lines without a time stay."""

        def late(record: KernelRecord) -> bool:
            return record.at is None or record.at >= seconds

        return self.with_fields(
            records=tuple(r for r in self.records if late(r)),
            xids=tuple(e for e in self.xids if late(e.record)),
            sxids=tuple(e for e in self.sxids if late(e.record)),
            resets=tuple(e for e in self.resets if late(e.record)),
        )
