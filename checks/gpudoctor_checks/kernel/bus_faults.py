"""What the bus refuses a GPU: address space, and DMA."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.kernel_events import BarAssignment, IommuFault, KernelEvents
from gpudoctor.facts.pci import Inventory
from gpudoctor.finding import Confidence, Finding, Severity
from gpudoctor_checks.kernel.attribution import Owner, owner
from gpudoctor_checks.kernel.pcie_errors import occurrences, works_now

LAST_BAR = 5  # 6 is the expansion ROM, 7 to 12 are those of virtual functions, 13 on are bridge windows


@check("BAR_ALLOCATION_FAILED")
def bar_unassigned(events: KernelEvents, inventory: Inventory) -> Iterator[Finding]:
    """The kernel found no room for a GPU's memory window, and did not find it later either."""
    last: dict[tuple[str, int], BarAssignment] = {(bar.bus_id, bar.bar): bar for bar in events.bars}
    for (bus_id, number), bar in last.items():
        if bar.assigned or number > LAST_BAR or bus_id in inventory.get("gpu_indices", {}):
            continue
        whose = owner(bus_id, inventory, events)
        if whose is None or not whose.sure or whose.subject.kind != "gpu":
            continue
        yield Finding(
            whose.subject,
            evidence=events.evidence((bar.record,)),
            occurrences=occurrences([bar.record]),
            bar=number,
        )


@check("IOMMU_FAULT")
def iommu_fault(events: KernelEvents, inventory: Inventory) -> Iterator[Finding]:
    """The IOMMU stopped a DMA access of a GPU or NIC."""
    held: dict[str, tuple[Owner, list[IommuFault]]] = {}
    for fault in events.iommu_faults:
        whose = owner(fault.bus_id, inventory, events, fault.driver) if fault.bus_id else None
        if whose is not None and whose.subject.kind != "bridge":
            held.setdefault(whose.subject.id, (whose, []))[1].append(fault)
    for whose, faults in held.values():
        sure = whose.sure and whose.subject.kind == "gpu" and not works_now(whose.subject, inventory)
        yield Finding(
            whose.subject,
            severity=None if sure else Severity.WARNING,
            confidence=Confidence.CERTAIN if whose.sure else Confidence.POSSIBLE,
            evidence=events.evidence(tuple(fault.record for fault in faults)),
            occurrences=occurrences(fault.record for fault in faults),
            count=len(faults),
            unit=faults[0].unit,
            access=Counter(fault.access or "access" for fault in faults).most_common(1)[0][0],
            address=faults[0].address or "not named",
            reason=faults[0].reason or "not named",
        )
