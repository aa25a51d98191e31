"""NUMA nodes as /sys/devices/system/node shows them."""

from __future__ import annotations

import re

from gpudoctor.collect.attribute import attribute, number
from gpudoctor.collect.collector import collector
from gpudoctor.facts.numa import Numa, NumaNode
from gpudoctor.node.surface import Node
from gpudoctor.parse.cpu_list import cpus_in
from gpudoctor.parse.meminfo import sizes
from gpudoctor.unread import Gap, Reading, Unread, hold, required

NODES = "/sys/devices/system/node"
MEMINFO = "/proc/meminfo"
_NAME = re.compile(r"node(\d+)")
_MEMORY = re.compile(r"^Node \d+ (MemTotal|MemFree):\s+(\d+) kB$", re.MULTILINE)


@collector
def numa(node: Node) -> Numa | None:
    if node.platform != "linux":
        return None
    return Numa(
        nodes=hold(_nodes(node)),
        balancing=hold(_setting(node, "/proc/sys/kernel/numa_balancing")),
        zone_reclaim=hold(_setting(node, "/proc/sys/vm/zone_reclaim_mode")),
    )


def _nodes(node: Node) -> Reading[tuple[NumaNode, ...]]:
    names = node.list(NODES)
    if isinstance(names, Unread):
        return _whole(node) if names.gap is Gap.ABSENT else names
    numbers = sorted(int(found[1]) for found in map(_NAME.fullmatch, names) if found)
    try:
        return tuple(_numa_node(node, each) for each in numbers)
    except Unread as gap:
        return gap


def _numa_node(node: Node, which: int) -> NumaNode:
    """Raises Unread."""
    where = f"{NODES}/node{which}"
    cpus, distances, memory = (
        required(attribute(node, f"{where}/{name}")) for name in ("cpulist", "distance", "meminfo")
    )
    held = {name: int(kib) << 10 for name, kib in _MEMORY.findall(memory)}
    try:
        return NumaNode(which, cpus_in(cpus), held["MemTotal"], held["MemFree"], tuple(map(int, distances.split())))
    except (KeyError, ValueError) as error:
        raise Unread(Gap.MALFORMED, where, f"cannot be understood: {error}") from error


def _whole(node: Node) -> Reading[tuple[NumaNode, ...]]:
    """A kernel without NUMA has no such folder: the machine is one node."""
    online = attribute(node, "/sys/devices/system/cpu/online")
    memory = node.read(MEMINFO)
    if isinstance(online, Unread):
        return online
    if isinstance(memory, Unread):
        return memory
    held = sizes(memory)
    try:
        return (NumaNode(0, cpus_in(online), held["MemTotal"], held["MemFree"], (10,)),)
    except (KeyError, ValueError) as error:
        return Unread(Gap.MALFORMED, MEMINFO, f"cannot be understood: {error}")


def _setting(node: Node, path: str) -> Reading[int]:
    """Absent where the kernel is built without it, which is as good as off."""
    value = number(node, path)
    return 0 if isinstance(value, Unread) and value.gap is Gap.ABSENT else value
