"""NVIDIA's driver on a made machine: its files, and NVML's answers after those of a real H200.

Answers that a made GPU does not give otherwise are those of GPU 0 in h200x4.node.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from making import NODES, Machine

from gpudoctor.node.archive import load
from gpudoctor.unread import Unread

VERSION = "580.159.04"
REAL = load((NODES / "h200x4.node").read_text()).surfaces
OK, CHIPSET_NOT_SUPPORTED, NOT_SUPPORTED = 0, 1, 5  # nvmlGpuP2PStatus_t
SINGLE, MULTIPLE, HOST_BRIDGE, NODE, SYSTEM = 10, 20, 30, 40, 50  # nvmlGpuTopologyLevel_t
LIBRARY_FOLDERS = (
    "/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/run/opengl-driver/lib",
)


@dataclass
class Gpu:
    index: int
    bus_id: str
    name: str = "NVIDIA H200"
    device: int = 0x233510DE
    subsystem: int = 0x18BF10DE
    vbios: str = "96.00.A5.00.1A"
    numa_node: int = 0  # of the CPUs beside it
    answers: Mapping[str, object] = field(default_factory=dict)  # "nvmlDeviceGetX" or "nvmlDeviceGetX(ARG)": answer
    unsupported: Sequence[str] = ()  # likewise

    @property
    def uuid(self) -> str:
        return f"GPU-{0x5EF75C00 + self.index:08x}-0000-0000-0000-000000000000"

    def call(self, function: str, *args: object) -> str:
        name, _, rest = function.partition("(")
        inside = [f"gpu {self.index}", *([rest[:-1]] if rest else []), *map(str, args)]
        return f"{name}({', '.join(inside)})"


def driver(machine: Machine, gpus: Sequence[Gpu], architecture: str = "x86_64") -> None:
    for module in ("nvidia", "nvidia_uvm", "nvidia_modeset", "nvidia_drm"):
        machine.files(f"/sys/module/{module}", {"version": VERSION, "initstate": "live", "taint": "OE"})
    machine.directory("/sys/module", "nvme", "nvme_core", "xfs")
    machine.file("/sys/module/firmware_class/parameters/path", "")
    machine.file(
        "/proc/driver/nvidia/version",
        f"NVRM version: NVIDIA UNIX Open Kernel Module for {architecture}  {VERSION}  Release Build  (dvs-builder)\n"
        "GCC version:  gcc version 13.3.0 (Ubuntu 13.3.0-6ubuntu2~24.04)",
    )
    machine.directory("/proc/driver/nvidia/gpus")
    machine.stat("/dev/nvidiactl", "char 0666 0:0 195:255 rw")
    machine.stat("/dev/nvidia-uvm", "char 0666 0:0 508:0 rw")
    machine.stat("/usr/bin/nvidia-modprobe", "file 4755 0:0 0:0 r-")
    machine.absent("stat", "/usr/local/bin/nvidia-modprobe", "/run/current-system/sw/bin/nvidia-modprobe")
    for folder in (f"/lib/firmware/nvidia/{VERSION}", f"/usr/lib/firmware/nvidia/{VERSION}"):
        machine.directory(folder, "gsp_ga10x.bin", "gsp_tu10x.bin")
    machine.absent("dir", f"/lib/firmware/updates/nvidia/{VERSION}")
    machine.absent("file", "/etc/ld.so.cache")
    _libraries(machine, f"/usr/lib/{architecture}-linux-gnu")
    machine.stat("/run/nvidia-persistenced/nvidia-persistenced.pid", "file 0644 0:0 0:0 r-")
    machine.nvml("nvmlSystemGetNVMLVersion()", f"13.{VERSION}")
    machine.nvml("nvmlSystemGetDriverVersion()", VERSION)
    machine.nvml("nvmlSystemGetCudaDriverVersion_v2()", 13000)
    machine.nvml("nvmlDeviceGetCount()", len(gpus))
    for gpu in gpus:
        _gpu(machine, gpu)


def _libraries(machine: Machine, home: str) -> None:
    for library in ("libcuda.so", "libnvidia-ml.so"):
        for folder in LIBRARY_FOLDERS:
            if folder != home:
                machine.absent("link", f"{folder}/{library}.1")
                machine.absent("stat", f"{folder}/{library}.1")
        machine.link(f"{home}/{library}.1", f"{library}.{VERSION}")
        machine.absent("link", f"{home}/{library}.{VERSION}")
        machine.stat(f"{home}/{library}.{VERSION}", "file 0644 0:0 0:0 r-")


def _gpu(machine: Machine, gpu: Gpu) -> None:
    for (verb, key), reading in REAL.items():
        if verb == "nvml" and (call := re.fullmatch(r"(\w+)\(gpu 0(.*)\)", key)):
            own = f"{call[1]}(gpu {gpu.index}{call[2]})"
            held = reading
            if isinstance(reading, Unread):
                held = Unread(reading.gap, own, reading.detail, reading.remedy)
            machine.nvml(own, held)
    domain, bus, device = (int(x, 16) for x in re.split("[:.]", gpu.bus_id)[:3])
    machine.nvml(gpu.call("nvmlDeviceGetPciInfo"), pci_info(gpu.bus_id, gpu.device, gpu.subsystem, domain, bus, device))
    answers = {
        "nvmlDeviceGetName": gpu.name,
        "nvmlDeviceGetUUID": gpu.uuid,
        "nvmlDeviceGetMinorNumber": gpu.index,
        "nvmlDeviceGetVbiosVersion": gpu.vbios,
        "nvmlDeviceGetVirtualizationMode": 0,
        "nvmlDeviceGetBAR1MemoryInfo": {"bar1Total": 1 << 38, "bar1Free": (1 << 38) - 1703936, "bar1Used": 1703936},
        "nvmlDeviceGetCurrPcieLinkGeneration": 5,
        "nvmlDeviceGetMaxPcieLinkGeneration": 5,
        "nvmlDeviceGetGpuMaxPcieLinkGeneration": 5,
        "nvmlDeviceGetCurrPcieLinkWidth": 16,
        "nvmlDeviceGetMaxPcieLinkWidth": 16,
        "nvmlDeviceGetPcieReplayCounter": 0,
        "nvmlDeviceGetC2cModeInfoV1": {"isC2cEnabled": 0},
        **gpu.answers,
    }
    for call, answer in answers.items():
        machine.nvml(gpu.call(call), answer)
    for call in gpu.unsupported:
        machine.unsupported(gpu.call(call))
    machine.stat(f"/dev/nvidia{gpu.index}", f"char 0666 0:0 195:{gpu.index} rw")
    machine.file(f"/proc/driver/nvidia/gpus/{gpu.bus_id}/information", _information(gpu))


def pci_info(bus_id: str, device_id: int, subsystem_id: int, domain: int, bus: int, device: int) -> dict[str, object]:
    return {
        "busIdLegacy": bus_id.upper(),
        "domain": domain,
        "bus": bus,
        "device": device,
        "pciDeviceId": device_id,
        "pciSubSystemId": subsystem_id,
        "busId": f"0000{bus_id}".upper(),
    }


def _information(gpu: Gpu) -> str:
    return "\n".join(
        (
            f"Model: \t\t {gpu.name}",
            f"IRQ:   \t\t {200 + gpu.index}",
            f"GPU UUID: \t {gpu.uuid}",
            f"Video BIOS: \t {gpu.vbios.lower()}",
            "Bus Type: \t PCIe",
            "DMA Size: \t 52 bits",
            "DMA Mask: \t 0xfffffffffffff",
            f"Bus Location: \t {gpu.bus_id}",
            f"Device Minor: \t {gpu.index}",
            f"GPU Firmware: \t {VERSION}",
            "GPU Excluded:\t No",
        )
    )


LINK_COUNT = "nvmlDeviceGetFieldValues(NVML_FI_DEV_NVLINK_LINK_COUNT)"
NVLINK_ERRORS = ("NVML_NVLINK_ERROR_DL_REPLAY", "NVML_NVLINK_ERROR_DL_RECOVERY", "NVML_NVLINK_ERROR_DL_CRC_FLIT")


def nvlinks(machine: Machine, gpu: Gpu, remotes: Sequence[str], version: int = 6, mbps: int = 26562) -> None:
    """NVLinks that end at these NVSwitches (bus ids), one for each link, all up."""
    machine.nvml(gpu.call(LINK_COUNT), [[91, 0, len(remotes)]])
    for link, remote in enumerate(remotes):
        machine.nvml(gpu.call("nvmlDeviceGetNvLinkState", link), 1)
        machine.nvml(gpu.call("nvmlDeviceGetNvLinkVersion", link), version)
        machine.nvml(gpu.call("nvmlDeviceGetNvLinkRemoteDeviceType", link), 2)
        domain, bus, device = (int(x, 16) for x in re.split("[:.]", remote)[:3])
        found = pci_info(remote, 0x22A310DE, 0, domain, bus, device)
        machine.nvml(gpu.call("nvmlDeviceGetNvLinkRemotePciInfo", link), found)
        for error in NVLINK_ERRORS:
            machine.nvml(gpu.call("nvmlDeviceGetNvLinkErrorCounter", link, error), 0)
    speeds = [f"NVML_FI_DEV_NVLINK_GET_SPEED:{link}" for link in range(len(remotes))]
    machine.nvml(gpu.call("nvmlDeviceGetFieldValues", *speeds), [[164, 0, mbps] for _ in remotes])


def inactive_nvlinks(machine: Machine, gpu: Gpu, count: int) -> None:
    """Links that the GPU has and nothing is plugged into."""
    machine.nvml(gpu.call(LINK_COUNT), [[91, 0, count]])
    for link in range(count):
        machine.nvml(gpu.call("nvmlDeviceGetNvLinkState", link), 0)
        for function in ("Version", "RemoteDeviceType", "RemotePciInfo"):
            machine.unsupported(gpu.call(f"nvmlDeviceGetNvLink{function}", link))
        for error in NVLINK_ERRORS:
            machine.unsupported(gpu.call("nvmlDeviceGetNvLinkErrorCounter", link, error))
    speeds = [f"NVML_FI_DEV_NVLINK_GET_SPEED:{link}" for link in range(count)]
    machine.nvml(gpu.call("nvmlDeviceGetFieldValues", *speeds), [[164, 0, 0] for _ in range(count)])


def pairs(
    machine: Machine, gpus: Sequence[Gpu], ancestors: Mapping[tuple[int, int], int], p2p: Mapping[str, int]
) -> None:
    """What NVML says of each two GPUs: their common ancestor, and `p2p` by capability: READ, NVLINK, ..."""
    for a in gpus:
        for b in gpus[a.index + 1 :]:
            machine.nvml(a.call("nvmlDeviceGetTopologyCommonAncestor", b.index), ancestors[a.index, b.index])
            for capability, status in p2p.items():
                call = a.call("nvmlDeviceGetP2PStatus", b.index, f"NVML_P2P_CAPS_INDEX_{capability}")
                machine.nvml(call, status)
