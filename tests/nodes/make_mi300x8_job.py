"""Writes made-mi300x8-job.node: mi300x8.node with a Slurm job that trains on all eight GPUs, each rank placed right.

A rank has six cores of its GPU's socket, its memory there, and two data loaders beside it. It may use every GPU, as
under torchrun, and has taken a little memory of each.
"""

from __future__ import annotations

import make_mi300x8
from making import Machine
from making_devices import daemon
from making_jobs import Rank, amd_maps, processes
from making_kfd import kfd_process
from making_pci import DEVICES

STEP = "/system.slice/slurmstepd.scope/job_4417/step_0"
FIRST_PID, APART = 61000, 100
PARENT = 60211
USED, ALONGSIDE, IDLE = 151397597184, 2097152, 297074688  # bytes
QUEUES = 4
THREADS = ("python", "python", "pt_autograd_0", "pt_nccl_watchdg", "pt_nccl_heartbt")


def ranks() -> list[Rank]:
    return [
        Rank(
            pid=FIRST_PID + APART * index,
            cpus=tuple(range(6 * index, 6 * index + 6)),
            memory_node=index // 4,
            parent=PARENT,
            cgroup=f"{STEP}/user/task_{index}",
            machine_cpus=48,
        )
        for index in range(len(make_mi300x8.BUSES))
    ]


def machine() -> Machine:
    made = make_mi300x8.machine()
    daemon(made, PARENT, "slurmstepd")
    levels = [STEP.rsplit("/", 1)[0], STEP, f"{STEP}/user"]
    for index, (bus, rank) in enumerate(zip(make_mi300x8.BUSES, ranks(), strict=True)):
        processes(made, rank, THREADS, amd_maps(rank.memory_node))
        used = [USED if other == index else ALONGSIDE for other in range(len(make_mi300x8.BUSES))]
        kfd_process(made, rank.pid, used, [index] * QUEUES)
        for number, target in enumerate(
            ("/dev/null", "pipe:[810233]", "pipe:[810234]", "/dev/kfd", "/dev/dri/renderD128")
        ):
            made.link(f"/proc/{rank.pid}/fd/{number}", target)
        made.directory(f"/proc/{rank.pid}/fd")
        busy(made, f"{DEVICES}/0000:{bus:02x}:00.0", sum(used) + IDLE)
        levels.append(rank.cgroup)
    for level in levels:
        made.files(f"/sys/fs/cgroup{level}", {"cpuset.cpus.effective": "0-47", "cpuset.mems.effective": "0-1"})
    return made


def busy(machine: Machine, where: str, used: int) -> None:
    texts = {"mem_info_vram_used": str(used), "gpu_busy_percent": "100", "pp_dpm_sclk": "0: 132Mhz\n1: 2100Mhz *"}
    machine.files(where, texts)


if __name__ == "__main__":
    machine().write("made-mi300x8-job.node")
