"""Links slower than both their ends allow. A slow link means something only under load."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.gpu_clocks import GpuClocks
from gpudoctor.facts.nvlink import GpuNvLinks
from gpudoctor.facts.pci import Inventory
from gpudoctor.facts.pcie import PcieLink
from gpudoctor.finding import Confidence, Finding, Severity
from gpudoctor.unread import Gap, Unread
from gpudoctor_checks.pcie.hops import (
    by_bus_id,
    concerned,
    gb_per_s,
    is_busy,
    leads_to_radeon,
    many,
    siblings,
    slower_by_design,
    upper_end,
)


@check("PCIE_SPEED_DEGRADED")
def speed_degraded(
    link: PcieLink,
    links: tuple[PcieLink, ...],
    inventory: Inventory,
    gpus: tuple[Gpu, ...] | None,
    clocks: tuple[GpuClocks, ...] | None,
    nvlinks: GpuNvLinks | None,
) -> Iterator[Finding]:
    """Slower than both ends can, while a GPU behind it works or while its siblings run faster."""
    if slower_by_design(link, inventory, nvlinks):
        return
    if link.speed_gts >= link.speed_max_gts:
        return
    possible = min(link.speed_max_gts, link.upper_speed_max_gts)
    if link.speed_gts >= possible:
        return
    loads, speeds = by_bus_id(clocks), by_bus_id(gpus)
    users = [speeds.get(gpu.id) for gpu in inventory.gpus_behind(link.bus_id)] or [speeds.get(link.bus_id)]
    busy = [gpu is not None and is_busy(gpu, loads.get(gpu.bus_id)) for gpu in users]
    alike = siblings(link, links, inventory)
    faster = [each for each in alike if each.get("speed_gts", 0.0) >= possible]
    if not any(busy) and (link.lower == "gpu" or leads_to_radeon(link, inventory) or not faster):
        raise _unloaded(link, known_idle=False in busy and None not in busy)
    yield Finding(
        link.subject,
        severity=Severity.ERROR if any(busy) else Severity.WARNING,
        confidence=Confidence.CERTAIN if any(busy) and faster else Confidence.LIKELY,
        evidence=link.seen("speed_gts", "speed_max_gts", "upper_speed_max_gts"),
        speed_gts=link.speed_gts,
        speed_possible_gts=possible,
        upper=upper_end(link),
        yardstick=f"both the device and {upper_end(link)} can do {possible:g} GT/s",
        load=_load(link, inventory, any(busy)),
        siblings=f"{many(len(faster), len(alike))} of its model run at {possible:g} GT/s"
        if faster
        else "no sibling runs faster",
        behind=concerned(link.subject, inventory),
        gb_per_s=gb_per_s(link.speed_gts, link.width),
        gb_per_s_possible=gb_per_s(possible, link.width),
    )


def _load(link: PcieLink, inventory: Inventory, busy: bool) -> str:
    if link.lower == "gpu" or inventory.gpus_behind(link.bus_id):
        return "a GPU behind it is at work" if busy else "the GPUs behind it are idle"
    return "no GPU is behind it"


def _unloaded(link: PcieLink, known_idle: bool) -> Unread:
    why = "idle" if known_idle else "not known to be busy"
    return Unread(
        Gap.UNSUPPORTED,
        link.source("speed_gts"),
        f"{link.speed_gts:g} GT/s while {why}: links slow down to save power",
        "scan under load",
    )
