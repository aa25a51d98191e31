"""NVML through the true worker, against a fake library that hangs, crashes, lies, or is old."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gpudoctor.node.live import LiveNode
from gpudoctor.node.nvml import Nvml
from gpudoctor.node.surface import NvmlCall
from gpudoctor.unread import Gap, Unread

FakeNvml = Callable[..., None]
CALL_SECONDS = 0.5
EIGHT = range(8)


@pytest.fixture
def node(fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., LiveNode]]:
    made: list[LiveNode] = []
    monkeypatch.setattr("gpudoctor.node.nvml.CALL_SECONDS", CALL_SECONDS)

    def make(*lines: str, age: str = "new", seconds: float = 10.0) -> LiveNode:
        fake_nvml(*lines, age=age)
        made.append(LiveNode(seconds=seconds))
        return made[-1]

    yield make
    for one in made:
        one.close()


def of_each(function: str, *args: int | str) -> list[NvmlCall]:
    return [NvmlCall(function, gpu, args) for gpu in EIGHT]


def value(reading: Any) -> Any:
    assert not isinstance(reading, Unread)
    return reading


def gap(reading: object) -> Gap:
    assert isinstance(reading, Unread)
    return reading.gap


def test_values_are_plain(node: Callable[..., LiveNode]) -> None:
    answers = node("gpus 2", "nvmlDeviceGetComputeRunningProcesses_v3 1 value 2", "field:82 0 value 41").nvml(
        [
            NvmlCall("nvmlInit"),
            NvmlCall("nvmlDeviceGetCount"),
            NvmlCall("nvmlDeviceGetName", 1),
            NvmlCall("nvmlDeviceGetCudaComputeCapability", 1),
            NvmlCall("nvmlDeviceGetMemoryInfo", 1),
            NvmlCall("nvmlDeviceGetTemperature", 1, ("NVML_TEMPERATURE_GPU",)),
            NvmlCall("nvmlDeviceGetHandleByIndex", 1),
            NvmlCall("nvmlDeviceGetP2PStatus", 0, (1, "NVML_P2P_CAPS_INDEX_READ")),
            NvmlCall("nvmlDeviceGetComputeRunningProcesses", 1),
            NvmlCall("nvmlDeviceGetFieldValues", 0, ("NVML_FI_DEV_MEMORY_TEMP", "NVML_FI_DEV_RETIRED_PENDING")),
            NvmlCall("nvmlDeviceGetModuleId", 1),
        ]
    )
    process = {"usedGpuMemory": 1 << 30, "gpuInstanceId": 0xFFFFFFFF, "computeInstanceId": 0xFFFFFFFF}
    assert answers == (
        None,
        2,
        "NVIDIA H200",
        [9, 0],
        {"total": 150754820096, "free": 150109880320, "used": 644939776},
        34,
        1,
        0,
        [{"pid": 4000, **process}, {"pid": 4001, **process}],
        [[82, 0, 41], [31, 3, None]],
        1,
    )


def test_structs_that_the_caller_makes(node: Callable[..., LiveNode]) -> None:
    sram, fabric, platform, margin = map(
        value,
        node().nvml(
            [
                NvmlCall("nvmlDeviceGetSramEccErrorStatus", 3),
                NvmlCall("nvmlDeviceGetGpuFabricInfoV", 3),
                NvmlCall("nvmlDeviceGetPlatformInfo", 3),
                NvmlCall("nvmlDeviceGetMarginTemperature", 3),
            ]
        ),
    )
    assert sram["bThresholdExceeded"] == 0
    assert (fabric["state"], fabric["version"] >> 24) == (3, 2)  # this driver refuses the third form
    assert (platform["ibGuid"], platform["moduleId"]) == ("b8" * 16, 4)
    assert margin == 52


def test_one_lost_gpu_and_one_degraded_do_not_stop_the_others(node: Callable[..., LiveNode]) -> None:
    answers = node("* 5 error 15", "nvmlDeviceGetCurrPcieLinkWidth 2 value 8").nvml(
        of_each("nvmlDeviceGetCurrPcieLinkWidth")
    )
    assert gap(answers[5]) is Gap.LOST
    assert str(answers[5]).startswith("nvmlDeviceGetCurrPcieLinkWidth(gpu 5): NVML_ERROR_GPU_IS_LOST: ")
    assert [a for i, a in enumerate(answers) if i != 5] == [16, 16, 8, 16, 16, 16, 16]


@pytest.mark.parametrize(
    ("code", "expected", "name"),
    [
        (2, Gap.UNSUPPORTED, "NVML_ERROR_INVALID_ARGUMENT"),
        (3, Gap.UNSUPPORTED, "NVML_ERROR_NOT_SUPPORTED"),
        (6, Gap.ABSENT, "NVML_ERROR_NOT_FOUND"),
        (4, Gap.DENIED, "NVML_ERROR_NO_PERMISSION"),
        (10, Gap.TIMED_OUT, "NVML_ERROR_TIMEOUT"),
        (16, Gap.MALFORMED, "NVML_ERROR_RESET_REQUIRED"),
        (999, Gap.MALFORMED, "NVML_ERROR_UNKNOWN"),
        (4242, Gap.MALFORMED, "NVML_ERROR_4242"),
    ],
)
def test_errors_are_gaps_that_keep_their_name(
    node: Callable[..., LiveNode], code: int, expected: Gap, name: str
) -> None:
    (answer,) = node(f"nvmlDeviceGetName 0 error {code}").nvml([NvmlCall("nvmlDeviceGetName", 0)])
    assert gap(answer) is expected
    assert answer.detail.startswith(f"{name}: ")


@pytest.mark.parametrize(("code", "expected"), [(9, Gap.ABSENT), (18, Gap.MALFORMED), (999, Gap.MALFORMED)])
def test_an_init_that_fails_is_everybodys_reason(node: Callable[..., LiveNode], code: int, expected: Gap) -> None:
    answers = node(f"nvmlInit * error {code}").nvml([NvmlCall("nvmlInit"), *of_each("nvmlDeviceGetName")])
    assert {gap(a) for a in answers} == {expected}
    assert len({a.detail for a in answers}) == 1


def test_an_old_driver_lacks_functions_and_says_so(node: Callable[..., LiveNode]) -> None:
    calls = [NvmlCall("nvmlDeviceGetSramEccErrorStatus", 0), NvmlCall("nvmlDeviceGetCurrentClocksEventReasons", 0)]
    *absent, name = node(age="old").nvml([*calls, NvmlCall("nvmlDeviceGetName", 0)])
    assert [gap(a) for a in absent] == [Gap.UNSUPPORTED, Gap.UNSUPPORTED]
    assert name == "NVIDIA H200"


def test_what_these_bindings_do_not_know_is_unsupported(node: Callable[..., LiveNode]) -> None:
    answers = node().nvml(
        [
            NvmlCall("nvmlDeviceGetWhatComesIn2031", 0),
            NvmlCall("nvmlDeviceGetTemperature", 0, ("NVML_TEMPERATURE_OF_2031",)),
            NvmlCall("nvmlDeviceSetPowerManagementLimit", 0, (1,)),
        ]
    )
    assert [gap(a) for a in answers] == [Gap.UNSUPPORTED] * 3


def test_garbage_is_malformed(node: Callable[..., LiveNode]) -> None:
    answers = node(
        "nvmlDeviceGetName 0 garbage",
        "nvmlDeviceGetPciInfo_v3 0 garbage",
        "nvmlDeviceGetComputeRunningProcesses_v3 0 garbage",
        "nvmlDeviceGetFieldValues 0 garbage",
    ).nvml(
        [
            NvmlCall("nvmlDeviceGetName", 0),
            NvmlCall("nvmlDeviceGetPciInfo", 0),
            NvmlCall("nvmlDeviceGetFieldValues", 0, (1,)),
            NvmlCall("nvmlDeviceGetUUID", 0),
        ]
    )
    assert [gap(a) for a in answers[:3]] == [Gap.MALFORMED] * 3
    assert value(answers[3]).startswith("GPU-")


def test_a_hang_costs_one_fact(node: Callable[..., LiveNode]) -> None:
    start = time.monotonic()
    answers = node("nvmlDeviceGetTemperature 3 hang").nvml(
        [*of_each("nvmlDeviceGetName"), *of_each("nvmlDeviceGetTemperature", 0), *of_each("nvmlDeviceGetUUID")]
    )
    assert time.monotonic() - start < 8 * CALL_SECONDS
    assert [i for i, a in enumerate(answers) if isinstance(a, Unread)] == [8 + 3]
    assert gap(answers[11]) is Gap.TIMED_OUT
    assert answers[11].detail.startswith("nvmlDeviceGetTemperature did not answer within")


def test_a_call_that_hung_is_not_asked_again(node: Callable[..., LiveNode]) -> None:
    machine = node("nvmlDeviceGetTemperature 3 hang")
    machine.nvml([NvmlCall("nvmlDeviceGetTemperature", 3, (0,))])
    answers = machine.nvml([NvmlCall("nvmlDeviceGetTemperature", 3, (0,), 1), NvmlCall("nvmlDeviceGetName", 3)])
    assert answers[0].detail.startswith("not asked")
    assert answers[1] == "NVIDIA H200"


def test_after_two_hangs_the_gpu_is_left_alone_and_the_others_are_read(node: Callable[..., LiveNode]) -> None:
    functions = ("nvmlDeviceGetName", "nvmlDeviceGetUUID", "nvmlDeviceGetSerial", "nvmlDeviceGetVbiosVersion")
    calls = [NvmlCall(function, gpu) for gpu in EIGHT for function in functions]
    answers = node("* 6 hang").nvml(calls)
    missing = [a for a in answers if isinstance(a, Unread)]
    assert [a.where for a in missing] == [str(c) for c in calls if c.gpu == 6]
    assert ["not asked" in a.detail for a in missing] == [False, False, True, True]


def test_who_waits_for_the_guilty_ones_lock_is_not_blamed(node: Callable[..., LiveNode]) -> None:
    answers = node("nvmlDeviceGetTemperature 3 lock").nvml(
        [*of_each("nvmlDeviceGetTemperature", 0), *of_each("nvmlDeviceGetName"), *of_each("nvmlDeviceGetUUID")]
    )
    assert [i for i, a in enumerate(answers) if isinstance(a, Unread)] == [3]


@pytest.mark.parametrize(("how", "fate"), [("crash", "SIGSEGV"), ("exit", "exit 7")])
def test_a_crash_costs_one_fact(node: Callable[..., LiveNode], how: str, fate: str) -> None:
    answers = node(f"nvmlDeviceGetMemoryInfo 4 {how}").nvml(
        [*of_each("nvmlDeviceGetMemoryInfo"), *of_each("nvmlDeviceGetName")]
    )
    assert [i for i, a in enumerate(answers) if isinstance(a, Unread)] == [4]
    assert gap(answers[4]) is Gap.CRASHED
    assert answers[4].detail.endswith(fate)


@pytest.mark.parametrize("how", ["crash", "exit"])
def test_an_init_that_crashes(node: Callable[..., LiveNode], how: str) -> None:
    answers = node(f"nvmlInit * {how}").nvml(of_each("nvmlDeviceGetName"))
    assert {gap(a) for a in answers} == {Gap.CRASHED}
    assert answers[0].detail.startswith("nvmlInit killed")


def test_an_init_that_hangs_ends_in_time_and_reads_go_on(node: Callable[..., LiveNode]) -> None:
    start = time.monotonic()
    machine = node("nvmlInit * hang", seconds=3.0)
    own = machine.read("/proc/1/cmdline")
    answers = machine.nvml(of_each("nvmlDeviceGetName"))
    assert time.monotonic() - start < 10
    assert not isinstance(own, Unread)
    assert {gap(a) for a in answers} == {Gap.TIMED_OUT}
    assert answers[0].detail.startswith("nvmlInit did not answer within")


def test_a_slow_init_is_waited_for(node: Callable[..., LiveNode]) -> None:
    (answer,) = node(f"init_ms {int(CALL_SECONDS * 2000)}").nvml([NvmlCall("nvmlDeviceGetName", 0)])
    assert answer == "NVIDIA H200"


def test_the_scans_time_bounds_everything(node: Callable[..., LiveNode]) -> None:
    start = time.monotonic()
    machine = node("nvmlDeviceGetName * slow", seconds=1.5)
    answers = machine.nvml([NvmlCall("nvmlDeviceGetName", 0, (), n) for n in range(40)])
    assert time.monotonic() - start < 8, "one after the other they take 12 s"
    assert answers[0] == "NVIDIA H200"
    assert gap(answers[-1]) is Gap.TIMED_OUT
    assert gap(machine.nvml([NvmlCall("nvmlDeviceGetName", 1)])[0]) is Gap.TIMED_OUT


def test_several_threads_may_ask_at_once(node: Callable[..., LiveNode]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    machine = node("nvmlDeviceGetTemperature 3 crash")
    batches = [of_each("nvmlDeviceGetTemperature", 0), *([of_each("nvmlDeviceGetUUID")] * 7)]
    with ThreadPoolExecutor(8) as pool:
        temperatures, *uuids = pool.map(machine.nvml, batches)
    assert [i for i, a in enumerate(temperatures) if isinstance(a, Unread)] == [3]
    assert len(set(uuids)) == 1
    assert not any(isinstance(a, Unread) for a in uuids[0])


def test_no_library_is_an_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    machine = LiveNode()
    (answer,) = machine.nvml([NvmlCall("nvmlDeviceGetCount")])
    machine.close()
    if not isinstance(answer, Unread):
        pytest.skip("this machine has an NVML of its own")
    assert answer.gap is Gap.ABSENT


class StoppedOnce(Nvml):
    """Is stopped (Ctrl-Z, a frozen cgroup) for longer than a call's deadline, just after it was answered."""

    stopped = False

    def _listen(self, seconds: float) -> None:
        if self._dues() and not self.stopped:
            self.stopped = True
            time.sleep(2 * CALL_SECONDS)
        else:
            super()._listen(seconds)


