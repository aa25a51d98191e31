"""PCI Express: each link between a device and the port above it, and what its ends are set to."""

from __future__ import annotations

from typing import Literal

import msgspec

from gpudoctor.facts.fact import SubjectFact, fact, source
from gpudoctor.facts.sampling import Counted
from gpudoctor.finding import Subject

LowerEnd = Literal["gpu", "nic", "nvme", "nvswitch", "switch"]
PortType = Literal["endpoint", "root_port", "switch_upstream", "switch_downstream", "other"]


@fact
class PcieLink(SubjectFact):
    """One hop. The subject is its lower end: an endpoint, or the upstream port of a switch.

    In a virtual machine the port above is unread where none shows or the hypervisor emulates it.
    """

    subject: Subject
    bus_id: str
    lower: LowerEnd
    upper_bus_id: str = source("/sys/bus/pci/devices/{bus_id}")  # the port above
    width: int = source("/sys/bus/pci/devices/{bus_id}/current_link_width")
    speed_gts: float = source("/sys/bus/pci/devices/{bus_id}/current_link_speed")
    width_max: int = source("/sys/bus/pci/devices/{bus_id}/max_link_width")  # what the lower end can
    speed_max_gts: float = source("/sys/bus/pci/devices/{bus_id}/max_link_speed")
    upper_width_max: int = source("/sys/bus/pci/devices/{upper_bus_id}/max_link_width")  # what the port above can
    upper_speed_max_gts: float = source("/sys/bus/pci/devices/{upper_bus_id}/max_link_speed")


class AccessControl(msgspec.Struct, frozen=True):
    """Access Control Services of a port: its control word. Redirects send peer traffic up to the root."""

    request_redirect: bool
    completion_redirect: bool
    word: int


@fact
class PcieSettings(SubjectFact):
    """What the configuration of a GPU, a NIC or a port above one says. The capabilities need root."""

    subject: Subject
    bus_id: str
    port_type: PortType = source("/sys/bus/pci/devices/{bus_id}/config")
    max_payload_bytes: int = source("/sys/bus/pci/devices/{bus_id}/config")  # set now
    max_payload_supported_bytes: int = source("/sys/bus/pci/devices/{bus_id}/config")
    max_read_request_bytes: int = source("/sys/bus/pci/devices/{bus_id}/config")
    access_control: AccessControl | None = source("/sys/bus/pci/devices/{bus_id}/config")  # None: it has none
    iommu_domain: str | None = source("/sys/bus/pci/devices/{bus_id}/iommu_group/type")  # identity, DMA, DMA-FQ


@fact
class PcieErrors(SubjectFact):
    """AER counters of a GPU, a NIC or a port above one: by the kernel's names of the errors (RxErr, BadTLP, ...)."""

    subject: Subject
    bus_id: str
    correctable: dict[str, Counted] = source("/sys/bus/pci/devices/{bus_id}/aer_dev_correctable")
    nonfatal: dict[str, Counted] = source("/sys/bus/pci/devices/{bus_id}/aer_dev_nonfatal")
    fatal: dict[str, Counted] = source("/sys/bus/pci/devices/{bus_id}/aer_dev_fatal")


@fact
class GpuPcie(SubjectFact):
    """A GPU's own link as NVML tells it."""

    subject: Subject
    generation: int = source("nvmlDeviceGetCurrPcieLinkGeneration")
    generation_possible: int = source("nvmlDeviceGetMaxPcieLinkGeneration")  # of this GPU in this system
    generation_gpu_max: int = source("nvmlDeviceGetGpuMaxPcieLinkGeneration")
    width: int = source("nvmlDeviceGetCurrPcieLinkWidth")
    width_possible: int = source("nvmlDeviceGetMaxPcieLinkWidth")
    replays: Counted = source("nvmlDeviceGetPcieReplayCounter")
    bar1_bytes: int = source("nvmlDeviceGetBAR1MemoryInfo")
