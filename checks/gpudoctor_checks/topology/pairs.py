"""Pairs of GPUs that do not reach each other as they should: over NVLink, over xGMI, over PCIe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpudoctor.check import check
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.gpu_settings import GpuSettings
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.nvlink import GpuNvLinks
from gpudoctor.facts.pci import Inventory
from gpudoctor.facts.peers import GpuPeers, PeerAccess, pair_subject
from gpudoctor.facts.topology import Topology
from gpudoctor.finding import NODE, Confidence, Evidence, Finding, Severity, Subject
from gpudoctor.unread import Gap, Unread
from gpudoctor_checks.topology.siblings import by_model, in_mig_mode, nvlink_of, unjoined

Pair = tuple[Subject, Subject]
DESK = ("GeForce", "TITAN")
REASONS = {  # NVML's NVML_P2P_STATUS_*, as a title says them
    "chipset": "the chipset does not support it",
    "gpu": "the GPU does not support it",
    "topology": "the way between them does not support it",
    "disabled": "a driver option disables it",
    "not_supported": "not supported",
}


@check("NVLINK_MISSING_PAIR")
def unlinked(
    topology: Topology,
    links: tuple[GpuNvLinks, ...],
    gpus: tuple[Gpu, ...],
    settings: tuple[GpuSettings, ...] | None,
    peers: GpuPeers,
) -> Iterator[Finding]:
    """No NVLink between two GPUs of which each sibling has more, or NVLinks that peer access cannot use."""
    cut = in_mig_mode(settings)
    linked = {each.subject.id: each.subject for each in links if each.get("links") and each.subject.id not in cut}
    told = {each: {other for other, way in topology.ways[each].items() if way.level == "NV"} for each in linked}
    joined = {frozenset((one, other)) for one, others in told.items() for other in others}
    for name, same in by_model(gpus).items():
        members = [gpu.subject.id for gpu in same if gpu.subject.id in linked]
        pairs = [(linked[a], linked[b]) for a, b in unjoined(members, joined)]
        if pairs:
            bridge = nvlink_of(name)["bridge"]
            yield _missing(
                pairs,
                [f"no NVLink joins {a} and {b}, while most {name} here are joined" for a, b in pairs],
                "nvmlDeviceGetNvLinkState",
                Confidence.LIKELY if bridge else Confidence.CERTAIN,
                Severity.WARNING if bridge else None,
            )
    refused = [p for p in peers.pairs if frozenset((p.first.id, p.second.id)) in joined and _refused(p)]
    if refused:
        said = [f"{p.first} and {p.second}: read {p.read}, although their NVLinks are up" for p in refused]
        yield _missing([(p.first, p.second) for p in refused], said, peers.source("pairs"), Confidence.CERTAIN, None)


def _refused(access: PeerAccess) -> bool:
    return access.read not in ("ok", "unknown")


def _missing(
    pairs: Sequence[Pair], said: Sequence[str], source: str, confidence: Confidence, severity: Severity | None
) -> Finding:
    return Finding(
        _whose(pairs),
        severity=severity,
        confidence=confidence,
        evidence=[Evidence(source, text) for text in said[:8]],
        pairs=[f"{a.id}+{b.id}" for a, b in pairs],
        how_many=_how_many(pairs),
    )


def _how_many(pairs: Sequence[object]) -> str:
    return f"{len(pairs)} pairs of GPUs" if len(pairs) > 1 else "these two GPUs"


def _whose(pairs: Sequence[Pair]) -> Subject:
    """The pair; of several the GPU that all of them have in common, or else the node."""
    if len(pairs) == 1:
        return pair_subject(*pairs[0])
    first, *rest = pairs
    return next((gpu for gpu in first if all(gpu.id in (a.id, b.id) for a, b in rest)), NODE)


@check("XGMI_MISSING_PAIR")
def out_of_hive(topology: Topology, inventory: Inventory, gpus: tuple[Gpu, ...]) -> Iterator[Finding]:
    """Two GPUs of a hive without an xGMI link, or one that is not in its siblings' hive."""
    models: dict[int, dict[str, Subject]] = {}
    for gpu in gpus:
        if gpu.vendor == "amd" and gpu.bus_id not in topology.hidden:
            models.setdefault(inventory.devices[gpu.bus_id].device_id, {})[gpu.bus_id] = gpu.subject
    for same in models.values():
        told = {each: {o for o, way in topology.ways[each].items() if way.level == "XGMI"} for each in same}
        joined = {frozenset((one, other)) for one, others in told.items() for other in others}
        pairs = [(same[a], same[b]) for a, b in unjoined(same, joined)]
        alone = [gpu for gpu, others in told.items() if not others]
        if not pairs and len(alone) == 1 and 2 * len(joined) == (len(same) - 1) * (len(same) - 2):
            pairs = [(same[alone[0]], other) for gpu, other in same.items() if gpu != alone[0]]
        if pairs and joined:
            said = [f"no link of type 11 joins {a} and {b}" for a, b in pairs]
            yield _missing(pairs, said, "/sys/class/kfd/kfd/topology/nodes/*/io_links", Confidence.CERTAIN, None)
    if topology.hidden:
        why = f"keeps {', '.join(sorted(topology.hidden))} from this container or job"
        raise Unread(Gap.DENIED, topology.source("hidden"), why, "scan on the host")


