"""The host beside the GPUs: its CPUs, its memory, and what holds the folders that jobs use."""

from __future__ import annotations

from typing import Literal

import msgspec

from gpudoctor.facts.fact import Fact, fact, source
from gpudoctor.facts.sampling import Counted

Medium = Literal["nvme", "ssd", "rotational", "network", "memory", "virtual", "unknown"]


@fact
class Cpu(Fact):
    architecture: str = source("/proc/cpuinfo")  # x86_64, aarch64
    model: str = source("/proc/cpuinfo")
    sockets: int = source("/sys/devices/system/cpu/cpu*/topology/physical_package_id")
    cores: int = source("/sys/devices/system/cpu/cpu*/topology/core_id")  # of all sockets
    threads: int = source("/sys/devices/system/cpu/online")  # online CPUs
    smt: bool = source("/sys/devices/system/cpu/smt/active")
    isolated: frozenset[int] = source("/sys/devices/system/cpu/isolated")
    flags: frozenset[str] = source("/proc/cpuinfo")
    governors: dict[str, int] = source("/sys/devices/system/cpu/cpufreq/*/scaling_governor")  # governor -> policies
    frequency_driver: str | None = source("/sys/devices/system/cpu/cpufreq/*/scaling_driver")
    energy_preferences: dict[str, int] = source("/sys/devices/system/cpu/cpufreq/*/energy_performance_preference")


class HugePages(msgspec.Struct, frozen=True):
    size_bytes: int
    total: int
    free: int


@fact
class HostMemory(Fact):
    total_bytes: int = source("/proc/meminfo")
    available_bytes: int = source("/proc/meminfo")
    swap_total_bytes: int = source("/proc/meminfo")
    swap_free_bytes: int = source("/proc/meminfo")
    pages_swapped_in: Counted = source("/proc/vmstat")
    pages_swapped_out: Counted = source("/proc/vmstat")
    stalled_percent: float = source("/proc/pressure/memory")  # `full avg60`
    huge_pages: tuple[HugePages, ...] = source("/sys/kernel/mm/hugepages")
    transparent_huge_pages: str = source("/sys/kernel/mm/transparent_hugepage/enabled")  # always, madvise, never
    transparent_huge_pages_defrag: str = source("/sys/kernel/mm/transparent_hugepage/defrag")
    swappiness: int = source("/proc/sys/vm/swappiness")


class Folder(msgspec.Struct, frozen=True):
    purpose: str  # working directory, CUDA cache, Triton cache, ...
    path: str
    whose: str  # "this shell" or "pid 4411"
    mount_point: str
    file_system: str  # ext4, nfs4, lustre, overlay, tmpfs
    device: str  # /dev/nvme0n1p2, server:/export
    medium: Medium


@fact
class Storage(Fact):
    folders: tuple[Folder, ...] = source("/proc/self/mountinfo, /sys/block")
