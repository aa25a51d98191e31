"""Links with fewer lanes than there should be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gpudoctor.check import check
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.nvlink import GpuNvLinks
from gpudoctor.facts.pci import Inventory
from gpudoctor.facts.pcie import PcieLink
from gpudoctor.finding import Confidence, Finding, Severity
from gpudoctor.unread import Gap, Unread
from gpudoctor_checks.gpu_models import decode_gpu_name
from gpudoctor_checks.pcie.hops import (
    beside_c2c,
    concerned,
    gb_per_s,
    inside_card,
    leads_to_radeon,
    many,
    siblings,
    speed_possible,
    upper_end,
)

MOST_LANES = 16  # of any GPU; one that has them needs no look into the table
FAST_GTS = 64.0  # lanes times speed of eight lanes Gen3: what a NIC for GPUs has at least

SAVING = Unread(
    Gap.UNSUPPORTED, "current_link_width", "a Radeon card may narrow its link to save power", "scan under load"
)


class Narrow(NamedTuple):
    possible: int
    yardstick: str
    limit: str
    severity: Severity
    confidence: Confidence = Confidence.CERTAIN


@check("PCIE_WIDTH_DEGRADED")
def width_degraded(
    link: PcieLink,
    links: tuple[PcieLink, ...],
    inventory: Inventory,
    machine: Machine,
    gpu: Gpu | None,
    nvlinks: GpuNvLinks | None,
) -> Iterator[Finding]:
    """The link has fewer lanes than both its ends can drive, or than its siblings have."""
    if inside_card(link, inventory) or beside_c2c(link.bus_id, inventory, nvlinks):
        return
    alike = siblings(link, links, inventory)
    narrow = _against_its_ends(link, alike, links) if link.width < link.width_max else _against_others(link, alike)
    if narrow is None and gpu is not None and link.width_max < MOST_LANES and machine.get("virtualization") is None:
        narrow = _against_table(link, gpu)
    if narrow is None:
        return
    if leads_to_radeon(link, inventory) and link.width < link.width_max:
        raise SAVING
    gaps = [name for name, held in link.readings() if isinstance(held, Unread)]
    wider = [each for each in alike if each.get("width", 0) > link.width]
    yield Finding(
        link.subject,
        severity=narrow.severity,
        confidence=narrow.confidence,
        evidence=link.seen("width", "width_max", *([] if "upper_width_max" in gaps else ["upper_width_max"])),
        width=link.width,
        width_possible=narrow.possible,
        yardstick=narrow.yardstick,
        limit=narrow.limit,
        siblings=f"{many(len(wider), len(alike))} of its model run wider" if wider else "no sibling runs wider",
        behind=concerned(link.subject, inventory),
        gb_per_s=gb_per_s(speed_possible(link), link.width),
        gb_per_s_possible=gb_per_s(speed_possible(link), narrow.possible),
        action="know" if narrow.severity is Severity.INFO else "card" if link.width >= link.width_max else "contact",
    )


def _against_its_ends(link: PcieLink, alike: tuple[PcieLink, ...], links: tuple[PcieLink, ...]) -> Narrow | None:
    upper = link.reading("upper_width_max")
    if isinstance(upper, int):
        possible = min(link.width_max, upper)
        if link.width >= possible:
            return None  # the port above has no more: PCIE_SLOT_LIMITED
        ends = f"both the device and {upper_end(link)} can do x{possible}"
        if shared := _sharing(link, links, possible):
            limit = f"the firmware, which seems to split the slot's lanes between the device and {shared}"
            return Narrow(possible, ends, limit, Severity.INFO, Confidence.LIKELY)
        limit = "neither end, but the connection between them"
        return Narrow(possible, ends, limit, _severity(link))
    widest = max((each.get("width", 0) for each in alike), default=0)
    if widest <= link.width:
        raise upper
    yardstick = f"{many(sum(s.get('width', 0) == widest for s in alike), len(alike))} of its model run at x{widest}"
    limit = "the connection or the slot above, which this machine does not see"
    return Narrow(widest, yardstick, limit, _severity(link), Confidence.LIKELY)


def _sharing(link: PcieLink, links: tuple[PcieLink, ...], possible: int) -> str:
    """Desktop boards split 16 lanes over functions of one root port; some of these still claim all 16."""
    port = link.upper_bus_id
    others = [each for each in links if (at := each.get("upper_bus_id", "")) != port and at[:-2] == port[:-2]]
    whole = link.width + sum(each.get("width", 0) for each in others) == possible
    on_root = link.subject.within[:1] == (port,)
    return ", ".join(each.subject.label for each in others) if others and whole and on_root else ""


def _against_others(link: PcieLink, alike: tuple[PcieLink, ...]) -> Narrow | None:
    """It runs all lanes that its lower end claims; siblings claim more."""
    if link.lower not in ("gpu", "nic"):
        return None
    widest = [each.get("width_max", 0) for each in alike]
    if not widest or max(widest) <= link.width_max or widest.count(max(widest)) * 2 <= len(widest):
        return None
    yardstick = f"{many(widest.count(max(widest)), len(widest))} of its model offer x{max(widest)}"
    return Narrow(max(widest), yardstick, "the card itself", Severity.WARNING, Confidence.LIKELY)


def _against_table(link: PcieLink, gpu: Gpu) -> Narrow | None:
    model = decode_gpu_name(gpu.get("name", ""))
    pcie = model.facts.get("pcie") if model and model.sure else None
    if model is None or not pcie or link.width_max >= pcie["width"]:
        return None
    yardstick = f"the table of GPUs has {model.name} with x{pcie['width']}"
    return Narrow(pcie["width"], yardstick, "the card itself", Severity.WARNING, Confidence.POSSIBLE)


def _severity(link: PcieLink) -> Severity:
    """At least half of the link is lost; that hurts a GPU, and a NIC that feeds GPUs."""
    if link.lower in ("gpu", "switch"):
        return Severity.ERROR
    fast = link.lower == "nic" and link.width_max * link.get("speed_max_gts", 0.0) >= FAST_GTS
    return Severity.ERROR if fast else Severity.WARNING