@check("P2P_UNSUPPORTED")
def no_peer_access(
    peers: GpuPeers,
    gpus: tuple[Gpu, ...],
    topology: Topology | None,
    settings: tuple[GpuSettings, ...] | None,
    machine: Machine | None,
) -> Iterator[Finding]:
    """GPUs without NVLink between them that may not read each other over PCIe either."""
    names = {gpu.subject.id: gpu.get("name", "") for gpu in gpus}
    cut = in_mig_mode(settings)
    over_pcie = [p for p in peers.pairs if _level(topology, p) != "NV" and not {p.first.id, p.second.id} & cut]
    refused = [p for p in over_pcie if _refused(p)]
    guest = machine is not None and machine.get("virtualization") is not None
    reasons = [_by_design(p, names, over_pcie, topology, guest) for p in refused]
    faults = [p for p, reason in zip(refused, reasons, strict=True) if reason is None]
    if refused:
        yield _no_access(faults or refused, None if faults else reasons[0], peers.source("pairs"))
    elif any(p.read == "unknown" for p in over_pcie):
        raise Unread(Gap.MALFORMED, peers.source("pairs"), "does not know whether some pairs may read each other")


def _no_access(refused: Sequence[PeerAccess], by_design: str | None, source: str) -> Finding:
    said = [f"{p.first} and {p.second}: read {p.read}" for p in refused]
    return Finding(
        _whose([(p.first, p.second) for p in refused]),
        severity=Severity.INFO if by_design else None,
        evidence=[Evidence(source, text) for text in said[:8]],
        action=by_design or "fault",
        pairs=[f"{p.first.id}+{p.second.id}" for p in refused],
        how_many=_how_many(refused),
        status=refused[0].read,
        reason=REASONS[refused[0].read],
    )


def _level(topology: Topology | None, pair: PeerAccess) -> str | None:
    ways = topology.get("ways") if topology is not None else None
    return ways[pair.first.id][pair.second.id].level if ways else None


def _by_design(
    pair: PeerAccess, names: dict[str, str], pairs: Sequence[PeerAccess], topology: Topology | None, guest: bool
) -> str | None:
    one, other = names[pair.first.id], names[pair.second.id]
    if one != other:
        return "models"
    if pair.read == "gpu" or any(word in one for word in DESK):
        return "model"
    if guest:
        return "guest"
    level = _level(topology, pair)
    near_ones_work = any(p.read == "ok" and _level(topology, p) != "SYS" for p in pairs)
    if level == "SYS" and (pair.read == "topology" or near_ones_work):
        return "sockets"
    own = nvlink_of(one)
    return "mesh" if own.get("links") and not own["bridge"] and pair.read != "disabled" else None
