"""The picture's one shape: what every form of it is drawn from, and what `--format json` prints."""

from __future__ import annotations

from typing import Literal, Union

import msgspec

from gpudoctor.facts.peers import Status
from gpudoctor.facts.topology import Level
from gpudoctor.knowledge import SeverityName
from gpudoctor.report import Source, Tool

SCHEMA_VERSION = "1"
DeviceKind = Literal["root_port", "switch", "bridge", "gpu", "nic", "nvme", "nvswitch"]
CableKind = Literal["nvlink", "xgmi", "c2c"]


class Host(msgspec.Struct, frozen=True):
    name: str | None
    platform: str
    virtualization: str | None
    gpus: int | None  # None: could not be told
    cpu: str | None
    sockets: int | None
    cores: int | None
    threads: int | None
    memory_bytes: int | None
    driver_version: str | None
    cuda_version: str | None


class NumaNode(msgspec.Struct, frozen=True):
    number: int
    cpus: str  # 0-15,32-47; empty: memory alone
    memory_bytes: int
    memory_free_bytes: int
    distances: dict[str, int]  # to each node; 10 is itself


class RdmaPort(msgspec.Struct, frozen=True):
    device: str
    number: int
    state: str
    physical_state: str
    rate_gbit_per_s: float
    link_layer: str


class Interface(msgspec.Struct, frozen=True):
    name: str
    state: str
    speed_mbit_per_s: int | None


class Device(msgspec.Struct, frozen=True):
    """One box: an endpoint, a root port, or a switch as a whole."""

    id: str  # bus id; of a switch, its port toward the CPU
    kind: DeviceKind
    label: str  # GPU 0, NIC0 mlx5_0, switch
    name: str | None  # of a GPU, its model
    index: int | None  # NVML's number of a GPU
    above: str | None  # the device that it hangs off; None: the root bus, or nothing is visible
    root_bus: str | None  # pci0000:16
    numa_node: int | None  # None: the firmware does not say, or it is unread
    ports: tuple[str, ...] = ()  # of a switch, all its ports that lead somewhere
    rdma_ports: tuple[RdmaPort, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    findings: tuple[str, ...] = ()  # ids


class PcieLink(msgspec.Struct, frozen=True, tag_field="kind", tag="pcie"):
    lower: str  # the device, or the switch's port toward the CPU
    upper: str | None  # the port above; None: none is visible
    width: int | None
    speed_gts: float | None
    width_possible: int | None  # by both ends, as far as they are seen
    speed_possible_gts: float | None
    lower_width_max: int | None
    lower_speed_max_gts: float | None
    idle: bool | None  # of a GPU: idle links run slow to save power


class Cable(msgspec.Struct, frozen=True, tag_field="kind", tag="cable"):
    """NVLinks, xGMI or C2C of one GPU to one peer, together."""

    medium: CableKind
    gpu: str
    peer: str | None  # a GPU's bus id; None: a switch, a CPU, or not told
    peer_kind: Literal["gpu", "switch", "cpu", "unknown"]
    links: int  # that are up; 0 where the driver gives no number
    down: int
    speed_mb_per_s: int | None  # of one link, one direction


Link = Union[PcieLink, Cable]


class Cell(msgspec.Struct, frozen=True):
    way: str  # X, NV18, XGMI, PIX, PXB, PHB, NODE, SYS
    level: Level
    findings: tuple[str, ...] = ()


class Row(msgspec.Struct, frozen=True):
    id: str
    label: str  # GPU0, NIC0
    cpu_affinity: str
    numa_affinity: int | None
    to_gpus: tuple[Cell | None, ...]
    to_nics: tuple[Cell | None, ...]


class Matrix(msgspec.Struct, frozen=True):
    gpus: tuple[Row, ...]
    nics: tuple[Row, ...]
    nic_names: dict[str, str]  # NIC0 -> mlx5_0
    peer_access_refused: dict[str, Status]  # "bus id+bus id" -> why


class Process(msgspec.Struct, frozen=True):
    pid: int
    command: str | None
    gpus: tuple[str, ...]
    cpus_allowed: str | None
    last_cpu: int | None
    findings: tuple[str, ...] = ()


class Mark(msgspec.Struct, frozen=True):
    """A finding of the scan, and the devices at which it is drawn."""

    id: str
    code: str
    layer: str
    severity: SeverityName
    subject: str
    title: str
    root: bool  # nothing else explains it
    caused_by: tuple[str, ...]
    whole_node: bool  # it is about the node; the devices are those that it names
    at: tuple[str, ...]  # device ids; empty: it names none, or what the picture does not show


class Picture(msgspec.Struct, frozen=True):
    schema_version: str
    tool: Tool
    source: Source
    host: Host
    nodes: tuple[NumaNode, ...]
    devices: tuple[Device, ...]
    links: tuple[Link, ...]
    matrix: Matrix | None  # None: could not be told
    processes: tuple[Process, ...]
    findings: tuple[Mark, ...]
    unseen: tuple[str, ...]  # what could not be seen, and why, a sentence each

    def device(self, identity: str) -> Device | None:
        return next((device for device in self.devices if device.id == identity), None)

    def below(self, above: str | None) -> tuple[Device, ...]:
        return tuple(device for device in self.devices if device.above == above)

    def link_of(self, identity: str) -> PcieLink | None:
        return next((link for link in self.pcie_links if link.lower == identity), None)

    @property
    def pcie_links(self) -> tuple[PcieLink, ...]:
        return tuple(link for link in self.links if isinstance(link, PcieLink))

    @property
    def cables(self) -> tuple[Cable, ...]:
        return tuple(link for link in self.links if isinstance(link, Cable))

    @property
    def gpus(self) -> tuple[Device, ...]:
        return tuple(device for device in self.devices if device.kind == "gpu")
