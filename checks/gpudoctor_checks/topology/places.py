"""Where GPUs and RDMA adapters sit: on which NUMA node, and whether near each other."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gpudoctor.check import check
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.nic import Nic
from gpudoctor.facts.numa import Numa
from gpudoctor.facts.pci import Inventory
from gpudoctor.facts.topology import Topology
from gpudoctor.finding import NODE, Confidence, Evidence, Finding, Subject
from gpudoctor.unread import Gap, Unread
from gpudoctor_checks.adapters import feeds_gpus
from gpudoctor_checks.topology.siblings import usual
from gpudoctor_checks.topology.surroundings import SAME_PACKAGE
from gpudoctor_checks.wording import spoken

NEAR = ("PIX", "PXB")


@check("NUMA_NODE_UNKNOWN")
def homeless(topology: Topology, numa: Numa, inventory: Inventory, machine: Machine | None) -> Iterator[Finding]:
    """The firmware does not say on which of several NUMA nodes a GPU or RDMA adapter is."""
    if len(numa.with_cpus) < 2:
        return
    subjects = [s for s in (*topology.gpus, *topology.nics) if s.id in inventory.devices]
    lost = [subject for subject in subjects if inventory.devices[subject.id].numa_node < 0]
    if lost:
        guest = machine is not None and machine.get("virtualization") is not None
        yield Finding(
            lost[0] if len(lost) == 1 else NODE,
            evidence=[e for s in lost[:8] for e in inventory.devices[s.id].seen("numa_node")],
            devices=[subject.id for subject in lost],
            who=spoken([s.label for s in lost]) if len(lost) < 4 else f"{len(lost)} of {len(subjects)} devices",
            nodes=len(numa.with_cpus),
            action="guest" if guest else "firmware",
        )


class Socket(msgspec.Struct, frozen=True):
    """NUMA nodes that share a socket, by their distances, and what sits on them."""

    nodes: tuple[int, ...]
    gpus: tuple[Subject, ...]
    nics: tuple[Subject, ...]
    fast: tuple[Subject, ...]  # those of them that may feed GPUs: only they can be too many

    @property
    def cards(self) -> int:
        """Two ports of one adapter are two functions of one device."""
        return len({nic.id[:-2] for nic in self.nics})

    @property
    def fast_cards(self) -> int:
        return len({nic.id[:-2] for nic in self.fast})

    def __str__(self) -> str:
        return f"NUMA node {self.nodes[0]}" if len(self.nodes) == 1 else f"NUMA nodes {spoken([*map(str, self.nodes)])}"


@check("GPU_NIC_CROSS_SOCKET")
def crossed(topology: Topology, numa: Numa, nics: tuple[Nic, ...]) -> Iterator[Finding]:
    """A socket's GPUs lack RDMA adapters that another socket has more of than it has use for."""
    if not topology.gpus or not sum(len(nic.rdma_ports) for nic in nics):  # of all: one that is not told may be near
        return
    unknown = [each for each, home in topology.homes.items() if home is None]
    if unknown:
        where = f"/sys/bus/pci/devices/{unknown[0]}/numa_node"
        raise Unread(Gap.UNSUPPORTED, where, "does not say on which NUMA node the device is")
    sockets = _sockets(topology, numa, {nic.bus_id for nic in nics if feeds_gpus(nic)})
    for socket in sockets:
        others = [each for each in sockets if each is not socket]
        if socket.gpus and not socket.nics and sum(each.fast_cards for each in others) > 1:
            rich = max(others, key=lambda each: each.fast_cards)
            yield _finding(_node_subject(socket), topology, socket.gpus, socket, rich)
        elif socket.gpus:
            yield from _deprived(topology, socket, others)


def _deprived(topology: Topology, socket: Socket, others: list[Socket]) -> Iterator[Finding]:
    """Where GPUs and adapters share switches: a GPU without what its siblings have, and a spare one elsewhere."""
    near = {gpu.id: {nic.id[:-2] for nic in topology.nics if _near(topology, gpu, nic)} for gpu in topology.gpus}
    common = usual(map(len, near.values()))
    poor = tuple(gpu for gpu in socket.gpus if len(near[gpu.id]) < common)
    rich = [each for each in others if each.gpus and each.fast_cards > len(each.gpus)]
    if not poor or socket.cards >= len(socket.gpus) or not rich:
        return
    lonely = [nic for nic in rich[0].fast if not any(_near(topology, gpu, nic) for gpu in topology.gpus)]
    cards = {nic.id[:-2] for nic in lonely}
    subject = lonely[0] if len(cards) == 1 else poor[0] if len(poor) == 1 else _node_subject(socket)
    yield _finding(subject, topology, poor, socket, rich[0])


def _near(topology: Topology, gpu: Subject, nic: Subject) -> bool:
    return topology.between(gpu.id, nic.id).level in NEAR


def _finding(subject: Subject, topology: Topology, gpus: tuple[Subject, ...], socket: Socket, rich: Socket) -> Finding:
    ways = [
        Evidence(
            topology.source("ways"),
            f"{gpu}: " + ", ".join(f"{topology.between(gpu.id, nic.id)} to {nic}" for nic in topology.nics),
        )
        for gpu in gpus[:4]
    ]
    counts = (
        f"{socket}: {len(socket.gpus)} GPUs, {socket.cards} RDMA adapters; {rich}: {len(rich.gpus)}, {rich.fast_cards}"
    )
    return Finding(
        subject,
        confidence=Confidence.LIKELY,
        evidence=[Evidence(topology.source("homes"), counts), *ways],
        gpus=spoken([gpu.label for gpu in gpus]),
        near=str(socket),
        near_nics=socket.cards,
        far=str(rich),
        far_nics=rich.fast_cards,
        nics=[nic.id for nic in rich.fast],
    )


def _node_subject(socket: Socket) -> Subject:
    within = tuple(each.id for each in (*socket.gpus, *socket.nics))
    return Subject("numa_node", f"node{socket.nodes[0]}", str(socket), within)


def _sockets(topology: Topology, numa: Numa, fast: set[str]) -> list[Socket]:
    groups: list[list[int]] = []
    order = [node.number for node in numa.nodes]
    for node in numa.with_cpus:
        close = {n for n, far in zip(order, node.distances, strict=False) if far <= SAME_PACKAGE}
        same = next((group for group in groups if close & set(group)), None)
        groups.append([node.number]) if same is None else same.append(node.number)
    return [
        Socket(
            tuple(group),
            tuple(s for s in topology.gpus if topology.homes[s.id] in group),
            tuple(s for s in topology.nics if topology.homes[s.id] in group),
            tuple(s for s in topology.nics if topology.homes[s.id] in group and s.id in fast),
        )
        for group in groups
    ]
