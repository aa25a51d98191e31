"""Writes made-vm-qemu.node: a guest of QEMU (q35) with four H100 PCIe passed through and two NUMA nodes, healthy.

QEMU's pcie-root-port says 16 GT/s x32 and shows as current what the device below has, cut to that (pcie_sync_bridge_lnk
in hw/pci/pcie.c): neither is a real link. Each expander bridge (pxb-pcie) gives what is below it a NUMA node. Without a
virtual IOMMU nothing switches ACS on. Peer access needs a clique that the host did not set.
"""

from __future__ import annotations

from typing import Any

from making import Machine
from making_cards import H100_PCIE
from making_config import Link, full
from making_devices import daemon, ethernet, loopback
from making_host import NumaNode, cores, host, x86_cpuinfo
from making_nvidia import (
    CHIPSET_NOT_SUPPORTED,
    HOST_BRIDGE,
    NODE,
    NOT_SUPPORTED,
    SYSTEM,
    Gpu,
    driver,
    inactive_nvlinks,
    pairs,
)
from making_pci import Function, place, root_port

CPU = {
    "vendor_id": "GenuineIntel",
    "cpu family": "6",
    "model": "143",
    "model name": "Intel(R) Xeon(R) Platinum 8480+",
    "stepping": "8",
    "microcode": "0x1",
    "cpu MHz": "2000.000",
    "cache size": "16384 KB",
    "cpuid level": "31",
    "bugs": "spectre_v1 spectre_v2 spec_store_bypass swapgs taa eibrs_pbrsb bhi",
    "bogomips": "4000.00",
    "clflush size": "64",
    "cache_alignment": "64",
    "address sizes": "46 bits physical, 57 bits virtual",
}
FLAGS = (
    "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ss ht syscall "
    "nx pdpe1gb rdtscp lm constant_tsc arch_perfmon rep_good nopl xtopology cpuid tsc_known_freq pni pclmulqdq vmx "
    "ssse3 fma cx16 pcid sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave avx f16c rdrand hypervisor "
    "lahf_lm abm 3dnowprefetch cpuid_fault ssbd ibrs ibpb stibp ibrs_enhanced fsgsbase tsc_adjust bmi1 avx2 smep bmi2 "
    "erms invpcid avx512f avx512dq rdseed adx smap avx512ifma clflushopt clwb avx512cd sha_ni avx512bw avx512vl "
    "xsaveopt xsavec xgetbv1 xsaves avx_vnni avx512_bf16 wbnoinvd arat avx512vbmi umip pku ospke waitpkg avx512_vbmi2 "
    "gfni vaes vpclmulqdq avx512_vnni avx512_bitalg avx512_vpopcntdq la57 rdpid cldemote movdiri movdir64b fsrm "
    "md_clear serialize tsxldtrk amx_bf16 avx512_fp16 amx_tile amx_int8 arch_capabilities"
)
EXPANDERS = {0x40: 0, 0x80: 1}  # root bus of each expander bridge and its node
GPUS = [
    Gpu(
        i,
        f"0000:{bus + 1 + i % 2:02x}:00.0",
        "NVIDIA H100 PCIe",
        0x233110DE,
        0x162610DE,
        "96.00.74.00.01",
        numa_node=node,
        answers=H100_PCIE,
        unsupported=("nvmlDeviceGetGpuFabricInfoV",),
    )
    for i, (bus, node) in enumerate((bus, node) for bus, node in EXPANDERS.items() for _ in range(2))
]
SMALL: dict[str, Any] = {"max_payload": 128, "max_payload_supported": 128}  # all that QEMU's ports take


def _port(bus_id: str, *below: Function) -> Function:
    """QEMU's root port, above an emulated device (2.5 GT/s x1) or a real one."""
    (device,) = below
    assert device.link is not None
    link = Link(min(device.link.width, 32), min(device.link.gts, 16.0), 32, 16.0)
    return root_port(bus_id, "1b36:000c", link, device, slot=int(bus_id[8:10], 16), **SMALL)


