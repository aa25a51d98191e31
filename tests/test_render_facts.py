"""Facts as a person reads them: records in words, numbers of CPUs as ranges, of many elements the first few."""

from __future__ import annotations

import time

import sample_pictures
from casebook import load_node
from sample_pictures import GPUS, told

from gpudoctor.catalog import Catalog
from gpudoctor.cli.scanning import every_fact
from gpudoctor.facts.fact import Fact, Facts
from gpudoctor.facts.numa import Numa
from gpudoctor.facts.pci import PciDevice
from gpudoctor.facts.peers import GpuPeers, PeerAccess
from gpudoctor.facts.process import GpuProcess
from gpudoctor.facts.topology import Topology
from gpudoctor.render import facts as page
from gpudoctor.render.json import json_safe
from gpudoctor.render.screen import Screen
from gpudoctor.unread import Gap, Unread


def words_of(*held: Fact) -> str:
    return " ".join(page.render(Facts({type(each): each for each in held}), Screen()).split())


def test_numbers_of_cpus_are_ranges() -> None:
    said = words_of(sample_pictures.numa())
    assert "number 0, cpus 0-15,32-47, memory_bytes 1081258016768," in said
    assert "distances (10, 21)" in said


def test_records_inside_records_are_words() -> None:
    first, second = map(sample_pictures.subject, GPUS[:2])
    said = words_of(
        told(GpuPeers, pairs=(PeerAccess(first, second, "ok"),)),
        sample_pictures.held()[Topology],  # type: ignore[arg-type]
    )
    assert "first GPU 0 (0000:19:00.0), second GPU 1 (0000:1a:00.0), read ok" in said
    assert "0000:19:00.0 (0000:19:00.0 X, 0000:1a:00.0 NV18," in said
    assert "GPU 3 (0000:9a:00.0)" in said


def test_a_gap_inside_a_fact_says_why() -> None:
    gap = Unread(Gap.DENIED, "/proc/1/status", "Permission denied", "run as root")
    assert "cpus_allowed ? /proc/1/status: Permission denied (run as root)" in words_of(
        sample_pictures.process(1, GPUS[:1], gap, "python")
    )


def test_no_fact_of_any_node_shows_as_code() -> None:
    for name in ("made-hgx-2s-job.node", "made-mi300x8-job.node", "h200x4-faults.node"):
        facts = every_fact(load_node(name), Catalog.installed(), 30.0, began=time.monotonic())
        said = page.render(facts, Screen())
        assert "{'" not in said
        assert "frozenset" not in said
        assert "Struct" not in said


def test_numbers_in_json_are_in_the_order_of_numbers() -> None:
    assert json_safe(frozenset({2, 10, 1})) == [1, 2, 10]
    assert json_safe(frozenset({"b", "a"})) == ["a", "b"]


def test_pci_numbers_are_written_as_sysfs_writes_them() -> None:
    device = sample_pictures.held()[PciDevice][0]  # type: ignore[index]
    assert "class_code 0x060400" in words_of(device)


def test_a_process_and_its_memory_by_node() -> None:
    process = sample_pictures.process(1, GPUS[:1], frozenset({0, 1, 2, 3, 32}), "python")
    said = words_of(process.with_fields(memory_bytes_by_node={0: 4096}))
    assert "cpus_allowed 0-3,32" in said
    assert "memory_bytes_by_node 0 4096" in said


def test_nothing_is_none() -> None:
    assert "nodes none" in words_of(told(Numa, nodes=()))
    assert "pairs none" in words_of(told(GpuPeers, pairs=()))
    assert "GpuProcess – none" in " ".join(page.render(Facts({GpuProcess: ()}), Screen()).split())
