"""NVLinks of each GPU as NVML tells them: first how many, then all of them in one batch, counters only when asked."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from gpudoctor.collect.answers import Answers, ask, fields, flag, integer, item
from gpudoctor.collect.collector import collector
from gpudoctor.collect.nvml import bus_id_of
from gpudoctor.collect.sampling import counted, pause
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.nvlink import GpuNvLinks, NvLink
from gpudoctor.facts.sampling import Counted, Sampling
from gpudoctor.node.surface import Node, NvmlCall
from gpudoctor.unread import Gap, Reading, Unread, hold, known

COUNT, SPEED = "NVML_FI_DEV_NVLINK_LINK_COUNT", "NVML_FI_DEV_NVLINK_GET_SPEED"
RECOVERED = "NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_EVENTS"  # NVLink 5 counts these in place of the older kinds
STATE = "nvmlDeviceGetNvLinkState"
OF_LINK = (
    STATE,
    "nvmlDeviceGetNvLinkVersion",
    "nvmlDeviceGetNvLinkRemoteDeviceType",
    "nvmlDeviceGetNvLinkRemotePciInfo",
)
ERRORS = ("NVML_NVLINK_ERROR_DL_REPLAY", "NVML_NVLINK_ERROR_DL_RECOVERY", "NVML_NVLINK_ERROR_DL_CRC_FLIT")
MOST_LINKS = 36  # NVML_NVLINK_MAX_LINKS
OLD_MOST_LINKS = 18  # of GPUs whose driver does not tell how many there are
NOWHERE = 255  # the bus number of a switch that this machine does not see
QUESTIONS = {
    "count": ("nvmlDeviceGetFieldValues", COUNT),
    "first": (STATE, 0),
    "c2c": ("nvmlDeviceGetC2cModeInfoV1",),
}
Peer = Literal["gpu", "switch", "cpu", "unknown"]
PEERS: dict[int, Peer] = {0: "gpu", 1: "cpu", 2: "switch"}
NOT_SAMPLED = Unread(
    Gap.NOT_RECORDED,
    "nvmlDeviceGetNvLinkErrorCounter",
    "is slow to answer, and is asked only for a sample",
    "scan with --sample 1s",
)


@collector
def nvlinks(node: Node, gpus: tuple[Gpu, ...], sampling: Sampling, machine: Machine) -> tuple[GpuNvLinks, ...]:
    asked = ask(node, gpus, QUESTIONS)
    numbers = {gpu.index: _count(node, gpu, answers) for gpu, answers in asked}
    links = _links(node, {index: n for index, n in numbers.items() if index is not None and isinstance(n, int) and n})
    errors = _errors(node, links, sampling, machine)
    found = []
    for gpu, answers in asked:
        number = numbers[gpu.index]
        own: Reading[tuple[NvLink, ...]] = number if isinstance(number, Unread) else links.get(gpu.index or 0, ())
        unasked = number if isinstance(number, Unread) else NOT_SAMPLED
        replays, recoveries, crc = errors.get(gpu.index or 0, (unasked,) * 3)
        c2c = hold(flag(item(answers["c2c"], "isC2cEnabled")))
        found.append(GpuNvLinks(gpu.subject, hold(own), hold(replays), hold(recoveries), hold(crc), c2c))
    return tuple(found)


def _count(node: Node, gpu: Gpu, answers: Answers) -> Reading[int]:
    """Where the driver does not know the field, the links that answer are counted."""
    told = fields(answers["count"], (COUNT,))[COUNT]
    if isinstance(told, int):
        return min(told, MOST_LINKS)
    if told.gap not in (Gap.UNSUPPORTED, Gap.MALFORMED):
        return told
    if isinstance(answers["first"], Unread):
        return told if told.gap is Gap.UNSUPPORTED else answers["first"]
    states = node.nvml([NvmlCall(STATE, gpu.index, (link,)) for link in range(1, OLD_MOST_LINKS)])
    return 1 + next((at for at, state in enumerate(states) if isinstance(state, Unread)), len(states))


def _links(node: Node, numbers: Mapping[int, int]) -> dict[int, Reading[tuple[NvLink, ...]]]:
    calls: list[NvmlCall] = []
    for gpu, number in numbers.items():
        calls += [NvmlCall(function, gpu, (link,)) for link in range(number) for function in OF_LINK]
        calls.append(NvmlCall("nvmlDeviceGetFieldValues", gpu, tuple(_speeds(number))))
    answers = iter(node.nvml(calls) if calls else ())
    held: dict[int, Reading[tuple[NvLink, ...]]] = {}
    for gpu, number in numbers.items():
        told = [[next(answers) for _ in OF_LINK] for _ in range(number)]
        speeds = fields(next(answers), _speeds(number))
        held[gpu] = _typed(told, list(speeds.values()))
    return held


def _speeds(number: int) -> list[str]:
    return [f"{SPEED}:{link}" for link in range(number)]


def _typed(told: Sequence[Sequence[Reading[Any]]], speeds: Sequence[Reading[int]]) -> Reading[tuple[NvLink, ...]]:
    """A slice of a board whose NVLink is switched off counts links and knows none of them: there are none."""
    links = []
    for number, (state, version, kind, remote) in enumerate(told):
        up = flag(state)
        if isinstance(up, Unread):
            if up.gap is Gap.UNSUPPORTED:
                continue
            return up
        bus_id = None if item(remote, "bus") == NOWHERE else known(bus_id_of(remote), None)
        peer: Peer = PEERS.get(known(integer(kind), -1), "unknown")
        speed = known(speeds[number], 0) or None
        links.append(NvLink(number, up, known(integer(version), None), peer, bus_id, speed))
    return tuple(links)


Errors = tuple[Reading[Counted], Reading[Counted], Reading[Counted]]


def _errors(
    node: Node, links: Mapping[int, Reading[tuple[NvLink, ...]]], sampling: Sampling, machine: Machine
) -> dict[int, Errors]:
    """Of every GPU in two samples; with one sample only of a GPU with a link down, since each costs 0.85 ms."""
    held = {gpu: own for gpu, own in links.items() if isinstance(own, tuple)}
    if not sampling.seconds:
        held = {gpu: own for gpu, own in held.items() if 0 < sum(link.up for link in own) < len(own)}
    numbers = {gpu: [link.number for link in own if link.up] for gpu, own in held.items()}
    began = time.monotonic()
    first = _sums(node, numbers, 0)
    second: Mapping[int, list[Reading[int]]] = {}
    if sampling.seconds and first:
        pause(node, sampling.seconds, began)
        second = _sums(node, numbers, 1)
    return {
        gpu: _three(
            [counted(one, two, sampling, machine) for one, two in zip(sums, second.get(gpu, [None] * 3), strict=True)]
        )
        for gpu, sums in first.items()
    }


def _three(read: list[Reading[Counted]]) -> Errors:
    replays, recoveries, crc = read
    return replays, recoveries, crc


def _sums(node: Node, numbers: Mapping[int, Sequence[int]], sample: int) -> dict[int, list[Reading[int]]]:
    """For each GPU its replays, recoveries and CRC errors of flits, all links together."""
    calls = [
        NvmlCall("nvmlDeviceGetNvLinkErrorCounter", gpu, (link, kind), sample)
        for gpu, own in numbers.items()
        for kind in ERRORS
        for link in own
    ]
    answers = iter(node.nvml(calls) if calls else ())
    sums = {gpu: [_sum([integer(next(answers)) for _ in own]) for _ in ERRORS] for gpu, own in numbers.items()}
    newer = [gpu for gpu, (_, recoveries, _) in sums.items() if isinstance(recoveries, Unread) and numbers[gpu]]
    asked = {gpu: [f"{RECOVERED}:{link}" for link in numbers[gpu]] for gpu in newer}
    told = node.nvml([NvmlCall("nvmlDeviceGetFieldValues", gpu, tuple(n), sample) for gpu, n in asked.items()])
    for gpu, answer in zip(newer, told, strict=True):
        sums[gpu][1] = _sum(list(fields(answer, asked[gpu]).values()))
    return sums


def _sum(parts: Sequence[Reading[int]]) -> Reading[int]:
    gap = next((part for part in parts if isinstance(part, Unread)), None)
    return gap if gap is not None else sum(part for part in parts if isinstance(part, int))
