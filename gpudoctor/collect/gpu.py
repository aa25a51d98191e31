"""The GPUs of this machine: those that NVML lists, also where one no longer answers, and amdgpu's."""

from __future__ import annotations

from typing import Any

from gpudoctor.collect.answers import Answers, ask, integer, item, malformed, text
from gpudoctor.collect.collector import collector
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.nvml import Nvml
from gpudoctor.facts.pci import AMD, NVIDIA, PciDevice, gpu_subject
from gpudoctor.node.surface import Node
from gpudoctor.unread import Gap, Reading, Unread, hold

IDLE = 0x1  # nvmlClocksEventReasonGpuIdle

QUESTIONS = {
    "name": ("nvmlDeviceGetName",),
    "uuid": ("nvmlDeviceGetUUID",),
    "minor": ("nvmlDeviceGetMinorNumber",),
    "capability": ("nvmlDeviceGetCudaComputeCapability",),
    "architecture": ("nvmlDeviceGetArchitecture",),
    "memory": ("nvmlDeviceGetMemoryInfo",),
    "utilization": ("nvmlDeviceGetUtilizationRates",),
    "reasons": ("nvmlDeviceGetCurrentClocksEventReasons",),
}
ARCHITECTURES = {
    2: "Kepler",
    3: "Maxwell",
    4: "Pascal",
    5: "Volta",
    6: "Turing",
    7: "Ampere",
    8: "Ada",
    9: "Hopper",
    10: "Blackwell",
    13: "Rubin",
}


@collector
def gpus(node: Node, nvml: Nvml | Unread | None, devices: tuple[PciDevice, ...] | Unread) -> tuple[Gpu, ...] | None:
    on_bus = {} if isinstance(devices, Unread) else {device.bus_id: device for device in devices}
    amd = tuple(_amd(d) for d in on_bus.values() if d.kind == "gpu" and d.get("vendor_id") == AMD)
    if nvml is None:
        return amd or None
    if isinstance(nvml, Unread):
        if amd:
            return amd
        raise nvml
    listed = {**nvml.bus_ids, **_placed(nvml, on_bus)}
    named = [_named(index, bus_id, on_bus.get(bus_id)) for index, bus_id in sorted(listed.items())]
    return (*(_described(gpu, answers) for gpu, answers in ask(node, named, QUESTIONS)), *amd)


def _placed(nvml: Nvml, on_bus: dict[str, PciDevice]) -> dict[int, str]:
    """Bus ids of indices that do not answer: NVML numbers the GPUs in the order of the bus."""
    order = sorted(b for b, d in on_bus.items() if d.kind == "gpu" and d.get("vendor_id") == NVIDIA)
    if len(order) != len(nvml.bus_ids) + len(nvml.silent):
        return {}
    if any(order[index] != bus_id for index, bus_id in nvml.bus_ids.items()):
        return {}
    return {index: order[index] for index in nvml.silent}


def _named(index: int, bus_id: str, device: PciDevice | None) -> Gpu:
    subject = gpu_subject(bus_id, index, device.get("path", ()) if device else ())
    return Gpu(subject, bus_id, "nvidia", index, *_unread(Unread(Gap.NOT_RECORDED, bus_id, "was not asked yet")))


def _described(gpu: Gpu, answers: Answers) -> Gpu:
    return Gpu(
        gpu.subject,
        gpu.bus_id,
        "nvidia",
        gpu.index,
        hold(text(answers["name"])),
        hold(text(answers["uuid"])),
        hold(integer(answers["minor"])),
        hold(_capability(answers["capability"])),
        hold(_architecture(answers["architecture"])),
        hold(item(answers["memory"], "total")),
        hold(_idle(answers)),
    )


def _capability(answer: Reading[object]) -> Reading[tuple[int, int]]:
    major, minor = item(answer, 0), item(answer, 1)
    if isinstance(major, Unread):
        return major
    return minor if isinstance(minor, Unread) else (major, minor)


def _architecture(answer: Reading[object]) -> Reading[str]:
    number = integer(answer)
    if isinstance(number, Unread):
        return number
    return ARCHITECTURES.get(number) or malformed(f"architecture {number}")


def _idle(answers: Answers) -> Reading[bool]:
    busy, reasons = item(answers["utilization"], "gpu"), integer(answers["reasons"])
    if not isinstance(reasons, Unread) and reasons & IDLE:
        return True
    return busy if isinstance(busy, Unread) else busy == 0


def _amd(device: PciDevice) -> Gpu:
    return Gpu(device.subject, device.bus_id, "amd", None, *_unread(Unread(Gap.UNSUPPORTED, "NVML", "no NVIDIA GPU")))


def _unread(gap: Unread) -> list[Any]:
    """In place of the seven fields that NVML answers."""
    return [gap] * 7
