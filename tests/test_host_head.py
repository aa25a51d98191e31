"""The host in the report's head, with -v."""

from __future__ import annotations

import pytest
import sample_reports
from casebook import load_node
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.cli.description import FACTS, described
from gpudoctor.collect.collector import collect
from gpudoctor.node.archive import Archive
from gpudoctor.node.recorded import RecordedNode
from gpudoctor.render.host import host
from gpudoctor.render.screen import Screen
from gpudoctor.render.terminal import render
from gpudoctor.report import Host, WorkingDirectory

words = st.text(max_size=90) | st.none()
numbers = st.integers(0, 1 << 50) | st.none()


def shown(about: Host, width: int = 100, ascii_only: bool = False) -> list[str]:
    return [line.plain.rstrip() for line in host(about, Screen(width, ascii_only))]


def host_of(name: str) -> Host:
    node = load_node(name)
    found = described(collect(node, FACTS, seconds=10), node)[0].host
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("node", "lines"),
    [
        (
            "made-hgx-2s.node",
            [
                "   CPU      Intel Xeon Gold 6444Y; 2 x 16 cores, 64 CPUs with SMT; governor performance",
                "   memory   1.97 TiB in 2 NUMA nodes; no swap",
                "   works in /root: ext4 on NVMe",
            ],
        ),
        (
            "made-vm-qemu.node",
            [
                "   CPU      Intel Xeon Platinum 8480+; 2 x 24 cores without SMT",
                "   memory   504 GiB in 2 NUMA nodes; no swap",
                "   works in /root: ext4 on virtual disk",
            ],
        ),
    ],
)
def test_three_lines_of_the_host(node: str, lines: list[str]) -> None:
    assert shown(host_of(node), ascii_only=True) == lines


def test_a_network_file_system_is_named_with_its_server() -> None:
    about = Host(working_directory=WorkingDirectory("/home/x", "nfs4", "filer:/export", "network"))
    assert shown(about) == ["   works in /home/x: nfs4 from filer:/export"]


def test_a_machine_that_answers_nothing_has_no_host() -> None:
    node = RecordedNode(Archive(), "nothing")
    made = described(collect(node, FACTS, seconds=10), node)[0].host
    assert made is None or shown(made) == []


def test_the_host_is_shown_with_v_only() -> None:
    report = sample_reports.report(machine=sample_reports.machine(host=host_of("made-hgx-2s.node")))
    assert "Xeon" not in render(report, Screen())
    assert "Xeon" in render(report, Screen(), verbosity=1)


@given(
    st.builds(
        Host,
        cpu=words,
        sockets=numbers,
        cores=numbers,
        threads=numbers,
        smt=st.booleans() | st.none(),
        numa_nodes=numbers,
        memory_bytes=numbers,
        swap_bytes=numbers,
        governors=st.lists(st.text(max_size=20), max_size=3).map(tuple),
        frequency_driver=words,
        working_directory=st.none() | st.builds(WorkingDirectory, st.text(), st.text(), st.text(), st.text()),
    ),
    st.integers(40, 120),
)
def test_no_line_is_wider_than_the_screen(about: Host, width: int) -> None:
    assert all(line.cell_len <= width for line in host(about, Screen(width)))
