"""The matrix against what nvidia-smi printed on machines whose PCI trees are public."""

from __future__ import annotations

from typing import Any

import pytest
from casebook import load_node
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.collect.collector import collect
from gpudoctor.collect.topology import _Place, nvlinks_between, pci_level
from gpudoctor.facts.nvlink import GpuNvLinks, NvLink
from gpudoctor.facts.pci import gpu_subject
from gpudoctor.facts.topology import Topology
from gpudoctor.parse.kfd import bus_id_of_node, properties
from gpudoctor.unread import Gap, Unread


def place(path: str, bridge: str = "pci0000:00", home: int | None = 0) -> _Place:
    return _Place(tuple(path.split()), bridge, home)


LEVELS = [
    # HGX H100: a GPU and its ConnectX-7 below one switch
    ("PIX", place("root up down0"), place("root up down1")),
    # the two ports of one adapter
    ("PIX", place("root up down1"), place("root up down1")),
    # DGX A100: switch partitions below a switch, https://github.com/NVIDIA/nccl/issues/1505
    ("PXB", place("root up down0 up0 a"), place("root up down1 up1 b")),
    # an adapter with a switch of its own beside a GPU
    ("PXB", place("root up down0"), place("root up down1 own below")),
    # GPUs on two root ports, and GPUs on a flat bus of a virtual machine
    ("PHB", place("root0"), place("root1")),
    ("PHB", place(""), place("")),
    # EPYC has four root complexes in one socket
    ("NODE", place("root0"), place("root1", "pci0000:40")),
    ("SYS", place("root0"), place("root1", "pci0000:80", 1)),
    # DGX A100 has eight NUMA nodes: another node of the same socket is SYS too
    ("SYS", place("root0", "pci0000:00", 3), place("root1", "pci0000:20", 1)),
]


@pytest.mark.parametrize(("level", "here", "there"), LEVELS)
def test_level(level: str, here: _Place, there: _Place) -> None:
    assert pci_level(here, there) == level
    assert pci_level(there, here) == level


def linked(index: int, *peers: str, switch: int = 0) -> GpuNvLinks:
    unread: Any = Unread(Gap.NOT_RECORDED, "nowhere")
    links = [NvLink(n, True, 3, "gpu", peer, 25781) for n, peer in enumerate(peers)]
    links += [NvLink(len(links) + n, True, 6, "switch", None, 26562) for n in range(switch)]
    subject = gpu_subject(f"0000:0{index}:00.0", index)
    return GpuNvLinks(subject, tuple(links), unread, unread, unread, False)


def test_direct_links_count_those_between_the_two() -> None:
    one, two = "0000:01:00.0", "0000:02:00.0"
    assert nvlinks_between(linked(1, two, two, "0000:03:00.0"), linked(2, one, one)) == 2
    assert nvlinks_between(linked(1, two), linked(4, "0000:03:00.0")) == 0


def test_through_switches_the_weaker_one_counts() -> None:
    assert nvlinks_between(linked(1, switch=18), linked(2, switch=17)) == 17


def test_four_h200_of_a_board_in_a_virtual_machine() -> None:
    """As the real machine answers: switches that the guest does not see, a flat bus, one NUMA node."""
    nowhere = {"busId": "FFFFFFFF:FF:FF.0", "domain": 4294967295, "bus": 255, "device": 255}
    answers: dict[str, object] = {}
    for gpu in range(4):
        speeds = ", ".join(f"NVML_FI_DEV_NVLINK_GET_SPEED:{link}" for link in range(18))
        answers[f"nvmlDeviceGetFieldValues(gpu {gpu}, NVML_FI_DEV_NVLINK_LINK_COUNT)"] = [[91, 0, 18]]
        answers[f"nvmlDeviceGetFieldValues(gpu {gpu}, {speeds})"] = [[164, 0, 26562]] * 18
        for link in range(18):
            answers[f"nvmlDeviceGetNvLinkState(gpu {gpu}, {link})"] = 1
            answers[f"nvmlDeviceGetNvLinkVersion(gpu {gpu}, {link})"] = 6
            answers[f"nvmlDeviceGetNvLinkRemoteDeviceType(gpu {gpu}, {link})"] = 2
            answers[f"nvmlDeviceGetNvLinkRemotePciInfo(gpu {gpu}, {link})"] = nowhere
    node = load_node("h200x4.node").with_surfaces({("nvml", call): answer for call, answer in answers.items()})
    topology = collect(node, [Topology], seconds=30).one(Topology)
    assert isinstance(topology, Topology)
    gpus = [subject.id for subject in topology.gpus]
    assert [[str(topology.between(a, b)) for b in gpus] for a in gpus] == [
        ["X" if a == b else "NV18" for b in gpus] for a in gpus
    ]
    assert {str(topology.pci_ways[a][b]) for a in gpus for b in gpus if a != b} == {"PHB"}
    assert topology.nics == ()


def test_matrix_of_the_two_socket_board() -> None:
    topology = collect(load_node("made-hgx-2s.node"), [Topology], seconds=30).one(Topology)
    assert isinstance(topology, Topology)
    assert [nic.label.split(",")[0] for nic in topology.nics][:2] == ["NIC0 (mlx5_0", "NIC1 (mlx5_1"]
    first = topology.gpus[0].id
    assert [str(topology.between(first, nic.id)) for nic in topology.nics] == ["PIX"] * 2 + ["NODE"] * 2 + ["SYS"] * 4
    assert [str(topology.between(first, gpu.id)) for gpu in topology.gpus] == ["X"] + ["NV18"] * 7


def test_matrix_without_sysfs_paths_is_nvmls() -> None:
    node = load_node("made-ws-4gpu.node")
    hidden: Any = {
        key: Unread(Gap.DENIED, key[1], "Permission denied")
        for key in [("link", f"/sys/bus/pci/devices/{bus}:00.0") for bus in ("0000:01", "0000:21", "0000:41")]
    }
    topology = collect(node.with_surfaces(hidden), [Topology], seconds=30).one(Topology)
    seen = collect(node, [Topology], seconds=30).one(Topology)
    assert isinstance(topology, Topology)
    assert isinstance(seen, Topology)
    assert topology.pci_ways == seen.pci_ways


def test_hive_of_mi300x() -> None:
    topology = collect(load_node("mi300x8.node"), [Topology], seconds=30).one(Topology)
    assert isinstance(topology, Topology)
    gpus = [subject.id for subject in topology.gpus]
    assert {str(topology.between(a, b)) for a in gpus for b in gpus if a != b} == {"XGMI"}


@given(st.text())
def test_no_properties_of_amdkfd_crash_the_parser(text: str) -> None:
    bus_id_of_node(properties(text))


def test_place_of_an_amdkfd_node() -> None:
    assert bus_id_of_node({"simd_count": 1216, "location_id": 0x4600, "domain": 0}) == "0000:46:00.0"
    assert bus_id_of_node({"simd_count": 0, "location_id": 0}) is None
