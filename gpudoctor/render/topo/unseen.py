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
from gpudoctor.render.stack import PLATFORMS
from gpudoctor.render.topo.picture import Device
from gpudoctor.report import Report
from gpudoctor.unread import Gap, Unread

WHOLE: dict[type[Fact], str] = {
    PciDevice: "The PCI bus",
    PcieLink: "PCIe links",
    Numa: "NUMA nodes",
    Nic: "Network adapters",
    GpuNvLinks: "NVLinks",
    GpuProcess: "GPU processes",
    Topology: "The ways between GPUs",
}
FIELDS: tuple[tuple[type[Fact], str, str], ...] = (
    (Numa, "nodes", "NUMA nodes"),
    (PciDevice, "numa_node", "The NUMA node of devices"),
    (PcieLink, "width", "The width of PCIe links"),
    (PcieLink, "speed_gts", "The speed of PCIe links"),
    (PcieLink, "upper_width_max", "What the port above a device can"),
    (GpuNvLinks, "links", "NVLinks"),
    (Nic, "rdma_ports", "RDMA ports"),
    (GpuProcess, "cpus_allowed", "The CPUs of GPU processes"),
    (Topology, "ways", "The ways between GPUs"),
)
DRAWN = ("gpu", "nvswitch", "nic", "nvme")
_WHICH = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}(?:\.[0-7])?|\bgpu \d+|/proc/\d+", re.IGNORECASE)


def unseen(facts: Facts, report: Report, devices: Sequence[Device]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*_machine(facts, report, devices), *_gaps(facts), *_checks(report))))


def _machine(facts: Facts, report: Report, devices: Sequence[Device]) -> Iterator[str]:
    if report.machine.platform != "linux":
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
        yield "Not root: what the kernel keeps for root, such as PCI configuration and other users' processes, is unread."


def _gaps(facts: Facts) -> Iterator[str]:
    for kind, what in WHOLE.items():
        held = facts.one(kind)
        if isinstance(held, Unread) and held.gap is not Gap.UNSUPPORTED:
            yield f"{what}: {held}"
    for kind, field, what in FIELDS:
        yield from _of_field(facts, kind, field, what)


def _of_field(facts: Facts, kind: type[Fact], field: str, what: str) -> Iterator[str]:
    """One sentence for each reason, however many devices share it."""
    held = facts.one(kind)
    each = held if isinstance(held, tuple) else (held,) if isinstance(held, Fact) else ()
    reasons: dict[str, list[str]] = {}
    for fact in each:
        gap = fact.reading(field)
        if isinstance(fact, PciDevice) and fact.get("kind") not in DRAWN:
            continue
        if isinstance(gap, Unread) and gap.gap is not Gap.UNSUPPORTED:
            reasons.setdefault(_WHICH.sub("", str(gap)), []).append(str(gap))
    for texts in reasons.values():
        others = f", and so for {len(texts) - 1} more" if len(texts) > 1 else ""
        yield f"{what}: {texts[0]}{others}"


def _checks(report: Report) -> Iterator[str]:
    untold = sum(layer.could_not_tell for layer in report.layers)
    if untold:
        yield f"{untold} checks of this node could not tell whether something is wrong; gpudoctor scan says why."
