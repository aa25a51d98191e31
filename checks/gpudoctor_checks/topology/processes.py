"""GPU processes that run, or have their memory, away from their GPUs, and those that do not fit where they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from gpudoctor.check import check
from gpudoctor.facts.host import Cpu
from gpudoctor.facts.numa import Cpus, Numa, cpu_list
from gpudoctor.facts.pci import Inventory
from gpudoctor.facts.process import ChildProcess, GpuProcess, Thread
from gpudoctor.finding import Confidence, Evidence, Finding, Subject
from gpudoctor.unread import Unread
from gpudoctor_checks.topology.surroundings import SAME_PACKAGE, Surroundings, cpus_of, surroundings
from gpudoctor_checks.wording import number_of

GIB = 1 << 30
FAR_MEMORY = 4 * GIB  # Python, its libraries and CUDA's contexts stay below, and are written once
FAR_PINNED = 1 * GIB  # below it, even at half the speed of a Gen5 link, all of it is copied within 40 ms
SWAPPED = 1 * GIB
SWAPPED_SHARE = 0.1
# They use a GPU on behalf of others, or draw. Names as the kernel cuts them.
NO_JOBS = frozenset(
    name[:15]
    for name in (
        "nvidia-cuda-mps-server", "nvidia-cuda-mps-control", "nvidia-persistenced", "nv-hostengine", "nv-fabricmanager",
        "dcgm-exporter", "dcgmi", "nvidia-smi", "nvtop", "Xorg", "X", "Xwayland", "gnome-shell", "kwin_x11",
        "kwin_wayland", "plasmashell", "cinnamon", "sunshine",
    )
)  # fmt: skip


class Away(msgspec.Struct, frozen=True):
    """One way in which a process is away from its GPUs."""

    what: str
    sure: Confidence


@check("NUMA_MISPLACED_PROCESS")
def misplaced(process: GpuProcess, numa: Numa, inventory: Inventory, cpu: Cpu | None = None) -> Iterator[Finding]:
    """Its threads or data loaders can only run, or most of its memory lies, in another package than its GPUs."""
    if len(numa.with_cpus) < 2 or process.name in NO_JOBS:
        return
    around = surroundings(process.gpus, numa, inventory)
    if not around.far:
        return
    threads = _pinned_away("threads", _threads(process), around)
    children = _pinned_away("child processes", process.get("children", ()), around)
    memory = _memory_away(process, around)
    if found := [each for each in (threads, children, memory) if each]:
        yield Finding(
            process.subject,
            confidence=max(each.sure for each in found),
            evidence=_evidence(process),
            where="; ".join(each.what for each in found),
            action=_action(process, around, threads, children),
            **_values(process, around, _isolated(cpu), move_threads=threads is not None),
        )
        return
    for gap in map(process.reading, ("threads", "children", "memory_bytes_by_node")):
        if isinstance(gap, Unread):
            raise gap


def _threads(process: GpuProcess) -> Sequence[Thread]:
    first = Thread(process.pid, process.name, process.cpus_allowed, process.last_cpu)
    return process.get("threads", ()) or (first,)


def _pinned_away(what: str, tasks: Sequence[Thread | ChildProcess], around: Surroundings) -> Away | None:
    """Those that do most of the work may run on far CPUs only. Where one merely ran last means nothing."""
    away = [task for task in tasks if not task.cpus_allowed & around.near_cpus]
    share = _work(away) / (_work(tasks) or 1) if _work(tasks) >= 1 else len(away) / (len(tasks) or 1)
    if share <= 0.5:
        return None
    cpus = cpu_list(cpu for task in away for cpu in task.cpus_allowed)
    if len(away) < len(tasks):
        return Away(f"{len(away)} of {len(tasks)} {what} pinned to CPUs {cpus}", Confidence.LIKELY)
    return Away(f"all {len(tasks)} {what} pinned to CPUs {cpus}", Confidence.CERTAIN)


def _work(tasks: Sequence[Thread | ChildProcess]) -> float:
    return sum(task.cpu_seconds for task in tasks)


def _memory_away(process: GpuProcess, around: Surroundings) -> Away | None:
    """Most of it, and enough to matter, lies far, although the near nodes could hold it."""
    far, whole = _far_and_whole(process.get("memory_bytes_by_node", {}), around)
    pinned_far, pinned = _far_and_whole(process.get("pinned_bytes_by_node", {}), around)
    if whole > sum(node.memory_bytes for node in around.near):
        return None
    if pinned_far * 2 > pinned and pinned_far >= FAR_PINNED:
        sure = Confidence.CERTAIN
    elif far * 2 > whole and far >= FAR_MEMORY:
        sure = Confidence.LIKELY
    else:
        return None
    locked = f" ({pinned_far / GIB:.1f} GiB of it pinned for the GPU)" if pinned_far else ""
    nodes = cpu_list(node.number for node in around.far if process.memory_bytes_by_node.get(node.number))
    return Away(f"{far / GIB:.1f} of {whole / GIB:.1f} GiB of memory on node {nodes}{locked}", sure)


def _far_and_whole(bytes_by_node: dict[int, int], around: Surroundings) -> tuple[int, int]:
    """Memory of nodes without CPUs counts for neither: a GPU's own on Grace, or a slower tier that somebody chose."""
    far = sum(bytes_by_node.get(node.number, 0) for node in around.far)
    return far, far + sum(bytes_by_node.get(node.number, 0) for node in around.near)


