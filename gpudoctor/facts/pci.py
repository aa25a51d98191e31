"""What sits on the PCI bus, from sysfs, and how each device is called in findings."""

from __future__ import annotations

from typing import Literal

from gpudoctor.facts.fact import Fact, SubjectFact, fact, source
from gpudoctor.finding import Subject

NVIDIA, AMD = 0x10DE, 0x1002  # PCI vendor ids

Kind = Literal["gpu", "nvswitch", "nic", "bridge", "nvme", "other"]


@fact
class PciDevice(SubjectFact):
    subject: Subject
    bus_id: str  # dddd:bb:dd.f, lower case
    kind: Kind = source("/sys/bus/pci/devices/{bus_id}/class")
    vendor_id: int = source("/sys/bus/pci/devices/{bus_id}/vendor")
    device_id: int = source("/sys/bus/pci/devices/{bus_id}/device")
    class_code: int = source("/sys/bus/pci/devices/{bus_id}/class")
    revision: int = source("/sys/bus/pci/devices/{bus_id}/revision")
    driver: str | None = source("/sys/bus/pci/devices/{bus_id}/driver")  # None: no driver bound
    path: tuple[str, ...] = source("/sys/bus/pci/devices/{bus_id}")  # bridges from the root port down, without itself
    host_bridge: str = source("/sys/bus/pci/devices/{bus_id}")  # pci0000:16, the root bus
    numa_node: int = source("/sys/bus/pci/devices/{bus_id}/numa_node")  # -1: the firmware does not say
    config_gone: bool = source("/sys/bus/pci/devices/{bus_id}/config")  # reads as all ones: off the bus


@fact
class Inventory(Fact):
    """Names for bus ids. GPUs get their NVML index where NVML answers."""

    gpu_indices: dict[str, int] = source("nvmlDeviceGetPciInfo")  # bus id -> NVML index
    devices: dict[str, PciDevice] = source("/sys/bus/pci/devices")

    def subject(self, bus_id: str) -> Subject:
        """The subject of a bus id, also of one that is not (or no longer) on the bus."""
        device: PciDevice | None = self.get("devices", {}).get(bus_id)
        if device is not None:
            return device.subject
        indices = self.get("gpu_indices", {})
        return gpu_subject(bus_id, indices[bus_id]) if bus_id in indices else pci_subject(bus_id)

    def is_gpu(self, bus_id: str) -> bool:
        device = self.get("devices", {}).get(bus_id)
        return bus_id in self.get("gpu_indices", {}) or (device is not None and device.kind == "gpu")

    def nvidia_gpus(self) -> tuple[PciDevice, ...]:
        """Raises Unread where the bus could not be read."""
        return tuple(d for d in self.devices.values() if d.kind == "gpu" and d.get("vendor_id") == NVIDIA)

    def gpus_behind(self, bus_id: str) -> tuple[Subject, ...]:
        """The GPUs whose path to the root crosses this bridge."""
        return tuple(d.subject for d in self.get("devices", {}).values() if d.kind == "gpu" and bus_id in d.path)


def gpu_subject(bus_id: str, index: int | None, path: tuple[str, ...] = ()) -> Subject:
    return Subject("gpu", bus_id, f"GPU {index} ({bus_id})" if index is not None else f"GPU {bus_id}", path)


def pci_subject(bus_id: str, kind: str = "pci", path: tuple[str, ...] = ()) -> Subject:
    names = {"bridge": "PCI bridge ", "nic": "NIC ", "nvswitch": "NVSwitch ", "nvme": "NVMe drive "}
    return Subject(kind, bus_id, f"{names.get(kind, 'PCI device ')}{bus_id}", path)
