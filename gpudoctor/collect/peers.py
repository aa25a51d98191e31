"""Whether GPUs may read each other's memory, one answer for each pair."""

from __future__ import annotations

from itertools import combinations

from gpudoctor.collect.answers import integer
from gpudoctor.collect.collector import collector
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.peers import GpuPeers, PeerAccess, Status
from gpudoctor.node.surface import Node, NvmlCall
from gpudoctor.unread import Reading, Unread, hold, known

READ = "NVML_P2P_CAPS_INDEX_READ"
STATUSES: tuple[Status, ...] = ("ok", "chipset", "gpu", "topology", "disabled", "not_supported", "unknown")


@collector
def gpu_peers(node: Node, gpus: tuple[Gpu, ...]) -> GpuPeers | None:
    listed = [gpu for gpu in gpus if gpu.vendor == "nvidia" and gpu.index is not None]
    if not listed:
        return None
    pairs = list(combinations(listed, 2))
    calls = [NvmlCall("nvmlDeviceGetP2PStatus", a.index, (b.index or 0, READ)) for a, b in pairs]
    answers = [integer(answer) for answer in node.nvml(calls)] if calls else []
    gaps = [answer for answer in answers if isinstance(answer, Unread)]
    if gaps and len(gaps) == len(answers):
        return GpuPeers(hold(gaps[0]))
    told = zip(pairs, answers, strict=True)
    return GpuPeers(tuple(PeerAccess(a.subject, b.subject, _status(answer)) for (a, b), answer in told))


def _status(answer: Reading[int]) -> Status:
    number = known(answer, -1)
    return STATUSES[number] if 0 <= number < len(STATUSES) else "unknown"
