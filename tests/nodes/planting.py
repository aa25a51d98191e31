"""Faults for cases: what a made machine answers otherwise when something on it is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from making import cpu_mask
from making_config import patched

from gpudoctor.node.archive import Key
from gpudoctor.node.recorded import RecordedNode
from gpudoctor.parse.bus_id import bus_ids_on_path
from gpudoctor.unread import required

DEVICES = "/sys/bus/pci/devices"
SHOWN = {  # fields of config space that sysfs shows too
    "link_width": "current_link_width",
    "link_speed": "current_link_speed",
    "max_link_width": "max_link_width",
    "max_link_speed": "max_link_speed",
}


def configured(node: RecordedNode, bus_id: str, values: Mapping[str, float]) -> dict[Key, Any]:
    """A PCI device whose config space has some fields otherwise, and its link files with it.

    What a link runs at, both its ends say: link_width and link_speed change the port above, too.
    """
    changed = _set(node, bus_id, values)
    running = {name: value for name, value in values.items() if name in ("link_width", "link_speed")}
    above = bus_ids_on_path(required(node.link(f"{DEVICES}/{bus_id}")))[:-1]
    return changed | (_set(node, above[-1], running) if running and above else {})


def _set(node: RecordedNode, bus_id: str, values: Mapping[str, float]) -> dict[Key, Any]:
    where = f"{DEVICES}/{bus_id}"
    config = required(node.read(f"{where}/config"))
    changed: dict[Key, Any] = {("file", f"{where}/config"): patched(config, **values)}
    for name, value in values.items():
        if name in SHOWN:
            text = f"{value:.1f} GT/s PCIe" if "speed" in name else str(value)
            changed["file", f"{where}/{SHOWN[name]}"] = f"{text}\n".encode()
    return changed


def placed(node: RecordedNode, pid: int, cpus: str | None, memory_node: int | None) -> dict[Key, Any]:
    """A process that runs on these CPUs, with its threads and children, and took its memory on that node."""
    changed: dict[Key, Any] = {}
    where = f"/proc/{pid}"
    tasks = [where, *(f"{where}/task/{tid}" for tid in required(node.list(f"{where}/task")))]
    if cpus is not None:
        for n, task in enumerate(tasks):
            changed |= _moved(node, task, cpus, max(n - 1, 0))
    if memory_node is not None:
        maps = required(node.read(f"{where}/numa_maps"))
        lines = [_elsewhere(line, memory_node) for line in maps.decode().splitlines(keepends=True)]
        changed["file", f"{where}/numa_maps"] = "".join(lines).encode()
    for child in required(node.read(f"{where}/task/{pid}/children")).split():
        changed |= placed(node, int(child), cpus, memory_node)
    return changed


def _moved(node: RecordedNode, task: str, cpus: str, turn: int) -> dict[Key, Any]:
    numbers = [n for span in cpus.split(",") for n in _span(span)]
    status = required(node.read(f"{task}/status")).decode()
    bits = 32 * (re.search(r"^Cpus_allowed:\t(.*)$", status, re.MULTILINE) or [""])[0].count(",") + 32
    status = re.sub(r"(?m)^Cpus_allowed:.*$", f"Cpus_allowed:\t{cpu_mask(numbers, bits)}", status)
    status = re.sub(r"(?m)^Cpus_allowed_list:.*$", f"Cpus_allowed_list:\t{cpus}", status)
    head, _, tail = required(node.read(f"{task}/stat")).decode().rpartition(") ")
    fields = tail.split(" ")
    fields[36] = str(numbers[turn % len(numbers)])  # processor, the 39th of all
    return {
        ("file", f"{task}/status"): status.encode(),
        ("file", f"{task}/stat"): f"{head}) {' '.join(fields)}".encode(),
    }


COUNTERS = re.compile(
    r".*/aer_(dev|rootport)_\w+|/proc/vmstat|nvmlDeviceGet(NvLinkErrorCounter|PcieReplayCounter)\(.*\)"
    r"|nvmlDeviceGetFieldValues\(.*(PERF_POLICY|NVLINK_COUNT|NVLINK_ERROR|C2C_LINK_ERROR).*\)"
)


def standing_still(surfaces: Mapping[Key, Any]) -> dict[Key, Any]:
    """A second reading of every counter that has none yet: the same as the first."""
    return {
        (verb, f"{key} #1"): reading
        for (verb, key), reading in surfaces.items()
        if COUNTERS.fullmatch(key) and (verb, f"{key} #1") not in surfaces
    }


def _span(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _elsewhere(line: str, node: int) -> str:
    """Libraries stay where who read them first ran."""
    return line if "mapmax=" in line else re.sub(r" N\d+=", f" N{node}=", line)
