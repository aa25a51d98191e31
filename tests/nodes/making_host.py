"""The machine around the GPUs: CPUs, NUMA nodes, memory, and what the kernel is set to.

/proc after Documentation/filesystems/proc.rst, NUMA nodes and CPUs after Documentation/ABI/stable/sysfs-devices-node
and Documentation/ABI/testing/sysfs-devices-system-cpu.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from making import UPTIME_SECONDS, Machine, cpu_mask

from gpudoctor.facts.numa import cpu_list

CPUS = "/sys/devices/system/cpu"
NUMA = "/sys/devices/system/node"


@dataclass(frozen=True)
class Cpu:
    number: int
    package: int
    core: int
    siblings: tuple[int, ...]  # the hardware threads of its core, itself among them


@dataclass(frozen=True)
class NumaNode:
    number: int
    cpus: tuple[int, ...]
    memory_kb: int
    distances: tuple[int, ...]
    free_kb: int | None = None


def cores(packages: int, each: int, threads: int = 2) -> list[Cpu]:
    """As Linux numbers them: first thread of every core, package after package, then the second ones."""
    whole = packages * each
    return [
        Cpu(n, n % whole // each, n % each, tuple(n % whole + whole * t for t in range(threads)))
        for n in range(whole * threads)
    ]


def x86_cpuinfo(cpus: Sequence[Cpu], model: Mapping[str, str], flags: str) -> str:
    """`model` has the fields from vendor_id on, in the kernel's order, those that differ between CPUs left out."""
    packages = [cpu.package for cpu in cpus]
    stanzas = []
    for cpu in cpus:
        lines = [f"processor\t: {cpu.number}", *(_field(n, model[n]) for n in X86_BEFORE)]
        lines += [
            f"physical id\t: {cpu.package}",
            f"siblings\t: {packages.count(cpu.package)}",
            f"core id\t\t: {cpu.core}",
            f"cpu cores\t: {packages.count(cpu.package) // len(cpu.siblings)}",
            f"apicid\t\t: {_apicid(cpu)}",
            f"initial apicid\t: {_apicid(cpu)}",
            "fpu\t\t: yes",
            "fpu_exception\t: yes",
            _field("cpuid level", model["cpuid level"]),
            "wp\t\t: yes",
            f"flags\t\t: {flags}",
            *(_field(n, model[n]) for n in X86_BEHIND if n in model),
            f"power management: {model.get('power management', '')}".rstrip(),
        ]
        stanzas.append("\n".join(lines) + "\n")
    return "\n".join(stanzas)


