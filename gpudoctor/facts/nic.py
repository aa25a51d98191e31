"""Network adapters on the PCI bus, and their RDMA ports."""

from __future__ import annotations

import msgspec

from gpudoctor.facts.fact import SubjectFact, fact, source
from gpudoctor.finding import Subject


class RdmaPort(msgspec.Struct, frozen=True):
    device: str  # mlx5_0
    number: int
    state: str  # ACTIVE, DOWN, INIT
    physical_state: str  # LinkUp, Polling, Disabled
    rate_gbit_per_s: float  # 0 where it is not told
    link_layer: str  # InfiniBand, Ethernet


class Interface(msgspec.Struct, frozen=True):
    name: str  # ens1f0np0
    state: str  # up, down, unknown
    speed_mbit_per_s: int | None  # None: it does not tell, as when down
    mtu: int


@fact
class Nic(SubjectFact):
    subject: Subject
    bus_id: str
    driver: str | None = source("/sys/bus/pci/devices/{bus_id}/driver")
    interfaces: tuple[Interface, ...] = source("/sys/bus/pci/devices/{bus_id}/net")
    rdma_ports: tuple[RdmaPort, ...] = source("/sys/bus/pci/devices/{bus_id}/infiniband")

    @property
    def name(self) -> str:
        """mlx5_0, else the interface's name, else the bus id."""
        rdma: tuple[RdmaPort, ...] = self.get("rdma_ports", ())
        interfaces: tuple[Interface, ...] = self.get("interfaces", ())
        return [*(port.device for port in rdma), *(each.name for each in interfaces), self.bus_id][0]
