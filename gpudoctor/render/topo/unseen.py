"""What the picture does not show because it could not be seen, and why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from gpudoctor.facts.fact import Fact, Facts
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.nic import Nic
from gpudoctor.facts.numa import Numa
from gpudoctor.facts.nvlink import GpuNvLinks
from gpudoctor.facts.pci import PciDevice
from gpudoctor.facts.pcie import PcieLink
from gpudoctor.facts.process import GpuProcess
from gpudoctor.facts.topology import Topology
from gpudoctor.render.story import counted
from gpudoctor.render.topo.picture import Device
from gpudoctor.report import Report
from gpudoctor.unread import Gap, Unread

WHOLE: dict[type[Fact], str] = {
    PciDevice: "the PCI bus",
    PcieLink: "PCIe links",
    Numa: "NUMA nodes",
    Nic: "network adapters",
    GpuNvLinks: "NVLinks",
    GpuProcess: "GPU processes",
    Topology: "the ways between GPUs",
}
FIELDS: tuple[tuple[type[Fact], str, str], ...] = (
    (Numa, "nodes", "NUMA nodes"),
    (PciDevice, "numa_node", "the NUMA node of devices"),
    (PcieLink, "width", "the width of PCIe links"),
    (PcieLink, "speed_gts", "the speed of PCIe links"),
    (PcieLink, "upper_width_max", "what the port above a device can"),
    (GpuNvLinks, "links", "NVLinks"),
    (Nic, "rdma_ports", "RDMA ports"),
    (GpuProcess, "cpus_allowed", "the CPUs of GPU processes"),
    (Topology, "ways", "the ways between GPUs"),
)
DRAWN = ("gpu", "nvswitch", "nic", "nvme")
_WHICH = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}(?:\.[0-7])?|\bgpu \d+|/proc/\d+", re.IGNORECASE)


def unseen(facts: Facts, report: Report, devices: Sequence[Device]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*_machine(facts, report, devices), *_gaps(facts, devices), *_checks(report))))


def _machine(facts: Facts, report: Report, devices: Sequence[Device]) -> Iterator[str]:
    if report.machine.platform != "linux":
        from gpudoctor.render.stack import PLATFORMS

        yield f"This is {PLATFORMS.get(report.machine.platform, report.machine.platform)}: only Linux shows its buses."
    gpus = [device for device in devices if device.kind == "gpu"]
    virtual = report.machine.virtualization
    if virtual and gpus and all(gpu.above is None for gpu in gpus):
        yield (
            "This virtual machine shows no bridge above its GPUs: which slots, switches and root ports they sit on, "
            "and what those can, only the host sees."
        )
    machine = facts.one(Machine)
    if isinstance(machine, Machine) and machine.get("uid", 0) != 0:
        yield "Not root: PCI configuration, other users' processes and more of what root may read is not seen."


def _gaps(facts: Facts, devices: Sequence[Device]) -> Iterator[str]:
    """One sentence for each reason, however many devices share it."""
    below = {device.id for device in devices if device.above is not None}
    reasons: dict[tuple[str, str], list[Unread]] = {}
    lacking: dict[str, None] = {}
    for what, gap in _unread(facts, below):
        if gap.gap is Gap.NOT_RECORDED:
            lacking[what] = None
        elif gap.gap is not Gap.UNSUPPORTED:
            reasons.setdefault((what, _WHICH.sub("", str(gap))), []).append(gap)
    for (what, _), gaps in reasons.items():
        others = f", and so for {len(gaps) - 1} more" if len(gaps) > 1 else ""
        yield f"{what[0].upper()}{what[1:]}: {gaps[0]}{others}"
    if lacking:
        yield f"This recording does not hold: {', '.join(lacking)}"


def _unread(facts: Facts, below: set[str]) -> Iterator[tuple[str, Unread]]:
    for kind, what in WHOLE.items():
        held = facts.one(kind)
        if isinstance(held, Unread):
            yield what, held
    for kind, field, what in FIELDS:
        held = facts.one(kind)
        for fact in held if isinstance(held, tuple) else (held,) if isinstance(held, Fact) else ():
            gap = fact.reading(field)
            hidden = isinstance(fact, PciDevice) and fact.get("kind") not in DRAWN
            hidden |= isinstance(fact, PcieLink) and field.startswith("upper") and fact.bus_id not in below
            if isinstance(gap, Unread) and not hidden:
                yield what, gap


def _checks(report: Report) -> Iterator[str]:
    untold = sum(layer.could_not_tell for layer in report.layers)
    if untold:
        yield f"{counted(untold, 'check')} could not tell whether something is wrong; gpudoctor scan says why."
