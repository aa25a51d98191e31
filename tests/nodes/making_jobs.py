"""Processes as /proc shows them: proc(5), Documentation/filesystems/proc.rst; numa_maps after numa(7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from making import Machine, cpu_mask
from making_nvidia import Gpu

from gpudoctor.facts.numa import cpu_list

MIB = 256  # pages of 4 KiB
PINNED_MIB, HEAP_MIB = 2112, 11200


@dataclass(kw_only=True)
class Rank:
    """One process that trains on one GPU, with its threads and data loaders."""

    pid: int
    cpus: tuple[int, ...]  # that it may run on, loaders too
    memory_node: int
    parent: int
    cgroup: str
    command: tuple[str, ...] = ("python", "train.py", "--config", "configs/7b.yaml")
    loaders: int = 2
    machine_cpus: int = 64
    memory_nodes: tuple[int, ...] = (0, 1)  # that it may take memory from


@dataclass(kw_only=True)
class Job(Rank):
    """On an NVIDIA GPU."""

    gpu: Gpu


VIOLATIONS = "nvmlDeviceGetFieldValues(NVML_FI_DEV_PERF_POLICY_POWER, NVML_FI_DEV_PERF_POLICY_THERMAL, 269, 270, 271)"
THREADS = ("python", "cuda00001400006", "cuda-EvtHandlr", "pt_autograd_0", "pt_nccl_watchdg", "pt_nccl_heartbt")


def job(machine: Machine, held: Job) -> None:
    processes(machine, held, THREADS, numa_maps(held.memory_node))
    used = 98763210752
    entry = {"pid": held.pid, "usedGpuMemory": used, "gpuInstanceId": 0xFFFFFFFF, "computeInstanceId": 0xFFFFFFFF}
    total, reserved = 150754820096, 644939776
    free = total - reserved - used
    memory = {"version": 33554472, "total": total, "reserved": reserved, "free": free, "used": used}
    busy = {
        "nvmlDeviceGetComputeRunningProcesses_v3": [entry],
        "nvmlDeviceGetUtilizationRates": {"gpu": 99, "memory": 41},
        "nvmlDeviceGetMemoryInfo": {"total": total, "free": free, "used": reserved + used},
        "nvmlDeviceGetMemoryInfo(nvmlMemory_v2)": memory,
        "nvmlDeviceGetClockInfo(NVML_CLOCK_SM)": 1980,
        "nvmlDeviceGetCurrentClocksEventReasons": 0,
        "nvmlDeviceGetCurrentClocksThrottleReasons": 0,
        "nvmlDeviceGetPowerUsage": 612044,
        "nvmlDeviceGetTemperature(NVML_TEMPERATURE_GPU)": 54,
        "nvmlDeviceGetMarginTemperature": 33,
    }
    violations = held.gpu.call(VIOLATIONS)
    machine.nvml(f"{violations} #1", machine.held["nvml", violations])
    for call, answer in busy.items():
        machine.nvml(held.gpu.call(call), answer)


def processes(machine: Machine, held: Rank, threads: Sequence[str], maps: str) -> None:
    """The rank and its loaders in /proc."""
    children = [held.pid + 1 + n for n in range(held.loaders)]
    first = held.pid + 1 + held.loaders
    tids = [held.pid, *range(first, first + len(threads) - 1)]
    _process(machine, held, held.pid, held.parent, list(zip(tids, threads, strict=True)), children)
    machine.file(f"/proc/{held.pid}/numa_maps", maps)
    for n, child in enumerate(children):
        _process(machine, held, child, held.pid, [(child, "pt_data_worker")], [], turn=n + 1)
        machine.file(f"/proc/{child}/numa_maps", _loader_maps(held.memory_node))


def _process(
    machine: Machine,
    held: Rank,
    pid: int,
    parent: int,
    threads: Sequence[tuple[int, str]],
    children: Sequence[int],
    turn: int = 0,
) -> None:
    where = f"/proc/{pid}"
    name = threads[0][1]
    machine.directory("/proc", str(pid))
    machine.directory(f"{where}/task")
    machine.file(f"{where}/comm", name)
    machine.file(f"{where}/cmdline", "".join(f"{word}\0" for word in held.command).encode())
    machine.file(f"{where}/cgroup", f"0::{held.cgroup}")
    machine.file(f"{where}/environ", b"HOME=/root\0PATH=/opt/venv/bin:/usr/bin\0OMP_NUM_THREADS=4\0")
    machine.file(f"{where}/mountinfo", machine.held["file", "/proc/self/mountinfo"])
    machine.link(f"{where}/cwd", "/data/run")
    machine.link(f"{where}/exe", "/opt/venv/bin/python3.11")
    machine.file(f"{where}/loginuid", b"1001")
    for n, (tid, comm) in enumerate(threads):
        cpu = held.cpus[(turn + n) % len(held.cpus)]
        stat = _stat(tid, comm, parent, cpu, len(threads))
        status = _status(held, pid, tid, comm, parent, len(threads))
        born = "".join(f"{child} " for child in children) if tid == pid else ""
        task = f"{where}/task/{tid}"
        machine.files(task, {"comm": comm, "stat": stat, "status": status, "children": born.encode()})
        if tid == pid:
            machine.files(where, {"stat": stat, "status": status})


def _stat(tid: int, comm: str, parent: int, cpu: int, threads: int) -> str:
    state = "R" if comm == "python" else "S"
    times = [812331, 40211, 0, 0, 20, 0, threads, 0, 61203344, 98213347328, 3501244, 18446744073709551615]
    addresses = [94520871723008, 94520871740593, 140723066508352, *[0] * 9]
    tail = [17, cpu, *[0] * 5, 94520871754384, 94520871755880, 94521112772608, 140723066510104, 140723066510124]
    head = [parent, 50211, 50211, 0, -1, 4194560, 7712331, 0, 212, 0]
    numbers = [*head, *times, *addresses, *tail, 140723066510124, 140723066515435, 0]
    return f"{tid} ({comm}) {state} {' '.join(map(str, numbers))}"


def _status(held: Rank, pid: int, tid: int, comm: str, parent: int, threads: int) -> str:
    rows = {
        "Name": comm,
        "Umask": "0022",
        "State": "R (running)" if comm == "python" else "S (sleeping)",
        "Tgid": pid,
        "Ngid": 0,
        "Pid": tid,
        "PPid": parent,
        "TracerPid": 0,
        "Uid": "1001\t1001\t1001\t1001",
        "Gid": "1001\t1001\t1001\t1001",
        "FDSize": 512,
        "VmLck": f"{0:>8} kB",
        "VmPin": f"{0:>8} kB",
        "VmRSS": f"{14004976:>8} kB",
        "RssAnon": f"{HEAP_MIB * 1024:>8} kB",
        "RssFile": f"{1422640:>8} kB",
        "RssShmem": f"{PINNED_MIB * 1024:>8} kB",
        "VmSwap": f"{0:>8} kB",
        "Threads": threads,
        "Cpus_allowed": cpu_mask(held.cpus, held.machine_cpus),
        "Cpus_allowed_list": cpu_list(held.cpus),
        "Mems_allowed": cpu_mask(held.memory_nodes, 1024),
        "Mems_allowed_list": cpu_list(held.memory_nodes),
        "voluntary_ctxt_switches": 149921,
        "nonvoluntary_ctxt_switches": 1402,
    }
    return "\n".join(f"{name}:\t{value}" for name, value in rows.items())


def amd_maps(node: int) -> str:
    """On an AMD GPU: what amdgpu maps, pinned memory too, is not counted (VM_PFNMAP)."""
    return "\n".join(
        (
            _anonymous("1a956000", 200 * MIB, node, "heap "),
            _anonymous("7f9d40000000", (HEAP_MIB + PINNED_MIB - 200) * MIB, node),
            "7fa000000000 default file=/dev/dri/renderD128",
            "7fa0b0000000 default file=/dev/kfd",
            f"7fa0b1000000 default file=/dev/shm/torch_{node}_7 dirty=8192 N{node}=8192 kernelpagesize_kB=4",
            _LIBRARY.replace("cuda", "hip"),
            _anonymous("7ffd84e1f000", 24, node, "stack "),
        )
    )


def numa_maps(node: int) -> str:
    """A process that took its memory on this node; libraries lie where who read them first ran."""
    heap, pinned = (HEAP_MIB - 200) * MIB, (PINNED_MIB - 64) * MIB
    return "\n".join(
        (
            _anonymous("1a956000", 200 * MIB, node, "heap "),
            "200600000 default file=/dev/nvidia0",
            _driver("200800000", 64 * MIB, node, "/dev/nvidiactl"),
            _driver("204a00000", 512, node, "/dev/nvidia-uvm"),
            "10000000000 default",
            _anonymous("7f9d40000000", heap, node),
            _driver("7fa000000000", pinned, node, "/dev/nvidiactl"),
            f"7fa0b1000000 default file=/dev/shm/torch_{node}_7 dirty=8192 N{node}=8192 kernelpagesize_kB=4",
            _LIBRARY,
            _anonymous("7ffd84e1f000", 24, node, "stack "),
        )
    )


def _loader_maps(node: int) -> str:
    return "\n".join((_anonymous("1a956000", 310 * MIB, node, "heap "), _LIBRARY))


def _anonymous(start: str, pages: int, node: int, what: str = "") -> str:
    return f"{start} default {what}anon={pages} dirty={pages} active=0 N{node}={pages} kernelpagesize_kB=4"


def _driver(start: str, pages: int, node: int, device: str) -> str:
    return f"{start} default file={device} dirty=71 mapped={pages} active=0 N{node}={pages} kernelpagesize_kB=4"


_LIBRARY = (
    "7fa21c000000 default file=/opt/venv/lib/libtorch_cuda.so mapped=212340 mapmax=24 N0=190112 N1=22228 "
    "kernelpagesize_kB=4"
)
