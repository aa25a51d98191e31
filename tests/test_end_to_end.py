"""The installed command on this machine with a fake NVML of eight GPUs: healthy, hanging, crashing, lost, old."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FakeNvml = Callable[..., None]
COMMAND = str(Path(sysconfig.get_path("scripts")) / "gpudoctor")
GRACE_SECONDS = 3.0  # to start, print and leave


def run(*arguments: str, command: tuple[str, ...] = (COMMAND,)) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)


def report(*arguments: str) -> dict[str, Any]:
    done = run("scan", "--format", "json", *arguments)
    assert done.stderr == ""
    made: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == made["exit_code"]
    return made


def faults(made: dict[str, Any]) -> dict[str, list[str]]:
    """Codes at warning or above, with the subjects they were found on."""
    found: dict[str, list[str]] = {}
    for finding in made["findings"]:
        if finding["severity"] != "info":
            found.setdefault(finding["code"], []).append(finding["subject"]["label"])
    return found


def examined(made: dict[str, Any]) -> dict[str, int]:
    return {layer["layer"]: layer["clear"] + layer["found"] for layer in made["layers"]}


def test_eight_healthy_gpus(fake_nvml: FakeNvml) -> None:
    fake_nvml("gpus 8")
    made = report()
    assert faults(made) == {}
    assert [gpu["index"] for gpu in made["machine"]["gpus"]] == list(range(8))


def test_a_hanging_call_is_a_finding_and_the_rest_is_complete(fake_nvml: FakeNvml) -> None:
    fake_nvml("gpus 8")
    healthy = examined(report())
    fake_nvml("gpus 8", "nvmlDeviceGetTemperature 3 hang")
    began = time.monotonic()
    made = report("--timeout", "10")
    assert time.monotonic() - began < 10 + GRACE_SECONDS
    assert list(faults(made)) == ["NVML_HANG"]
    assert made["exit_code"] == 1
    assert examined(made)["kernel"] == healthy["kernel"]
    assert examined(made)["driver"] >= healthy["driver"] - 3, "only what asks for this temperature is missing"


def test_an_nvml_that_never_starts_leaves_in_time_with_the_other_layers(fake_nvml: FakeNvml) -> None:
    fake_nvml("gpus 8", "nvmlInit * hang")
    began = time.monotonic()
    made = report("--timeout", "4")
    assert time.monotonic() - began < 4 + GRACE_SECONDS
    (hang,) = (finding for finding in made["findings"] if finding["code"] == "NVML_HANG")
    assert (hang["severity"], hang["confidence"]) == ("warning", "possible"), "without persistence it may be slow"
    assert examined(made)["kernel"] > 0


def test_a_crashing_call_is_a_finding_and_the_rest_is_complete(fake_nvml: FakeNvml) -> None:
    fake_nvml("gpus 8", "nvmlDeviceGetPowerUsage 5 crash")
    made = report()
    assert list(faults(made)) == ["NVML_CRASH"]
    assert faults(made)["NVML_CRASH"][0].startswith("GPU 5 ")
    assert examined(made)["kernel"] > 0


def test_after_one_lost_gpu_the_others_are_read(fake_nvml: FakeNvml) -> None:
    fake_nvml("gpus 8", "* 2 error 15")
    made = report()
    assert [label[:6] for label in faults(made)["GPU_FELL_OFF_BUS"]] == ["GPU 2 "]
    judged = {o["subject"]["label"][:6] for o in made["outcomes"] if o["check"] == "THERMAL_THROTTLE"}
    assert judged >= {f"GPU {index} " for index in range(8) if index != 2}


def test_an_old_driver_is_not_a_sick_one(fake_nvml: FakeNvml) -> None:
    fake_nvml("gpus 8", age="old")
    assert faults(report()) == {}


def test_a_recording_gives_the_same_report(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    fake_nvml("gpus 8", "nvmlDeviceGetRemappedRows 1 value 1", "nvmlDeviceGetTemperature 6 crash")
    recording = tmp_path / "this.node"
    assert run("record", str(recording), "--quiet").returncode == 0
    live, replayed = report(), report("--node", str(recording))
    assert {"ROW_REMAP_PENDING", "NVML_CRASH"} <= faults(live).keys()
    assert [(f["id"], f["severity"]) for f in live["findings"]] == [
        (f["id"], f["severity"]) for f in replayed["findings"]
    ]


def test_python_m_gpudoctor_is_the_same_command() -> None:
    assert run("--version").stdout == run("--version", command=(sys.executable, "-m", "gpudoctor")).stdout
