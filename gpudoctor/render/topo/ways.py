"""Who reaches whom over what: the matrix, named as `nvidia-smi topo -m` names it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gpudoctor.facts.fact import Facts
from gpudoctor.facts.nic import Nic
from gpudoctor.facts.numa import Numa, cpu_list
from gpudoctor.facts.peers import GpuPeers, Status
from gpudoctor.facts.topology import Topology, Way
from gpudoctor.finding import Subject
from gpudoctor.render.topo.picture import Cell, Device, Mark, Matrix, Row


def matrix_of(facts: Facts, devices: Iterable[Device], marks: Iterable[Mark]) -> Matrix | None:
    topology = facts.one(Topology)
    if not isinstance(topology, Topology):
        return None
    gpus: tuple[Subject, ...] = topology.get("gpus", ())
    nics: tuple[Subject, ...] = topology.get("nics", ())
    ways: dict[str, dict[str, Way]] = topology.get("ways", {})
    if not gpus or not ways:
        return None
    labels = {device.id: device.label.replace(" ", "") for device in devices if device.kind == "gpu"}
    faults = _pairs(marks)
    homes: dict[str, int | None] = topology.get("homes", {})
    numa = facts.one(Numa)

    def row(subject: Subject, label: str) -> Row:
        home = homes.get(subject.id)
        return Row(
            subject.id,
            label,
            _affinity(numa if isinstance(numa, Numa) else None, home),
            home,
            _cells(subject, gpus, ways, faults),
            _cells(subject, nics, ways, faults),
        )

    return Matrix(
        tuple(row(gpu, labels.get(gpu.id, f"GPU{number}")) for number, gpu in enumerate(gpus)),
        tuple(row(nic, f"NIC{number}") for number, nic in enumerate(nics)),
        {f"NIC{number}": name for number, name in enumerate(_nic_names(facts, nics))},
        _refused(facts),
    )


def _cells(
    subject: Subject,
    others: Sequence[Subject],
    ways: Mapping[str, Mapping[str, Way]],
    faults: Mapping[frozenset[str], tuple[str, ...]],
) -> tuple[Cell | None, ...]:
    def cell(other: Subject) -> Cell | None:
        if other.id == subject.id:
            return Cell("X", "X")
        way = ways.get(subject.id, {}).get(other.id)
        return Cell(str(way), way.level, faults.get(frozenset((subject.id, other.id)), ())) if way else None

    return tuple(map(cell, others))


def _pairs(marks: Iterable[Mark]) -> dict[frozenset[str], tuple[str, ...]]:
    """Findings about two devices, by the two."""
    found: dict[frozenset[str], tuple[str, ...]] = {}
    for mark in marks:
        first, plus, second = mark.subject.partition("+")
        if plus:
            key = frozenset((first, second))
            found[key] = (*found.get(key, ()), mark.id)
    return found


def _affinity(numa: Numa | None, home: int | None) -> str:
    """CPUs near a node; all of them where nobody says which node it is."""
    if numa is None or numa.get("nodes") is None:
        return ""
    cpus = numa.cpus_of(home) if home is not None else frozenset().union(*(node.cpus for node in numa.nodes))
    return cpu_list(cpus)


def _nic_names(facts: Facts, nics: Sequence[Subject]) -> list[str]:
    held = facts.all(Nic)
    names = {nic.subject.id: nic.name for nic in held} if isinstance(held, tuple) else {}
    return [names.get(nic.id, nic.id) for nic in nics]


def _refused(facts: Facts) -> dict[str, Status]:
    peers = facts.one(GpuPeers)
    pairs = peers.get("pairs", ()) if isinstance(peers, GpuPeers) else ()
    return {f"{pair.first.id}+{pair.second.id}": pair.read for pair in pairs if pair.read != "ok"}
