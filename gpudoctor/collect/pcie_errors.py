"""The kernel's counters of PCIe errors: since boot, or what two readings apart in time grew by."""

from __future__ import annotations

import time

from gpudoctor.collect.attribute import attribute
from gpudoctor.collect.collector import collector
from gpudoctor.collect.pcie_ports import DEVICES, judged
from gpudoctor.collect.sampling import counted, pause
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.pci import Inventory, PciDevice
from gpudoctor.facts.pcie import PcieErrors
from gpudoctor.facts.sampling import Counted, Sampling
from gpudoctor.node.surface import Node
from gpudoctor.parse.aer_counters import aer_counters
from gpudoctor.unread import Gap, Reading, Unread, hold, required

KINDS = ("correctable", "nonfatal", "fatal")
Counts = dict[str, Reading[dict[str, int]]]


@collector
def pcie_errors(node: Node, machine: Machine, inventory: Inventory, sampling: Sampling) -> tuple[PcieErrors, ...]:
    devices = judged(inventory.devices, machine)
    began = time.monotonic()
    first = {bus_id: _counts(node, bus_id, 0) for bus_id in devices}
    counting = {bus_id: counts for bus_id, counts in first.items() if not _without_aer(counts)}
    second: dict[str, Counts] = {}
    if sampling.seconds > 0 and counting:
        pause(node, sampling.seconds, began)
        second = {bus_id: _counts(node, bus_id, 1) for bus_id in counting}
    return tuple(
        _errors(devices[bus_id], counts, second.get(bus_id, {}), sampling, machine)
        for bus_id, counts in counting.items()
    )


def _counts(node: Node, bus_id: str, sample: int) -> Counts:
    return {kind: _read(node, f"{DEVICES}/{bus_id}/aer_dev_{kind}", sample) for kind in KINDS}


def _read(node: Node, path: str, sample: int) -> Reading[dict[str, int]]:
    content = node.read(path, sample) if sample else attribute(node, path)
    if isinstance(content, Unread):
        return content
    text = content if isinstance(content, str) else content.decode(errors="replace")
    return aer_counters(text) or Unread(Gap.MALFORMED, path, f"holds no counters: {text[:40]!r}")


def _without_aer(counts: Counts) -> bool:
    return all(isinstance(held, Unread) and held.gap is Gap.ABSENT for held in counts.values())


def _errors(device: PciDevice, first: Counts, second: Counts, sampling: Sampling, machine: Machine) -> PcieErrors:
    correctable, nonfatal, fatal = (_grown(first[kind], second.get(kind), sampling, machine) for kind in KINDS)
    return PcieErrors(
        subject=device.subject,
        bus_id=device.bus_id,
        correctable=hold(correctable),
        nonfatal=hold(nonfatal),
        fatal=hold(fatal),
    )


def _grown(
    first: Reading[dict[str, int]], second: Reading[dict[str, int]] | None, sampling: Sampling, machine: Machine
) -> Reading[dict[str, Counted]]:
    if isinstance(first, Unread):
        return first
    if isinstance(second, Unread):
        return second
    try:
        return {
            name: required(counted(count, None if second is None else second.get(name, count), sampling, machine))
            for name, count in first.items()
        }
    except Unread as gap:
        return gap
