"""GPU processes as they are read off a node, and what is near them."""

from __future__ import annotations

import os
from typing import Any

import pytest
from casebook import load_node
from gpudoctor_checks.topology.processes import misplaced

from gpudoctor.collect.collector import collect
from gpudoctor.facts.numa import Numa, NumaNode, cpu_list
from gpudoctor.facts.pci import Inventory, PciDevice, gpu_subject
from gpudoctor.facts.process import GpuProcess
from gpudoctor.finding import Confidence, Finding
from gpudoctor.node.archive import Archive, Key
from gpudoctor.node.live import LiveNode
from gpudoctor.node.redact import redact
from gpudoctor.unread import Gap, Unread

JOB = "made-hgx-2s-job.node"
HOLDERS = "nvmlDeviceGetComputeRunningProcesses_v3(gpu 4)"
GIB = 1 << 30


def processes(changed: dict[Key, Any], uid: int = 0) -> dict[int, GpuProcess]:
    node = load_node(JOB).with_surfaces(changed)
    node.uid = uid
    found = collect(node, [GpuProcess], seconds=30).all(GpuProcess)
    assert isinstance(found, tuple)
    return {each.pid: each for each in found}


def absent(path: str) -> Unread:
    return Unread(Gap.ABSENT, path, "No such file")


def test_a_rank_with_its_threads_loaders_memory_and_cgroup() -> None:
    rank = processes({})[51400]
    assert rank.subject.label == "pid 51400 (python train.py)"
    assert rank.subject.within == ("0000:9b:00.0",)
    assert [child.pid for child in rank.children] == [51401, 51402]
    assert {thread.name for thread in rank.threads} >= {"python", "pt_autograd_0"}
    assert set(rank.memory_bytes_by_node) == set(rank.pinned_bytes_by_node) == {1}
    assert (rank.manager, rank.memory_nodes_allowed) == ("slurm", {0, 1})
    assert cpu_list(rank.cpuset) == "0-63"


def test_one_process_on_several_gpus_is_one() -> None:
    entry = {"pid": 51000, "usedGpuMemory": 1, "gpuInstanceId": 0, "computeInstanceId": 0}
    found = processes({("nvml", HOLDERS): [entry]})
    assert [gpu.id for gpu in found[51000].gpus] == ["0000:19:00.0", "0000:9b:00.0"]
    assert 51400 not in found


def test_a_process_that_ends_meanwhile_is_gone() -> None:
    assert 51400 not in processes({("file", "/proc/51400/status"): absent("/proc/51400/status")})
    zombie = b"51400 (python) Z 1 1 1 0 -1 0" + b" 0" * 45 + b"\n"
    assert 51400 not in processes({("file", "/proc/51400/stat"): zombie})


def test_a_process_hidden_from_this_user_is_said_to_be() -> None:
    path = "/proc/51400/stat"
    gap = processes({("file", path): absent(path)}, uid=1000)[51400].reading("cpus_allowed")
    assert (gap.gap, gap.remedy) == (Gap.DENIED, "run as root")


def test_in_a_container_a_pid_may_be_somebody_else() -> None:
    inside: dict[Key, Any] = {("link", "/proc/self/ns/pid"): "pid:[4026532801]"}
    assert processes(inside)[51400].command == "python train.py"  # it has the driver mapped
    strange = {**inside, ("file", "/proc/51400/numa_maps"): b"1 default anon=1 N0=1 kernelpagesize_kB=4\n"}
    strange["dir", "/proc/51400/fd"] = ("0", "11", "2")
    strange["link", "/proc/51400/fd/11"] = "/dev/pts/1"
    gap = processes(strange)[51400].reading("cpus_allowed")
    assert "another process" in gap.detail
    assert "pid=host" in gap.remedy
    strange["link", "/proc/51400/fd/11"] = "/dev/nvidiactl"
    assert processes(strange)[51400].cpus_allowed
    strange["dir", "/proc/51400/fd"] = Unread(Gap.DENIED, "/proc/51400/fd", "Permission denied")
    gap = processes(strange, uid=1000)[51400].reading("cpus_allowed")
    assert (gap.gap, gap.remedy) == (Gap.DENIED, "run as root, or as the user of that process")


def test_a_kernel_without_lists_of_children_names_parents() -> None:
    changed: dict[Key, Any] = {("dir", "/proc"): ("1", "51400", "51401", "51402", "self")}
    for tid in (51400, 51401, 51402, 51403, 51404, 51405, 51406, 51407):
        pid = tid if tid < 51403 else 51400
        path = f"/proc/{pid}/task/{tid}/children"
        changed["file", path] = absent(path)
    assert [child.pid for child in processes(changed)[51400].children] == [51401, 51402]


def test_a_great_process_is_not_counted_page_by_page() -> None:
    status = b"Name:\tpython\nRssAnon:\t900000000 kB\nCpus_allowed_list:\t16-19\nMems_allowed_list:\t0-1\n"
    gap = processes({("file", "/proc/51400/status"): status})[51400].reading("memory_bytes_by_node")
    assert (gap.gap, gap.remedy) == (Gap.UNSUPPORTED, "numastat -p 51400")


def test_thousands_of_threads_are_not_all_read() -> None:
    tids = tuple(str(tid) for tid in (51400, *range(60000, 63000)))
    rank = processes({("dir", "/proc/51400/task"): tids})[51400]
    assert len(rank.threads) == 1  # the others have ended in this recording
    assert rank.thread_count == 6


