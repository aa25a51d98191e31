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
    sockets: int = source("/proc/cpuinfo, /sys/devices/system/cpu/cpu*/topology/physical_package_id")
    cores: int = source("/proc/cpuinfo, /sys/devices/system/cpu/cpu*/topology/thread_siblings_list")  # of all sockets
    threads: int = source("/sys/devices/system/cpu/online")  # online CPUs
    smt: bool = source("/sys/devices/system/cpu/smt/active")
    isolated: frozenset[int] = source("/sys/devices/system/cpu/isolated")
    flags: frozenset[str] = source("/proc/cpuinfo")  # those that decide which kernels libraries pick


@fact
class CpuFrequency(Fact):
    """Who sets the CPUs' clocks. A VM, whose host does that, has no such fact."""

    driver: str = source("/sys/devices/system/cpu/cpufreq/policy*/scaling_driver")
    governors: dict[str, int] = source("/sys/devices/system/cpu/cpufreq/policy*/scaling_governor")  # policies of each
    energy_preferences: frozenset[str] = source(
        "/sys/devices/system/cpu/cpufreq/policy*/energy_performance_preference"
    )  # of a few policies: each answer wakes a CPU; none where the hardware takes no preference


class HugePages(msgspec.Struct, frozen=True):
    size_bytes: int
    total: int
    free: int

    def __str__(self) -> str:
        return f"{self.free} of {self.total} pages of {self.size_bytes >> 20} MiB free"


@fact
class HostMemory(Fact):
    total_bytes: int = source("/proc/meminfo")
    available_bytes: int = source("/proc/meminfo")
    swap_total_bytes: int = source("/proc/meminfo")
    swap_free_bytes: int = source("/proc/meminfo")
    stalled_percent: float = source("/proc/pressure/memory")  # `full avg60`
    huge_pages: tuple[HugePages, ...] = source("/sys/kernel/mm/hugepages")
    transparent_huge_pages: str = source("/sys/kernel/mm/transparent_hugepage/enabled")  # always, madvise, never
    transparent_huge_pages_defrag: str = source("/sys/kernel/mm/transparent_hugepage/defrag")
    swappiness: int = source("/proc/sys/vm/swappiness")


@fact
class Swapping(Fact):
    pages_in: Counted = source("/proc/vmstat pswpin")
    pages_out: Counted = source("/proc/vmstat pswpout")


class Folder(msgspec.Struct, frozen=True):
    purpose: str  # working directory, CUDA cache, Triton cache, ...
    path: str
    whose: str  # "this shell" or "pid 4411"
    mount_point: str
    file_system: str  # ext4, nfs4, lustre, overlay, tmpfs
    device: str  # /dev/nvme0n1p2, server:/export
    medium: Medium

    @property
    def on_network_file_system(self) -> bool:
        """Not one that a local file system makes of a disk over the network."""
        return self.medium == "network" and not self.device.startswith("/dev/")

    def __str__(self) -> str:
        return f"{self.purpose} of {self.whose} {self.path} on {self.file_system} {self.device} ({self.medium})"


@fact
class Storage(Fact):
    """Where this shell's folders lie: those of a job that is started here."""

    folders: tuple[Folder, ...] = source("/proc/self/environ, /proc/self/cwd, /proc/self/mountinfo, /sys/dev/block")


@fact
class JobStorage(Fact):
    """Where the folders of a few processes lie that use GPUs now."""

    folders: tuple[Folder, ...] = source("/proc/<pid>/environ, /proc/<pid>/cwd, /proc/<pid>/mountinfo, /sys/dev/block")
