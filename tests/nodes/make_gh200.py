"""Writes made-gh200.node: one Grace Hopper superchip, healthy and idle.

The GPU's memory is NUMA node 1, without CPUs; nodes 2 to 8 wait empty for MIG instances. CPU and GPU talk over C2C,
so that the PCIe link, whose figures here are those of the H200, carries little. The kernel has pages of 64 KiB.
https://docs.nvidia.com/grace-perf-tuning-guide/
"""

from __future__ import annotations

from making import Machine
from making_cards import GH200
from making_config import Link, full
from making_devices import bare_metal, daemon, infiniband_port, loopback, nvme_drive
from making_host import NumaNode, arm_cpuinfo, cores, frequencies, host
from making_nvidia import Gpu, driver, inactive_nvlinks
from making_pci import Function, infiniband, nvme, place, root_port

NEOVERSE_V2 = {
    "CPU implementer": "0x41",
    "CPU architecture": "8",
    "CPU variant": "0x0",
    "CPU part": "0xd4f",
    "CPU revision": "0",
}
FEATURES = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 sm3 "
    "sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm sb paca pacg dcpodp sve2 sveaes svepmull svebitperm "
    "svesha3 svesm4 flagm2 frint svei8mm svebf16 i8mm bf16 dgh bti"
)
GPU = Gpu(
    0,
    "0009:01:00.0",
    "NVIDIA GH200 480GB",
    0x234210DE,
    0x16EB10DE,
    "96.00.84.00.02",
    answers=GH200,
    unsupported=("nvmlDeviceGetBAR1MemoryInfo", "nvmlDeviceGetGpuFabricInfoV"),
)
GPU_KB = 100220160  # what the driver brings online of the 96 GB


def _nodes() -> list[NumaNode]:
    """CPU and GPU are 80 apart, as the firmware says; GPU nodes never talk to each other."""
    count = 9
    rows = [tuple(10 if a == b else 80 if 0 in (a, b) else 255 for b in range(count)) for a in range(count)]
    memory = [501905472, GPU_KB, *[0] * (count - 2)]
    cpus = [tuple(range(72)), *[()] * (count - 1)]
    return [NumaNode(n, cpus[n], memory[n], rows[n], free_kb=GPU_KB - 1280 if n == 1 else None) for n in range(count)]


def machine() -> Machine:
    made = Machine()
    cpus = cores(packages=1, each=72, threads=1)
    host(
        made,
        cpus,
        _nodes(),
        cpuinfo=arm_cpuinfo(cpus, "2000.00", FEATURES, NEOVERSE_V2),
        release="6.8.0-1021-nvidia-64k",
        cmdline="BOOT_IMAGE=/boot/vmlinuz-6.8.0-1021-nvidia-64k root=/dev/nvme0n1p2 ro iommu.passthrough=1",
        huge_pages_kb=(524288, 2048, 16777216),
    )
    frequencies(made, cpus, "cppc_cpufreq", "performance", None)
    bare_metal(made, "Supermicro", "ARS-111GL-NHR")
    made.file("/sys/devices/system/clocksource/clocksource0/available_clocksource", "arch_sys_counter")
    gpu = Function(
        GPU.bus_id, "10de:2342", 0x030200, full(16, 32.0), driver="nvidia", subsystem="10de:16eb", revision=0xA1,
        max_payload_supported=256,
    )  # fmt: skip
    domains = {
        "0000": root_port("0000:00:00.0", "10de:22b2", full(16, 32.0), infiniband("0000:01:00.0")),
        "0004": root_port("0004:00:00.0", "10de:22b8", Link(4, 16.0, 4, 32.0), nvme("0004:01:00.0")),
        "0009": root_port("0009:00:00.0", "10de:22b1", full(16, 32.0), gpu),
    }
    paths: dict[str, str] = {}
    for domain, port in domains.items():
        paths |= place(made, f"pci{domain}:00", [port], 0)
    nvme_drive(made, 0, "0004:01:00.0", paths["0004:01:00.0"], 0)
    loopback(made)
    infiniband_port(made, "ibp1s0", "mlx5_0", "0000:01:00.0", paths["0000:01:00.0"])
    driver(made, [GPU], "aarch64")
    inactive_nvlinks(made, GPU, 18)
    daemon(made, 1, "systemd")
    made.file("/dev/kmsg", LOG.encode())
    return made


LOG = """\
6,0,0,-;Linux version 6.8.0-1021-nvidia-64k (buildd@bos03-arm64-055) #23-Ubuntu SMP PREEMPT_DYNAMIC
6,700,8833567,-;iommu: Default domain type: Passthrough (set via kernel command line)
6,2240,14210334,-;NVRM: loading NVIDIA UNIX Open Kernel Module for aarch64  580.159.04  Release Build
"""


if __name__ == "__main__":
    machine().write("made-gh200.node")
