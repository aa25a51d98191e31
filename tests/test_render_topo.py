"""The picture on a terminal, as exact text. GPUDOCTOR_UPDATE=1 writes tests/pages anew, to be read in the diff."""

from __future__ import annotations

import os
import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sample_pictures
import sample_reports
from casebook import load_node
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_pictures import GONE, GPUS, NICS, PATHS

from gpudoctor.collect.collector import collect
from gpudoctor.facts.fact import Facts
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.nic import Nic
from gpudoctor.facts.numa import Numa
from gpudoctor.facts.pci import PciDevice
from gpudoctor.facts.pcie import PcieLink
from gpudoctor.facts.topology import Topology
from gpudoctor.render.screen import Screen
from gpudoctor.render.topo import terminal
from gpudoctor.render.topo.drawn import FACTS, draw
from gpudoctor.render.topo.picture import Picture

PAGES = Path(__file__).parent / "pages"
MADE = ("made-hgx-2s", "made-hgx-2s-job", "made-ws-4gpu", "made-vm-qemu", "made-gh200", "mi300x8")


@cache
def made(name: str) -> Picture:
    """A recorded node and no findings: what is found there is for the checks' own cases."""
    gpus = sample_reports.machine(gpus=())
    return draw(collect(load_node(f"{name}.node"), FACTS, seconds=30), sample_reports.report(machine=gpus))


def picture(name: str) -> Picture:
    return made(name) if name in MADE else getattr(sample_pictures, name)()


def same_page(name: str, page: str) -> None:
    path = PAGES / f"topo.{name}.txt"
    if os.environ.get("GPUDOCTOR_UPDATE") == "1":
        path.write_text(page)
    assert page == path.read_text()


def page_of(name: str, width: int = 100, verbosity: int = 0, **screen: Any) -> str:
    return terminal.render(picture(name), Screen(width, **screen), verbosity=verbosity)


def line_of(page: str, label: str) -> str:
    return next(line for line in page.split("\n") if f"{label} " in line)


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("name", ["broken", "nasty", "no_gpu", "unread", *MADE])
def test_page_is_exactly_this(name: str, width: int) -> None:
    same_page(f"{name}.{width}", page_of(name, width))


def test_everything_with_v_and_all_in_ascii() -> None:
    same_page("broken.100.v", page_of("broken", verbosity=1))
    page = page_of("broken", 80, ascii_only=True)
    same_page("broken.80.ascii", page)
    assert page.isascii()


@pytest.mark.parametrize("width", [40, 61, 80, 100, 120])
@pytest.mark.parametrize("name", [*sample_pictures.NAMES, *MADE])
@pytest.mark.parametrize("verbosity", [0, 1])
def test_no_line_is_wider_than_the_screen(name: str, width: int, verbosity: int) -> None:
    page = page_of(name, width, verbosity)
    assert [line for line in page.split("\n") if len(line) > width] == []


def test_matrices_of_eight_gpus_and_eight_adapters_fit_80_columns() -> None:
    page = page_of("made-hgx-2s", 80)
    heads = [line.split() for line in page.split("\n") if line.split()[:1] in (["GPU0"], ["NIC0"])]
    assert heads[0] == [*(f"GPU{n}" for n in range(8)), "CPU", "Affinity", "NUMA", "Affinity"]
    assert [f"NIC{n}" for n in range(8)] in heads
    assert " GPU0  X    NV18 NV18 NV18 NV18 NV18 NV18 NV18 0-15,32-47    0" in page
    assert " GPU4  SYS  SYS  SYS  SYS  PIX  PIX  NODE NODE" in page


def test_matrices_of_sixteen_gpus_go_on_below() -> None:
    page = page_of("sixteen", 80)
    heads = [line.split() for line in page.split("\n") if re.match(r" +(GPU|NIC)\d+ ", line)]
    named = [word for head in heads for word in head if re.fullmatch(r"GPU\d+", word)]
    assert sorted({*named}, key=lambda word: int(word[3:])) == [f"GPU{n}" for n in range(16)]
    assert "GPU 0,2,4,6,8,10,12,14  CPU Affinity 0-15,32-47; NUMA Affinity 0" in page