def _action(process: GpuProcess, around: Surroundings, threads: Away | None, children: Away | None) -> str:
    cpus, nodes = process.get("cpuset"), process.get("memory_nodes_allowed")
    if (cpus is not None and not cpus & around.near_cpus) or (nodes is not None and not nodes & around.near_numbers):
        return f"cpuset_{process.get('manager') or 'unknown'}"
    return "move" if threads or children else "memory"


def _evidence(process: GpuProcess) -> Iterator[Evidence]:
    yield Evidence(process.source("cpus_allowed"), f"Cpus_allowed_list {cpu_list(process.cpus_allowed)}")
    for name, words in (("memory_nodes_allowed", "Mems_allowed_list"), ("cpuset", "CPUs of its cgroup")):
        if (held := process.get(name)) is not None:
            yield Evidence(process.source(name), f"{words} {cpu_list(held)}")
    for node, size in sorted(process.get("memory_bytes_by_node", {}).items()):
        pinned = process.pinned_bytes_by_node.get(node, 0)
        shown = f"node {node}: {size / GIB:.1f} GiB, {pinned / GIB:.1f} GiB of it pinned"
        yield Evidence(process.source("memory_bytes_by_node"), shown)


def _isolated(cpu: Cpu | None) -> Cpus:
    """isolcpus= keeps them from the scheduler: threads sent there pile up on the first, beside who reserved it."""
    none: Cpus = frozenset()
    return none if cpu is None else cpu.get("isolated", none)


def _values(process: GpuProcess, around: Surroundings, isolated: Cpus, move_threads: bool) -> dict[str, Any]:
    """What the sentences of the row need, its command lines among them."""
    cpuset: Cpus | None = process.get("cpuset")
    nodes: frozenset[int] | None = process.get("memory_nodes_allowed")
    near = cpus_of(around.homes)
    if cpuset is not None and cpuset & around.near_cpus:
        near = near & cpuset or around.near_cpus & cpuset
    near = near - isolated or around.near_cpus - isolated or near
    children = [child.pid for child in process.get("children", ()) if not child.cpus_allowed & around.near_cpus]
    moved = [process.pid, *children] if move_threads or not children else children
    nodes_near = cpu_list(node.number for node in around.homes)
    nodes_far = cpu_list(node.number for node in around.far)
    bound = f"--physcpubind={cpu_list(near)}" if isolated & cpus_of(around.homes) else f"--cpunodebind={nodes_near}"
    return {
        "gpus": ", ".join(gpu.label for gpu in process.gpus),
        "command": process.get("command") or process.name,
        "cpus_now": cpu_list(cpu for thread in _threads(process) for cpu in thread.cpus_allowed),
        "cpus_near": cpu_list(near),
        "nodes_near": nodes_near,
        "nodes_package": cpu_list(around.near_numbers),
        "nodes_far": nodes_far,
        "distance": SAME_PACKAGE,
        "cpuset": f"CPUs {_listed(cpuset)}, memory of nodes {_listed(nodes)}",
        "cgroup": process.get("cgroup") or "/",
        "unit": process.get("unit") or "UNIT",
        "container": process.get("unit") or "CONTAINER",
        "threads_read": len(_threads(process)),
        "threads": process.get("thread_count"),
        "taskset": taskset(moved, near),
        "migratepages": f"migratepages {process.pid} {nodes_far} {nodes_near}",
        "numactl": f"numactl {bound} --localalloc COMMAND",
        "far_bytes": _far_and_whole(process.get("memory_bytes_by_node", {}), around)[0],
        "pinned_far_bytes": _far_and_whole(process.get("pinned_bytes_by_node", {}), around)[0],
    }


