"""Writes mi300x8.node: eight MI300X joined by xGMI in a two-socket server, healthy and idle.

https://docs.kernel.org/gpu/amdgpu/ (driver-misc, ras, thermal); gpu_metrics after kgd_pp_interface.h; the topology of
amdkfd after kfd_topology.c and kfd_crat.c of Linux.
"""

from __future__ import annotations

import struct

from making import Machine
from making_config import Link, full
from making_devices import bare_metal, daemon, infiniband_port, loopback, nvme_drive
from making_host import NumaNode, cores, frequencies, host, x86_cpuinfo
from making_kfd import kfd_topology
from making_pci import DEVICES, Function, infiniband, nvme, place, root_port

from gpudoctor.node.archive import Archive
from gpudoctor.unread import Gap, Unread

BUSES = (0x05, 0x26, 0x46, 0x65, 0x85, 0xA6, 0xC6, 0xE5)
NICS = {0x11: 0, 0x91: 1}  # bus and node
BLOCKS = ("athub", "gfx", "mmhub", "pcie_bif", "sdma", "umc", "xgmi_wafl")
EPYC = {
    "vendor_id": "AuthenticAMD",
    "cpu family": "25",
    "model": "17",
    "model name": "AMD EPYC 9274F 24-Core Processor",
    "stepping": "1",
    "microcode": "0xa101148",
    "cpu MHz": "4050.000",
    "cache size": "1024 KB",
    "cpuid level": "16",
    "bugs": "sysret_ss_attrs spectre_v1 spectre_v2 spec_store_bypass srso",
    "bogomips": "8099.72",
    "TLB size": "3584 4K pages",
    "clflush size": "64",
    "cache_alignment": "64",
    "address sizes": "52 bits physical, 57 bits virtual",
    "power management": "ts ttp tm hwpstate cpb eff_freq_ro [13] [14]",
}
ZEN_4 = (
    "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht syscall nx "
    "mmxext fxsr_opt pdpe1gb rdtscp lm constant_tsc rep_good amd_lbr_v2 nopl nonstop_tsc cpuid extd_apicid aperfmperf "
    "rapl pni pclmulqdq monitor ssse3 fma cx16 pcid sse4_1 sse4_2 x2apic movbe popcnt aes xsave avx f16c rdrand "
    "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs skinit wdt tce topoext "
    "perfctr_core perfctr_nb bpext perfctr_llc mwaitx cpb cat_l3 cdp_l3 hw_pstate ssbd mba perfmon_v2 ibrs ibpb stibp "
    "ibrs_enhanced vmmcall fsgsbase bmi1 avx2 smep bmi2 erms invpcid cqm rdt_a avx512f avx512dq rdseed adx smap "
    "avx512ifma clflushopt clwb avx512cd sha_ni avx512bw avx512vl xsaveopt xsavec xgetbv1 xsaves cqm_llc "
    "cqm_occup_llc cqm_mbm_total cqm_mbm_local user_shstk avx512_bf16 clzero irperf xsaveerptr rdpru wbnoinvd amd_ppin "
    "cppc arat npt lbrv svm_lock nrip_save tsc_scale vmcb_clean flushbyasid decodeassists pausefilter pfthreshold avic "
    "v_vmsave_vmload vgif x2avic v_spec_ctrl vnmi avx512vbmi umip pku ospke avx512_vbmi2 gfni vaes vpclmulqdq "
    "avx512_vnni avx512_bitalg avx512_vpopcntdq la57 rdpid overflow_recov succor smca fsrm flush_l1d debug_swap"
)


def metrics() -> bytes:
    """gpu_metrics 1.6: header, temperatures, power, activity; the rest is zero."""
    head = struct.pack("<HBBHHHHHH", 1664, 1, 6, 42, 36, 38, 140, 0, 0)
    return head + bytes(1664 - len(head))


