"""The NVIDIA driver's software: kernel modules, libraries, firmware, device nodes."""

from __future__ import annotations

from typing import Literal

import msgspec

from gpudoctor.facts.fact import Fact, SubjectFact, fact, source
from gpudoctor.finding import Subject
from gpudoctor.unread import Unread

FoundBy = Literal["LD_LIBRARY_PATH", "ld.so.cache", "default directory"]


class Module(msgspec.Struct, frozen=True):
    """A loaded kernel module, out of /sys/module/NAME."""

    name: str
    version: str | None  # None: the module states none
    state: str | None  # live, coming, going
    taint: str | None  # P proprietary, O out of tree, E unsigned, F forced


class Library(msgspec.Struct, frozen=True):
    """One of the driver's libraries, as ld.so would find it."""

    name: str  # libcuda.so.1
    path: str  # where ld.so finds the name
    file: str  # what its links lead to
    version: str | None  # 580.159.04, out of the file's name; None: the name has none
    found_by: FoundBy


@fact
class NvidiaDriver(Fact):
    """None on a machine without an NVIDIA GPU and without the driver's module."""

    loaded: bool = source("/sys/module/nvidia, /proc/driver/nvidia/version")
    version: str = source("/proc/driver/nvidia/version")  # of the module that is loaded
    open_module: bool = source("/proc/driver/nvidia/version")
    modules: dict[str, Module] = source("/sys/module")  # nvidia, nvidia_uvm, nvidia_peermem, gdrdrv, ...
    module_files: tuple[str, ...] = source("/lib/modules/{kernel_release}/modules.dep")  # looked up if not loaded
    kernel_release: str = source("/proc/sys/kernel/osrelease")
    libraries: tuple[Library, ...] = source("ld.so.cache, LD_LIBRARY_PATH, library directories")  # first found first
    firmware: dict[str, tuple[str, ...]] = source("/lib/firmware/nvidia")  # directory of this version -> gsp files
    loader: bool = source("/usr/bin/nvidia-modprobe")  # creates nodes and loads nvidia-uvm on demand

    def libraries_named(self, name: str) -> tuple[Library, ...]:
        return tuple(library for library in self.libraries if library.name == name)


@fact
class DriverGpu(SubjectFact):
    """A GPU that the loaded NVIDIA module has taken, as /proc/driver/nvidia/gpus lists it."""

    subject: Subject
    bus_id: str
    model: str = source("/proc/driver/nvidia/gpus/{bus_id}/information")
    minor: int = source("/proc/driver/nvidia/gpus/{bus_id}/information")  # /dev/nvidiaN
    firmware: str | None = source("/proc/driver/nvidia/gpus/{bus_id}/information")  # None: no GSP firmware runs
    excluded: bool = source("/proc/driver/nvidia/gpus/{bus_id}/information")


class DeviceNode(msgspec.Struct, frozen=True):
    path: str
    mode: int
    uid: int
    gid: int
    readable: bool  # by the user who scans
    writable: bool


@fact
class DeviceNodes(Fact):
    """/dev entries of the driver. None where the driver has none: WSL2, or no module loaded."""

    nodes: dict[str, DeviceNode | Unread | None] = source("/dev")  # every path that is due; None: absent