def _gpu(bus_id: str) -> Function:
    known: dict[str, Any] = {
        "subsystem": "10de:1626",
        "revision": 0xA1,
        "max_payload": 128,
        "max_payload_supported": 256,
    }
    return Function(bus_id, "10de:2331", 0x030200, full(16, 32.0), driver="nvidia", **known)


def _virtio(bus_id: str, device: str, class_code: int) -> Function:
    return Function(
        bus_id, device, class_code, full(1, 2.5), driver="virtio-pci", subsystem="1af4:1100", aer=False, **SMALL
    )


def machine() -> Machine:
    made = Machine(iommu=None)
    cpus = cores(packages=2, each=24, threads=1)
    ours = [tuple(range(24)), tuple(range(24, 48))]
    nodes = [NumaNode(0, ours[0], 264091348, (10, 20)), NumaNode(1, ours[1], 264174460, (20, 10))]
    host(
        made,
        cpus,
        nodes,
        cpuinfo=x86_cpuinfo(cpus, CPU, FLAGS),
        release="6.8.0-60-generic",
        cmdline="BOOT_IMAGE=/boot/vmlinuz-6.8.0-60-generic root=/dev/vda1 ro console=ttyS0",
        mounts="31 1 252:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw",
    )
    made.directory("/sys/devices/system/cpu/cpufreq")
    made.files("/sys/class/dmi/id", {"sys_vendor": "QEMU", "product_name": "Standard PC (Q35 + ICH9, 2009)"})
    made.file("/sys/devices/system/clocksource/clocksource0/available_clocksource", "kvm-clock tsc hpet acpi_pm")
    emulated = [
        Function("0000:00:00.0", "8086:29c0", 0x060000, None),
        _port("0000:00:02.0", _virtio("0000:01:00.0", "1af4:1041", 0x020000)),
        _port("0000:00:03.0", _virtio("0000:02:00.0", "1af4:1042", 0x010000)),
        *(Function(f"0000:00:{n:02x}.0", "1b36:000b", 0x060000, None) for n in (4, 5)),
        Function("0000:00:1f.0", "8086:2918", 0x060100, None),
    ]
    paths = place(made, "pci0000:00", emulated, -1)
    for bus, node in EXPANDERS.items():
        ports = [_port(f"0000:{bus:02x}:{n:02x}.0", _gpu(f"0000:{bus + 1 + n:02x}:00.0")) for n in range(2)]
        paths |= place(made, f"pci0000:{bus:02x}", ports, node)
    loopback(made)
    ethernet(made, "enp1s0", "0000:01:00.0", paths["0000:01:00.0"], 10000, virtio="virtio0")
    made.directory("/sys/block")
    made.link("/sys/dev/block/252:1", f"../../{paths['0000:02:00.0']}/virtio1/block/vda/vda1")
    made.link("/sys/block/vda", f"../{paths['0000:02:00.0']}/virtio1/block/vda")
    made.link("/sys/block/vda/device", "../../../virtio1")
    made.files("/sys/block/vda", {"queue/rotational": 1, "size": 1073741824, "removable": 0})
    made.absent("dir", "/sys/class/infiniband", "/sys/class/nvme")
    driver(made, GPUS)
    for gpu in GPUS:
        inactive_nvlinks(made, gpu, 12)
    near = {(a.index, b.index): NODE if a.numa_node == b.numa_node else SYSTEM for a in GPUS for b in GPUS}
    near |= {(0, 1): HOST_BRIDGE, (2, 3): HOST_BRIDGE}
    refused = CHIPSET_NOT_SUPPORTED
    pairs(made, GPUS, near, {"READ": refused, "WRITE": refused, "NVLINK": NOT_SUPPORTED, "PCI": refused})
    daemon(made, 1, "systemd")
    made.file("/dev/kmsg", b"6,0,0,-;Linux version 6.8.0-60-generic (buildd@lcy02-amd64-098) #63-Ubuntu SMP\n")
    return made


if __name__ == "__main__":
    machine().write("made-vm-qemu.node")
