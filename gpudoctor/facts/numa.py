"""NUMA nodes: which CPUs and how much memory, how far apart, and what the kernel does about it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import msgspec

from gpudoctor.facts.fact import Fact, fact, source

Cpus = frozenset[int]


def cpu_list(numbers: Iterable[int]) -> str:
    """CPUs, or nodes, as the kernel writes them and taskset and numactl take them: `0-15,32-47`."""
    runs = groupby(enumerate(sorted(set(numbers))), key=lambda placed: placed[1] - placed[0])
    ends = [[number for _, number in run] for _, run in runs]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in ends)


class NumaNode(msgspec.Struct, frozen=True):
    number: int
    cpus: Cpus  # none: memory alone, such as a GPU's on Grace
    memory_bytes: int
    memory_free_bytes: int
    distances: tuple[int, ...]  # to the online nodes in order; 10 is itself


@fact
class Numa(Fact):
    nodes: tuple[NumaNode, ...] = source("/sys/devices/system/node")
    balancing: int = source("/proc/sys/kernel/numa_balancing")  # 0 off, 1 on, 2 memory tiering
    zone_reclaim: int = source("/proc/sys/vm/zone_reclaim_mode")

    @property
    def with_cpus(self) -> tuple[NumaNode, ...]:
        return tuple(node for node in self.nodes if node.cpus)

    def node(self, number: int) -> NumaNode | None:
        return next((node for node in self.nodes if node.number == number), None)

    def cpus_of(self, number: int) -> Cpus:
        """CPUs near a node; for one without CPUs, those of the nearest node that has some."""
        here = self.node(number)
        if here is None or here.cpus:
            return here.cpus if here else frozenset()
        near = [(far, node) for far, node in zip(here.distances, self.nodes, strict=False) if node.cpus]
        return min(near, key=lambda each: each[0])[1].cpus if near else frozenset()

    def home_of(self, numa_node: int) -> int | None:
        """The node a device is on; where the firmware does not say (-1), the only one with CPUs, else None."""
        if numa_node >= 0:
            return numa_node
        return self.with_cpus[0].number if len(self.with_cpus) == 1 else None
