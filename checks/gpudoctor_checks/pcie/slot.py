"""Ports that have less to offer than the device below them could use."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.nvlink import GpuNvLinks
from gpudoctor.facts.pci import AMD, Inventory
from gpudoctor.facts.pcie import GpuPcie, PcieLink
from gpudoctor.finding import Finding, Severity
from gpudoctor_checks.pcie.hops import concerned, gb_per_s, many, siblings, slower_by_design, upper_end


@check("PCIE_SLOT_LIMITED")
def slot_limited(
    link: PcieLink,
    links: tuple[PcieLink, ...],
    inventory: Inventory,
    pcie: GpuPcie | None,
    nvlinks: GpuNvLinks | None,
) -> Iterator[Finding]:
    """The port above can do fewer lanes or less speed than the device."""
    if slower_by_design(link, inventory, nvlinks):
        return
    width, speed = min(link.width_max, link.upper_width_max), min(link.speed_max_gts, link.upper_speed_max_gts)
    if width == link.width_max and speed == link.speed_max_gts:
        return
    alike = siblings(link, links, inventory)
    better = [each for each in alike if _offers(each) > width * speed]
    if not better and link.lower != "gpu" and not _edge_of_card(link, inventory):
        return  # a NIC or a switch on a port of its board's design
    most = len(better) * 2 > len(alike)  # of a rig with one full slot, the others are as its board and risers are
    best = max(better, key=_offers, default=None)
    nvml = pcie.seen("generation_possible", "generation_gpu_max", "width_possible") if pcie else ()
    yield Finding(
        link.subject,
        severity=Severity.WARNING if most else Severity.INFO,
        evidence=(*link.seen("width_max", "speed_max_gts", "upper_width_max", "upper_speed_max_gts"), *nvml),
        upper=upper_end(link),
        offered=_said(link.upper_width_max, link.upper_speed_max_gts),
        able=_said(link.width_max, link.speed_max_gts),
        yardstick=f"{many(len(better), len(alike))} of its model sit on "
        f"{_said(best.upper_width_max, best.upper_speed_max_gts)}"
        if best
        else f"all {len(alike) + 1} of its model sit so, which looks like the board's design"
        if alike
        else "what the device itself can do; there is no other of its model to compare",
        behind=concerned(link.subject, inventory),
        gb_per_s=gb_per_s(speed, width),
        gb_per_s_possible=gb_per_s(link.speed_max_gts, link.width_max),
        action="move" if most else "know",
    )


def _offers(link: PcieLink) -> float:
    """Lanes times speed that device and port could run together."""
    width = min(link.get("width_max", 0), link.get("upper_width_max", 0))
    return float(width * min(link.get("speed_max_gts", 0.0), link.get("upper_speed_max_gts", 0.0)))


def _edge_of_card(link: PcieLink, inventory: Inventory) -> bool:
    """The upstream port of the switch that an AMD card carries."""
    devices = inventory.get("devices", {})
    vendors = {devices[b].get("vendor_id") for b in (link.bus_id, *(g.id for g in inventory.gpus_behind(link.bus_id)))}
    return link.lower == "switch" and vendors == {AMD}


def _said(width: int, speed_gts: float) -> str:
    return f"x{width} at {speed_gts:g} GT/s"
