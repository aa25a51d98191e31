"""What the picture says of a thing, in a few words; the same in every form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from gpudoctor.facts.numa import cpu_list
from gpudoctor.render.hardware import cpu_name, size
from gpudoctor.render.story import counted
from gpudoctor.render.topo.picture import Cable, Device, Interface, Mark, NumaNode, PcieLink, Picture, RdmaPort

GENERATIONS = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6, 128.0: 7}  # GT/s of a lane
LEVELS = {
    "NV": "NV#: that many NVLinks",
    "XGMI": "XGMI: AMD's links between GPUs",
    "PIX": "PIX: one PCIe switch",
    "PXB": "PXB: several PCIe switches, not the CPU",
    "PHB": "PHB: a root complex of the CPU",
    "NODE": "NODE: two root complexes of one NUMA node",
    "SYS": "SYS: across NUMA nodes",
}


def pace(link: PcieLink) -> str:
    """`x16 Gen5`, `x8 of x16 Gen5`, `x16 Gen1 of Gen4, idle`."""
    if link.width == 0:
        return "no link"
    width = _of("x", link.width, link.width_possible)
    speed = _of("Gen", _generation(link.speed_gts), _generation(link.speed_possible_gts))
    said = " ".join(filter(None, (width, speed)))
    if not said:
        return ""
    if link.idle and " of Gen" in speed:
        said += ", idle"
    if link.lower_width_max and link.width_possible and link.lower_width_max > link.width_possible:
        said += f" (card x{link.lower_width_max})"
    return said


def _of(unit: str, now: float | str | None, possible: float | str | None) -> str:
    if now is None:
        return ""
    return f"{unit}{now}" if possible is None or possible == now else f"{unit}{now} of {unit}{possible}"


def _generation(speed_gts: float | None) -> float | str | None:
    return GENERATIONS.get(speed_gts, f" {speed_gts:g} GT/s") if speed_gts is not None else None


def about(device: Device, picture: Picture, elsewhere: str = "") -> str:
    """What stands behind a device's link: its NVLinks, its network, its model where models differ."""
    return ", ".join(filter(None, (_about(device, picture), elsewhere)))


def _about(device: Device, picture: Picture) -> str:
    if device.kind == "gpu":
        models = {gpu.name for gpu in picture.gpus}
        model = device.name if len(models) > 1 else None
        return ", ".join(filter(None, (model, *fabric(device.id, picture))))
    if device.kind == "nic":
        return ", ".join((*map(_port, device.rdma_ports), *_wires(device)))
    return ""


def fabric(gpu: str, picture: Picture) -> tuple[str, ...]:
    own = [cable for cable in picture.cables if cable.gpu == gpu]
    said = []
    nvlinks = [cable for cable in own if cable.medium == "nvlink"]
    if nvlinks:
        up, down = sum(cable.links for cable in nvlinks), sum(cable.down for cable in nvlinks)
        speed = next((cable.speed_mb_per_s for cable in nvlinks if cable.speed_mb_per_s), None)
        each = f" x {speed / 1000:.1f} GB/s" if speed else ""
        some = f"NVLink {up} of {up + down} up" if up else "no NVLink up"
        said.append(some if down else f"NVLink {up}{each}")
    if peers := sum(cable.medium == "xgmi" for cable in own):
        said.append(f"xGMI to {peers} GPU{'s' * (peers > 1)}")
    if any(cable.medium == "c2c" for cable in own):
        said.append("C2C to its CPU")
    return tuple(said)


def _port(port: RdmaPort) -> str:
    layer = port.link_layer or "RDMA"
    if port.state == "ACTIVE":
        return f"{port.rate_gbit_per_s:g} Gb/s {layer}" if port.rate_gbit_per_s else f"{layer}, active"
    where = f" ({port.physical_state})" if port.physical_state else ""
    return f"{layer} {port.state.lower() or 'unknown'}{where}"


def _wires(device: Device) -> Iterable[str]:
    """Interfaces of adapters without RDMA; beside RDMA they are the same wire."""
    return () if device.rdma_ports else map(_wire, device.interfaces)


def _wire(interface: Interface) -> str:
    speed = f" {interface.speed_mbit_per_s / 1000:g} Gb/s" if interface.speed_mbit_per_s else ""
    return f"{interface.name} {interface.state}{speed}"


def node_words(node: NumaNode, picture: Picture) -> tuple[str, ...]:
    """What a NUMA node has: CPUs, memory, and how far the others are.

    The only node's memory is the machine's, which the head tells: on the Firecracker VM of
    tests/nodes/h200x4.node the node's meminfo counts 5 GiB where /proc/meminfo counts 504.
    """
    groups: dict[int, list[str]] = {}
    for number, distance in node.distances.items():
        if number != str(node.number):
            groups.setdefault(distance, []).append(number)
    reach = (
        f"node{'s' * (len(numbers) > 1)} {numbered(numbers)} at {distance}"
        for distance, numbers in sorted(groups.items())
        if node.cpus
    )
    cpus = f"CPUs {node.cpus}" if node.cpus else "no CPUs"
    free = f" ({size(node.memory_free_bytes)} free)" if node.memory_bytes else ""
    told = len(picture.nodes) == 1 and picture.host.memory_bytes
    memory = () if told else (f"{size(node.memory_bytes)}{free}",)
    return cpus, *memory, *reach


