"""The devices in the order in which they are drawn: by NUMA node, then as they hang off each other."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gpudoctor.render.topo.picture import Device, Mark, NumaNode, Picture, Process


class Branch(msgspec.Struct, frozen=True):
    """A device one line or box is drawn for. Root ports have none of their own: they are the link's upper end."""

    device: Device
    lasts: tuple[bool, ...]  # for each level down to this one: nothing follows at that level
    port: str | None  # the port that it hangs off
    marks: tuple[Mark, ...]  # of the device and of the port above it
    processes: tuple[Process, ...] = ()
    elsewhere: str = ""  # where its own NUMA node is not the one that it is drawn on

    @property
    def link_fault(self) -> Mark | None:
        """What is wrong with its link, of all that is wrong with it."""
        return next((m for m in self.marks if m.severity != "info" and (m.layer == "pcie" or "PCIE" in m.code)), None)

    @property
    def depth(self) -> int:
        return len(self.lasts) - 1


class Ground(msgspec.Struct, frozen=True):
    """A NUMA node and what is on it; None: devices of which nobody says where they are."""

    node: NumaNode | None
    branches: tuple[Branch, ...]


def grounds(picture: Picture) -> tuple[Ground, ...]:
    known = {node.number for node in picture.nodes}
    numbers = [node.number for node in picture.nodes if node.cpus or _tops(picture, node.number, known)]
    made = [Ground(_node(picture, number), _branches(picture, number, known)) for number in numbers]
    lost = _branches(picture, None, known)
    return (*made, Ground(None, lost)) if lost else tuple(made)


def memory_nodes(picture: Picture) -> tuple[NumaNode, ...]:
    """NUMA nodes without CPUs and without devices: a GPU's memory on Grace, CXL."""
    drawn = {ground.node.number for ground in grounds(picture) if ground.node}
    return tuple(node for node in picture.nodes if node.number not in drawn)


def _node(picture: Picture, number: int) -> NumaNode | None:
    return next((node for node in picture.nodes if node.number == number), None)


def _tops(picture: Picture, number: int | None, known: set[int]) -> list[Device]:
    def on(device: Device) -> bool:
        return device.numa_node == number if number is not None else device.numa_node not in known

    return [device for device in picture.below(None) if on(device)]


def _branches(picture: Picture, number: int | None, known: set[int]) -> tuple[Branch, ...]:
    return tuple(_grown(picture, _tops(picture, number, known), (), number))


def _grown(picture: Picture, devices: list[Device], lasts: tuple[bool, ...], number: int | None) -> Iterator[Branch]:
    """Root ports are passed through: what hangs off them stands in their place."""
    shown: list[Device] = []
    for device in devices:
        shown += picture.below(device.id) if device.kind == "root_port" else (device,)
    for place, device in enumerate(shown):
        here = (*lasts, place == len(shown) - 1)
        link = picture.link_of(device.id)
        port = link.upper if link else None
        stray = _stray(picture, device, number)
        yield Branch(device, here, port, _marks(picture, device), _processes(picture, device), stray)
        yield from _grown(picture, list(picture.below(device.id)), here, number)


def _stray(picture: Picture, device: Device, number: int | None) -> str:
    """Firmware that tells of one device below a switch and not of another."""
    if number is None or device.numa_node == number or sum(bool(node.cpus) for node in picture.nodes) < 2:
        return ""
    return "NUMA node not told" if device.numa_node is None else f"on NUMA node {device.numa_node}, it says"


def _marks(picture: Picture, device: Device) -> tuple[Mark, ...]:
    return tuple(sorted((m for m in picture.findings if device.id in m.at), key=lambda mark: not mark.root))


def _processes(picture: Picture, device: Device) -> tuple[Process, ...]:
    return tuple(process for process in picture.processes if device.id in process.gpus)


def elsewhere(picture: Picture) -> tuple[Mark, ...]:
    """Findings that no device of the picture bears."""
    processes = {identity for process in picture.processes for identity in process.findings}
    return tuple(mark for mark in picture.findings if mark.whole_node or (not mark.at and mark.id not in processes))