X86_BEFORE = ("vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "cpu MHz", "cache size")
X86_BEHIND = ("bugs", "bogomips", "TLB size", "clflush size", "cache_alignment", "address sizes")


def arm_cpuinfo(cpus: Sequence[Cpu], bogomips: str, features: str, known: Mapping[str, str]) -> str:
    stanzas = [
        "\n".join(
            [f"processor\t: {cpu.number}", f"BogoMIPS\t: {bogomips}", f"Features\t: {features}"]
            + [_field(name, value) for name, value in known.items()]
        )
        for cpu in cpus
    ]
    return "\n\n".join(stanzas) + "\n"


def _field(name: str, value: str) -> str:
    return f"{name}{chr(9) * (2 if len(name) < 8 else 1)}: {value}"


def _apicid(cpu: Cpu) -> int:
    return cpu.package << 7 | cpu.core << 1 | cpu.siblings.index(cpu.number)


def host(
    machine: Machine,
    cpus: Sequence[Cpu],
    nodes: Sequence[NumaNode],
    *,
    cpuinfo: str,
    release: str,
    cmdline: str,
    mounts: str | None = None,
    huge_pages_kb: Sequence[int] = (2048, 1048576),  # sizes, the usual one first
) -> None:
    machine.cpus_of_node.update({node.number: node.cpus for node in nodes})
    _cpus(machine, cpus)
    _nodes(machine, nodes)
    _memory(machine, sum(n.memory_kb for n in nodes), sum(_free(n) for n in nodes), huge_pages_kb)
    machine.file("/proc/cpuinfo", cpuinfo)
    machine.files("/proc/sys/kernel", {"hostname": "redacted-host", "osrelease": release, "numa_balancing": 0})
    machine.files("/proc/sys/vm", {"zone_reclaim_mode": 0, "swappiness": 60})
    machine.file("/proc/cmdline", cmdline)
    machine.file("/proc/uptime", f"{UPTIME_SECONDS:.2f} {UPTIME_SECONDS * len(cpus) * 0.97:.2f}")
    machine.file("/proc/loadavg", "0.23 0.19 0.12 1/1412 48211")
    machine.file("/proc/stat", _stat(cpus, machine.booted))
    machine.file("/proc/1/cgroup", "0::/init.scope")
    machine.file("/proc/self/cgroup", "0::/user.slice/user-0.slice/session-3.scope")
    machine.file(
        "/proc/self/environ", b"HOME=/root\0LANG=C.UTF-8\0PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin\0"
    )
    machine.file("/proc/self/mountinfo", mounts or MOUNTS)
    machine.link("/proc/self/cwd", "/root")
    machine.link("/proc/self/ns/pid", "pid:[4026531836]")
    machine.absent("link", *PLAIN_FOLDERS)
    machine.file("/proc/self/status", _self_status(cpus, nodes))
    machine.files(
        "/sys/fs/cgroup",
        {
            "cpuset.cpus.effective": cpu_list(c.number for c in cpus),
            "cpuset.mems.effective": cpu_list(n.number for n in nodes if n.memory_kb),
            "cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc",
        },
    )
    machine.directory(
        "/proc", "bus", "driver", "fs", "irq", "net", "pressure", "self", "sys", "sysvipc", "thread-self", "version"
    )
    machine.absent("stat", "/.dockerenv", "/run/.containerenv")


def _cpus(machine: Machine, cpus: Sequence[Cpu]) -> None:
    every = cpu_list(c.number for c in cpus)
    smt = len(cpus[0].siblings) > 1
    machine.directory(
        CPUS, "cpuidle", "hotplug", "kernel_max", "modalias", "offline", "power", "uevent", "vulnerabilities"
    )
    machine.files(CPUS, {"online": every, "possible": every, "present": every, "isolated": ""})
    machine.files(f"{CPUS}/smt", {"active": int(smt), "control": "on" if smt else "notsupported"})
    for cpu in cpus:
        machine.files(
            f"{CPUS}/cpu{cpu.number}/topology",
            {
                "physical_package_id": cpu.package,
                "core_id": cpu.core,
                "thread_siblings_list": cpu_list(cpu.siblings),
            },
        )


def frequencies(machine: Machine, cpus: Sequence[Cpu], driver: str, governor: str, preference: str | None) -> None:
    machine.directory(f"{CPUS}/cpufreq")
    for cpu in cpus:
        policy = f"{CPUS}/cpufreq/policy{cpu.number}"
        held = {"scaling_driver": driver, "scaling_governor": governor}
        held |= {"affected_cpus": str(cpu.number), "related_cpus": str(cpu.number)}
        if preference is not None:
            held["energy_performance_preference"] = preference
        else:
            machine.absent("file", f"{policy}/energy_performance_preference")
        machine.files(policy, held)


def _free(node: NumaNode) -> int:
    return node.memory_kb * 97 // 100 if node.free_kb is None else node.free_kb


def _nodes(machine: Machine, nodes: Sequence[NumaNode]) -> None:
    every = cpu_list(n.number for n in nodes)
    machine.directory(NUMA, "has_generic_initiator", "has_normal_memory", "power", "uevent")
    machine.files(
        NUMA,
        {
            "online": every,
            "possible": every,
            "has_cpu": cpu_list(n.number for n in nodes if n.cpus),
            "has_memory": cpu_list(n.number for n in nodes if n.memory_kb),
        },
    )
    for node in nodes:
        told = {"MemTotal": node.memory_kb, "MemFree": _free(node), "MemUsed": node.memory_kb - _free(node)}
        told |= {"SwapCached": 0, "FilePages": node.memory_kb // 100, "AnonPages": node.memory_kb // 500, "Shmem": 8192}
        lines = [f"Node {node.number} {name + ':':<15}{kb:>10} kB" for name, kb in told.items()]
        lines += [f"Node {node.number} HugePages_{name + ':':<7}{0:>4}" for name in ("Total", "Free", "Surp")]
        machine.files(
            f"{NUMA}/node{node.number}",
            {
                "cpulist": cpu_list(node.cpus),
                "distance": " ".join(map(str, node.distances)),
                "meminfo": "\n".join(lines),
            },
        )


def _memory(machine: Machine, total_kb: int, free_kb: int, huge_pages_kb: Sequence[int]) -> None:
    told = {"MemTotal": total_kb, "MemFree": free_kb, "MemAvailable": free_kb + total_kb // 120}
    told |= {"Buffers": 214104, "Cached": total_kb // 100, "SwapCached": 0, "SwapTotal": 0, "SwapFree": 0}
    told |= {"Dirty": 812, "Writeback": 0, "AnonPages": total_kb // 500, "Mapped": 410412, "Shmem": 16384}
    told |= {"CommitLimit": total_kb // 2, "Committed_AS": 1174576, "AnonHugePages": 0, "ShmemHugePages": 0}
    lines = [f"{name + ':':<15} {kb:>8} kB" for name, kb in told.items()]
    lines += [f"HugePages_{name + ':':<7}{0:>6}" for name in ("Total", "Free", "Rsvd", "Surp")]
    lines += [f"{'Hugepagesize:':<15} {huge_pages_kb[0]:>8} kB", f"{'Hugetlb:':<15} {0:>8} kB"]
    machine.file("/proc/meminfo", "\n".join(lines))
    machine.file("/proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority")
    counts = {**VMSTAT, "nr_free_pages": free_kb // 4}
    machine.file("/proc/vmstat", "\n".join(f"{name} {count}" for name, count in counts.items()))
    for what in ("cpu", "io", "memory"):
        lines = [f"{kind} avg10=0.00 avg60=0.00 avg300=0.00 total={n}" for kind, n in (("some", 8158), ("full", 6091))]
        machine.file(f"/proc/pressure/{what}", "\n".join(lines))
    pages = "/sys/kernel/mm/transparent_hugepage"
    machine.file(f"{pages}/enabled", "always [madvise] never")
    machine.file(f"{pages}/defrag", "always defer defer+madvise [madvise] never")
    machine.directory("/sys/kernel/mm/hugepages")
    for size in huge_pages_kb:
        machine.files(f"/sys/kernel/mm/hugepages/hugepages-{size}kB", {"nr_hugepages": 0, "free_hugepages": 0})


VMSTAT = {
    "nr_free_pages": 0,
    "numa_hit": 618241377,
    "numa_miss": 0,
    "numa_foreign": 0,
    "numa_interleave": 13090,
    "numa_local": 618190211,
    "numa_other": 51166,
    "pgpgin": 48120334,
    "pgpgout": 90213344,
    "pswpin": 0,
    "pswpout": 0,
    "pgfault": 712334511,
    "pgmajfault": 41233,
    "zone_reclaim_success": 0,
    "zone_reclaim_failed": 0,
    "oom_kill": 0,
    "numa_pte_updates": 0,
    "numa_huge_pte_updates": 0,
    "numa_hint_faults": 0,
    "numa_hint_faults_local": 0,
    "numa_pages_migrated": 0,
    "thp_fault_alloc": 90233,
    "thp_fault_fallback": 12,
}

PLAIN_FOLDERS = (
    *("/root", "/root/.cache", "/root/.cache/huggingface", "/root/.cache/torch", "/root/.nv", "/root/.nv/ComputeCache"),
    *("/root/.triton", "/root/.triton/cache", "/tmp", "/tmp/torchinductor_"),
)

MOUNTS = "\n".join(
    (
        "24 31 0:22 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw",
        "25 31 0:23 / /proc rw,nosuid,nodev,noexec,relatime shared:14 - proc proc rw",
        "26 31 0:5 / /dev rw,nosuid,relatime shared:2 - devtmpfs udev rw,size=1056000000k,nr_inodes=264000000,mode=755",
        "31 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw",
        "33 26 0:26 / /dev/shm rw,nosuid,nodev shared:3 - tmpfs tmpfs rw,inode64",
        "36 24 0:29 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate",
    )
)


def _stat(cpus: Sequence[Cpu], booted: int) -> str:
    one = (231044, 812, 190233, 75210334, 5133, 0, 912, 0, 0, 0)
    whole = " ".join(str(n * len(cpus)) for n in one)
    lines = [f"cpu  {whole}", *(f"cpu{c.number} {' '.join(map(str, one))}" for c in cpus)]
    return "\n".join(
        [*lines, "ctxt 982334112", f"btime {booted}", "processes 48212", "procs_running 1", "procs_blocked 0"]
    )


def _self_status(cpus: Sequence[Cpu], nodes: Sequence[NumaNode]) -> str:
    numbers, memory = [c.number for c in cpus], [n.number for n in nodes if n.memory_kb]
    return "\n".join(
        (
            "Name:\tgpudoctor",
            "Umask:\t0022",
            "State:\tR (running)",
            "Tgid:\t48211",
            "Pid:\t48211",
            "PPid:\t48190",
            "Uid:\t0\t0\t0\t0",
            "Gid:\t0\t0\t0\t0",
            "Threads:\t4",
            f"Cpus_allowed:\t{cpu_mask(numbers, len(numbers))}",
            f"Cpus_allowed_list:\t{cpu_list(numbers)}",
            f"Mems_allowed:\t{cpu_mask(memory, 1024)}",
            f"Mems_allowed_list:\t{cpu_list(memory)}",
        )
    )
