"""The matrix of `nvidia-smi topo -m`, out of the paths that sysfs shows and the NVLinks that are up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import combinations
from typing import Union

import msgspec

from gpudoctor.collect.answers import integer
from gpudoctor.collect.collector import collector
from gpudoctor.collect.xgmi import Xgmi, xgmi_links
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.gpu_settings import GpuSettings
from gpudoctor.facts.nic import Nic
from gpudoctor.facts.numa import Numa
from gpudoctor.facts.nvlink import GpuNvLinks
from gpudoctor.facts.pci import AMD, Inventory, PciDevice
from gpudoctor.facts.topology import Level, Topology, Way
from gpudoctor.finding import Subject
from gpudoctor.node.surface import Node, NvmlCall
from gpudoctor.unread import Gap, Reading, Unread, hold, known

Ways = dict[str, dict[str, Way]]
LEVELS: dict[int, Level] = {0: "PIX", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}  # nvmlGpuTopologyLevel_t
_DIGITS = re.compile(r"(\d+)")


class _Place(msgspec.Struct, frozen=True):
    path: tuple[str, ...]
    host_bridge: str
    home: Union[int, None]


@collector
def topology(
    node: Node,
    inventory: Inventory,
    gpus: tuple[Gpu, ...] | Unread | None,
    nics: tuple[Nic, ...] | Unread | None,
    numa: Numa | Unread | None,
    links: tuple[GpuNvLinks, ...] | Unread | None,
    settings: tuple[GpuSettings, ...] | Unread | None,
) -> Topology:
    devices: dict[str, PciDevice] = inventory.get("devices", {})
    listed = _gpus(inventory, gpus)
    rdma = _rdma(nics)
    ids = [subject.id for subject in (*listed, *rdma)]
    homes = {each: _home(devices.get(each), numa) for each in ids}
    pci = _pci_ways(node, ids, devices, homes, inventory.get("gpu_indices", {}))
    amd = {d.bus_id for d in devices.values() if d.kind == "gpu" and d.get("vendor_id") == AMD}
    xgmi = xgmi_links(node, ids) if amd else Xgmi(frozenset())
    ways = pci if isinstance(pci, Unread) else _with_links(pci, xgmi, links, settings)
    hidden = xgmi if isinstance(xgmi, Unread) else frozenset(amd - xgmi.told if xgmi.denied else ())
    return Topology(
        listed, hold(nics) if isinstance(nics, Unread) else rdma, hold(ways), hold(pci), homes, hold(hidden)
    )


def _gpus(inventory: Inventory, gpus: tuple[Gpu, ...] | Unread | None) -> tuple[Subject, ...]:
    """In NVML's order; those that it does not list come last."""
    known_to_nvml = {gpu.bus_id: gpu.subject for gpu in gpus} if isinstance(gpus, tuple) else {}
    on_bus = {d.bus_id: d.subject for d in inventory.get("devices", {}).values() if d.kind == "gpu"}
    indices: dict[str, int] = inventory.get("gpu_indices", {})
    held = {**on_bus, **known_to_nvml}
    return tuple(held[each] for each in sorted(held, key=lambda bus_id: (indices.get(bus_id, 1 << 16), bus_id)))


def _rdma(nics: tuple[Nic, ...] | Unread | None) -> tuple[Subject, ...]:
    """As nvidia-smi does, those with RDMA alone: NIC0 is mlx5_0."""
    found = [nic for nic in nics if nic.get("rdma_ports")] if isinstance(nics, tuple) else []
    found.sort(key=lambda nic: [int(part) if part.isdecimal() else part for part in _DIGITS.split(nic.name)])
    return tuple(
        Subject("nic", nic.bus_id, f"NIC{at} ({nic.name}, {nic.bus_id})", nic.subject.within)
        for at, nic in enumerate(found)
    )


def _home(device: PciDevice | None, numa: Numa | Unread | None) -> int | None:
    told: int = device.get("numa_node", -1) if device is not None else -1
    if isinstance(numa, Numa) and "nodes" not in _gaps(numa):
        return numa.home_of(told)
    return told if told >= 0 else None


def _gaps(numa: Numa) -> set[str]:
    return {name for name, reading in numa.readings() if isinstance(reading, Unread)}


