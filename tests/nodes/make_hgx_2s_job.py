"""Writes made-hgx-2s-job.node: made-hgx-2s.node with a Slurm job that trains on all eight GPUs, each rank placed right.

A rank has four cores of its GPU's socket, its memory there, and two data loaders beside it.
"""

from __future__ import annotations

import make_hgx_2s
from making import Machine
from making_devices import daemon
from making_jobs import Job, job

STEP = "/system.slice/slurmstepd.scope/job_8123/step_0"
FIRST_PID, APART = 51000, 100


def jobs() -> list[Job]:
    return [
        Job(
            pid=FIRST_PID + APART * gpu.index,
            gpu=gpu,
            cpus=tuple(4 * gpu.index + n + thread for thread in (0, 32) for n in range(4)),
            memory_node=gpu.numa_node,
            parent=50211,
            cgroup=f"{STEP}/user/task_{gpu.index}",
        )
        for gpu in make_hgx_2s.GPUS
    ]


def machine() -> Machine:
    made = make_hgx_2s.machine()
    daemon(made, 50211, "slurmstepd")
    levels = [STEP.rsplit("/", 1)[0], STEP, f"{STEP}/user"]
    for each in jobs():
        job(made, each)
        levels.append(each.cgroup)
    for level in levels:
        made.files(f"/sys/fs/cgroup{level}", {"cpuset.cpus.effective": "0-63", "cpuset.mems.effective": "0-1"})
    return made


if __name__ == "__main__":
    machine().write("made-hgx-2s-job.node")
