"""NVML answers become facts: true ones exactly, and no answer whatever breaks a collector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from casebook import load_node
from hypothesis import given, settings
from hypothesis import strategies as st

from gpudoctor.collect.answers import fields, item, signed
from gpudoctor.collect.collector import collect
from gpudoctor.collect.gpu_clocks import counters_of
from gpudoctor.collect.gpu_settings import server_gpu
from gpudoctor.collect.nvml import bus_id_of, cuda_version
from gpudoctor.collect.pid import alive
from gpudoctor.facts.fact import Fact
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.gpu_clocks import GpuClocks
from gpudoctor.facts.gpu_gaps import GpuGaps
from gpudoctor.facts.gpu_health import GpuEcc, GpuFabric, GpuMemoryRepair, GpuRecovery
from gpudoctor.facts.gpu_process import GpuMemoryUse
from gpudoctor.facts.gpu_settings import GpuSettings
from gpudoctor.facts.gpu_thermal import GpuPower, GpuThermal
from gpudoctor.facts.nvml import Nvml
from gpudoctor.node.archive import Archive
from gpudoctor.node.recorded import RecordedNode
from gpudoctor.node.surface import NvmlCall
from gpudoctor.unread import Gap, Reading, Unread

BY_GPU: tuple[type[Fact], ...] = (
    Gpu,
    GpuEcc,
    GpuMemoryRepair,
    GpuRecovery,
    GpuFabric,
    GpuClocks,
    GpuThermal,
    GpuPower,
    GpuSettings,
    GpuMemoryUse,
    GpuGaps,
)
ANSWERS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from([Unread(gap, "nvml", "said so") for gap in Gap]),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(["gpu", "total", "used", "pid", "state", "clusterUuid", "busId", "max", "low"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


class Babbling(RecordedNode):
    """Answers NVML with what it is told to, whatever it is asked."""

    def __init__(self, answers: Sequence[Any], gpus: int) -> None:
        super().__init__(Archive(), "babbling")
        self._answers, self._gpus, self._next = answers, gpus, 0

    def nvml(self, calls: Sequence[NvmlCall]) -> tuple[Reading[Any], ...]:
        return tuple(self._answer(call) for call in calls)

    def _answer(self, call: NvmlCall) -> Reading[Any]:
        if call.function == "nvmlDeviceGetCount":
            return self._gpus
        if call.function == "nvmlDeviceGetPciInfo":
            return {"busId": f"00000000:{call.gpu:02X}:00.0"}
        self._next += 1
        return self._answers[self._next % len(self._answers)]


@settings(max_examples=60, deadline=None)
@given(st.lists(ANSWERS, min_size=1, max_size=12), st.integers(0, 3))
def test_no_answer_breaks_a_collector(answers: list[Any], gpus: int) -> None:
    facts = collect(Babbling(answers, gpus), [Nvml, *BY_GPU], seconds=20)
    for kind in BY_GPU:
        held = facts.all(kind)
        assert not isinstance(held, Unread), f"{kind.__name__}: {held}"
        assert len(held) == gpus


@given(ANSWERS)
def test_any_pci_info_is_a_bus_id_or_a_gap(answer: Any) -> None:
    assert isinstance(bus_id_of(answer), (str, Unread))
    assert isinstance(cuda_version(answer), (str, Unread))


@given(ANSWERS, ANSWERS)
def test_any_field_values_are_numbers_or_gaps(answer: Any, key: Any) -> None:
    for value in fields(answer, ("A", "B")).values():
        assert isinstance(value, (int, Unread))
    assert isinstance(item(answer, key), (int, Unread))


@given(st.binary())
def test_any_stat_line_is_a_state(text: bytes) -> None:
    node = RecordedNode(Archive(surfaces={("file", "/proc/7/stat"): text}), "made")
    assert alive(node, 7) in ("running", "zombie")


def test_bus_ids_have_one_form() -> None:
    assert bus_id_of({"busId": "00000000:00:06.0"}) == "0000:00:06.0"
    assert bus_id_of({"busId": "00000001:AF:00.0"}) == "0001:af:00.0"
    assert bus_id_of({"busId": "0000:3b:00.0"}) == "0000:3b:00.0"


def test_cuda_version_is_the_drivers_ceiling() -> None:
    assert cuda_version(13000) == "13.0"
    assert cuda_version(12040) == "12.4"


@pytest.mark.parametrize(
    ("driver", "last"),
    [
        ("590.44.01", (269, 270, 271)),
        ("580.159.04", (269, 270, 271)),
        ("580.82.07", (269, 270, 271)),
        ("580.76.05", ()),
        ("580.65.06", (251, 252, 253)),
        ("575.57.08", (251, 252, 253)),
        ("570.86.10", ()),
        ("garbage", ()),
    ],
)
def test_counters_have_the_ids_of_their_driver(driver: str, last: tuple[int, ...]) -> None:
    assert counters_of(driver)[2:] == last


def test_margins_below_zero() -> None:
    assert signed(4294967294) == -2
    assert signed(-2) == -2
    assert signed(53) == 53


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA H200",
        "NVIDIA A100-SXM4-80GB",
        "NVIDIA H100 80GB HBM3",
        "NVIDIA L40S",
        "NVIDIA L4",
        "NVIDIA A10G",
        "NVIDIA GH200 480GB",
        "NVIDIA GB200",
        "NVIDIA B200",
        "Tesla V100-SXM2-32GB",
        "Tesla T4",
        "NVIDIA RTX PRO 6000 Blackwell Server Edition",
    ],
)
def test_server_gpus(name: str) -> None:
    assert server_gpu(name) is True


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA GeForce RTX 4090",
        "NVIDIA RTX A6000",
        "NVIDIA RTX 6000 Ada Generation",
        "NVIDIA T400",
        "NVIDIA TITAN V",
        "Quadro GV100",
        "NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
    ],
)
def test_desk_gpus(name: str) -> None:
    assert server_gpu(name) is False


def test_a_recorded_h200() -> None:
    facts = collect(load_node("h200x1.node"), [Nvml, *BY_GPU], seconds=20)
    nvml = facts.one(Nvml)
    assert isinstance(nvml, Nvml)
    assert nvml.bus_ids == {0: "0000:00:06.0"}
    (gpu,) = facts.all(Gpu)  # type: ignore[misc]
    assert (gpu.name, gpu.architecture, gpu.compute_capability) == ("NVIDIA H200", "Hopper", (9, 0))
    assert gpu.memory_total_bytes == 150754820096
    (gaps,) = facts.all(GpuGaps)  # type: ignore[misc]
    assert {each.gap.gap for each in gaps.unread} == {Gap.UNSUPPORTED}


def test_a_busy_h200_is_held_by_its_power_cap_all_the_time() -> None:
    facts = collect(load_node("h200x1-busy.node"), [GpuClocks], seconds=20)
    (clocks,) = facts.all(GpuClocks)  # type: ignore[misc]
    assert clocks.reasons == ("sw_power_cap",)
    assert str(clocks.reading("power_cap_share")).startswith("nvmlDeviceGetFieldValues: not sampled: the power limit")


def test_counters_are_sampled_where_one_of_them_ever_counted_a_fault() -> None:
    question = (
        "nvmlDeviceGetFieldValues(gpu 0, NVML_FI_DEV_PERF_POLICY_POWER, NVML_FI_DEV_PERF_POLICY_THERMAL, 269, 270, 271)"
    )
    first, later = [[74, 0, 7], [75, 0, 0], [269, 0, 0], [270, 0, 5_000_000_000], [271, 0, 0]], None
    later = [[74, 0, 7], [75, 0, 0], [269, 0, 0], [270, 0, 5_052_500_000], [271, 0, 0]]
    node = load_node("h200x1-busy.node").with_surfaces({("nvml", question): first, ("nvml", f"{question} #1"): later})
    (clocks,) = collect(node, [GpuClocks], seconds=20).all(GpuClocks)  # type: ignore[misc]
    assert (clocks.hw_thermal_share, clocks.power_brake_share) == (0.5, 0.0)


def test_no_nvidia_at_all_is_not_a_gap() -> None:
    absent = Unread(Gap.ABSENT, "libnvidia-ml.so.1", "no such library")
    bare = Babbling([absent], 0)
    bare.nvml = lambda calls: (absent,) * len(calls)  # type: ignore[method-assign]
    facts = collect(bare, [Nvml, GpuEcc], seconds=20)
    assert facts.one(Nvml) is None
    assert facts.all(GpuEcc) == ()


def test_an_nvidia_gpu_without_nvml_is_a_gap() -> None:
    absent = Unread(Gap.ABSENT, "libnvidia-ml.so.1", "no such library")
    node = load_node("h200x1.node")
    node.nvml = lambda calls: (absent,) * len(calls)  # type: ignore[method-assign]
    facts = collect(node, [Nvml, GpuEcc], seconds=20)
    nvml = facts.one(Nvml)
    assert isinstance(nvml, Nvml)
    assert nvml.reading("driver_version") == absent
    assert facts.all(GpuEcc) == absent
