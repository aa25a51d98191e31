"""From facts and the report of a scan to the picture."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from gpudoctor.facts.driver import NvidiaDriver
from gpudoctor.facts.fact import Fact, Facts
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.host import Cpu, HostMemory
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.nic import Nic
from gpudoctor.facts.numa import Numa, cpu_list
from gpudoctor.facts.nvlink import GpuNvLinks
from gpudoctor.facts.nvml import Nvml
from gpudoctor.facts.pci import Inventory, PciDevice
from gpudoctor.facts.pcie import PcieLink as PcieLinkFact
from gpudoctor.facts.peers import GpuPeers
from gpudoctor.facts.process import GpuProcess
from gpudoctor.facts.topology import Topology
from gpudoctor.render.topo.links import links_of
from gpudoctor.render.topo.picture import (
    SCHEMA_VERSION,
    Device,
    Host,
    Link,
    Mark,
    NumaNode,
    PcieLink,
    Picture,
    Process,
)
from gpudoctor.render.topo.places import devices_of
from gpudoctor.render.topo.unseen import unseen
from gpudoctor.render.topo.ways import matrix_of
from gpudoctor.report import Finding, Report

FACTS: frozenset[type[Fact]] = frozenset(
    {Cpu, Gpu, GpuNvLinks, GpuPeers, GpuProcess, HostMemory, Inventory, Machine, Nic, Numa, NvidiaDriver, Nvml}
    | {PciDevice, PcieLinkFact, Topology}
)

NAMING = ("devices", "switches", "links")  # values of findings
_BUS_ID = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


def draw(facts: Facts, report: Report) -> Picture:
    devices = devices_of(facts, {gpu.bus_id: gpu.name for gpu in report.machine.gpus or ()})
    links = links_of(facts, devices)
    marks = tuple(_mark(finding, report, devices, links) for finding in report.findings)
    return Picture(
        SCHEMA_VERSION,
        report.tool,
        report.source,
        _host(facts, report),
        _nodes(facts),
        tuple(msgspec.structs.replace(device, findings=_ids(marks, device.id)) for device in devices),
        links,
        matrix_of(facts, devices, marks),
        _processes(facts, marks),
        marks,
        unseen(facts, report, devices),
    )


def _mark(finding: Finding, report: Report, devices: Sequence[Device], links: Sequence[Link]) -> Mark:
    """A port's is drawn at what hangs off it: the port is the upper end of that link."""
    whole = finding.subject.kind == "node"
    subjects = _named(finding) if whole else {*finding.subject.id.split("+")}
    ends = {link.lower for link in links if isinstance(link, PcieLink) and link.upper in subjects}
    at = tuple(device.id for device in devices if device.id in subjects | ends)
    at = at or tuple(device.id for device in devices if subjects & {*device.ports})
    return Mark(
        finding.id,
        finding.code,
        finding.layer,
        finding.severity,
        finding.subject.id,
        finding.title,
        finding.id in report.root_causes,
        finding.caused_by,
        whole,
        at,
    )


def _named(finding: Finding) -> set[str]:
    """The devices that a finding about the whole node tells of."""
    return {bus_id for key in NAMING for bus_id in _BUS_ID.findall(str(finding.values.get(key, "")))}


def _ids(marks: Iterable[Mark], identity: str) -> tuple[str, ...]:
    return tuple(mark.id for mark in marks if identity in mark.at)


def _host(facts: Facts, report: Report) -> Host:
    cpu, memory = facts.one(Cpu), facts.one(HostMemory)
    known = cpu if isinstance(cpu, Cpu) else None
    return Host(
        report.host,
        report.machine.platform,
        report.machine.virtualization,
        None if report.machine.gpus is None else len(report.machine.gpus),
        known.get("model") if known else None,
        known.get("sockets") if known else None,
        known.get("cores") if known else None,
        known.get("threads") if known else None,
        memory.get("total_bytes") if isinstance(memory, HostMemory) else None,
        report.machine.driver_version,
        report.machine.cuda_version,
    )


def _nodes(facts: Facts) -> tuple[NumaNode, ...]:
    numa = facts.one(Numa)
    nodes = numa.get("nodes", ()) if isinstance(numa, Numa) else ()
    numbers = [str(node.number) for node in nodes]
    return tuple(
        NumaNode(
            node.number,
            cpu_list(node.cpus),
            node.memory_bytes,
            node.memory_free_bytes,
            dict(zip(numbers, node.distances, strict=False)),
        )
        for node in nodes
    )


def _processes(facts: Facts, marks: Sequence[Mark]) -> tuple[Process, ...]:
    held = facts.all(GpuProcess)
    return tuple(
        Process(
            process.pid,
            process.get("command"),
            tuple(gpu.id for gpu in process.get("gpus", ())),
            cpu_list(process.cpus_allowed) if process.get("cpus_allowed") is not None else None,
            process.get("last_cpu"),
            tuple(mark.id for mark in marks if mark.subject == process.subject.id),
        )
        for process in (held if isinstance(held, tuple) else ())
    )
