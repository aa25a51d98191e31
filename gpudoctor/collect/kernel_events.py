"""What the kernel log holds besides Xids."""

from __future__ import annotations

from gpudoctor.collect.collector import collector
from gpudoctor.facts.kernel_events import KernelEvents
from gpudoctor.facts.kernel_log import KernelLog
from gpudoctor.node.surface import Node
from gpudoctor.parse.aer import aer_events, bar_assignments, link_events, listed_devices
from gpudoctor.parse.iommu import iommu_faults
from gpudoctor.parse.machine_check import machine_checks
from gpudoctor.parse.stalls import oom_kills, stalls
from gpudoctor.unread import hold


@collector
def kernel_events(node: Node, log: KernelLog) -> KernelEvents:
    records = log.records
    return KernelEvents(
        origin=log.origin,
        aer=tuple(aer_events(records)),
        links=tuple(link_events(records)),
        machine_checks=tuple(machine_checks(records)),
        iommu_faults=tuple(iommu_faults(records)),
        oom_kills=tuple(oom_kills(records)),
        stalls=tuple(stalls(records)),
        bars=tuple(bar_assignments(records)),
        reaches_boot=hold(log.incomplete() or True),
        vendors=dict(listed_devices(records)),
    )
