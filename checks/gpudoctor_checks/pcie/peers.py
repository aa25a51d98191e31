"""What stands between peers: GPUs among each other, and GPUs with the RDMA adapters beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import NamedTuple

from gpudoctor.check import check
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.nic import Nic
from gpudoctor.facts.nvlink import GpuNvLinks
from gpudoctor.facts.pci import Inventory, PciDevice
from gpudoctor.facts.pcie import PcieSettings
from gpudoctor.facts.peers import GpuPeers
from gpudoctor.facts.topology import Topology
from gpudoctor.finding import NODE, Confidence, Evidence, Finding, Subject
from gpudoctor.unread import Gap, Unread
from gpudoctor_checks.adapters import feeds_gpus
from gpudoctor_checks.passthrough import PASSED_THROUGH
from gpudoctor_checks.pcie.hops import beside_c2c, is_radeon
from gpudoctor_checks.wording import number_of

TRANSLATING = ("DMA", "DMA-FQ")
LINKED = ("NV", "XGMI")  # traffic between these GPUs does not use PCIe
GUEST = "the ports and the IOMMU of the host do not show in a virtual machine"


class Shared(NamedTuple):
    """Two peers below one switch, and the ports by which they reach it."""

    switch: str
    ports: tuple[str, str]
    peers: tuple[Subject, Subject]


@check("ACS_BLOCKS_P2P")
def acs_redirects(
    settings: tuple[PcieSettings, ...],
    inventory: Inventory,
    machine: Machine,
    nics: tuple[Nic, ...] | None,
    topology: Topology | None,
    peers: GpuPeers | None,
    named: tuple[Gpu, ...] | None,
) -> Iterator[Finding]:
    """A switch that two peers share sends their traffic up to the processor and down again."""
    gpus = _gpus(inventory)
    rdma = _rdma(nics, inventory)
    if len(gpus) + len(rdma) < 2 or not gpus:
        return
    if machine.virtualization is not None:
        raise Unread(Gap.UNSUPPORTED, "/sys/bus/pci/devices/*/config", GUEST, "scan on the host")
    known = {each.bus_id: each for each in settings}
    desk, alone = _geforces(named), _without_rdma(gpus, named)
    pairs = [(a, b) for a, b in combinations(gpus, 2) if not {a.bus_id, b.bus_id} & desk or _may_talk(peers, a, b)]
    pairs += [(gpu, nic) for gpu in gpus if gpu.bus_id not in alone for nic in rdma]
    shared = [s for s in _shared(pairs, inventory) if not _linked(topology, *s.peers)]
    wanted = {port for each in shared for port in each.ports if port in known}
    redirecting = {port: known[port] for port in sorted(wanted) if _redirects(known[port])}
    hit = [each for each in shared if any(port in redirecting for port in each.ports)]
    if not hit:
        return
    switches = sorted({each.switch for each in hit})
    apart = {peer.id: peer.label for each in hit for peer in each.peers}
    yield Finding(
        inventory.subject(switches[0]) if len(switches) == 1 else NODE,
        evidence=[
            Evidence(each.source("access_control"), f"{bus_id}: ACS control 0x{each.access_control.word:04x}")
            for bus_id, each in redirecting.items()
            if each.access_control is not None
        ],
        ports=", ".join(redirecting),
        port_list=" ".join(redirecting),
        count=len(redirecting),
        how_many=number_of(len(redirecting), "port"),
        switches=", ".join(switches),
        peers=", ".join(apart.values()),
        pairs=len(hit),
        how_many_pairs=number_of(len(hit), "pair"),
    )


def _redirects(port: PcieSettings) -> bool:
    control = port.access_control
    return control is not None and (control.request_redirect or control.completion_redirect)


def _shared(pairs: list[tuple[PciDevice, PciDevice]], inventory: Inventory) -> Iterator[Shared]:
    bridges = {d.bus_id for d in inventory.devices.values() if d.kind == "bridge"}
    ways = {d.bus_id: tuple(b for b in d.get("path", ()) if b in bridges) for pair in pairs for d in pair}
    for one, two in pairs:
        a, b = ways[one.bus_id], ways[two.bus_id]
        same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        # A root port, then the upstream and a downstream port of each switch: they part below an upstream port.
        if same and same % 2 == 0 and len(a) > same and len(b) > same:
            yield Shared(a[same - 1], (a[same], b[same]), (one.subject, two.subject))


@check("IOMMU_BLOCKS_P2P")
def iommu_translates(
    settings: tuple[PcieSettings, ...],
    inventory: Inventory,
    machine: Machine,
    nics: tuple[Nic, ...] | None,
    topology: Topology | None,
    peers: GpuPeers | None,
    nvlinks: tuple[GpuNvLinks, ...] | None,
    named: tuple[Gpu, ...] | None,
) -> Iterator[Finding]:
    """The IOMMU stands between peers that talk over PCIe."""
    told = {each.subject.id: each for each in nvlinks or ()}
    gpus = [gpu for gpu in _gpus(inventory) if not beside_c2c(gpu.bus_id, inventory, told.get(gpu.bus_id))]
    rdma = _rdma(nics, inventory)
    if not gpus or len(gpus) + len(rdma) < 2:
        return
    if machine.virtualization is not None:
        raise Unread(Gap.UNSUPPORTED, "/sys/kernel/iommu_groups", GUEST, "scan on the host")
    ids = {gpu.bus_id for gpu in gpus}
    domains = {each.bus_id: each for each in settings if each.bus_id in ids}
    held = {bus_id: each for bus_id, each in domains.items() if each.iommu_domain in TRANSLATING}
    talking = [(a, b) for a, b in combinations(gpus, 2) if not _linked(topology, a.subject, b.subject)]
    pairs = [(a, b) for a, b in talking if {a.bus_id, b.bus_id} & held.keys() and _may_talk(peers, a, b)]
    if not held.keys() - _without_rdma(gpus, named):
        rdma = []
    if not held or not (pairs or rdma):
        return
    first = next(iter(held.values()))
    yield Finding(
        NODE,
        confidence=Confidence.LIKELY,
        evidence=[e for each in held.values() for e in each.seen("iommu_domain")],
        domain=first.iommu_domain,
        count=len(held),
        how_many=number_of(len(held), "GPU"),
        gpus=", ".join(each.subject.label for each in held.values()),
        pairs=len(pairs),
        nics=len(rdma),
        peers=_said(len(pairs), len(rdma)),
        action="pairs" if pairs else "adapters",
    )


def _said(pairs: int, nics: int) -> str:
    said = [f"{number_of(pairs, 'pair')} of GPUs without NVLink between them"] if pairs else []
    return " and ".join([*said, *([number_of(nics, "RDMA adapter")] if nics else [])])


def _may_talk(peers: GpuPeers | None, one: PciDevice, two: PciDevice) -> bool:
    """GeForce drivers offer no peer access, and then nothing is lost; AMD's are not asked."""
    if peers is None:
        return False
    wanted = {one.bus_id, two.bus_id}
    return any(p.read == "ok" and {p.first.id, p.second.id} == wanted for p in peers.get("pairs", ()))


