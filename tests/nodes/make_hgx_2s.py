"""Writes made-hgx-2s.node: eight H200 on an HGX board in a two-socket server, healthy and idle.

Below each of four PCIe switches, two to a socket, two GPUs and two InfiniBand ports; four NVSwitches behind a switch
of their own. Its shape is that of servers like Supermicro's SYS-821GE-TNHR; bus numbers are our own.
"""

from __future__ import annotations

from making import Machine
from making_config import Link, full
from making_devices import (
    bare_metal,
    daemon,
    ethernet,
    fabric_manager,
    infiniband_port,
    loopback,
    nvme_drive,
)
from making_host import MOUNTS, NumaNode, cores, frequencies, host, x86_cpuinfo
from making_nvidia import NODE, OK, SINGLE, SYSTEM, Gpu, driver, nvlinks, pairs
from making_pci import Function, downstream, host_bridge, infiniband, nvme, place, root_port, switch

XEON = {
    "vendor_id": "GenuineIntel",
    "cpu family": "6",
    "model": "143",
    "model name": "Intel(R) Xeon(R) Gold 6444Y",
    "stepping": "8",
    "microcode": "0x2b000620",
    "cpu MHz": "3600.000",
    "cache size": "46080 KB",
    "cpuid level": "32",
    "bugs": "spectre_v1 spectre_v2 spec_store_bypass swapgs eibrs_pbrsb bhi",
    "bogomips": "7200.00",
    "clflush size": "64",
    "cache_alignment": "64",
    "address sizes": "46 bits physical, 57 bits virtual",
}
SAPPHIRE_RAPIDS = (
    "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush dts acpi mmx fxsr sse sse2 ss ht "
    "tm pbe syscall nx pdpe1gb rdtscp lm constant_tsc art arch_perfmon pebs bts rep_good nopl xtopology nonstop_tsc "
    "cpuid aperfmperf tsc_known_freq pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 sdbg fma cx16 xtpr pdcm "
    "pcid dca sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave avx f16c rdrand lahf_lm abm 3dnowprefetch "
    "cpuid_fault epb cat_l3 cat_l2 cdp_l3 cdp_l2 ssbd mba ibrs ibpb stibp ibrs_enhanced tpr_shadow flexpriority ept "
    "vpid ept_ad fsgsbase tsc_adjust bmi1 avx2 smep bmi2 erms invpcid cqm rdt_a avx512f avx512dq rdseed adx smap "
    "avx512ifma clflushopt clwb intel_pt avx512cd sha_ni avx512bw avx512vl xsaveopt xsavec xgetbv1 xsaves cqm_llc "
    "cqm_occup_llc cqm_mbm_total cqm_mbm_local split_lock_detect user_shstk avx_vnni avx512_bf16 wbnoinvd dtherm ida "
    "arat pln pts vnmi avx512vbmi umip pku ospke waitpkg avx512_vbmi2 gfni vaes vpclmulqdq avx512_vnni avx512_bitalg "
    "tme avx512_vpopcntdq la57 rdpid bus_lock_detect cldemote movdiri movdir64b enqcmd fsrm md_clear serialize "
    "tsxldtrk pconfig arch_lbr ibt amx_bf16 avx512_fp16 amx_tile amx_int8 flush_l1d arch_capabilities"
)
SWITCHES = {0x15: 0, 0x37: 0, 0x97: 1, 0xB7: 1}  # root bus of each PCIe switch and its node
DATA = "104 31 259:4 / /data rw,noatime shared:52 - xfs /dev/nvme1n1 rw,attr2,inode64,noquota"
NVSWITCHES = ("0000:09:00.0", "0000:0a:00.0", "0000:0b:00.0", "0000:0c:00.0")
LINKS_TO = (5, 4, 4, 5)  # of a GPU's 18 NVLinks, those to each NVSwitch
DRIVES = {0x5A: 0, 0x5B: 0, 0xD8: 1, 0xD9: 1}
GPUS = [
    Gpu(i, f"0000:{bus + 4 + 2 * (i % 2):02x}:00.0", numa_node=node)
    for i, (bus, node) in enumerate((bus, node) for bus, node in SWITCHES.items() for _ in range(2))
]


def _switch(bus: int) -> Function:
    """A PEX89104: ports to NIC, GPU, NIC, GPU."""
    gen5 = full(16, 32.0)
    ends = [infiniband(f"0000:{bus + 3 + n:02x}:00.0") for n in range(4)]
    for n in (1, 3):
        bus_id = f"0000:{bus + 3 + n:02x}:00.0"
        ends[n] = Function(
            bus_id, "10de:2335", 0x030200, gen5, driver="nvidia", subsystem="10de:18bf", revision=0xA1,
            max_payload_supported=256,
        )  # fmt: skip
    ports = [
        downstream(
            f"0000:{bus + 2:02x}:{n:02x}.0", "1000:c030", gen5, end, slot=16 + n, corrected={"RxErr": int(n == 2)}
        )
        for n, end in enumerate(ends)
    ]
    return root_port(
        f"0000:{bus:02x}:01.0", "8086:352a", gen5, switch(f"0000:{bus + 1:02x}:00.0", "1000:c030", gen5, *ports)
    )