def _pci_ways(
    node: Node,
    ids: list[str],
    devices: Mapping[str, PciDevice],
    homes: Mapping[str, int | None],
    indices: Mapping[str, int],
) -> Reading[Ways]:
    places = {each: _place(devices.get(each), homes[each]) for each in ids}
    ways: Ways = {each: {each: Way("X")} for each in ids}
    pairs = list(combinations(ids, 2))
    hidden = [pair for pair in pairs if isinstance(places[pair[0]], Unread) or isinstance(places[pair[1]], Unread)]
    told = _ancestors(node, hidden, indices)
    if isinstance(told, Unread):
        return told
    for one, other in pairs:
        here, there = places[one], places[other]
        both = isinstance(here, _Place) and isinstance(there, _Place)
        level = pci_level(here, there) if both else told[one, other]  # type: ignore[arg-type]
        ways[one][other] = ways[other][one] = Way(level)
    return ways


def _place(device: PciDevice | None, home: int | None) -> Reading[_Place]:
    if device is None:
        return Unread(Gap.ABSENT, "/sys/bus/pci/devices", "does not show it")
    path, bridge = device.reading("path"), device.reading("host_bridge")
    if isinstance(path, Unread) or isinstance(bridge, Unread):
        return path if isinstance(path, Unread) else bridge
    return _Place(path, bridge, home)


def pci_level(here: _Place, there: _Place) -> Level:
    """Where the two paths part: at one switch, below several, at the host bridge, or above it."""
    if here.host_bridge != there.host_bridge:
        return "NODE" if here.home == there.home else "SYS"
    shared = 0
    for one, other in zip(here.path, there.path, strict=False):
        if one != other:
            break
        shared += 1
    if not shared:
        return "PHB"
    # Below their last common port a single switch shows one more, its downstream port, on either path.
    return "PIX" if max(len(here.path), len(there.path)) - shared <= 1 else "PXB"


def _ancestors(
    node: Node, pairs: list[tuple[str, str]], indices: Mapping[str, int]
) -> Reading[dict[tuple[str, str], Level]]:
    """NVML's word on GPUs whose paths sysfs does not show."""
    strange = next((each for pair in pairs for each in pair if each not in indices), None)
    if strange is not None:
        return Unread(Gap.ABSENT, f"/sys/bus/pci/devices/{strange}", "does not show its path")
    calls = [NvmlCall("nvmlDeviceGetTopologyCommonAncestor", indices[a], (indices[b],)) for a, b in pairs]
    answers = [integer(answer) for answer in node.nvml(calls)] if calls else []
    gap = next((answer for answer in answers if isinstance(answer, Unread)), None)
    if gap is not None:
        return gap
    return {pair: LEVELS.get(known(answer, 50), "SYS") for pair, answer in zip(pairs, answers, strict=True)}


def _with_links(
    pci: Ways,
    xgmi: Reading[Xgmi],
    links: tuple[GpuNvLinks, ...] | Unread | None,
    settings: tuple[GpuSettings, ...] | Unread | None,
) -> Reading[Ways]:
    ways = {one: dict(others) for one, others in pci.items()}
    if isinstance(links, Unread):
        return links
    unknown = [gap for each in links or () if (gap := _unknown(each)) is not None]
    if unknown:
        return unknown[0]
    cut = {s.subject.id for s in settings if s.get("mig")} if isinstance(settings, tuple) else set()
    linked = {each.subject.id: each for each in links or () if each.get("links") and each.subject.id not in cut}
    for one, other in combinations([each for each in linked if each in ways], 2):
        count = nvlinks_between(linked[one], linked[other])
        if count:
            ways[one][other] = ways[other][one] = Way("NV", count)
    if isinstance(xgmi, Unread):
        return xgmi
    for one, other in map(sorted, xgmi.pairs):
        if one in ways and other in ways:
            ways[one][other] = ways[other][one] = Way("XGMI")
    return ways


def _unknown(links: GpuNvLinks) -> Unread | None:
    gap = links.reading("links")
    return gap if isinstance(gap, Unread) and gap.gap is not Gap.UNSUPPORTED else None


def nvlinks_between(one: GpuNvLinks, other: GpuNvLinks) -> int:
    """Through switches a GPU reaches every other with all its links; without, each link has one peer."""
    direct = max(
        sum(link.peer_bus_id == other.subject.id for link in one.up),
        sum(link.peer_bus_id == one.subject.id for link in other.up),
    )
    return direct or min(sum(link.peer == "switch" for link in each.up) for each in (one, other))
