"""Whether NVML answers, and which GPUs it lists.

Where the library is there and will not start, the fact is there with every field unread: a check
that reasons about why asks for `nvml.reading("driver_version")`.
"""

from __future__ import annotations

import re

from gpudoctor.collect.answers import integer, malformed, text
from gpudoctor.collect.collector import collector
from gpudoctor.facts.nvml import Nvml
from gpudoctor.node.surface import Node, NvmlCall
from gpudoctor.unread import Gap, Reading, Unread, hold

PCI = "/sys/bus/pci/devices"
_NVIDIA_DISPLAY = re.compile(rb"^PCI_CLASS=30[0-9A-F]{3}\nPCI_ID=10DE:", re.MULTILINE)
_BUS_ID = re.compile(
    r"(?P<domain>[0-9A-Fa-f]{4,8}):(?P<bus>[0-9A-Fa-f]{2}):(?P<device>[0-9A-Fa-f]{2})\.(?P<function>\d)"
)


@collector
def nvml(node: Node) -> Nvml | None:
    library, driver, cuda, count = node.nvml(
        [
            NvmlCall("nvmlSystemGetNVMLVersion"),
            NvmlCall("nvmlSystemGetDriverVersion"),
            NvmlCall("nvmlSystemGetCudaDriverVersion_v2"),
            NvmlCall("nvmlDeviceGetCount"),
        ]
    )
    if isinstance(count, Unread) and count.gap is Gap.ABSENT and not nvidia_on_bus(node):
        return None
    bus_ids, silent = _listed(node, integer(count))
    return Nvml(hold(text(library)), hold(text(driver)), hold(cuda_version(cuda)), hold(bus_ids), hold(silent))


def nvidia_on_bus(node: Node) -> bool:
    """Whether sysfs shows a display device of NVIDIA; also True where sysfs does not tell."""
    names = node.list(PCI)
    if isinstance(names, Unread):
        return names.gap is Gap.DENIED
    told = [node.read(f"{PCI}/{name}/uevent") for name in names]
    return any(isinstance(text, bytes) and _NVIDIA_DISPLAY.search(text) for text in told)


def _listed(node: Node, count: Reading[int]) -> tuple[Reading[dict[int, str]], Reading[dict[int, Unread]]]:
    if isinstance(count, Unread):
        return count, count
    answers = node.nvml([NvmlCall("nvmlDeviceGetPciInfo", index) for index in range(min(count, 256))])
    found = {index: bus_id_of(answer) for index, answer in enumerate(answers)}
    bus_ids = {index: bus_id for index, bus_id in found.items() if not isinstance(bus_id, Unread)}
    return bus_ids, {index: gap for index, gap in found.items() if isinstance(gap, Unread)}


def bus_id_of(info: Reading[object]) -> Reading[str]:
    """nvmlPciInfo_t -> dddd:bb:dd.f"""
    if isinstance(info, Unread):
        return info
    written = info.get("busId") if isinstance(info, dict) else None
    shape = _BUS_ID.fullmatch(written) if isinstance(written, str) else None
    if shape is None:
        return malformed(info)
    return f"{int(shape['domain'], 16):04x}:{shape['bus']}:{shape['device']}.{shape['function']}".lower()


def cuda_version(answer: Reading[object]) -> Reading[str]:
    """13000 -> 13.0"""
    number = integer(answer)
    return number if isinstance(number, Unread) else f"{number // 1000}.{number % 1000 // 10}"
