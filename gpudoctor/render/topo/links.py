"""The links of the picture: PCIe hop by hop, and what joins GPUs beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from gpudoctor.facts.fact import Facts
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.nvlink import GpuNvLinks, NvLink
from gpudoctor.facts.pci import PciDevice
from gpudoctor.facts.pcie import PcieLink as PcieLinkFact
from gpudoctor.facts.topology import Topology
from gpudoctor.render.topo.picture import Cable, Device, Link, PcieLink


def links_of(facts: Facts, devices: Iterable[Device]) -> tuple[Link, ...]:
    drawn = {device.id: device for device in devices}
    return (*_pcie(facts, drawn), *_nvlinks(facts), *_xgmi(facts, drawn))


def _pcie(facts: Facts, drawn: dict[str, Device]) -> Iterator[PcieLink]:
    """One for each device that hangs off something or tells of its own link."""
    held, gpus = facts.all(PcieLinkFact), facts.all(Gpu)
    told = {link.bus_id: link for link in held} if isinstance(held, tuple) else {}
    paths = _paths(facts)
    idle = {gpu.bus_id: gpu.get("is_idle") for gpu in gpus} if isinstance(gpus, tuple) else {}
    for device in drawn.values():
        link, port = told.get(device.id), paths.get(device.id, (None,))[-1]
        if link is None and port is None:
            continue
        yield PcieLink(
            device.id,
            (link.get("upper_bus_id") if link else None) or port,
            link.get("width") if link else None,
            link.get("speed_gts") if link else None,
            _least(link, "width_max", "upper_width_max"),
            _least(link, "speed_max_gts", "upper_speed_max_gts"),
            link.get("width_max") if link else None,
            link.get("speed_max_gts") if link else None,
            idle.get(device.id),
        )


def _paths(facts: Facts) -> dict[str, tuple[str, ...]]:
    """The bridges above each device that has some."""
    held = facts.all(PciDevice)
    paths = ((device.bus_id, device.get("path", ())) for device in (held if isinstance(held, tuple) else ()))
    return {bus_id: path for bus_id, path in paths if path}


def _least(link: PcieLinkFact | None, *names: str) -> Any:
    known = [link.get(name) for name in names if link.get(name)] if link else []
    return min(known) if known else None


def _nvlinks(facts: Facts) -> Iterator[Cable]:
    held = facts.all(GpuNvLinks)
    for gpu in held if isinstance(held, tuple) else ():
        links: tuple[NvLink, ...] = gpu.get("links", ())
        groups: dict[tuple[str | None, str], list[NvLink]] = {}
        for link in links:
            beyond = link.peer_bus_id if link.peer == "gpu" else None
            groups.setdefault((beyond, link.peer if link.up else "unknown"), []).append(link)
        yield from _bundled(gpu.subject.id, groups)
        if gpu.get("c2c"):
            yield Cable("c2c", gpu.subject.id, None, "cpu", 0, 0, None)


def _bundled(gpu: str, groups: dict[tuple[str | None, str], list[NvLink]]) -> Iterator[Cable]:
    for (beyond, _), links in groups.items():
        up = [link for link in links if link.up]
        speeds = Counter(link.speed_mb_per_s for link in up if link.speed_mb_per_s)
        speed = speeds.most_common(1)[0][0] if speeds else None
        kind = up[0].peer if up else "unknown"
        yield Cable("nvlink", gpu, beyond, kind, len(up), len(links) - len(up), speed)


def _xgmi(facts: Facts, drawn: dict[str, Device]) -> Iterator[Cable]:
    topology = facts.one(Topology)
    ways = topology.get("ways", {}) if isinstance(topology, Topology) else {}
    for first, others in ways.items():
        for second, way in others.items():
            if way.level == "XGMI" and first in drawn and second in drawn:
                yield Cable("xgmi", first, second, "gpu", way.links, 0, None)