def gpu(machine: Machine, bus: int, index: int) -> None:
    """The port above a GPU, the GPU, and what amdgpu shows of it."""
    bus_id = f"0000:{bus:02x}:00.0"
    device = Function(
        bus_id, "1002:74a1", 0x120000, full(16, 32.0), driver="amdgpu", subsystem="1002:74a1", max_payload_supported=256
    )
    port = root_port(f"0000:{bus - 1:02x}:01.1", "1022:14ab", full(16, 32.0), device)
    place(machine, f"pci0000:{bus - 1:02x}", [port], index // 4)
    where = f"{DEVICES}/{bus_id}"
    texts = {
        "power/runtime_status": "active",
        "product_name": "AMD Instinct MI300X OAM",
        "product_number": "102-G30213-00",
        "serial_number": f"69240000{index:04d}",
        "unique_id": f"{0xA1B2C3D400000000 + index:016x}",
        "vbios_version": "113-M3000100-102",
        "mem_info_vram_total": "206141652992",
        "mem_info_vram_used": "297074688",
        "gpu_busy_percent": "0",
        "current_compute_partition": "SPX",
        "current_memory_partition": "NPS1",
        "pcie_replay_count": "0",
        "pp_dpm_sclk": "0: 132Mhz *\n1: 2100Mhz",
        "power_dpm_force_performance_level": "auto",
        "ras/features": "feature mask: 0x47f",
        "ras/gpu_vram_bad_pages": "",
    }
    machine.files(where, texts)
    machine.files(f"{where}/ras", {f"{block}_err_count": "ue: 0\nce: 0\nde: 0" for block in BLOCKS})
    machine.directory(f"{where}/ras")
    machine.file(f"{where}/gpu_metrics", metrics())
    sensors(machine, where, f"{where}/hwmon/hwmon{index + 4}")


def sensors(machine: Machine, where: str, hwmon: str) -> None:
    texts = {
        "name": "amdgpu",
        "temp2_input": "42000",
        "temp2_label": "junction",
        "temp2_crit": "100000",
        "temp2_emergency": "105000",
        "temp3_input": "36000",
        "temp3_label": "mem",
        "temp3_crit": "105000",
        "temp3_emergency": "110000",
        "power1_average": "140000000",
        "power1_cap": "750000000",
        "power1_cap_default": "750000000",
        "power1_cap_max": "750000000",
    }
    machine.directory(f"{where}/hwmon")
    machine.directory(hwmon)
    machine.files(hwmon, texts)


def log() -> str:
    first = "6,0,0,-;Linux version 6.8.0-60-generic (buildd@lcy02-amd64-098) #63-Ubuntu SMP PREEMPT_DYNAMIC\n"
    served = "amdgpu 3.61.0 20150101 for 0000:{:02x}:00.0 on minor {}"
    return first + "".join(
        f"6,{900 + i},{(4 + i) * 1000000},-;[drm] Initialized {served.format(bus, i + 1)}\n"
        for i, bus in enumerate(BUSES)
    )


def machine() -> Machine:
    made = Machine(time=1763695300.0)
    cpus = cores(packages=2, each=24, threads=1)
    ours = [tuple(c.number for c in cpus if c.package == node) for node in (0, 1)]
    nodes = [NumaNode(0, ours[0], 1188713472, (10, 32)), NumaNode(1, ours[1], 1188874240, (32, 10))]
    host(
        made,
        cpus,
        nodes,
        cpuinfo=x86_cpuinfo(cpus, EPYC, ZEN_4),
        release="6.8.0-60-generic",
        cmdline="BOOT_IMAGE=/boot/vmlinuz-6.8.0-60-generic root=/dev/nvme0n1p2 ro iommu=pt pci=realloc=off",
    )
    frequencies(made, cpus, "acpi-cpufreq", "performance", None)
    bare_metal(made, "Supermicro", "AS -8125GS-TNMR2")
    made.file("/sys/module/amdgpu/version", "6.12.12")
    for index, bus in enumerate(BUSES):
        gpu(made, bus, index)
    kfd_topology(made, [len(each) for each in ours], BUSES)
    loopback(made)
    for n, (bus, node) in enumerate(NICS.items()):
        end = f"0000:{bus:02x}:00.0"
        port = root_port(f"0000:{bus - 1:02x}:01.1", "1022:14ab", full(16, 32.0), infiniband(end))
        paths = place(made, f"pci0000:{bus - 1:02x}", [port], node)
        infiniband_port(made, f"ibp{bus}s0", f"mlx5_{n}", end, paths[end])
    port = root_port("0000:30:03.1", "1022:14ab", Link(4, 16.0, 4, 32.0), nvme("0000:31:00.0"))
    nvme_drive(made, 0, "0000:31:00.0", place(made, "pci0000:30", [port], 0)["0000:31:00.0"], 0)
    for call in ("DeviceGetCount", "SystemGetDriverVersion", "SystemGetCudaDriverVersion_v2", "SystemGetNVMLVersion"):
        made.held["nvml", f"nvml{call}()"] = Unread(Gap.ABSENT, "libnvidia-ml.so.1", "is not installed")
    made.absent("file", "/proc/driver/nvidia/version")
    made.directory("/sys/module", "amdgpu", "nvme", "nvme_core", "mlx5_core")
    daemon(made, 1, "systemd")
    made.file("/dev/kmsg", log().encode())
    return made


def node() -> Archive:
    return machine().archive()


if __name__ == "__main__":
    machine().write("mi300x8.node")