def _listed(numbers: frozenset[int] | None) -> str:
    return "unknown" if numbers is None else cpu_list(numbers)


def taskset(pids: Sequence[int], cpus: Cpus) -> str:
    """The line that moves processes with all their threads."""
    if len(pids) == 1:
        return f"taskset -acp {cpu_list(cpus)} {pids[0]}"
    return f"for pid in {' '.join(map(str, pids))}; do taskset -acp {cpu_list(cpus)} $pid; done"


@check("CPU_OVERSUBSCRIBED")
def oversubscribed(processes: tuple[GpuProcess, ...], numa: Numa, cpu: Cpu | None = None) -> Iterator[Finding]:
    """The first threads, which feed the GPUs, are pinned to fewer CPUs than there are GPUs to feed."""
    online = cpus_of(numa.nodes)
    groups: dict[Cpus, list[GpuProcess]] = defaultdict(list)
    gaps: list[Unread] = []
    for process in processes:
        allowed = process.reading("cpus_allowed")
        if isinstance(allowed, Unread):
            gaps.append(allowed)
        elif process.name not in NO_JOBS:
            groups[allowed & online].append(process)
    for cpus, own in groups.items():
        gpus = dict.fromkeys(gpu.id for process in own for gpu in process.gpus)
        if cpus < online and len(gpus) > len(cpus):
            yield _crowd(own, cpus, online, _isolated(cpu), len(gpus))
    if gaps:
        raise gaps[0]


def _crowd(own: Sequence[GpuProcess], cpus: Cpus, online: Cpus, isolated: Cpus, gpus: int) -> Finding:
    pids = [process.pid for process in own]
    within = dict.fromkeys(id for process in own for id in (process.subject.id, *process.subject.within))
    shown = number_of(len(own), "GPU process", "GPU processes")
    granted: Cpus = online.intersection(*(process.get("cpuset", online) for process in own))
    left = granted - isolated
    return Finding(
        Subject("process", f"cpus {cpu_list(cpus)}", shown, tuple(within)),
        evidence=[Evidence(each.source("cpus_allowed"), f"Cpus_allowed_list {cpu_list(cpus)}") for each in own[:8]],
        gpus=gpus,
        cpus=cpu_list(cpus) or "none",
        cpu_count=number_of(len(cpus), "CPU"),
        pids=", ".join(map(str, pids)),
        taskset=taskset(pids, left),
        isolated=cpu_list(isolated),
        action="move" if len(left) > len(cpus) else "isolated" if len(granted) > len(cpus) else "cpuset",
    )


@check("GPU_PROCESS_SWAPPED")
def swapped(process: GpuProcess) -> Iterator[Finding]:
    """A good part of its memory is on disk."""
    if process.name in NO_JOBS or process.swapped_bytes < SWAPPED:
        return
    whole = process.swapped_bytes + process.resident_bytes
    if process.swapped_bytes < SWAPPED_SHARE * whole:
        return
    yield Finding(
        process.subject,
        evidence=process.seen("swapped_bytes", "resident_bytes"),
        swapped_gib=round(process.swapped_bytes / GIB, 1),
        whole_gib=round(whole / GIB, 1),
        percent=round(100 * process.swapped_bytes / whole),
        gpus=", ".join(gpu.label for gpu in process.gpus),
        cgroup=process.get("cgroup") or "/",
        pid=process.pid,
    )
