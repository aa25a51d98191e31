"""What amdkfd tells of its nodes, which are CPUs and GPUs, and of the links between them.

Both have a file `properties`, printed by drivers/gpu/drm/amd/amdkfd/kfd_topology.c as `name value`, all decimal.
"""

from __future__ import annotations

from collections.abc import Collection

NODES = "/sys/class/kfd/kfd/topology/nodes"
XGMI = 11  # CRAT_IOLINK_TYPE_XGMI of kfd_crat.h


def properties(text: str) -> dict[str, int]:
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isascii() and pair[1].isdecimal()}


def gpu_of_node(held: dict[str, int], gpus: Collection[str]) -> str | None:
    """Which of these GPUs it is, or a partition of: some kernels put a partition's number in the function's place."""
    bus_id = bus_id_of_node(held)
    return bus_id if bus_id is None or bus_id in gpus else f"{bus_id[:-1]}0"


def bus_id_of_node(held: dict[str, int]) -> str | None:
    """From `domain` and `location_id` (bus, slot and function in 16 bits); None for a node of CPUs."""
    place = held.get("location_id", 0) & 0xFFFF
    if not held.get("simd_count") or not place:
        return None
    return f"{held.get('domain', 0):04x}:{place >> 8:02x}:{place >> 3 & 31:02x}.{place & 7}"
