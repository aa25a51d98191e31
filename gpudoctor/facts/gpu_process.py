"""Who holds a GPU's memory, as NVML or amdkfd and /proc see it."""

from __future__ import annotations

from typing import Literal

import msgspec

from gpudoctor.facts.fact import SubjectFact, fact, source
from gpudoctor.finding import Subject


class GpuHolder(msgspec.Struct, frozen=True):
    pid: int
    used_bytes: int | None  # None: the driver does not say (NVML with MIG, WDDM)
    kind: Literal["compute", "graphics", "memory"]  # memory: it computes on other GPUs (amdkfd tells that)
    alive: Literal["running", "zombie", "gone"] | None  # /proc/PID/stat; None: this user cannot tell


@fact
class GpuMemoryUse(SubjectFact):
    subject: Subject
    total_bytes: int = source("nvmlDeviceGetMemoryInfo")
    used_bytes: int = source("nvmlDeviceGetMemoryInfo")  # AMD: with what the driver and firmware reserve
    reserved_bytes: int = source("nvmlDeviceGetMemoryInfo")
    system_memory: bool = source("nvmlDeviceGetNumaNodeId")  # the kernel uses it as a NUMA node (GH200, GB200)
    holders: tuple[GpuHolder, ...] = source("nvmlDeviceGetComputeRunningProcesses_v3")
