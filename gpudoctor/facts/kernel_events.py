"""What the kernel log says of buses, processors, memory and stuck tasks: everything but Xids."""

from __future__ import annotations

from typing import Literal

import msgspec

from gpudoctor.facts.fact import Fact, fact, source
from gpudoctor.facts.kernel_log import KernelRecord, first_and_last
from gpudoctor.finding import Evidence
from gpudoctor.unread import Unread

AerSeverity = Literal["corrected", "nonfatal", "fatal"]


class AerEvent(msgspec.Struct, frozen=True):
    """One PCIe error: its announcement by the root port, its details, or both."""

    record: KernelRecord
    bus_id: str  # the device that detected it
    port: str | None  # the root port that announced it
    severity: AerSeverity
    layer: str | None  # Physical, Data Link, Transaction
    agent: str | None  # Receiver, Transmitter, Requester, Completer
    errors: tuple[str, ...]  # RxErr, BadTLP, Timeout, CmpltTO, ...
    driver: str | None  # what the line names: nvidia, pcieport, nvme
    vendor_id: int | None
    recovered: bool | None  # what the kernel said of its recovery; None: nothing


class LinkEvent(msgspec.Struct, frozen=True):
    record: KernelRecord
    bus_id: str  # the port
    what: Literal["contained", "link down", "card not present", "link up"]
    reason: str | None


class MachineCheck(msgspec.Struct, frozen=True):
    record: KernelRecord
    where: str  # CPU 2; the DIMM's label
    kind: Literal["cpu", "dimm"]
    uncorrected: bool | None  # None: the line is cut before its status
    fatal: bool  # processor context corrupt: it could not go on
    count: int
    bank: str | None
    status: str | None


class IommuFault(msgspec.Struct, frozen=True):
    record: KernelRecord
    bus_id: str | None
    unit: Literal["DMAR", "AMD-Vi", "SMMU"]
    access: str | None  # DMA Read, DMA Write, IO_PAGE_FAULT
    address: str | None
    reason: str | None
    driver: str | None = None  # of the device, where the line names it


class OomKill(msgspec.Struct, frozen=True):
    record: KernelRecord
    process: str
    pid: int
    rss_bytes: int | None
    cgroup: str | None  # whose limit it was; None: the whole machine ran out, or the log does not say
    cgroup_limited: bool


class Stall(msgspec.Struct, frozen=True):
    """A task that does not run on, or a processor that does nothing else."""

    record: KernelRecord
    kind: Literal["hung task", "soft lockup", "hard lockup"]
    process: str | None
    pid: int | None
    cpu: int | None
    seconds: int | None
    module: str | None  # the GPU driver's module that its call trace runs through
    traced: bool  # a call trace was logged


class BarAssignment(msgspec.Struct, frozen=True):
    record: KernelRecord
    bus_id: str
    bar: int
    assigned: bool


@fact
class KernelEvents(Fact):
    origin: str
    aer: tuple[AerEvent, ...] = source("{origin}")
    links: tuple[LinkEvent, ...] = source("{origin}")
    machine_checks: tuple[MachineCheck, ...] = source("{origin}")
    iommu_faults: tuple[IommuFault, ...] = source("{origin}")
    oom_kills: tuple[OomKill, ...] = source("{origin}")
    stalls: tuple[Stall, ...] = source("{origin}")
    bars: tuple[BarAssignment, ...] = source("{origin}")
    reaches_boot: bool = source("{origin}")  # unread where the log's first lines since the boot are lost
    vendors: dict[str, tuple[int, int]] = source("{origin}")  # bus id -> vendor and class, as the boot log lists them

    def incomplete(self) -> Unread | None:
        gap = self.reading("reaches_boot")
        return gap if isinstance(gap, Unread) else None

    def evidence(self, records: tuple[KernelRecord, ...]) -> tuple[Evidence, ...]:
        return tuple(Evidence(self.origin, r.text, r.line, r.time) for r in first_and_last(records))
