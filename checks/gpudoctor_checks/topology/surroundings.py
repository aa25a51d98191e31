"""Which NUMA nodes are near the GPUs of a process."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gpudoctor.facts.numa import Cpus, Numa, NumaNode
from gpudoctor.facts.pci import Inventory
from gpudoctor.finding import Subject
from gpudoctor.unread import Gap, Unread

# The firmware's distances: 11 to 13 between parts of one package (SNC, NPS), 16 on the first EPYC; 20 and more beyond.
SAME_PACKAGE = 16


class Surroundings(msgspec.Struct, frozen=True):
    homes: tuple[NumaNode, ...]  # with the CPUs nearest to a GPU
    near: tuple[NumaNode, ...]  # these and the others of their packages
    far: tuple[NumaNode, ...]  # those with CPUs in other packages

    @property
    def near_cpus(self) -> Cpus:
        return cpus_of(self.near)

    @property
    def near_numbers(self) -> frozenset[int]:
        return frozenset(node.number for node in self.near)


def surroundings(gpus: Iterable[Subject], numa: Numa, inventory: Inventory) -> Surroundings:
    """Raises Unread. A process on GPUs of several packages may be anywhere among them."""
    homes = {home.number: home for gpu in gpus for home in [_home(gpu, numa, inventory)]}
    near = {n.number: n for home in homes.values() for n in _of_package(home, numa)}
    far = tuple(node for node in numa.with_cpus if node.number not in near)
    return Surroundings(tuple(homes.values()), tuple(near.values()), far)


def cpus_of(nodes: Iterable[NumaNode]) -> Cpus:
    none: Cpus = frozenset()
    return none.union(*(node.cpus for node in nodes))


def _home(gpu: Subject, numa: Numa, inventory: Inventory) -> NumaNode:
    where = f"/sys/bus/pci/devices/{gpu.id}/numa_node"
    device = inventory.devices.get(gpu.id)
    if device is None:
        raise Unread(Gap.ABSENT, where, "this GPU is not on the bus that shows here")
    number = numa.home_of(device.numa_node)
    if number is None:
        why = f"is -1 on a machine of {len(numa.with_cpus)} NUMA nodes: the firmware does not say what is near"
        raise Unread(Gap.ABSENT, where, why, "see NUMA_NODE_UNKNOWN")
    node = numa.node(number)
    if node is None:
        raise Unread(Gap.MALFORMED, where, f"is {number}, which is no node of this machine")
    near = _by_distance(node, numa)
    if not near:
        raise Unread(Gap.MALFORMED, f"/sys/devices/system/node/node{number}/distance", "names no node with CPUs")
    return min(near, key=lambda placed: placed[0])[1]


def _of_package(home: NumaNode, numa: Numa) -> list[NumaNode]:
    return [node for distance, node in _by_distance(home, numa) if distance <= SAME_PACKAGE or node is home]


def _by_distance(node: NumaNode, numa: Numa) -> list[tuple[int, NumaNode]]:
    """The nodes with CPUs; without them a node is memory alone, such as a GPU's on Grace."""
    return [(far, other) for far, other in zip(node.distances, numa.nodes, strict=False) if other.cpus]
