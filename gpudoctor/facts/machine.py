"""The machine as a whole."""

from __future__ import annotations

from gpudoctor.facts.fact import Fact, fact, source


@fact
class Machine(Fact):
    platform: str  # linux, darwin
    hostname: str = source("/proc/sys/kernel/hostname")
    kernel_release: str = source("/proc/sys/kernel/osrelease")
    virtualization: str | None = source("/proc/cpuinfo, /sys/class/dmi/id")  # "vm", "wsl2"; None: bare metal
    container: bool = source("/proc/1/cgroup, /.dockerenv, /run/.containerenv")
    uid: int = source("getuid")
    now: float = source("clock")  # seconds since the epoch at the scan
    booted: float = source("/proc/stat btime")  # seconds since the epoch