def test_a_scan_that_was_stopped_for_a_while_blames_nobody(
    fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nvml("gpus 8")
    monkeypatch.setattr("gpudoctor.node.nvml.CALL_SECONDS", CALL_SECONDS)
    nvml = StoppedOnce(10.0)
    nvml.ask([NvmlCall("nvmlSystemGetDriverVersion")])
    nvml.stopped = False
    answers = nvml.ask([NvmlCall("nvmlDeviceGetName", 0)])
    nvml.close()
    assert nvml.stopped
    assert answers == ("NVIDIA H200",)


SCAN = """
from gpudoctor.node.live import LiveNode
from gpudoctor.node.surface import NvmlCall
import gpudoctor.node.nvml as nvml
nvml.CALL_SECONDS = 0.3
print(LiveNode().nvml([NvmlCall("nvmlDeviceGetName", 0), NvmlCall("nvmlDeviceGetUUID", 0)]))
"""


@pytest.mark.parametrize("lines", [["nvmlDeviceGetName 0 hang"], ["nvmlDeviceGetName 0 crash"], []])
def test_a_worker_does_not_hold_the_scans_output_open(fake_nvml: FakeNvml, lines: list[str]) -> None:
    fake_nvml(*lines)
    ran = subprocess.run([sys.executable, "-c", SCAN], capture_output=True, timeout=30, text=True, check=True)
    assert "GPU-fa150000" in ran.stdout
    assert ran.stderr == ""
