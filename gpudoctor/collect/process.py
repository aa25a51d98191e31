"""Where each process that computes on a GPU may run, ran last, and has its memory."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from gpudoctor.collect.attribute import attribute
from gpudoctor.collect.collector import collector
from gpudoctor.collect.pid import FIRST_PIDS, KFD, LINKS
from gpudoctor.facts.gpu_process import GpuMemoryUse
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.numa import Cpus, Numa, NumaNode
from gpudoctor.facts.process import ChildProcess, GpuProcess, Manager, Thread
from gpudoctor.finding import Subject
from gpudoctor.node.surface import Node
from gpudoctor.parse.cgroup import Cgroup, parse_cgroup
from gpudoctor.parse.cpu_list import cpus_in
from gpudoctor.parse.numa_maps import Pages, pages_by_node
from gpudoctor.parse.proc_status import Stat, Status, parse_stat, parse_status, program
from gpudoctor.unread import Gap, Reading, Unread, hold, known

T = TypeVar("T")

THREADS = 512  # read on the whole node, shared out among its GPU processes; a rank has 50 to 300
CHILDREN = 512
AT_LEAST, AT_MOST = 16, 256  # of these for one process
PROCESSES = 128
PIDS = 4096  # looked through for children where the kernel has no list of them
LARGEST_WALK = 32 << 30  # the kernel counts page by page: 10 ms for each GiB of small pages
OUTSIDE = "scan on the node itself, or where its processes show (hostPID: true, --pid=host)"


class _Ended(Exception):
    """The process is gone, which is no gap."""


@collector
def gpu_processes(
    node: Node, uses: tuple[GpuMemoryUse, ...], numa: Numa | Unread | None, machine: Machine
) -> tuple[GpuProcess, ...] | Unread:
    held: dict[int, list[Subject]] = defaultdict(list)
    silent = [each.reading("holders") for each in uses if isinstance(each.reading("holders"), Unread)]
    for use in uses:
        for holder in use.get("holders", ()):
            if holder.kind == "compute" and holder.alive != "zombie":
                held[holder.pid].append(use.subject)
    if silent and not held:
        return cast(Unread, silent[0])
    contained = known(machine.reading("container"), True)
    view = _View(node, frozenset(held), numa if isinstance(numa, Numa) else None, contained)
    found: dict[int, GpuProcess] = {}

    def look(pid: int) -> None:
        try:
            found[pid] = _process(view, pid, tuple(held[pid]))
        except _Ended:
            return
        except Unread as gap:
            found[pid] = _unseen(pid, tuple(held[pid]), gap)
        except Exception as error:  # a defect met in one process must not hide the others, nor itself
            why = f"the collector failed: {type(error).__name__}: {error}"
            found[pid] = _unseen(pid, tuple(held[pid]), Unread(Gap.MALFORMED, f"/proc/{pid}", why))

    _side_by_side(look, sorted(held))
    return tuple(found[pid] for pid in sorted(found))


class _View:
    """What is the same for all GPU processes of a node."""

    def __init__(self, node: Node, pids: frozenset[int], numa: Numa | None, contained: bool) -> None:
        self.node = node
        self.pids = pids
        self.places: tuple[NumaNode, ...] = () if numa is None else numa.get("nodes", ())
        namespace = node.link("/proc/self/ns/pid")
        self.sees_all = not contained if isinstance(namespace, Unread) else namespace == FIRST_PIDS
        self.late = frozenset(sorted(pids)[PROCESSES:])
        mounts = node.read("/proc/self/mountinfo")
        self.in_pod = not self.sees_all and isinstance(mounts, bytes) and b"/kubelet/pods/" in mounts
        self.as_its_user = "run as root, or as the user of that process" if node.uid else "give CAP_SYS_PTRACE"
        self.children_of = cache(self._children_of)

    def share(self, of: int) -> int:
        return max(AT_LEAST, min(AT_MOST, of // max(1, len(self.pids))))

    def _children_of(self) -> dict[int, list[int]]:
        """By the parent that each process names."""
        found: dict[int, list[int]] = defaultdict(list)
        names = self.node.list("/proc")
        for name in [] if isinstance(names, Unread) else sorted(filter(str.isdecimal, names), key=int)[:PIDS]:
            stat = _parsed(self.node, f"/proc/{name}/stat", parse_stat)
            if isinstance(stat, Stat):
                found[stat.parent].append(int(name))
        return found


def _side_by_side(look: Callable[[int], None], pids: Iterable[int]) -> None:
    """The memory of each is counted by the kernel, which may take it a second."""
    threads = [threading.Thread(target=look, args=(pid,), daemon=True) for pid in pids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _process(view: _View, pid: int, gpus: tuple[Subject, ...]) -> GpuProcess:
    """Raises Unread where it cannot be seen at all, _Ended where it is gone."""
    if pid in view.late:
        raise Unread(Gap.UNSUPPORTED, f"/proc/{pid}", f"was not read: more than {PROCESSES} processes use GPUs")
    node, folder = view.node, f"/proc/{pid}"
    stat = _parsed(node, f"{folder}/stat", parse_stat)
    if isinstance(stat, Unread):
        raise _missing(view, stat, folder)
    if stat.state in "ZX":
        raise _Ended
    status = _parsed(node, f"{folder}/status", parse_status)
    if isinstance(status, Unread):
        raise _Ended if status.gap is Gap.ABSENT else status
    cmdline = node.read(f"{folder}/cmdline")
    shown = program(cmdline) if isinstance(cmdline, bytes) else ""
    tids = _threads(view, pid)
    children = _children(view, pid, tids)
    pages = _pages(view, folder, status, children)
    _prove(view, folder, pages)
    cgroup = _parsed(node, f"{folder}/cgroup", lambda text: parse_cgroup(text.decode(errors="replace")))
    return GpuProcess(
        subject=_subject(pid, shown or stat.name, gpus),
        pid=pid,
        gpus=gpus,
        command=hold(shown or (cmdline if isinstance(cmdline, Unread) else stat.name)),
        cpus_allowed=status.cpus_allowed,
        memory_nodes_allowed=hold(_or(status.memory_nodes_allowed, f"{folder}/status", "this kernel has no cpusets")),
        last_cpu=stat.last_cpu,
        threads=hold(tids if isinstance(tids, Unread) else _read_threads(node, pid, tids, stat, status)),
        children=hold(children),
        memory_bytes_by_node=hold(pages if isinstance(pages, Unread) else pages.bytes_by_node),
        swapped_bytes=status.swapped_bytes,
        cgroup=hold(cgroup if isinstance(cgroup, Unread) else cgroup.path),
        manager=hold(cgroup if isinstance(cgroup, Unread) else _manager(view, cgroup)),
        cpuset=hold(cgroup if isinstance(cgroup, Unread) else _cpuset(node, cgroup)),
        name=stat.name,
        thread_count=status.threads,
        resident_bytes=status.resident_bytes,
        pinned_bytes_by_node=hold(pages if isinstance(pages, Unread) else pages.pinned_bytes_by_node),
        unit=hold(cgroup if isinstance(cgroup, Unread) else cgroup.unit),
    )


def _missing(view: _View, gap: Unread, folder: str) -> Exception:
    if gap.gap is not Gap.ABSENT:
        return gap
    if not view.sees_all:
        return Unread(Gap.ABSENT, folder, "does not show here: the process runs outside of this container", OUTSIDE)
    if view.node.uid == 0:
        return _Ended()
    return Unread(Gap.DENIED, folder, "has ended, or is hidden from this user (hidepid)", "run as root")


def _prove(view: _View, folder: str, pages: Reading[Pages]) -> None:
    """amdkfd and older NVIDIA drivers name the host's pids in every container, where the same pid is somebody else.

    Raises Unread where it may be. What uses a GPU has the driver's device mapped, and open.
    """
    if view.sees_all or (isinstance(pages, Pages) and pages.maps_driver):
        return
    names = view.node.list(f"{folder}/fd")
    if isinstance(names, Unread):
        if names.gap is Gap.ABSENT:
            raise _Ended
        why = "cannot be read, to see that this pid is the process that the driver means"
        raise Unread(names.gap, f"{folder}/fd", why, view.as_its_user)
    for name in sorted(filter(str.isdecimal, names), key=int)[:LINKS]:
        target = view.node.link(f"{folder}/fd/{name}")
        if isinstance(target, str) and ("/dev/nvidia" in target or target == KFD):
            return
    raise Unread(Gap.ABSENT, folder, "is another process here: the driver's pid is that of the host", OUTSIDE)


def _subject(pid: int, shown: str, gpus: tuple[Subject, ...]) -> Subject:
    return Subject("process", str(pid), f"pid {pid} ({shown})" if shown else f"pid {pid}", tuple(g.id for g in gpus))


def _unseen(pid: int, gpus: tuple[Subject, ...], gap: Unread) -> GpuProcess:
    fields: dict[str, Any] = dict.fromkeys(GpuProcess.__fact_fields__, gap)
    return GpuProcess(**{**fields, "subject": _subject(pid, "", gpus), "pid": pid, "gpus": gpus})


def _threads(view: _View, pid: int) -> Reading[tuple[int, ...]]:
    """The oldest; where one node has all CPUs, none can be pinned to a wrong one."""
    if len([place for place in view.places if place.cpus]) == 1:
        return (pid,)
    names = view.node.list(f"/proc/{pid}/task")
    if isinstance(names, Unread):
        if names.gap is Gap.ABSENT:
            raise _Ended
        return names
    return tuple(sorted(int(name) for name in names if name.isdecimal())[: view.share(THREADS)])


def _read_threads(node: Node, pid: int, tids: tuple[int, ...], stat: Stat, status: Status) -> tuple[Thread, ...]:
    """Without those that end meanwhile. The first is the process itself."""
    found = []
    for tid in tids:
        own = stat if tid == pid and len(tids) == 1 else _parsed(node, f"/proc/{pid}/task/{tid}/stat", parse_stat)
        places = status if tid == pid else _parsed(node, f"/proc/{pid}/task/{tid}/status", parse_status)
        if isinstance(own, Stat) and isinstance(places, Status):
            found.append(Thread(tid, own.name, places.cpus_allowed, own.last_cpu, own.cpu_seconds))
    return tuple(found)


def _children(view: _View, pid: int, tids: Reading[tuple[int, ...]]) -> Reading[tuple[ChildProcess, ...]]:
    """All levels, without those that use a GPU themselves and what these started."""
    if isinstance(tids, Unread):
        return tids
    found: list[ChildProcess] = []
    met = {pid, *view.pids}
    waiting = [child for tid in tids for child in _forked(view, pid, tid)]
    while waiting and len(found) < view.share(CHILDREN):
        child = waiting.pop(0)
        if child in met:
            continue
        met.add(child)
        waiting += _forked(view, child, child)
        stat = _parsed(view.node, f"/proc/{child}/stat", parse_stat)
        status = _parsed(view.node, f"/proc/{child}/status", parse_status)
        if isinstance(stat, Stat) and isinstance(status, Status) and stat.state not in "ZX":
            found.append(ChildProcess(child, stat.name, status.cpus_allowed, stat.last_cpu, stat.cpu_seconds))
    return tuple(found)


def _forked(view: _View, pid: int, tid: int) -> list[int]:
    """By one thread; where the kernel has no such list (CONFIG_PROC_CHILDREN), by the whole process."""
    listed = attribute(view.node, f"/proc/{pid}/task/{tid}/children")
    if isinstance(listed, str):
        return [int(each) for each in listed.split() if each.isdecimal()]
    return view.children_of().get(pid, []) if tid == pid and listed.gap is Gap.ABSENT else []


def _pages(view: _View, folder: str, status: Status, children: Reading[tuple[ChildProcess, ...]]) -> Reading[Pages]:
    where = f"{folder}/numa_maps"
    if len(view.places) == 1:  # nothing to count
        return Pages({view.places[0].number: status.private_bytes}, {}, False)
    if status.private_bytes > LARGEST_WALK:
        size = status.private_bytes >> 30
        return Unread(Gap.UNSUPPORTED, where, f"would count {size} GiB page by page", f"numastat -p {folder[6:]}")
    text = view.node.read(where)
    if isinstance(text, Unread):
        why = "this kernel has no NUMA, or the process has ended" if text.gap is Gap.ABSENT else text.detail
        return Unread(text.gap, where, why, view.as_its_user if text.gap is Gap.DENIED else text.remedy)
    return pages_by_node(text, 1 + (0 if isinstance(children, Unread) else len(children)))


def _manager(view: _View, cgroup: Cgroup) -> Manager | None:
    """A cgroup namespace cuts the path off at the container."""
    if cgroup.manager is None and not view.sees_all:
        return "kubernetes" if view.in_pod else "container"
    return cgroup.manager


def _cpuset(node: Node, cgroup: Cgroup) -> Reading[Cpus]:
    for path in cgroup.cpusets:
        text = attribute(node, path)
        if isinstance(text, str) and text:
            return _understood(path, text)
        if isinstance(text, Unread) and text.gap is not Gap.ABSENT:
            return text
    return Unread(Gap.ABSENT, "/sys/fs/cgroup", f"has no cpuset for {cgroup.path}")


def _understood(path: str, text: str) -> Reading[Cpus]:
    try:
        return cpus_in(text)
    except ValueError as error:
        return Unread(Gap.MALFORMED, path, f"cannot be understood: {error}")


def _parsed(node: Node, path: str, parse: Callable[[bytes], T]) -> Reading[T]:
    text = node.read(path)
    if isinstance(text, Unread):
        return text
    try:
        return parse(text)
    except (ValueError, IndexError, msgspec.ValidationError) as error:
        return Unread(Gap.MALFORMED, path, f"cannot be understood: {error}")


def _or(value: T | None, where: str, why: str) -> Reading[T]:
    return Unread(Gap.UNSUPPORTED, where, why) if value is None else value
