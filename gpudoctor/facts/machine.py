"""The machine as a whole."""

from __future__ import annotations

from gpudoctor.facts.fact import Fact, fact, source


@fact
class Machine(Fact):
    platform: str  # linux, darwin
    hostname: str = source("/proc/sys/kernel/hostname")
    kernel_release: str = source("/proc/sys/kernel/osrelease")
    architecture: str = source("uname machine")  # x86_64, aarch64; from the kernel's ELF platform in /proc/self/auxv or `uname`
    virtualization: str | None = source("/proc/cpuinfo, DMI, /proc/1/cgroup")  # "vm", "container", "wsl2", None on bare metal
    container: bool = source("/proc/1/cgroup, /.dockerenv, /run/.containerenv")
    uid: int = source("getuid")
    now: float = source("clock")  # seconds since the epoch at the scan
    booted: float = source("/proc/stat btime")  # seconds since the epoch
