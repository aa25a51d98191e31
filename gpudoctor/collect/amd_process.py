"""What processes hold and run on AMD GPUs, as amdkfd lists it: /sys/class/kfd/kfd/proc/PID.

kfd_process.c makes a process's folder when it opens /dev/kfd, with a vram_<gpu_id> for every GPU that it may use, and
takes it away some time after its end. The pid is that of the first namespace, in containers too. Its sdma_<gpu_id> and
stats_<gpu_id>/cu_occupancy are left alone: for them the kernel reads the process's memory and the GPU's registers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from gpudoctor.collect.attribute import attribute, number
from gpudoctor.collect.pid import FIRST_PIDS, KFD, alive, has_open
from gpudoctor.facts.gpu_process import GpuHolder, GpuMemoryUse
from gpudoctor.facts.pci import PciDevice
from gpudoctor.node.surface import Node
from gpudoctor.parse.kfd import NODES, gpu_of_node, properties
from gpudoctor.unread import Gap, Reading, Unread, hold

PROCESSES = "/sys/class/kfd/kfd/proc"
DEVICES = "/sys/bus/pci/devices"
MOST_BYTES = 1 << 62  # above lies what some kernels count down to below zero


class KfdProcess(msgspec.Struct, frozen=True):
    pid: int
    bytes_on: dict[str, int]  # by GPU; only where it holds some
    runs_on: frozenset[str]  # GPUs on which it has a queue
    has_queues: bool  # also on GPUs that a container does not show
    alive: Literal["running", "zombie", "gone"] | None

    def on(self, bus_id: str) -> Literal["compute", "memory"] | None:
        """A process that has queues computes there alone: libraries take some memory of every GPU they may use."""
        if bus_id in self.runs_on:
            return "compute"
        if bus_id not in self.bytes_on:
            return None
        return "memory" if self.has_queues else "compute"


def amd_memory_uses(node: Node, gpus: Sequence[PciDevice], others_compute: bool) -> tuple[GpuMemoryUse, ...]:
    """Of those that amdgpu drives. Beside GPUs that compute, one without amdkfd only draws: it is left out."""
    if not gpus:
        return ()
    served = _served(node, {gpu.bus_id for gpu in gpus})
    found = served if isinstance(served, Unread) else _processes(node, served.gpus)
    computing = others_compute or (not isinstance(served, Unread) and bool(served.gpus or served.hidden))
    uses = []
    for gpu in gpus:
        gap = served if isinstance(served, Unread) else served.why_not(gpu.bus_id)
        if gap is not None and gap.gap is Gap.UNSUPPORTED and computing:
            continue
        uses.append(_use(node, gpu, gap or found))
    return tuple(uses)


def _use(node: Node, gpu: PciDevice, found: Reading[tuple[KfdProcess, ...]]) -> GpuMemoryUse:
    unsaid = Unread(Gap.UNSUPPORTED, f"{DEVICES}/{gpu.bus_id}", "amdgpu does not say")
    return GpuMemoryUse(
        gpu.subject,
        total_bytes=hold(number(node, f"{DEVICES}/{gpu.bus_id}/mem_info_vram_total")),
        used_bytes=hold(number(node, f"{DEVICES}/{gpu.bus_id}/mem_info_vram_used")),
        reserved_bytes=hold(unsaid),
        system_memory=hold(unsaid),
        holders=hold(found if isinstance(found, Unread) else tuple(_holders(node, gpu.bus_id, found))),
    )


class Served(msgspec.Struct, frozen=True):
    """GPUs that amdkfd lets processes compute on."""

    gpus: dict[str, str]  # gpu_id of each node, as the names of files have it; a partitioned GPU has several
    hidden: Unread | None  # why some were not shown

    def why_not(self, bus_id: str) -> Unread | None:
        if bus_id in self.gpus.values():
            return None
        return self.hidden or Unread(Gap.UNSUPPORTED, NODES, f"amdkfd does not serve {bus_id}")


def _served(node: Node, bus_ids: set[str]) -> Reading[Served]:
    names = node.list(NODES)
    if isinstance(names, Unread):
        return _without(names, "the driver amdkfd, which tells of processes that compute, is not there")
    gpus: dict[str, str] = {}
    hidden: Unread | None = None
    for name in names:
        told = attribute(node, f"{NODES}/{name}/properties")
        bus_id = told if isinstance(told, Unread) else gpu_of_node(properties(told), bus_ids)
        gpu_id = attribute(node, f"{NODES}/{name}/gpu_id") if bus_id in bus_ids else bus_id
        if isinstance(gpu_id, Unread):
            hidden = gpu_id  # a container may read the nodes of its own GPUs alone
        elif isinstance(bus_id, str) and bus_id in bus_ids and gpu_id:
            gpus[gpu_id] = bus_id
    return Served(gpus, hidden)


def _without(gap: Unread, why: str) -> Unread:
    return Unread(Gap.UNSUPPORTED, gap.where, why) if gap.gap is Gap.ABSENT else gap


def _processes(node: Node, gpus: dict[str, str]) -> Reading[tuple[KfdProcess, ...]]:
    """Those that run, without what is left of processes that ended: amdkfd tidies up later."""
    names = node.list(PROCESSES)
    if isinstance(names, Unread):
        return _without(names, "this kernel's amdkfd does not list processes")
    sees_all = node.link("/proc/self/ns/pid") == FIRST_PIDS
    found = []
    for pid in sorted(int(name) for name in names if name.isdecimal()):
        process = _process(node, pid, gpus)
        if isinstance(process, Unread):
            if process.gap is not Gap.ABSENT:
                return process
        elif (process.bytes_on or process.runs_on) and not (sees_all and _ended(node, process)):
            found.append(process)
    return tuple(found)


def _ended(node: Node, process: KfdProcess) -> bool:
    """Or the pid is another process's by now."""
    return process.alive in ("zombie", "gone") or has_open(node, process.pid, KFD) is False


