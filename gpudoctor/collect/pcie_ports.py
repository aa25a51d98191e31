"""The PCIe ports above a device, and which of them are hardware."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from gpudoctor.collect.attribute import attribute
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.pci import PciDevice
from gpudoctor.node.surface import Node
from gpudoctor.unread import Gap, Unread

DEVICES = "/sys/bus/pci/devices"
# QEMU's own ports, and those of TI and Intel that it imitates; VMware; VirtualBox; Hyper-V; virtio; Google
HYPERVISORS = (0x1B36, 0x15AD, 0x80EE, 0x1414, 0x1AF4, 0x1AE0)
ON_HOST = "scan on the host"


def ports_above(device: PciDevice, devices: Mapping[str, PciDevice]) -> tuple[str, ...]:
    """From the root port down. A root port, then of each switch its upstream and one downstream port."""
    return tuple(b for b in device.get("path", ()) if (port := devices.get(b)) is not None and port.kind == "bridge")


def unseen_port(port: PciDevice | None, machine: Machine) -> Unread | None:
    """Why nothing can be said about the port above a device; None where it is hardware that shows."""
    guest = machine.get("virtualization") is not None
    if port is None:
        where = "in this virtual machine" if guest else "above it"
        return Unread(Gap.ABSENT, DEVICES, f"no PCIe port shows {where}", ON_HOST if guest else "")
    if guest or port.get("vendor_id") in HYPERVISORS:
        return Unread(
            Gap.UNSUPPORTED, f"{DEVICES}/{port.bus_id}", "the hypervisor emulates the port above this device", ON_HOST
        )
    return None


def is_virtual(device: PciDevice) -> bool:
    """A device that a hypervisor made up has no link."""
    return device.get("vendor_id") in HYPERVISORS


def asleep(node: Node, bus_id: str) -> bool:
    """In D3cold nothing answers, and a read of its registers would wake it."""
    return attribute(node, f"{DEVICES}/{bus_id}/power_state") == "D3cold"


def first_functions(devices: Iterable[PciDevice]) -> Iterator[PciDevice]:
    """One function for each slot: the others of a card share its link."""
    seen: set[tuple[str, str]] = set()
    for device in sorted(devices, key=lambda d: d.bus_id):
        slot = (device.bus_id[:-2], device.kind)
        if slot not in seen:
            seen.add(slot)
            yield device


def judged(devices: Mapping[str, PciDevice], machine: Machine) -> dict[str, PciDevice]:
    """GPUs and NICs with real ports above them, and these ports. Of a guest the host's ports do not show."""
    found: dict[str, PciDevice] = {}
    for device in first_functions(d for d in devices.values() if d.kind in ("gpu", "nic")):
        ports = ports_above(device, devices)
        if ports and unseen_port(devices[ports[-1]], machine) is None:
            found.update({b: devices[b] for b in ports})
            found[device.bus_id] = device
    return dict(sorted(found.items()))
