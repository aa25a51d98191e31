"""Boards of which no recording is at hand: direct links, bridges, old drivers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import pytest
from casebook import load_node
from gpudoctor_checks.topology.fabric import down, errors, slow
from gpudoctor_checks.topology.pairs import unlinked

from gpudoctor.collect.collector import collect
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.nvlink import GpuNvLinks, NvLink
from gpudoctor.facts.pci import gpu_subject
from gpudoctor.facts.peers import GpuPeers, PeerAccess
from gpudoctor.facts.sampling import Counted
from gpudoctor.facts.topology import Topology, Way
from gpudoctor.finding import Finding, Severity
from gpudoctor.unread import Gap, Unread

NOWHERE = Unread(Gap.NOT_RECORDED, "nowhere")
CUBE_MESH = {  # DGX-1 with V100: links between GPUs, https://github.com/NVIDIA/nccl/issues/671
    (0, 1): 1,
    (0, 2): 1,
    (0, 3): 2,
    (0, 4): 2,
    (1, 2): 2,
    (1, 3): 1,
    (1, 5): 2,
    (2, 3): 1,
    (2, 6): 2,
    (3, 7): 2,
    (4, 5): 1,
    (4, 6): 1,
    (4, 7): 2,
    (5, 6): 2,
    (5, 7): 1,
    (6, 7): 1,
}
Edges = Mapping[tuple[int, int], int]


class Board:
    """GPUs of one model with direct links; `lost` of them are down at both ends."""

    def __init__(self, name: str, gpus: int, each: int, edges: Edges, lost: Edges | None = None, speed: int = 25781):
        lost = lost or {}
        subjects = [gpu_subject(f"0000:{index + 1:02x}:00.0", index) for index in range(gpus)]
        self.gpus = tuple(
            Gpu(s, s.id, "nvidia", index, name, *[NOWHERE] * 6)  # type: ignore[arg-type]
            for index, s in enumerate(subjects)
        )
        peers: list[list[str]] = [[] for _ in subjects]
        ways = {a.id: {b.id: Way("X" if a is b else "NODE") for b in subjects} for a in subjects}
        for (a, b), count in edges.items():
            up = count - lost.get((a, b), 0)
            peers[a] += [subjects[b].id] * up
            peers[b] += [subjects[a].id] * up
            if up:
                ways[subjects[a].id][subjects[b].id] = ways[subjects[b].id][subjects[a].id] = Way("NV", up)
        self.links = tuple(
            GpuNvLinks(s, self._links(peers[i], each, speed), NOWHERE, NOWHERE, NOWHERE, False)  # type: ignore[arg-type]
            for i, s in enumerate(subjects)
        )
        homes: dict[str, int | None] = dict.fromkeys((s.id for s in subjects), 0)
        self.topology = Topology(tuple(subjects), (), ways, ways, homes, frozenset())
        self.peers = GpuPeers(tuple(PeerAccess(a, b, "ok") for a, b in combinations(subjects, 2)))
        self.machine = Machine("linux", "host", "6.8", None, False, 0, 0.0, 0.0)

    @staticmethod
    def _links(peers: Sequence[str], each: int, speed: int) -> tuple[NvLink, ...]:
        up = [NvLink(n, True, 3, "gpu", peer, speed) for n, peer in enumerate(peers)]
        return (*up, *(NvLink(n, False, None, "unknown", None, None) for n in range(len(up), each)))

    def down(self) -> list[Finding]:
        return list(down(self.links, self.gpus, None, self.machine))

    def missing(self) -> list[Finding]:
        return list(unlinked(self.topology, self.links, self.gpus, None, self.peers))

    def slow(self) -> list[Finding]:
        return list(slow(self.links, self.gpus))


def test_cube_mesh_is_made_with_gaps() -> None:
    board = Board("Tesla V100-SXM2-32GB", 8, 6, CUBE_MESH)
    assert board.down() == board.missing() == board.slow() == []


def test_both_ends_of_one_lost_way_are_one_pair() -> None:
    board = Board("Tesla V100-SXM2-32GB", 8, 6, CUBE_MESH, lost={(1, 2): 2})
    assert [f.subject.id for f in board.down()] == ["0000:02:00.0+0000:03:00.0"]
    assert [f.subject.id for f in board.missing()] == ["0000:02:00.0+0000:03:00.0"]


def test_four_gpus_of_which_each_reaches_each() -> None:
    whole = dict.fromkeys(combinations(range(4), 2), 4)
    assert Board("NVIDIA A100-SXM4-40GB", 4, 12, whole).missing() == []
    hurt = Board("NVIDIA A100-SXM4-40GB", 4, 12, whole, lost={(0, 3): 1})
    assert [f.subject.id for f in hurt.down()] == ["0000:01:00.0+0000:04:00.0"]
    assert hurt.missing() == []


def test_bridges_join_neighbours_only() -> None:
    joined = {(0, 1): 4, (2, 3): 4, (4, 5): 4, (6, 7): 4}
    board = Board("NVIDIA RTX A6000", 8, 4, joined, speed=14062)
    assert board.down() == board.missing() == board.slow() == []


def test_cards_without_any_bridge_lack_nothing() -> None:
    for name in ("NVIDIA A100 80GB PCIe", "NVIDIA GeForce RTX 3090", "NVIDIA GeForce RTX 2080 Ti", "NVIDIA H100 NVL"):
        board = Board(name, 4, 4, {})
        assert board.down() == board.missing() == []


def test_one_bridge_of_two_may_have_been_bought_alone() -> None:
    board = Board("NVIDIA GeForce RTX 3090", 4, 4, {(0, 1): 4}, speed=14062)
    assert board.down() == board.missing() == []


def test_one_bridge_missing_among_several() -> None:
    board = Board("NVIDIA A100 80GB PCIe", 8, 12, {(0, 1): 12, (2, 3): 12, (4, 5): 12})
    assert board.down() == []
    (found,) = board.missing()
    assert found.subject.id == "0000:07:00.0+0000:08:00.0"
    assert found.severity is Severity.WARNING


def test_a_board_where_nothing_is_up() -> None:
    board = Board("NVIDIA H100 80GB HBM3", 8, 18, {})
    (found,) = board.down()
    assert found.subject.kind == "node"
    board.machine = board.machine.with_fields(virtualization="vm")
    assert board.down() == []


def test_an_unread_gpu_is_could_not_tell() -> None:
    board = Board("NVIDIA H100 80GB HBM3", 2, 18, {(0, 1): 18}, speed=26562)
    board.links = (board.links[0], board.links[1].with_fields(links=Unread(Gap.TIMED_OUT, "NVML", "hung")))
    with pytest.raises(Unread) as gap:
        board.down()
    assert gap.value.gap is Gap.TIMED_OUT


def test_all_links_below_their_generation() -> None:
    board = Board("NVIDIA A100-SXM4-40GB", 4, 12, dict.fromkeys(combinations(range(4), 2), 4), speed=12500)
    (found,) = board.slow()
    assert found.subject.kind == "node"
    assert found.values["expected_gb_per_s"] == 25


def test_a_driver_that_does_not_count_its_links() -> None:
    """Six links answer, the seventh does not; nor does it tell their speed."""
    count = "nvmlDeviceGetFieldValues(gpu 0, NVML_FI_DEV_NVLINK_LINK_COUNT)"
    changed: dict[tuple[str, str], object] = {("nvml", count): [[91, 2, None]]}
    for link in range(18):
        state = f"nvmlDeviceGetNvLinkState(gpu 0, {link})"
        gone = Unread(Gap.MALFORMED, state, "NVML_ERROR_INVALID_ARGUMENT")
        changed["nvml", state] = 1 if link < 6 else gone
    node = load_node("made-hgx-2s.node").with_surfaces(changed)  # type: ignore[arg-type]
    held = collect(node, [GpuNvLinks], seconds=30).all(GpuNvLinks)
    assert isinstance(held, tuple)
    assert len(held[0].links) == 6
    assert {link.speed_mb_per_s for link in held[0].links} == {None}


def test_counters_are_read_of_a_gpu_with_a_link_down_alone() -> None:
    node = load_node("made-hgx-2s.node").with_surfaces({("nvml", "nvmlDeviceGetNvLinkState(gpu 3, 7)"): 0})
    held = collect(node, [GpuNvLinks], seconds=30).all(GpuNvLinks)
    assert isinstance(held, tuple)
    assert [each.subject.id for each in held if each.get("recoveries") is not None] == [held[3].subject.id]
    gap = held[0].reading("recoveries")
    assert isinstance(gap, Unread)
    assert "--sample" in gap.remedy


def fifth(**counted: Counted | Unread) -> GpuNvLinks:
    """NVLink 5 counts recoveries, and neither replays nor CRC errors of flits."""
    lacking = {name: Unread(Gap.UNSUPPORTED, "NVML", "Not Supported") for name in ("replays", "flit_crc_errors")}
    board = Board("NVIDIA B200", 2, 18, {(0, 1): 18}, speed=53125)
    return board.links[0].with_fields(**{**lacking, **counted})


def test_nvlink_5_counts_recoveries_alone() -> None:
    (found,) = errors((fifth(recoveries=Counted(1, 1.0, "sample")),))
    assert found.severity is Severity.ERROR
    assert (found.values["recoveries"], found.values["replays"]) == ("1 in 1 s", "not counted")
    assert list(errors((fifth(recoveries=Counted(0, 1.0, "sample")),))) == []


def test_nvlink_errors_that_nobody_counted_are_no_good_news() -> None:
    for gap in (Gap.UNSUPPORTED, Gap.TIMED_OUT):
        with pytest.raises(Unread):
            list(errors((fifth(recoveries=Unread(gap, "NVML", "silent")),)))
