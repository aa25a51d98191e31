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


class ChildProcess(msgspec.Struct, frozen=True):
    pid: int
    command: str
    cpus_allowed: Cpus
    last_cpu: int


@fact
class GpuProcess(SubjectFact):
    """The subject lies within the GPUs that the process uses."""

    subject: Subject
    pid: int
    gpus: tuple[Subject, ...] = source("nvmlDeviceGetComputeRunningProcesses_v3")
    command: str = source("/proc/{pid}/cmdline")
    cpus_allowed: Cpus = source("/proc/{pid}/status")
    memory_nodes_allowed: frozenset[int] = source("/proc/{pid}/status")
    last_cpu: int = source("/proc/{pid}/stat")
    threads: tuple[Thread, ...] = source("/proc/{pid}/task")
    children: tuple[ChildProcess, ...] = source("/proc/{pid}/task/*/children")  # data loaders among them; all levels
    memory_bytes_by_node: dict[int, int] = source("/proc/{pid}/numa_maps")  # its own and pinned, not shared libraries
    swapped_bytes: int = source("/proc/{pid}/status")
    cgroup: str = source("/proc/{pid}/cgroup")
    manager: Manager | None = source("/proc/{pid}/cgroup")  # who placed it; None: nobody
    cpuset: Cpus = source("/sys/fs/cgroup")  # CPUs that its cgroup leaves it; taskset cannot go beyond