def host_words(picture: Picture) -> tuple[str, ...]:
    host = picture.host
    counts = [
        counted(number, word)
        for number, word in ((host.sockets, "socket"), (host.cores, "core"), (host.threads, "CPU"))
        if number
    ]
    memory = f"{size(host.memory_bytes)} memory" if host.memory_bytes else None
    return tuple(filter(None, (host.cpu and cpu_name(host.cpu), ", ".join(counts), memory)))


def gpu_words(picture: Picture) -> tuple[str, ...]:
    """`8 x NVIDIA H200`, one for each model."""
    models = Counter(gpu.name or "GPU" for gpu in picture.gpus)
    if not models:
        return ("GPUs not known" if picture.host.gpus is None else "no GPU",)
    return tuple(f"{count} x {name}" for name, count in models.items())


def cable_words(picture: Picture) -> tuple[tuple[str, str], ...]:
    """Who is joined to whom beside PCIe: `GPU 0-7`, `18 NVLinks of 26.6 GB/s each way, through NVSwitches`."""
    said: dict[str, list[str]] = {}
    for gpu in picture.gpus:
        own = [cable for cable in picture.cables if cable.gpu == gpu.id]
        alone = not any(cable.links for cable in own if cable.medium == "nvlink")
        words = [_cable(cable, picture, alone) for cable in sorted(own, key=lambda cable: not cable.links)]
        if words:
            said.setdefault(_joined(words), []).append(gpu.label.removeprefix("GPU "))
    return tuple((f"GPU {numbered(gpus)}", words) for words, gpus in said.items())


def _joined(words: list[str]) -> str:
    """xGMI to three GPUs is one word."""
    xgmi = [word.removeprefix("xGMI to ") for word in words if word.startswith("xGMI to ")]
    rest = [word for word in words if not word.startswith("xGMI to ")]
    return "; ".join([*rest, *([f"xGMI to {len(xgmi)} other GPU{'s' * (len(xgmi) > 1)}"] if xgmi else [])])


def _cable(cable: Cable, picture: Picture, alone: bool) -> str:
    peer = picture.device(cable.peer) if cable.peer else None
    if cable.medium == "xgmi":
        return f"xGMI to {peer.label if peer else cable.peer}"
    if cable.medium == "c2c":
        return "C2C to its CPU"
    beyond = {"gpu": f"to {peer.label if peer else cable.peer}", "cpu": "to its CPU", "switch": "through NVSwitch"}
    where = beyond.get(cable.peer_kind, "to a peer that is not told")
    if not cable.links:
        return f"none of {cable.down} NVLinks up" if alone else f"{cable.down} NVLink{'s' * (cable.down != 1)} down"
    speed = f" of {cable.speed_mb_per_s / 1000:.1f} GB/s each way" if cable.speed_mb_per_s else ""
    down = f", {cable.down} more down" if cable.down else ""
    return f"{cable.links} NVLink{'s' * (cable.links != 1)}{speed} {where}{down}"


def numbered(labels: Sequence[str]) -> str:
    if all(label.isdigit() for label in labels):
        return cpu_list(frozenset(map(int, labels)))
    return ", ".join(labels)


def short(bus_id: str, picture: Picture) -> str:
    """Without the PCI domain where there is only 0000, as lspci writes it."""
    return bus_id.removeprefix("0000:") if one_domain(picture) else bus_id


def one_domain(picture: Picture) -> bool:
    return all(device.id.startswith("0000:") for device in picture.devices)


def mark_words(mark: Mark, picture: Picture, at: str | None = None) -> str:
    """The finding's title, without the device's name where it stands at the device."""
    device = picture.device(at) if at else None
    if device is None:
        return mark.title
    if mark.whole_node:
        return "see Also found"
    if "+" in mark.subject:
        others = [picture.device(end) for end in mark.subject.split("+") if end != at]
        return mark.title if at == mark.at[0] else f"with {' and '.join(end.label for end in others if end)}"
    for name in (f"{device.label} ({device.id})", f"{device.label.split(' ')[0]} {device.id}"):
        rest = mark.title.removeprefix(name).lstrip(": ")
        if rest and rest != mark.title:
            return rest
    return mark.title


def summary(picture: Picture) -> str:
    marks = [mark for mark in picture.findings if mark.severity != "info"]
    roots = sum(mark.root for mark in marks)
    if not marks and not picture.devices:
        return "Nothing of this node could be drawn."
    if not marks:
        return "Nothing is marked. gpudoctor scan tells all that was examined."
    found = [counted(roots, "root cause")] * bool(roots)
    found += [counted(len(marks) - roots, "symptom")] * (len(marks) > roots)
    return f"{' and '.join(found)} marked; gpudoctor scan says why and what to do."
