"""How the GPUs and NICs of a node reach each other, in the words of `nvidia-smi topo -m`."""

from __future__ import annotations

from typing import Literal

import msgspec

from gpudoctor.facts.fact import Fact, fact, source
from gpudoctor.finding import Subject

Level = Literal["X", "NV", "XGMI", "PIX", "PXB", "PHB", "NODE", "SYS"]


class Way(msgspec.Struct, frozen=True):
    level: Level
    links: int = 0  # NVLinks of NV

    def __str__(self) -> str:
        return f"NV{self.links}" if self.level == "NV" else self.level


@fact
class Topology(Fact):
    gpus: tuple[Subject, ...] = source("/sys/bus/pci/devices")
    nics: tuple[Subject, ...] = source("/sys/class/infiniband, /sys/class/net")
    ways: dict[str, dict[str, Way]] = source("/sys/bus/pci/devices, nvmlDeviceGetNvLinkState")  # bus id, bus id
    pci_ways: dict[str, dict[str, Way]] = source("/sys/bus/pci/devices")  # the same without NVLink
    homes: dict[str, int | None] = source("/sys/bus/pci/devices/*/numa_node")  # bus id -> NUMA node; None: not told
    hidden: frozenset[str] = source("/sys/class/kfd/kfd/topology/nodes")  # AMD GPUs that kfd keeps from us

    def between(self, first: str, second: str) -> Way:
        return self.ways[first][second]