def test_firmware_that_tells_of_one_device_below_a_switch_and_not_of_another() -> None:
    facts = sample_pictures.held()
    devices = facts[PciDevice]
    facts[PciDevice] = tuple(d.with_fields(numa_node=-1) if d.bus_id == GPUS[0] else d for d in devices)  # type: ignore[union-attr]
    homes = {**{b: sample_pictures.home(b) for b in (*GPUS, *NICS)}, GPUS[0]: None}
    facts[Topology] = facts[Topology].with_fields(homes=homes)  # type: ignore[union-attr]
    page = terminal.render(draw(Facts(facts), sample_pictures.report()), Screen())
    assert "NUMA node not told" in line_of(page, "GPU 0")
    assert page.count("NUMA node not told") == 1


def test_a_finding_of_the_whole_node_is_told_once_and_marked_where_it_names_devices() -> None:
    found = sample_reports.finding(
        "ACS_BLOCKS_P2P", "pcie", "warning", "Peers go through the CPU", values={"switches": "0000:16:00.0", "count": 2}
    )
    made = sample_pictures.report(findings=(found,), root_causes=(found.id,))
    page = terminal.render(draw(Facts(sample_pictures.held()), made), Screen())
    assert page.count("Peers go through the CPU") == 1
    assert "▲" in next(line for line in page.split("\n") if "switch" in line)
    assert page.count("ACS_BLOCKS_P2P  see Also found") == 1


def test_each_link_says_what_it_runs_at_and_what_it_could() -> None:
    page = page_of("broken")
    assert "17:00.0 ─ 19:00.0  x16 Gen5 " in line_of(page, "GPU 0")
    assert "17:01.0 ─ 1a:00.0  x8 of x16 Gen5 " in line_of(page, "GPU 1")
    assert "x16 Gen1 of Gen5, idle" in line_of(page, "─ GPU 3")
    assert "InfiniBand down (Polling)" in line_of(page, "NIC1 mlx5_1")


def test_an_idle_link_raises_no_alarm() -> None:
    page = page_of("made-ws-4gpu")
    assert "x16 Gen1 of Gen4, idle" in line_of(page, "GPU 0")
    assert not set(page) & set("✖▲")
    assert "Nothing is marked." in page


def test_a_card_that_can_more_than_its_slot_says_so() -> None:
    facts = sample_pictures.held()
    slot = PATHS[GPUS[0]][-1]
    facts[PcieLink] = (sample_pictures.pcie_link(GPUS[0], "gpu", slot, 8, 32.0, width_max=16),)
    page = terminal.render(draw(Facts(facts), sample_pictures.report()), Screen())
    assert "x8 Gen5 (card x16)" in line_of(page, "GPU 0")


def test_faults_stand_where_they_are_and_symptoms_under_their_root() -> None:
    page = page_of("broken").split("\n")
    at = next(n for n, line in enumerate(page) if "GPU 1 ✖" in line)
    assert "✖ PCIE_WIDTH_DEGRADED  runs at x8 of x16" in page[at + 1]
    assert "↳ PCIE_AER  412 corrected errors at PCI bridge 0000:17:01.0  (explained by" in page[at + 2]
    assert "Also found" in page[next(n for n, line in enumerate(page) if "NUMA_BALANCING_ON" in line) - 1]


def test_a_pair_is_marked_in_its_cell_and_at_both_ends() -> None:
    page = page_of("broken")
    assert page.count("NVLINK_MISSING_PAIR") == 2
    assert [line for line in page.split("\n") if "SYS✖" in line] == [
        line for line in page.split("\n") if re.match(r" GPU[03]  .*NV18", line)
    ]


def test_what_is_only_worth_knowing_waits_for_v() -> None:
    assert "PERSISTENCE_OFF" not in page_of("broken")
    assert "PERSISTENCE_OFF" in page_of("broken", verbosity=1)


def test_processes_are_shown_with_v_and_a_misplaced_one_always() -> None:
    page, whole = page_of("broken"), page_of("broken", verbosity=1)
    assert "pid 4411  python train.py  on CPUs 0-15" in page
    assert "pid 4412" not in page
    assert "pid 4412  python serve.py" in whole


def test_the_only_nodes_memory_is_the_machines() -> None:
    assert "252 GiB memory" in page_of("made-ws-4gpu")
    assert line_of(page_of("made-ws-4gpu"), "NUMA node 0") == " NUMA node 0   CPUs 0-47"


def test_grace_has_memory_without_cpus() -> None:
    page = page_of("made-gh200")
    assert re.search(r"NUMA node 1 +no CPUs +96 GiB", page)
    assert "0009:00:00.0 ─ 0009:01:00.0" in page
    assert "C2C to its CPU" in page


def test_xgmi_joins_amds_gpus() -> None:
    page = page_of("mi300x8")
    assert "xGMI to 7 GPUs" in line_of(page, "GPU 0")
    assert re.search(r" GPU7 ( +XGMI){7} +X  ", page)


