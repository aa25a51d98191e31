"""A GPU's memory and the processes that its driver says hold it, looked up in /proc."""

from __future__ import annotations

from typing import Any, Literal

from gpudoctor.collect.amd import served
from gpudoctor.collect.amd_process import amd_memory_uses
from gpudoctor.collect.answers import Answers, ask, integer, item
from gpudoctor.collect.collector import collector
from gpudoctor.collect.pid import alive
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.gpu_process import GpuHolder, GpuMemoryUse
from gpudoctor.facts.pci import PciDevice
from gpudoctor.node.surface import Node
from gpudoctor.unread import Gap, Reading, Unread, hold

MEMORY = {
    "memory": ("nvmlDeviceGetMemoryInfo", "nvmlMemory_v2"),  # v1 counts what the driver reserves as used
    "numa": ("nvmlDeviceGetNumaNodeId",),
    "compute": ("nvmlDeviceGetComputeRunningProcesses_v3",),
    "graphics": ("nvmlDeviceGetGraphicsRunningProcesses_v3",),
}
_NOT_A_VALUE = 0xFFFF_FFFF_FFFF_FFFF


@collector
def gpu_memory_use(
    node: Node, gpus: tuple[Gpu, ...], devices: tuple[PciDevice, ...] | Unread | None
) -> tuple[GpuMemoryUse, ...]:
    nvidia = tuple(_use(node, gpu, answers) for gpu, answers in ask(node, gpus, MEMORY))
    amd = served(devices) if isinstance(devices, tuple) else ()  # those handed to a guest are its business
    return (*nvidia, *amd_memory_uses(node, amd, others_compute=bool(nvidia)))


def _use(node: Node, gpu: Gpu, answers: Answers) -> GpuMemoryUse:
    memory = answers["memory"]
    return GpuMemoryUse(
        gpu.subject,
        total_bytes=hold(item(memory, "total")),
        used_bytes=hold(item(memory, "used")),
        reserved_bytes=hold(item(memory, "reserved")),
        system_memory=hold(_onlined(answers["numa"])),
        holders=hold(_settled(node, gpu, _holders(node, answers))),
    )


def _onlined(answer: Reading[object]) -> Reading[bool]:
    node = integer(answer)
    if isinstance(node, Unread):
        return False if node.gap is Gap.UNSUPPORTED else node
    return node >= 0


def _settled(node: Node, gpu: Gpu, holders: Reading[tuple[GpuHolder, ...]]) -> Reading[tuple[GpuHolder, ...]]:
    """Without those that merely ended between NVML's answer and the look into /proc."""
    if isinstance(holders, Unread) or all(h.alive != "gone" for h in holders):
        return holders
    ((_, again),) = ask(node, [gpu], MEMORY, sample=1)
    later = _holders(node, again)
    if isinstance(later, Unread):
        return holders
    return tuple(h for h in holders if h.alive != "gone" or h.pid in {x.pid for x in later})


def _holders(node: Node, answers: Answers) -> Reading[tuple[GpuHolder, ...]]:
    found: dict[int, GpuHolder] = {}
    kinds: tuple[Literal["compute", "graphics"], ...] = ("compute", "graphics")
    for kind in kinds:
        listed = answers[kind]
        if isinstance(listed, Unread):
            if kind == "compute" or listed.gap is not Gap.UNSUPPORTED:
                return listed
            continue
        for entry in listed if isinstance(listed, list) else ():
            holder = _holder(node, entry, kind)
            if holder is not None:
                found.setdefault(holder.pid, holder)
    return tuple(found.values())


def _holder(node: Node, entry: Any, kind: Literal["compute", "graphics"]) -> GpuHolder | None:
    pid, used = item(entry, "pid"), integer(entry.get("usedGpuMemory") if isinstance(entry, dict) else None)
    if isinstance(pid, Unread):
        return None
    return GpuHolder(pid, None if isinstance(used, Unread) or used == _NOT_A_VALUE else used, kind, alive(node, pid))
