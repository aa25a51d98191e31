"""The PCI bus as sysfs shows it: one read a device, more only for what GPUs depend on."""

from __future__ import annotations

from typing import Any

import msgspec

from gpudoctor.collect.attribute import attribute, number
from gpudoctor.collect.collector import collector
from gpudoctor.facts.nvml import Nvml
from gpudoctor.facts.pci import AMD, NVIDIA, Inventory, Kind, PciDevice, gpu_subject, pci_subject
from gpudoctor.node.surface import Node
from gpudoctor.parse.bus_id import bus_ids_on_path, host_bridge_of, normal_bus_id
from gpudoctor.unread import Gap, Reading, Unread, hold, known

DEVICES = "/sys/bus/pci/devices"
NVSWITCHES = {0x1AC2, 0x1AF1, 0x22A3}  # class 0680 alone is not enough: nForce network chips bear it too
ALL_ONES_WIDTH = 63  # what the link width's six bits read as when nothing answers


class _Slot(msgspec.Struct, frozen=True):
    """One device as the bus names it."""

    bus_id: str
    vendor: Reading[int]
    device: Reading[int]
    class_code: Reading[int]
    driver: Reading[str | None]
    path: Reading[tuple[str, ...]]
    host_bridge: Reading[str]


@collector
def pci_devices(node: Node) -> tuple[PciDevice, ...] | Unread | None:
    if node.platform != "linux":
        return None
    names = node.list(DEVICES)
    if isinstance(names, Unread):
        return names
    slots = [_slot(node, bus_id) for bus_id in map(normal_bus_id, names) if bus_id]
    kinds: dict[str, Kind] = {slot.bus_id: _kind(node, slot) for slot in slots}
    behind = {b for slot in slots if kinds[slot.bus_id] in ("gpu", "nvswitch") for b in known(slot.path, ())}
    return tuple(_device(node, slot, kinds[slot.bus_id], slot.bus_id in behind) for slot in slots)


@collector
def inventory(node: Node, devices: tuple[PciDevice, ...] | Unread | None, nvml: Nvml | Unread | None) -> Inventory:
    indices = _indices(nvml)
    if isinstance(devices, Unread):
        return Inventory(gpu_indices=hold(indices), devices=hold(devices))
    numbers = known(indices, {})
    named = {d.bus_id: _numbered(d, numbers[d.bus_id]) if d.bus_id in numbers else d for d in devices or ()}
    return Inventory(gpu_indices=hold(indices), devices=named)


def _indices(nvml: Nvml | Unread | None) -> Reading[dict[str, int]]:
    if nvml is None:
        return {}
    if isinstance(nvml, Unread):
        return nvml
    bus_ids: Reading[dict[int, str]] = nvml.reading("bus_ids")
    return bus_ids if isinstance(bus_ids, Unread) else {bus_id: index for index, bus_id in bus_ids.items()}


def _numbered(device: PciDevice, index: int) -> PciDevice:
    held: dict[str, Any] = dict(device.readings())
    return PciDevice(**{**held, "subject": gpu_subject(device.bus_id, index, device.get("path", ()))})


def _slot(node: Node, bus_id: str) -> _Slot:
    target = node.link(f"{DEVICES}/{bus_id}")
    path = target if isinstance(target, Unread) else bus_ids_on_path(target)[:-1]
    root = target if isinstance(target, Unread) else _host_bridge(bus_id, target)
    text = attribute(node, f"{DEVICES}/{bus_id}/uevent")
    lines = text.splitlines() if isinstance(text, str) else []
    said = {name: value for name, _, value in (line.partition("=") for line in lines)}
    if "PCI_ID" in said:
        vendor, _, device = said["PCI_ID"].partition(":")
        where = f"{DEVICES}/{bus_id}/uevent"
        return _Slot(
            bus_id,
            _hex(vendor, where),
            _hex(device, where),
            _hex(said.get("PCI_CLASS", ""), where),
            said.get("DRIVER"),
            path,
            root,
        )
    vendor_id, device_id, class_code = (
        number(node, f"{DEVICES}/{bus_id}/{f}", 16) for f in ("vendor", "device", "class")
    )
    return _Slot(bus_id, vendor_id, device_id, class_code, _bound(node, bus_id), path, root)