def test_a_virtual_machine_says_what_it_hides() -> None:
    flat = sample_pictures.held()
    flat[PciDevice] = tuple(device.with_fields(path=()) for device in flat[PciDevice])  # type: ignore[union-attr]
    machine = msgspec.structs.replace(sample_pictures.report().machine, virtualization="vm")
    page = terminal.render(draw(Facts(flat), sample_pictures.report(machine=machine)), Screen())
    assert "This virtual machine shows no bridge above its GPUs" in page


def test_a_node_of_which_nothing_is_known_is_not_called_fine() -> None:
    page = page_of("unread")
    assert "GPUs not known" in page
    assert "Nothing of this node could be drawn." in page
    assert "The PCI bus: the scan: had no answer after 20 s (raise --timeout)" in page


def test_a_node_that_the_firmware_does_not_tell_is_said() -> None:
    facts = sample_pictures.held()
    facts[PciDevice] = tuple(d.with_fields(numa_node=-1) for d in facts[PciDevice])  # type: ignore[union-attr]
    homes = dict.fromkeys((*GPUS, *NICS), None)
    facts[Topology] = facts[Topology].with_fields(homes=homes)  # type: ignore[union-attr]
    page = terminal.render(draw(Facts(facts), sample_pictures.report()), Screen())
    assert page.index("On which NUMA node, nobody says") < page.index("GPU 0")


@pytest.mark.parametrize("name", ["broken", "nasty"])
def test_colour_says_nothing_that_words_do_not(name: str) -> None:
    coloured = page_of(name, color=True)
    assert "\x1b[" in coloured
    bare = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [x.rstrip() for x in bare.split("\n")] == [x.rstrip() for x in page_of(name).split("\n")]


@pytest.mark.parametrize("verbosity", [0, 1])
def test_hostile_text_stays_text(verbosity: int) -> None:
    page = page_of("nasty", verbosity=verbosity)
    assert "[red]not markup[/red]" in page
    assert {c for c in page if unicodedata.category(c) in ("Cc", "Cf", "Cs")} == {"\n"}
    page.encode()


words = st.text(max_size=40) | st.sampled_from(["mlx5_0", "x" * 60, "漢字" * 20])
buses = st.integers(0, 255).map(lambda bus: f"0000:{bus:02x}:00.0") | st.just("10000:e1:00.0")


@st.composite
def machines(draw_from: st.DrawFn) -> Facts:
    """A node with any tree, any names, any numbers, and gaps anywhere."""
    facts = sample_pictures.held()
    paths = draw_from(st.dictionaries(buses, st.lists(buses, max_size=7).map(tuple), max_size=8))
    kinds = st.sampled_from(["gpu", "nic", "nvme", "nvswitch", "bridge", "other"])
    devices = [sample_pictures.pci_device(b, "nvme", path) for b, path in paths.items()]
    devices = [d.with_fields(kind=draw_from(kinds), numa_node=draw_from(st.integers(-1, 3))) for d in devices]
    facts[PciDevice] = (*facts[PciDevice], *devices)  # type: ignore[misc]
    wide = st.integers(0, 64) | st.just(GONE)
    links = [
        link.with_fields(width=draw_from(wide), speed_gts=draw_from(st.floats(0, 300)), upper_width_max=draw_from(wide))
        for link in facts[PcieLink]  # type: ignore[union-attr]
    ]
    facts[PcieLink] = tuple(links)
    facts[Gpu] = tuple(g.with_fields(name=draw_from(words)) for g in facts[Gpu])  # type: ignore[union-attr]
    facts[Nic] = tuple(sample_pictures.nic(b, draw_from(words), draw_from(words)) for b in NICS)
    for kind in draw_from(st.sets(st.sampled_from(sorted(facts, key=str)))):
        facts[kind] = GONE
    if draw_from(st.booleans()) and facts[Numa] is not GONE:
        facts[Numa] = facts[Numa].with_fields(nodes=GONE)  # type: ignore[union-attr]
    return Facts(facts)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(machines(), st.integers(40, 120), st.integers(0, 1), st.booleans())
def test_no_facts_break_the_page(facts: Facts, width: int, verbosity: int, ascii_only: bool) -> None:
    from rich.cells import cell_len

    page = terminal.render(draw(facts, sample_pictures.report()), Screen(width, ascii_only), verbosity=verbosity)
    assert [line for line in page.split("\n") if cell_len(line) > width] == []
    assert page.isascii() or not ascii_only
