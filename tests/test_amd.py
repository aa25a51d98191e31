"""AMD GPUs out of sysfs: the made MI300X node, its multi-value files, and files that hold rubbish."""

from __future__ import annotations

import struct

from casebook import NODES, load_node
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.collect.collector import collect
from gpudoctor.facts.amd import AmdGpu, AmdRas, AmdSensors, GpuMetrics, RasCount
from gpudoctor.node.archive import dump
from gpudoctor.parse.amd import parse_bad_pages, parse_current_level, parse_gpu_metrics, parse_ras_count
from gpudoctor.unread import Gap, Unread


def test_the_made_node_is_what_its_maker_makes() -> None:
    from nodes.make_mi300x8 import node

    assert (NODES / "mi300x8.node").read_text() == dump(node())


def test_eight_gpus_with_memory_sensors_and_counters() -> None:
    facts = collect(load_node("mi300x8.node"), {AmdGpu, AmdRas, AmdSensors}, seconds=30)
    gpus, ras, sensors = facts.all(AmdGpu), facts.all(AmdRas), facts.all(AmdSensors)
    assert not isinstance(gpus, Unread)
    assert not isinstance(ras, Unread)
    assert not isinstance(sensors, Unread)
    assert len(gpus) == len(ras) == len(sensors) == 8
    assert gpus[0].vram_total_bytes == 196592 << 20
    assert gpus[0].link_speed_gts == 32.0
    assert gpus[0].clock_mhz == 132
    assert not [reading for gpu in gpus for _, reading in gpu.readings() if isinstance(reading, Unread)]
    assert {count.block for count in ras[0].counts} >= {"umc", "gfx", "sdma", "xgmi_wafl"}
    assert [t.label for t in sensors[0].temperatures] == ["junction", "mem"]
    assert sensors[0].power_cap_default_watts == 750.0
    assert sensors[0].metrics == GpuMetrics("1.6", 42, 36, 140, 0, 0)


def test_no_amd_gpu_is_no_fact() -> None:
    assert collect(load_node("h200x1.node"), {AmdGpu}, seconds=30).one(AmdGpu) is None


def test_a_file_that_is_missing_costs_only_its_field() -> None:
    bus_id = "0000:05:00.0"
    gone = {("file", f"/sys/bus/pci/devices/{bus_id}/gpu_busy_percent"): Unread(Gap.DENIED, "gpu_busy_percent", "no")}
    gpus = collect(load_node("mi300x8.node").with_surfaces(gone), {AmdGpu}, seconds=30).all(AmdGpu)  # type: ignore[arg-type]
    assert not isinstance(gpus, Unread)
    gpu = next(g for g in gpus if g.bus_id == bus_id)
    assert isinstance(gpu.reading("busy_percent"), Unread)
    assert gpu.vram_total_bytes > 0


def test_ras_counts_of_old_and_new_drivers() -> None:
    assert parse_ras_count("umc", "ue: 3\nce: 12\n") == RasCount("umc", 3, 12, None)
    assert parse_ras_count("umc", "ue: 3\nce: 12\nde: 1\n") == RasCount("umc", 3, 12, 1)
    assert parse_ras_count("umc", "query failed") is None


def test_bad_pages_by_flag() -> None:
    text = "0x00000001 : 0x00001000 : R\n0x00000002 : 0x00001000 : P\n0x00000003 : 0x00001000 : R\nnoise\n"
    assert parse_bad_pages(text) == {"R": 2, "P": 1}


def test_the_marked_level() -> None:
    assert parse_current_level("0: 132Mhz\n1: 2100Mhz *\n") == 2100
    assert parse_current_level("") is None


def test_metrics_of_unknown_versions_are_unsupported_not_zero() -> None:
    unknown = parse_gpu_metrics(struct.pack("<HBB", 64, 9, 1) + bytes(60), "m")
    assert isinstance(unknown, Unread)
    assert unknown.gap is Gap.UNSUPPORTED
    cut = parse_gpu_metrics(struct.pack("<HBB", 64, 1, 5), "m")
    assert isinstance(cut, Unread)
    assert cut.gap is Gap.MALFORMED
    blank = parse_gpu_metrics(struct.pack("<HBB", 64, 1, 5) + b"\xff" * 60, "m")
    assert blank == GpuMetrics("1.5", None, None, None, None, None)


@given(st.binary(max_size=80), st.integers(0, 255), st.integers(0, 9))
def test_no_bytes_crash_the_metrics(data: bytes, size: int, minor: int) -> None:
    for blob in (data, struct.pack("<HBB", size, 1, minor) + data):
        read = parse_gpu_metrics(blob, "m")
        assert isinstance(read, (Unread, GpuMetrics))


@given(st.text(max_size=200))
def test_no_text_crashes_a_parser(text: str) -> None:
    assert sum(parse_bad_pages(text).values()) <= text.count("\n") + 1
    count = parse_ras_count("gfx", text)
    assert count is None or count.uncorrectable >= 0
    level = parse_current_level(text)
    assert level is None or level >= 0
