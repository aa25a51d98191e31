"""What a report says the node is, out of recorded and made nodes."""

from __future__ import annotations

from typing import Any

import pytest
from casebook import load_node

from gpudoctor.cli.description import FACTS, described
from gpudoctor.collect.collector import collect
from gpudoctor.node.archive import Key
from gpudoctor.node.recorded import RecordedNode
from gpudoctor.render.stack import gpu_names
from gpudoctor.report import Machine
from gpudoctor.unread import Gap, Unread


def machine_of(node: RecordedNode) -> Machine:
    return described(collect(node, FACTS, seconds=10), node)[0]


@pytest.mark.parametrize(
    ("node", "gpus", "driver"),
    [
        ("h200x1.node", ["1 x NVIDIA H200"], "580.159.04"),
        ("h200x4.node", ["4 x NVIDIA H200"], "580.159.04"),
        ("mi300x8.node", ["8 x AMD Instinct MI300X OAM"], "6.12.12"),
    ],
)
def test_gpus_and_driver_are_named(node: str, gpus: list[str], driver: str) -> None:
    machine = machine_of(load_node(node))
    assert (gpu_names(machine), machine.driver_version) == (gpus, driver)


def test_gpus_on_the_bus_are_counted_where_nvml_is_silent() -> None:
    whole = load_node("h200x4.node")
    silent = {key: Unread(Gap.TIMED_OUT, key[1]) for key in whole._surfaces if key[0] == "nvml"}
    machine = machine_of(whole.with_surfaces(silent))
    assert gpu_names(machine) == ["4 x GPU that does not answer"]
    assert machine.driver_version == "580.159.04"
    assert machine.cuda_version is None


def test_without_an_answer_in_time_an_empty_bus_is_no_proof_of_no_gpu() -> None:
    whole = load_node("h200x1.node")
    hidden: dict[Key, Any] = {key: Unread(Gap.TIMED_OUT, key[1]) for key in whole._surfaces if key[0] == "nvml"}
    hidden["dir", "/sys/bus/pci/devices"] = ()
    assert gpu_names(machine_of(whole.with_surfaces(hidden))) == ["GPUs not known"]