def _board() -> list[Function]:
    """What hangs on the chipset: the port for management, and the service processor's screen on plain PCI."""
    x550 = Function("0000:01:00.0", "8086:1563", 0x020000, full(4, 8.0), driver="ixgbe", subsystem="15d9:1563")
    screen = Function("0000:03:00.0", "1a03:2000", 0x030000, None, driver="ast", subsystem="15d9:1b7c", revision=0x52)
    to_pci = Function("0000:02:00.0", "1a03:1150", 0x060400, full(1, 5.0), "to pci", "pcieport", [screen], aer=False)
    return [
        host_bridge("0000:00:00.0"),
        root_port("0000:00:1c.0", "8086:1bb8", full(4, 8.0), x550),
        root_port("0000:00:1c.4", "8086:1bbc", Link(1, 5.0, 1, 8.0), to_pci),
    ]


def _nvswitches() -> Function:
    gen4 = full(2, 16.0)
    ends = [Function(b, "10de:22a3", 0x068000, gen4, driver="nvidia-nvswitch", revision=0xA1) for b in NVSWITCHES]
    ports = [downstream(f"0000:08:{n:02x}.0", "1000:c010", gen4, end) for n, end in enumerate(ends)]
    upstream = switch("0000:07:00.0", "1000:c010", full(4, 16.0), *ports)
    return root_port("0000:06:01.0", "8086:352a", Link(4, 16.0, 4, 32.0), upstream)


def machine() -> Machine:
    made = Machine()
    cpus = cores(packages=2, each=16)
    ours = [tuple(c.number for c in cpus if c.package == node) for node in (0, 1)]
    nodes = [NumaNode(0, ours[0], 1056411380, (10, 21)), NumaNode(1, ours[1], 1056955204, (21, 10))]
    host(
        made,
        cpus,
        nodes,
        cpuinfo=x86_cpuinfo(cpus, XEON, SAPPHIRE_RAPIDS),
        release="6.8.0-60-generic",
        cmdline="BOOT_IMAGE=/boot/vmlinuz-6.8.0-60-generic root=/dev/nvme0n1p2 ro intel_iommu=on iommu=pt",
    )
    made.file("/proc/self/mountinfo", f"{MOUNTS}\n{DATA}")
    made.absent("link", "/data", "/data/run")
    frequencies(made, cpus, "intel_pstate", "performance", "performance")
    bare_metal(made, "Supermicro", "SYS-821GE-TNHR")
    paths = place(made, "pci0000:00", _board(), 0) | place(made, "pci0000:06", [_nvswitches()], 0)
    for bus, node in SWITCHES.items():
        paths |= place(made, f"pci0000:{bus:02x}", [_switch(bus)], node)
    for root, node in ((0x59, 0), (0xD7, 1)):
        drives = [bus for bus, home in DRIVES.items() if home == node]
        ports = [
            root_port(
                f"0000:{root:02x}:{1 + 2 * n:02x}.0", "8086:352a", Link(4, 16.0, 4, 32.0), nvme(f"0000:{d:02x}:00.0")
            )
            for n, d in enumerate(drives)
        ]
        empty = root_port(f"0000:{root:02x}:07.0", "8086:352d", Link(0, 2.5, 4, 32.0), slot=7, empty_bus=root + 3)
        paths |= place(made, f"pci0000:{root:02x}", [host_bridge(f"0000:{root:02x}:00.0"), *ports, empty], node)
    for n, bus in enumerate(DRIVES):
        nvme_drive(made, n, f"0000:{bus:02x}:00.0", paths[f"0000:{bus:02x}:00.0"], DRIVES[bus])
    loopback(made)
    ethernet(made, "eno1", "0000:01:00.0", paths["0000:01:00.0"], 10000)
    nics = [f"0000:{bus + 3 + n:02x}:00.0" for bus in SWITCHES for n in (0, 2)]
    for n, bus_id in enumerate(nics):
        infiniband_port(made, f"ibp{int(bus_id[5:7], 16)}s0", f"mlx5_{n}", bus_id, paths[bus_id])
    driver(made, GPUS)
    remotes = [bus_id for bus_id, count in zip(NVSWITCHES, LINKS_TO, strict=True) for _ in range(count)]
    for gpu in GPUS:
        nvlinks(made, gpu, remotes)
    pairs(made, GPUS, {(a.index, b.index): _ancestor(a, b) for a in GPUS for b in GPUS}, {"READ": OK})
    daemon(made, 1, "systemd")
    fabric_manager(made, 2011)
    made.file("/dev/kmsg", LOG.encode())
    return made


def _ancestor(a: Gpu, b: Gpu) -> int:
    if a.index // 2 == b.index // 2:
        return SINGLE
    return NODE if a.numa_node == b.numa_node else SYSTEM


LOG = """\
6,0,0,-;Linux version 6.8.0-60-generic (buildd@lcy02-amd64-098) #63-Ubuntu SMP PREEMPT_DYNAMIC
6,1,0,-;Command line: BOOT_IMAGE=/boot/vmlinuz-6.8.0-60-generic root=/dev/nvme0n1p2 ro intel_iommu=on iommu=pt
6,800,1892104,-;iommu: Default domain type: Passthrough (set via kernel command line)
6,2210,14120331,-;nvidia-nvlink: Nvlink Core is being initialized, major device number 510
6,2240,15210334,-;NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build
6,2260,17210334,-;nvidia-uvm: Loaded the UVM driver, major device number 508.
"""


if __name__ == "__main__":
    machine().write("made-hgx-2s.node")
