"""One link among the others of its node: which are of the same model, who is behind it, what it carries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.gpu_clocks import GpuClocks
from gpudoctor.facts.nvlink import GpuNvLinks
from gpudoctor.facts.pci import AMD, NVIDIA, Inventory, PciDevice
from gpudoctor.facts.pcie import PcieLink
from gpudoctor.finding import Subject
from gpudoctor.knowledge import table

BUSY_PERCENT = 10
VGA = 0x0300


def model_of(link: PcieLink, inventory: Inventory) -> tuple[int, int, int] | None:
    """Vendor and device id; of a switch also how many GPUs are behind it: one chip serves in many places."""
    device: PciDevice | None = inventory.get("devices", {}).get(link.bus_id)
    if device is None or device.get("device_id") is None:
        return None
    behind = len(inventory.gpus_behind(link.bus_id)) if link.lower == "switch" else 0
    return device.get("vendor_id"), device.device_id, behind


def siblings(link: PcieLink, links: Iterable[PcieLink], inventory: Inventory) -> tuple[PcieLink, ...]:
    """The other links with a device of the same model at their lower end."""
    model = model_of(link, inventory)
    if model is None:
        return ()
    return tuple(
        each
        for each in links
        if each.bus_id != link.bus_id and each.lower == link.lower and model_of(each, inventory) == model
    )


def inside_card(link: PcieLink, inventory: Inventory) -> bool:
    """AMD puts a switch on the card: the GPU's own link is internal, the card's edge is the switch's upstream port."""
    devices = inventory.get("devices", {})
    ends = [devices.get(link.bus_id), devices.get(link.get("upper_bus_id", ""))]
    return link.lower == "gpu" and all(end is not None and end.get("vendor_id") == AMD for end in ends)


def leads_to_radeon(link: PcieLink, inventory: Inventory) -> bool:
    """Graphics cards of AMD narrow their link to save power (pp_dpm_pcie: x1, x16); Instinct ones do not."""
    devices = inventory.get("devices", {})
    gpus = [devices.get(b) for b in (link.bus_id, *(gpu.id for gpu in inventory.gpus_behind(link.bus_id)))]
    return any(gpu is not None and is_radeon(gpu) for gpu in gpus)


def is_radeon(device: PciDevice) -> bool:
    return bool(device.kind == "gpu" and device.get("vendor_id") == AMD and device.get("class_code", 0) >> 8 == VGA)


def beside_c2c(bus_id: str, inventory: Inventory, nvlinks: GpuNvLinks | None) -> bool:
    """A GPU with a CPU of its own talks to it over NVLink-C2C; what PCIe there is beside it may be narrow."""
    device: PciDevice | None = inventory.get("devices", {}).get(bus_id)
    ids = table("gpudoctor_checks", "device_ids")["beside_cpu"]
    of_module = device is not None and device.get("vendor_id") == NVIDIA and device.get("device_id") in ids
    return of_module or (nvlinks is not None and bool(nvlinks.get("c2c", False)))


def slower_by_design(link: PcieLink, inventory: Inventory, nvlinks: GpuNvLinks | None) -> bool:
    """Drives and NVSwitches are often on fewer lanes; what is within a card, or beside C2C, is as its maker chose."""
    return (
        link.lower in ("nvme", "nvswitch")
        or inside_card(link, inventory)
        or beside_c2c(link.bus_id, inventory, nvlinks)
    )


def upper_end(link: PcieLink) -> str:
    """`switch port 0000:17:01.0`, `root port 0000:15:01.0`."""
    kind = "root port" if link.subject.within[:1] == (link.upper_bus_id,) else "switch port"
    return f"{kind} {link.upper_bus_id}"


def concerned(subject: Subject, inventory: Inventory) -> str:
    """The GPUs behind a port, or the device itself."""
    return ", ".join(gpu.label for gpu in inventory.gpus_behind(subject.id)) or subject.label


def gb_per_s(speed_gts: float, width: int) -> float:
    """One direction, after encoding."""
    lanes: dict[float, float] = {
        row["gt_per_s"]: row["gb_per_s_per_lane"] for row in table("gpudoctor_checks", "pcie")["generations"]
    }
    return round(lanes.get(speed_gts, speed_gts * 0.12) * width, 1)


def speed_possible(link: PcieLink) -> float:
    """What both ends can, as far as they are seen; the speed now says nothing of an idle link."""
    speeds = [link.get("speed_max_gts"), link.get("upper_speed_max_gts")]
    return float(min((speed for speed in speeds if speed), default=link.get("speed_gts", 0.0)))


def many(count: int, others: int) -> str:
    """`the other 7`, `5 of the other 7`."""
    return f"the other {others}" if count == others else f"{count} of the other {others}"


def is_busy(gpu: Gpu, clocks: GpuClocks | None) -> bool | None:
    """Whether it works enough to have its link at speed; None: nobody says.

    A desktop's few percent leave a GeForce at its lowest performance state, with slow memory and a slow link.
    """
    idle = gpu.get("is_idle")
    if idle is None or idle:
        return None if idle is None else False
    if clocks is None:
        return None
    percent, memory, memory_max = (clocks.get(name) for name in ("busy_percent", "memory_mhz", "memory_max_mhz"))
    if percent is None:
        return None
    return percent >= BUSY_PERCENT and not (memory and memory_max and memory < memory_max / 2)


def by_bus_id(facts: Iterable[Any] | None) -> dict[str, Any]:
    return {fact.subject.id: fact for fact in facts or ()}
