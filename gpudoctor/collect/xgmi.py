"""Which AMD GPUs share an xGMI hive: amdkfd shows a link of that type between each two of them."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from gpudoctor.collect.attribute import attribute
from gpudoctor.node.surface import Node
from gpudoctor.parse.kfd import NODES, XGMI, gpu_of_node, properties
from gpudoctor.unread import Gap, Reading, Unread


class Xgmi(msgspec.Struct, frozen=True):
    pairs: frozenset[frozenset[str]]  # of bus ids
    denied: bool = False  # some nodes may not be read: a container, or a job, is shown all and may read its own
    told: frozenset[str] = frozenset()  # bus ids of the GPUs whose nodes could be read


def xgmi_links(node: Node, gpus: Collection[str]) -> Reading[Xgmi]:
    names = node.list(NODES)
    if isinstance(names, Unread):
        return Xgmi(frozenset()) if names.gap is Gap.ABSENT else names
    denied = False
    places: dict[int, str] = {}
    links: list[tuple[int, int]] = []
    for name in names:
        told = attribute(node, f"{NODES}/{name}/properties")
        if isinstance(told, Unread):
            if told.gap is Gap.DENIED:
                denied = True
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
    pairs = frozenset(frozenset((a, b)) for a, b in ends if a and b and a != b)
    return Xgmi(pairs, denied, frozenset(places.values()))


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
