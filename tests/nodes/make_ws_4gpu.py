"""Writes made-ws-4gpu.node: a workstation with one Threadripper PRO and four RTX 4090, healthy and idle.

As such machines are: the firmware names no NUMA node, idle links rest at 2.5 GT/s, the IOMMU translates as
distributions have it, and the driver refuses peer access between GeForce cards.
"""

from __future__ import annotations

from typing import Any

from making import Machine
from making_cards import RTX_4090, RTX_4090_UNSUPPORTED
from making_config import ACS_ON, Link, full
from making_devices import bare_metal, daemon, ethernet, loopback, nvme_drive
from making_host import NumaNode, cores, frequencies, host, x86_cpuinfo
from making_nvidia import CHIPSET_NOT_SUPPORTED, NODE, NOT_SUPPORTED, Gpu, driver, pairs
from making_pci import Function, nvme, place, root_port

THREADRIPPER = {
    "vendor_id": "AuthenticAMD",
    "cpu family": "25",
    "model": "8",
    "model name": "AMD Ryzen Threadripper PRO 5965WX 24-Cores",
    "stepping": "2",
    "microcode": "0xa008209",
    "cpu MHz": "1800.000",
    "cache size": "512 KB",
    "cpuid level": "16",
    "bugs": "sysret_ss_attrs spectre_v1 spectre_v2 spec_store_bypass srso ibpb_no_ret",
    "bogomips": "7585.44",
    "TLB size": "2560 4K pages",
    "clflush size": "64",
    "cache_alignment": "64",
    "address sizes": "48 bits physical, 48 bits virtual",
    "power management": "ts ttp tm hwpstate cpb eff_freq_ro [13] [14]",
}
ZEN_3 = (
    "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht syscall nx "
    "mmxext fxsr_opt pdpe1gb rdtscp lm constant_tsc rep_good nopl nonstop_tsc cpuid extd_apicid aperfmperf rapl pni "
    "pclmulqdq monitor ssse3 fma cx16 sse4_1 sse4_2 x2apic movbe popcnt aes xsave avx f16c rdrand lahf_lm cmp_legacy "
    "svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs skinit wdt tce topoext perfctr_core "
    "perfctr_nb bpext perfctr_llc mwaitx cpb cat_l3 cdp_l3 hw_pstate ssbd mba ibrs ibpb stibp vmmcall fsgsbase bmi1 "
    "avx2 smep bmi2 invpcid cqm rdt_a rdseed adx smap clflushopt clwb sha_ni xsaveopt xsavec xgetbv1 xsaves cqm_llc "
    "cqm_occup_llc cqm_mbm_total cqm_mbm_local user_shstk clzero irperf xsaveerptr rdpru wbnoinvd amd_ppin arat npt "
    "lbrv svm_lock nrip_save tsc_scale vmcb_clean flushbyasid decodeassists pausefilter pfthreshold avic "
    "v_vmsave_vmload vgif v_spec_ctrl umip pku ospke vaes vpclmulqdq rdpid overflow_recov succor smca fsrm debug_swap"
)
ROOTS = (0x00, 0x20, 0x40, 0x60)
GPUS = [
    Gpu(
        i,
        f"0000:{root + 1:02x}:00.0",
        "NVIDIA GeForce RTX 4090",
        0x268410DE,
        0x88E21043,
        "95.02.3C.00.8C",
        answers={**RTX_4090, "nvmlDeviceGetDisplayActive": int(i == 0)},
        unsupported=RTX_4090_UNSUPPORTED,
    )
    for i, root in enumerate(ROOTS)
]


def _card(root: int) -> list[Function]:
    """A card below a root port of its own: the GPU, and its sound function on the same idle link."""
    idle = Link(16, 2.5, 16, 16.0)
    known: dict[str, Any] = {"subsystem": "1043:88e2", "revision": 0xA1, "max_payload_supported": 256}
    below = [
        Function(f"0000:{root + 1:02x}:00.0", "10de:2684", 0x030000, idle, driver="nvidia", **known),
        Function(f"0000:{root + 1:02x}:00.1", "10de:22ba", 0x040300, idle, driver="snd_hda_intel", **known),
    ]
    dummy = Function(f"0000:{root:02x}:01.0", "1022:1482", 0x060000, None)
    return [dummy, root_port(f"0000:{root:02x}:01.1", "1022:1483", idle, *below, acs_control=ACS_ON)]


def machine() -> Machine:
    made = Machine(iommu="DMA-FQ")
    cpus = cores(packages=1, each=24)
    node = NumaNode(0, tuple(range(48)), 263781996, (10,))
    host(
        made,
        cpus,
        [node],
        cpuinfo=x86_cpuinfo(cpus, THREADRIPPER, ZEN_3),
        release="6.8.0-60-generic",
        cmdline="BOOT_IMAGE=/boot/vmlinuz-6.8.0-60-generic root=/dev/nvme0n1p2 ro quiet splash",
    )
    frequencies(made, cpus, "acpi-cpufreq", "schedutil", None)
    bare_metal(made, "ASUS", "System Product Name")
    made.cpus_of_node[-1] = node.cpus
    paths: dict[str, str] = {}
    for root in ROOTS:
        functions = _card(root)
        if root == 0x20:
            x550 = Function("0000:22:00.0", "8086:1563", 0x020000, full(4, 8.0), driver="ixgbe")
            functions.append(root_port("0000:20:03.1", "1022:1483", Link(4, 8.0, 4, 16.0), x550, acs_control=ACS_ON))
        if root == 0x40:
            functions.append(
                root_port("0000:40:03.1", "1022:1483", full(4, 16.0), nvme("0000:42:00.0"), acs_control=ACS_ON)
            )
        paths |= place(made, f"pci0000:{root:02x}", functions, -1)
    nvme_drive(made, 0, "0000:42:00.0", paths["0000:42:00.0"], -1, 3907029168)
    loopback(made)
    ethernet(made, "enp34s0", "0000:22:00.0", paths["0000:22:00.0"], 10000)
    made.absent("dir", "/sys/class/infiniband")
    driver(made, GPUS)
    ancestors = {(a.index, b.index): NODE for a in GPUS for b in GPUS}
    refused = CHIPSET_NOT_SUPPORTED
    pairs(made, GPUS, ancestors, {"READ": refused, "WRITE": refused, "NVLINK": NOT_SUPPORTED, "PCI": refused})
    daemon(made, 1, "systemd")
    made.file("/dev/kmsg", LOG.encode())
    return made


LOG = """\
6,0,0,-;Linux version 6.8.0-60-generic (buildd@lcy02-amd64-098) #63-Ubuntu SMP PREEMPT_DYNAMIC
6,700,1092104,-;iommu: Default domain type: Translated
6,2240,9210334,-;NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build
"""


if __name__ == "__main__":
    machine().write("made-ws-4gpu.node")