def _gpus(inventory: Inventory) -> list[PciDevice]:
    """Those that work for this host: of a guest's GPU, ACS and the IOMMU are what keeps it apart."""
    gpus = (device for device in inventory.devices.values() if device.kind == "gpu")
    return [gpu for gpu in gpus if gpu.get("driver") not in PASSED_THROUGH]


def _rdma(nics: Iterable[Nic] | None, inventory: Inventory) -> list[PciDevice]:
    """One function of each adapter that may carry the traffic of GPUs."""
    found = {nic.bus_id[:-2]: inventory.devices[nic.bus_id] for nic in nics or () if feeds_gpus(nic)}
    return list(found.values())


def _without_rdma(gpus: Iterable[PciDevice], named: Iterable[Gpu] | None) -> set[str]:
    """Graphics cards that GPUDirect RDMA is not for: https://docs.nvidia.com/cuda/gpudirect-rdma/index.html"""
    return _geforces(named) | {gpu.bus_id for gpu in gpus if is_radeon(gpu)}


def _geforces(named: Iterable[Gpu] | None) -> set[str]:
    return {each.bus_id for each in named or () if "GeForce" in each.get("name", "")}


def _linked(topology: Topology | None, one: Subject, two: Subject) -> bool:
    ways = topology.get("ways", {}) if topology is not None else {}
    way = ways.get(one.id, {}).get(two.id)
    return way is not None and way.level in LINKED