def _host_bridge(bus_id: str, target: str) -> Reading[str]:
    where = f"{DEVICES}/{bus_id}"
    return host_bridge_of(target) or Unread(Gap.MALFORMED, where, f"names no root bus: {target[:80]!r}")


def _bound(node: Node, bus_id: str) -> Reading[str | None]:
    driver = node.link(f"{DEVICES}/{bus_id}/driver")
    if isinstance(driver, Unread):
        return None if driver.gap is Gap.ABSENT else driver
    return driver.rsplit("/", 1)[-1]


def _hex(text: str, where: str) -> Reading[int]:
    try:
        return int(text, 16)
    except ValueError:
        return Unread(Gap.MALFORMED, where, f"holds {text[:40]!r}, which is no number")


def _kind(node: Node, slot: _Slot) -> Kind:
    vendor, device = known(slot.vendor, 0), known(slot.device, 0)
    base, sub = known(slot.class_code, 0) >> 16, known(slot.class_code, 0) >> 8
    if vendor == NVIDIA and device in NVSWITCHES:
        return "nvswitch"
    if _is_gpu(vendor, sub, known(slot.driver, None)):
        # A virtual function is a slice that the host hands to a guest; in the guest it has no physfn.
        return "other" if isinstance(node.link(f"{DEVICES}/{slot.bus_id}/physfn"), str) else "gpu"
    if sub == 0x0604:
        return "bridge"
    if sub == 0x0108:
        return "nvme"
    return "nic" if base == 0x02 else "other"


def _is_gpu(vendor: int, sub: int, driver: str | None) -> bool:
    if vendor == NVIDIA:
        return sub in (0x0300, 0x0302)
    if vendor == AMD:  # 1200 and 0380 are Instinct; a plain VGA one counts where the compute driver serves it
        return sub in (0x1200, 0x0380) or (sub == 0x0300 and driver == "amdgpu")
    return False


def _device(node: Node, slot: _Slot, kind: Kind, above_gpu: bool) -> PciDevice:
    where = f"{DEVICES}/{slot.bus_id}"
    serves = kind in ("gpu", "nvswitch", "nic", "nvme") or above_gpu
    probed = kind in ("gpu", "nvswitch") or above_gpu
    spared = Unread(Gap.NOT_RECORDED, where, "is read only for devices that GPUs depend on")
    path = known(slot.path, ())
    return PciDevice(
        subject=gpu_subject(slot.bus_id, None, path) if kind == "gpu" else pci_subject(slot.bus_id, kind, path),
        bus_id=slot.bus_id,
        kind=kind,
        vendor_id=hold(slot.vendor),
        device_id=hold(slot.device),
        class_code=hold(slot.class_code),
        revision=hold(number(node, f"{where}/revision", 16) if serves else spared),
        driver=hold(slot.driver),
        path=hold(slot.path),
        host_bridge=hold(slot.host_bridge),
        numa_node=hold(number(node, f"{where}/numa_node") if serves else spared),
        config_gone=hold(_config_gone(node, where) if probed else spared),
    )


def _config_gone(node: Node, where: str) -> Reading[bool]:
    """The link width costs one bus access, the whole config space of 4 KiB a thousand: ask it second."""
    if attribute(node, f"{where}/power_state") == "D3cold":
        return Unread(Gap.UNSUPPORTED, f"{where}/config", "the device sleeps in D3cold, and a read would wake it")
    width = number(node, f"{where}/current_link_width")
    if isinstance(width, int) and width != ALL_ONES_WIDTH:
        return False
    config = node.read(f"{where}/config")
    if isinstance(config, Unread):
        return True if width == ALL_ONES_WIDTH else config
    return config[:4] == b"\xff\xff\xff\xff"
