"""Gathers what each GPU did not answer, so that a call that hangs or dies is a finding and not silence."""

from __future__ import annotations

from collections.abc import Iterable

from gpudoctor.collect.collector import collector
from gpudoctor.facts.fact import SubjectFact
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.gpu_clocks import GpuClocks
from gpudoctor.facts.gpu_gaps import GpuGaps, UnreadField
from gpudoctor.facts.gpu_health import GpuEcc, GpuFabric, GpuMemoryRepair, GpuRecovery
from gpudoctor.facts.gpu_process import GpuMemoryUse
from gpudoctor.facts.gpu_settings import GpuSettings
from gpudoctor.facts.gpu_thermal import GpuPower, GpuThermal
from gpudoctor.facts.nvlink import GpuNvLinks
from gpudoctor.facts.pcie import GpuPcie
from gpudoctor.finding import Subject
from gpudoctor.node.surface import Node
from gpudoctor.unread import Unread


@collector
def gpu_gaps(
    node: Node,
    gpus: tuple[Gpu, ...],
    ecc: tuple[GpuEcc, ...] | Unread | None,
    repairs: tuple[GpuMemoryRepair, ...] | Unread | None,
    recoveries: tuple[GpuRecovery, ...] | Unread | None,
    fabrics: tuple[GpuFabric, ...] | Unread | None,
    clocks: tuple[GpuClocks, ...] | Unread | None,
    thermals: tuple[GpuThermal, ...] | Unread | None,
    powers: tuple[GpuPower, ...] | Unread | None,
    settings: tuple[GpuSettings, ...] | Unread | None,
    uses: tuple[GpuMemoryUse, ...] | Unread | None,
    links: tuple[GpuNvLinks, ...] | Unread | None,
    buses: tuple[GpuPcie, ...] | Unread | None,
) -> tuple[GpuGaps, ...]:
    kinds = (ecc, repairs, recoveries, fabrics, clocks, thermals, powers, settings, uses, links, buses)
    held: list[SubjectFact] = [fact for kind in kinds if isinstance(kind, tuple) for fact in kind]
    nvidia = [gpu for gpu in gpus if gpu.vendor == "nvidia"]
    return tuple(_gaps(gpu.subject, [gpu, *(f for f in held if f.subject.id == gpu.bus_id)]) for gpu in nvidia)


def _gaps(subject: Subject, facts: Iterable[SubjectFact]) -> GpuGaps:
    unread: list[UnreadField] = []
    answered = 0
    for fact in facts:
        for name, reading in fact.readings():
            if isinstance(reading, Unread):
                unread.append(UnreadField(f"{type(fact).__name__}.{name}", fact.source(name), reading))
            elif fact.source(name) != name:
                answered += 1
    return GpuGaps(subject, tuple(unread), answered)
