"""Whose error it is: a GPU's, a bridge's on a GPU's path, a NIC's; or some other device's, and not ours."""

from __future__ import annotations

import msgspec

from gpudoctor.facts.kernel_events import KernelEvents
from gpudoctor.facts.pci import AMD, NVIDIA, Inventory, PciDevice, gpu_subject, pci_subject
from gpudoctor.finding import Subject

GPU_DRIVERS = {"nvidia", "amdgpu", "nouveau"}
BRIDGE_DRIVERS = {"pcieport", "pci", "shpchp"}
GPU_VENDORS = {NVIDIA, AMD}
GPU_CLASSES = {0x0300, 0x0302, 0x0380, 0x1200}


class Owner(msgspec.Struct, frozen=True):
    subject: Subject
    sure: bool  # False: the log names a bridge or a bare address, and nothing says what is behind it


def owner(
    bus_id: str, inventory: Inventory, events: KernelEvents, driver: str | None = None, vendor: int | None = None
) -> Owner | None:
    """None where the device is no GPU, lies on no GPU's path and is no NIC."""
    devices: dict[str, PciDevice] = inventory.get("devices", {})
    device = devices.get(bus_id)
    if device is not None:
        return _of_present(device, devices)
    if driver in GPU_DRIVERS or inventory.is_gpu(bus_id):
        return Owner(inventory.subject(bus_id) if inventory.is_gpu(bus_id) else gpu_subject(bus_id, None), True)
    if bus_id in events.vendors:
        return _of_listed(bus_id, *events.vendors[bus_id])
    if vendor is not None and driver not in BRIDGE_DRIVERS and vendor in GPU_VENDORS:
        return Owner(gpu_subject(bus_id, None), False)  # the driver name is cut off; NVIDIA also sells switches
    if driver is None or driver in BRIDGE_DRIVERS:
        return Owner(pci_subject(bus_id, "bridge" if driver in BRIDGE_DRIVERS else "pci"), False)
    return None


def _of_present(device: PciDevice, devices: dict[str, PciDevice]) -> Owner | None:
    if device.kind in ("gpu", "nvswitch", "nic"):
        return Owner(device.subject, True)
    if device.kind != "bridge":
        return None
    behind = [d.kind for d in devices.values() if device.bus_id in d.get("path", ())]
    if any(kind in ("gpu", "nvswitch") for kind in behind):
        return Owner(device.subject, True)
    return None if behind else Owner(device.subject, False)  # an empty bridge may have lost its GPU


def _of_listed(bus_id: str, vendor: int, class_code: int) -> Owner | None:
    kind = class_code >> 8
    if vendor in GPU_VENDORS and kind in GPU_CLASSES:
        return Owner(gpu_subject(bus_id, None), True)
    if kind >> 8 == 0x02:
        return Owner(pci_subject(bus_id, "nic"), True)
    return Owner(pci_subject(bus_id, "bridge"), False) if kind == 0x0604 else None
