"""CPU lists and NUMA nodes."""

from __future__ import annotations

import pytest
from casebook import load_node
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.collect.collector import collect
from gpudoctor.facts.numa import Numa, NumaNode, cpu_list
from gpudoctor.parse.cpu_list import cpus_in
from gpudoctor.unread import Gap, Unread


@given(st.frozensets(st.integers(0, 500)))
def test_a_list_of_cpus_is_read_as_it_was_written(cpus: frozenset[int]) -> None:
    assert cpus_in(cpu_list(cpus)) == cpus


def test_strides_and_empty_lists() -> None:
    assert cpus_in("0-7:2/4") == {0, 1, 4, 5}
    assert cpus_in("") == cpus_in("\n") == frozenset()


@pytest.mark.parametrize("text", ["3-1", "a", "1-", "-1", "0-9999999999"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no range of CPUs"):
        cpus_in(text)


def test_memory_without_cpus_is_near_the_cpus_of_the_closest_node() -> None:
    cpu, other, gpu = (
        NumaNode(0, frozenset({0, 1}), 8, 4, (10, 40, 80)),
        NumaNode(1, frozenset({2, 3}), 8, 4, (40, 10, 120)),
        NumaNode(2, frozenset(), 96, 96, (80, 120, 10)),
    )
    numa = Numa(nodes=(cpu, other, gpu), balancing=0, zone_reclaim=0)
    assert numa.cpus_of(2) == {0, 1}
    assert numa.home_of(-1) is None
    assert numa.home_of(1) == 1
    assert Numa(nodes=(cpu, gpu), balancing=0, zone_reclaim=0).home_of(-1) == 0


@pytest.mark.parametrize(
    ("online", "meminfo", "cpus"),
    [
        (b"0-3\n", b"MemTotal:       16 kB\nMemFree:        4 kB\n", {0, 1, 2, 3}),
        (b"0-3\n", b"MemFree:        4 kB\n", None),
        (b"3-1\n", b"MemTotal:       16 kB\nMemFree:        4 kB\n", None),
    ],
)
def test_a_kernel_without_numa_is_one_node(online: bytes, meminfo: bytes, cpus: set[int] | None) -> None:
    node = load_node("made-ws-4gpu.node").with_surfaces(
        {
            ("dir", "/sys/devices/system/node"): Unread(Gap.ABSENT, "/sys/devices/system/node"),
            ("file", "/sys/devices/system/cpu/online"): online,
            ("file", "/proc/meminfo"): meminfo,
        }
    )
    numa = collect(node, [Numa], seconds=10).one(Numa)
    assert isinstance(numa, Numa)
    nodes = numa.reading("nodes")
    if cpus is None:
        assert nodes.gap is Gap.MALFORMED
    else:
        assert nodes == (NumaNode(0, frozenset(cpus), 16 << 10, 4 << 10, (10,)),)
