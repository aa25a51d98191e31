"""Which AMD GPUs share an xGMI hive: amdkfd shows a link of that type between each two of them."""

from __future__ import annotations

from collections.abc import Collection

from gpudoctor.collect.attribute import attribute
from gpudoctor.node.surface import Node
from gpudoctor.parse.kfd import XGMI, gpu_of_node, properties
from gpudoctor.unread import Gap, Reading, Unread

NODES = "/sys/class/kfd/kfd/topology/nodes"


def xgmi_pairs(node: Node, gpus: Collection[str]) -> Reading[frozenset[frozenset[str]]]:
    """Pairs of bus ids. A container is shown every node and may read those of its own GPUs."""
    names = node.list(NODES)
    if isinstance(names, Unread):
        return frozenset() if names.gap is Gap.ABSENT else names
    places: dict[int, str] = {}
    links: list[tuple[int, int]] = []
    for name in names:
        told = attribute(node, f"{NODES}/{name}/properties")
        if isinstance(told, Unread):
            if told.gap is Gap.DENIED:
                continue
            return told
        bus_id = gpu_of_node(properties(told), gpus)
        if bus_id is None or not name.isdecimal():
            continue
        places[int(name)] = bus_id
        found = _links(node, f"{NODES}/{name}/io_links")
        if isinstance(found, Unread):
            return found
        links += found
    ends = ((places.get(a), places.get(b)) for a, b in links)
    return frozenset(frozenset((a, b)) for a, b in ends if a and b and a != b)


def _links(node: Node, folder: str) -> Reading[list[tuple[int, int]]]:
    names = node.list(folder)
    if isinstance(names, Unread):
        return [] if names.gap is Gap.ABSENT else names
    found = []
    for name in names:
        told = attribute(node, f"{folder}/{name}/properties")
        if isinstance(told, Unread):
            return told
        held = properties(told)
        if held.get("type") == XGMI:
            found.append((held.get("node_from", -1), held.get("node_to", -1)))
    return found
