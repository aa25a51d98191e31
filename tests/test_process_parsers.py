"""/proc/PID/status, stat, cmdline, numa_maps and cgroup."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.parse.cgroup import parse_cgroup
from gpudoctor.parse.numa_maps import pages_by_node
from gpudoctor.parse.proc_status import parse_stat, parse_status, program

STAT = "812 ({name}) R 50211 812 812 0 -1 4194560 7 0 2 0 812331 40211 0 0 20 0 6 0 61 9 3 18446744073709551615 1 1 1 0 0 0 0 0 0 0 0 0 17 {cpu} 0 0 0 0 0 1 1 1 1 1 1 1 0\n"  # noqa: E501
# from a process of one H200 (R580): 56 MiB that the driver pinned, a heap, a library, and what holds no page
MAPS = b"""\
00ba7000 default anon=4 dirty=4 active=0 N0=4 kernelpagesize_kB=4
10000000000 default
1a956000 default heap anon=32884 dirty=32884 active=0 N0=32884 kernelpagesize_kB=4
200600000 default file=/dev/nvidia0
200800000 default file=/dev/nvidiactl dirty=71 mapped=14336 active=0 N0=14336 kernelpagesize_kB=4
204a00000 default file=/dev/nvidia-uvm dirty=4 mapped=512 active=0 N0=512 kernelpagesize_kB=4
7fa21c000000 default file=/opt/venv/lib/libtorch_cuda.so mapped=212340 mapmax=24 N0=190112 N1=22228 kernelpagesize_kB=4
"""


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=15), st.integers(0, 9999))
def test_a_name_may_hold_anything(name: str, cpu: int) -> None:
    read = parse_stat(STAT.format(name=name, cpu=cpu).encode())
    assert (read.name, read.state, read.parent, read.last_cpu) == (name, "R", 50211, cpu)
    assert read.cpu_seconds == pytest.approx(8525.42)


@pytest.mark.parametrize("text", [b"", b"812 (python) R 1", b"\xff"])
def test_a_torn_stat_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_stat(text)


def test_a_status_tells_places_and_sizes() -> None:
    read = parse_status(
        b"Name:\tpython\nVmRSS:\t  893264 kB\nRssAnon:\t  314116 kB\nRssShmem:\t  272384 kB\nVmSwap:\t    1024 kB\n"
        b"HugetlbPages:\t       0 kB\nThreads:\t5\nCpus_allowed:\t6\nCpus_allowed_list:\t1-2\nMems_allowed_list:\t0\n"
    )
    assert (read.cpus_allowed, read.memory_nodes_allowed, read.threads) == ({1, 2}, {0}, 5)
    assert (read.resident_bytes, read.swapped_bytes) == (893264 << 10, 1 << 20)
    assert read.private_bytes == (314116 + 272384) << 10


def test_a_kernel_without_cpusets_and_swap() -> None:
    read = parse_status(b"Name:\tx\nCpus_allowed_list:\t0\n")
    assert (read.memory_nodes_allowed, read.swapped_bytes) == (None, 0)
    with pytest.raises(ValueError, match="no Cpus_allowed_list"):
        parse_status(b"Name:\tx\n")


@pytest.mark.parametrize(
    ("cmdline", "shown"),
    [
        (b"/opt/venv/bin/python3.11\0-u\0/data/train.py\0--api-key\0sk-1\0", "python3.11 train.py"),
        (b"python\0-W\0ignore\0-m\0vllm.entrypoints\0--token=x\0", "python -m vllm.entrypoints"),
        (b"python\0-c\0import os; secret='x'\0", "python -c"),
        (b"VLLM::Worker_TP0\0\0\0", "VLLM::Worker_TP0"),
        (b"ray::train (token=x)\0", "ray::train"),
        (b"./sim\0input\0", "sim"),
        (b"evil\x1b[31m\0", "evil?[31m"),
        (b"", ""),
    ],
)
def test_a_program_is_named_without_its_arguments(cmdline: bytes, shown: str) -> None:
    assert program(cmdline) == shown


def test_memory_is_counted_in_pages_of_each_line() -> None:
    pages = pages_by_node(MAPS)
    assert pages.own_bytes_by_node == {0: (4 + 32884) * 4096}
    assert pages.pinned_bytes_by_node == {0: (14336 + 512) * 4096}
    assert pages.bytes_by_node == {0: (4 + 32884 + 14336 + 512) * 4096}
    assert pages.maps_driver


def test_huge_pages_shared_memory_and_what_is_not_its_own() -> None:
    pages = pages_by_node(
        b"1 bind:1 file=/anon_hugepage\\040(deleted) huge anon=3 dirty=3 N1=3 kernelpagesize_kB=2048\n"
        b"2 default file=/dev/shm/torch_1 dirty=8 mapmax=3 N0=8 kernelpagesize_kB=4\n"
        b"3 default file=/dev/shm/dataset mapped=900 mapmax=24 N0=900 kernelpagesize_kB=4\n"
        b"4 interleave:0-1 anon=10 dirty=10 N0=5 N1=5 kernelpagesize_kB=4\n"
        b"5 weighted interleave:0-1 anon=10 dirty=10 N0=5 N1=5 kernelpagesize_kB=4\n"
        b"6 prefer (many):0-1 stack anon=1 dirty=1 N0=1 kernelpagesize_kB=64\n"
        b"7 default file=/data/interleave.bin mapped=10 N0=10 kernelpagesize_kB=4\n",
        sharers=3,
    )
    assert pages.own_bytes_by_node == {1: 3 << 21, 0: 8 * 4096 + (64 << 10)}
    assert not pages.maps_driver


@given(st.binary(max_size=300))
def test_any_bytes_are_counted_without_failing(text: bytes) -> None:
    pages_by_node(text)


@pytest.mark.parametrize(
    ("text", "manager", "unit", "cpuset"),
    [
        (
            "0::/system.slice/slurmstepd.scope/job_8123/step_0/user/task_4\n", "slurm", "slurmstepd.scope",
            "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_8123/step_0/user/task_4/cpuset.cpus.effective",
        ),
        (
            "9:name=systemd:/system.slice/slurmd.service\n3:cpuset:/slurm/uid_1001/job_7/step_0/task_0\n", "slurm", "",
            "/sys/fs/cgroup/cpuset/slurm/uid_1001/job_7/step_0/task_0/cpuset.effective_cpus",
        ),
        (
            "0::/kubepods.slice/kubepods-besteffort.slice/x.slice\n", "kubernetes", "x.slice",
            "/sys/fs/cgroup/kubepods.slice/kubepods-besteffort.slice/x.slice/cpuset.cpus.effective",
        ),
        (
            f"0::/system.slice/docker-{'0123456789ab' + 'c' * 52}.scope\n", "container", "0123456789ab",
            f"/sys/fs/cgroup/system.slice/docker-{'0123456789ab' + 'c' * 52}.scope/cpuset.cpus.effective",
        ),
        (
            "0::/user.slice/user-1001.slice/session-3.scope\n", "systemd", "session-3.scope",
            "/sys/fs/cgroup/user.slice/user-1001.slice/session-3.scope/cpuset.cpus.effective",
        ),
        ("0::/\n", None, "", "/sys/fs/cgroup/cpuset.cpus.effective"),
    ],
)  # fmt: skip
def test_who_placed_a_process_and_where_its_cpuset_is(text: str, manager: str | None, unit: str, cpuset: str) -> None:
    read = parse_cgroup(text)
    assert (read.manager, read.unit, read.cpusets[0]) == (manager, unit, cpuset)


def test_a_cgroup_outside_of_this_namespace_has_no_cpuset_here() -> None:
    assert parse_cgroup("0::/../other.service\n").cpusets == ()


@pytest.mark.parametrize("text", ["", "nonsense"])
def test_a_cgroup_that_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        parse_cgroup(text)