def _process(node: Node, pid: int, gpus: dict[str, str]) -> Reading[KfdProcess]:
    folder = f"{PROCESSES}/{pid}"
    names = node.list(folder)
    if isinstance(names, Unread):
        return names
    if "pasid" in names and not any(name == "queues" or name.startswith("vram_") for name in names):
        return Unread(Gap.UNSUPPORTED, folder, "this kernel's amdkfd does not say which GPUs a process uses")
    bytes_on: dict[str, int] = {}
    queued: set[str] = set()
    for each in (folder, *(f"{folder}/{name}" for name in names if name.startswith("context_"))):
        for gpu_id, bus_id in gpus.items():
            held = number(node, f"{each}/vram_{gpu_id}")
            if not isinstance(held, Unread) and 0 < held < MOST_BYTES:
                bytes_on[bus_id] = bytes_on.get(bus_id, 0) + held
            elif isinstance(held, Unread) and held.gap is not Gap.ABSENT:
                return held
        queued.update(_queues(node, f"{each}/queues"))
    runs_on = frozenset(bus_id for gpu_id, bus_id in gpus.items() if gpu_id in queued)
    return KfdProcess(pid, bytes_on, runs_on, bool(queued), alive(node, pid))


def _queues(node: Node, folder: str) -> Iterable[str]:
    """The gpu_id of each. Old kernels show none."""
    names = node.list(folder)
    for name in () if isinstance(names, Unread) else names:
        gpu_id = attribute(node, f"{folder}/{name}/gpuid")
        if isinstance(gpu_id, str):
            yield gpu_id


def _holders(node: Node, bus_id: str, processes: Iterable[KfdProcess]) -> Iterable[GpuHolder]:
    for process in processes:
        kind = process.on(bus_id)
        if kind is not None:
            yield GpuHolder(process.pid, process.bytes_on.get(bus_id, 0), kind, process.alive)