GPU = gpu_subject("0000:18:00.0", 0)


def verdict(numa: Numa, home: int, **fields: Any) -> list[Finding]:
    device: dict[str, Any] = dict.fromkeys(PciDevice.__fact_fields__, 0)
    inventory = Inventory(
        gpu_indices={GPU.id: 0}, devices={GPU.id: PciDevice(**{**device, "subject": GPU, "numa_node": home})}
    )
    given: dict[str, Any] = dict.fromkeys(GpuProcess.__fact_fields__, None)
    given |= {"subject": GPU, "pid": 4411, "gpus": (GPU,), "name": "python", "command": "python train.py"}
    given |= {
        "cpus_allowed": frozenset({0}),
        "threads": (),
        "children": (),
        "thread_count": 1,
        "unit": "",
        "last_cpu": 0,
    }
    given |= {"memory_bytes_by_node": {}, "pinned_bytes_by_node": {}, "memory_nodes_allowed": frozenset({0, 1})}
    return list(misplaced(GpuProcess(**{**given, **fields}), numa, inventory))


def machine(*nodes: tuple[set[int], tuple[int, ...]]) -> Numa:
    made = (NumaNode(n, frozenset(cpus), 64 * GIB, GIB, far) for n, (cpus, far) in enumerate(nodes))
    return Numa(nodes=tuple(made), balancing=0, zone_reclaim=0)


TWO = machine(({0, 1}, (10, 21)), ({2, 3}, (21, 10)))
GRACE = machine(
    ({0, 1}, (10, 40, 80, 120)), ({2, 3}, (40, 10, 120, 80)), (set(), (80, 120, 10, 255)), (set(), (120, 80, 255, 10))
)


def test_memory_of_a_grace_hopper_gpu_is_not_far() -> None:
    assert not verdict(GRACE, 0, memory_bytes_by_node={0: GIB, 2: 60 * GIB})
    assert not verdict(GRACE, 2, memory_bytes_by_node={0: GIB, 2: 60 * GIB})
    assert verdict(GRACE, 3, memory_bytes_by_node={0: GIB})[0].values["nodes_near"] == "1"


@pytest.mark.parametrize(
    ("memory", "pinned", "sure"),
    [
        ({0: GIB, 1: 3 * GIB}, {}, None),  # most, and little
        ({0: 9 * GIB, 1: 8 * GIB}, {}, None),  # much, and not most
        ({0: 1 * GIB, 1: 8 * GIB}, {}, Confidence.LIKELY),
        ({0: 9 * GIB, 1: 2 * GIB}, {1: 2 * GIB}, Confidence.CERTAIN),  # what the GPU copies is far
        ({0: 1 * GIB, 1: 80 * GIB}, {}, None),  # the near node could not hold it
    ],
)
def test_far_memory_counts_once_it_is_most_and_matters(
    memory: dict[int, int], pinned: dict[int, int], sure: Confidence | None
) -> None:
    found = verdict(TWO, 0, memory_bytes_by_node=memory, pinned_bytes_by_node=pinned)
    assert [each.confidence for each in found] == ([sure] if sure else [])


def test_the_lines_that_place_it_right() -> None:
    (found,) = verdict(TWO, 1, memory_bytes_by_node={0: 8 * GIB}, cpuset=frozenset({0, 1, 3}), manager="slurm")
    assert found.values["taskset"] == "taskset -acp 3 4411"
    assert found.values["migratepages"] == "migratepages 4411 0 1"
    assert found.values["numactl"] == "numactl --cpunodebind=1 --localalloc COMMAND"
    (found,) = verdict(TWO, 1, cpuset=frozenset({0, 1}), manager="slurm")
    assert found.values["action"] == "cpuset_slurm"


def test_unread_threads_leave_the_first_one_to_judge() -> None:
    gap = Unread(Gap.DENIED, "/proc/4411/task", "Permission denied")
    assert verdict(TWO, 1, threads=gap)
    with pytest.raises(Unread):
        verdict(TWO, 0, threads=gap)


def test_slurms_cgroups_and_the_maps_tell_no_names() -> None:
    surfaces: dict[Key, Any] = {
        ("file", "/proc/sys/kernel/hostname"): b"gpu-a17\n",
        (
            "file",
            "/proc/9/cgroup",
        ): b"0::/system.slice/gpu-a17_slurmstepd.scope/job_1\n5:cpuset:/slurm_gpu-a17/uid_1/job_1\n",
        ("file", "/sys/fs/cgroup/cpuset/slurm_gpu-a17/uid_1/job_1/cpuset.effective_cpus"): b"0-3\n",
        ("file", "/proc/9/cmdline"): b"python\0/home/alice/train.py\0--password\0hunter22\0",
        ("link", "/proc/9/fd/3"): "/home/alice/data",
    }
    held = repr(redact(Archive(surfaces=surfaces)).surfaces)
    for secret in ("gpu-a17", "alice", "hunter22"):
        assert secret not in held
    assert "/slurm_redacted-host/uid_1" in held
    assert "redacted-host_slurmstepd.scope/job_1" in held


def test_this_very_process_on_this_machine() -> None:
    node = LiveNode()
    try:
        maps = node.read(f"/proc/{os.getpid()}/numa_maps")
    finally:
        node.close()
    if isinstance(maps, Unread):
        pytest.skip(str(maps))
    assert b" N0=" in maps
    assert b".so" not in maps
