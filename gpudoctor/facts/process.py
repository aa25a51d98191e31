"""Processes that use a GPU, and where on the machine they run."""

from __future__ import annotations

from typing import Literal

import msgspec

from gpudoctor.facts.fact import SubjectFact, fact, source
from gpudoctor.facts.numa import Cpus
from gpudoctor.finding import Subject

Manager = Literal["slurm", "kubernetes", "container", "systemd"]


class Thread(msgspec.Struct, frozen=True):
    id: int
    name: str
    cpus_allowed: Cpus
    last_cpu: int
    cpu_seconds: float = 0.0  # since it started


class ChildProcess(msgspec.Struct, frozen=True):
    """One that uses no GPU itself: those that do are GPU processes of their own."""

    pid: int
    command: str  # its name, as the kernel cuts it: 15 characters
    cpus_allowed: Cpus
    last_cpu: int
    cpu_seconds: float = 0.0


@fact
class GpuProcess(SubjectFact):
    """One that computes on GPUs. The subject lies within the GPUs that the process uses."""

    subject: Subject
    pid: int
    gpus: tuple[Subject, ...] = source("nvmlDeviceGetComputeRunningProcesses_v3")
    command: str = source("/proc/{pid}/cmdline")  # program and script, without arguments: they may hold secrets
    cpus_allowed: Cpus = source("/proc/{pid}/status")  # of its first thread
    memory_nodes_allowed: frozenset[int] = source("/proc/{pid}/status")
    last_cpu: int = source("/proc/{pid}/stat")
    threads: tuple[Thread, ...] = source("/proc/{pid}/task")  # the oldest; on a machine of one NUMA node the first
    children: tuple[ChildProcess, ...] = source("/proc/{pid}/task/*/children")  # data loaders among them; all levels
    memory_bytes_by_node: dict[int, int] = source("/proc/{pid}/numa_maps")  # its own and pinned, not shared libraries
    swapped_bytes: int = source("/proc/{pid}/status")
    cgroup: str = source("/proc/{pid}/cgroup")
    manager: Manager | None = source("/proc/{pid}/cgroup")  # who placed it; None: nobody
    cpuset: Cpus = source("/sys/fs/cgroup")  # CPUs that its cgroup leaves it; taskset cannot go beyond
    name: str = source("/proc/{pid}/stat")  # as the kernel cuts it: 15 characters
    thread_count: int = source("/proc/{pid}/status")  # also those that `threads` leaves out
    resident_bytes: int = source("/proc/{pid}/status")
    pinned_bytes_by_node: dict[int, int] = source("/proc/{pid}/numa_maps")  # what the driver locked for the GPU
    unit: str = source("/proc/{pid}/cgroup")  # the systemd unit, or the first digits of the container's id
