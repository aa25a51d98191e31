"""A GPU's PCIe link as NVML tells it."""

from __future__ import annotations

import time

from gpudoctor.collect.answers import Answers, ask, integer, item
from gpudoctor.collect.collector import collector
from gpudoctor.collect.sampling import counted, pause
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.pcie import GpuPcie
from gpudoctor.facts.sampling import Counted, Sampling
from gpudoctor.finding import Subject
from gpudoctor.node.surface import Node
from gpudoctor.unread import Reading, hold

REPLAYS = {"replays": ("nvmlDeviceGetPcieReplayCounter",)}
QUESTIONS = {
    "generation": ("nvmlDeviceGetCurrPcieLinkGeneration",),
    "generation_possible": ("nvmlDeviceGetMaxPcieLinkGeneration",),
    "generation_gpu_max": ("nvmlDeviceGetGpuMaxPcieLinkGeneration",),
    "width": ("nvmlDeviceGetCurrPcieLinkWidth",),
    "width_possible": ("nvmlDeviceGetMaxPcieLinkWidth",),
    "bar1": ("nvmlDeviceGetBAR1MemoryInfo",),
    **REPLAYS,
}


@collector
def gpu_pcie(node: Node, gpus: tuple[Gpu, ...], machine: Machine, sampling: Sampling) -> tuple[GpuPcie, ...]:
    began = time.monotonic()
    first = ask(node, gpus, QUESTIONS)
    second: dict[str, Answers] = {}
    if sampling.seconds > 0 and first:
        pause(node, sampling.seconds, began)
        second = {gpu.bus_id: answers for gpu, answers in ask(node, gpus, REPLAYS, sample=1)}
    return tuple(
        _of(gpu.subject, answers, _replays(answers, second.get(gpu.bus_id), sampling, machine))
        for gpu, answers in first
    )


def _of(subject: Subject, answers: Answers, replays: Reading[Counted]) -> GpuPcie:
    return GpuPcie(
        subject,
        generation=hold(integer(answers["generation"])),
        generation_possible=hold(integer(answers["generation_possible"])),
        generation_gpu_max=hold(integer(answers["generation_gpu_max"])),
        width=hold(integer(answers["width"])),
        width_possible=hold(integer(answers["width_possible"])),
        replays=hold(replays),
        bar1_bytes=hold(item(answers["bar1"], "bar1Total")),
    )


def _replays(first: Answers, second: Answers | None, sampling: Sampling, machine: Machine) -> Reading[Counted]:
    after = None if second is None else integer(second["replays"])
    return counted(integer(first["replays"]), after, sampling, machine)
