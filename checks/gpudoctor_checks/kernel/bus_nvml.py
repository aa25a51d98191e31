"""GPUs that NVML lists and cannot open: lost, or without their power cable."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.gpu import Gpu, numbered_subject
from gpudoctor.facts.gpu_gaps import GpuGaps
from gpudoctor.facts.nvml import Nvml
from gpudoctor.finding import Evidence, Finding, Subject
from gpudoctor.unread import Gap, Unread


@check("GPU_FELL_OFF_BUS")
def lost(nvml: Nvml, gpus: tuple[Gpu, ...], gaps: tuple[GpuGaps, ...]) -> Iterator[Finding]:
    """NVML answers `GPU is lost` for it."""
    for subject, gap in _refused(nvml, gpus, gaps):
        if gap.gap is Gap.LOST:
            yield _finding(subject, gap)


@check("POWER_CABLE_MISSING")
def unpowered(nvml: Nvml, gpus: tuple[Gpu, ...], gaps: tuple[GpuGaps, ...]) -> Iterator[Finding]:
    """NVML answers `insufficient external power` for it."""
    for subject, gap in _refused(nvml, gpus, gaps):
        if gap.detail.startswith("NVML_ERROR_INSUFFICIENT_POWER"):
            yield _finding(subject, gap)


def _refused(nvml: Nvml, gpus: tuple[Gpu, ...], gaps: tuple[GpuGaps, ...]) -> Iterator[tuple[Subject, Unread]]:
    """Each GPU that NVML cannot open or lost since; one without a place on the bus goes by its number."""
    placed = {gpu.index: gpu.subject for gpu in gpus}
    for index, gap in nvml.silent.items():
        yield placed.get(index, numbered_subject(index)), gap
    silent = {subject.id for index, subject in placed.items() if index in nvml.silent}
    for gpu in gaps:
        lost = [each.gap for each in gpu.unread if each.gap.gap is Gap.LOST]
        if lost and gpu.subject.id not in silent:
            yield gpu.subject, lost[0]


def _finding(subject: Subject, gap: Unread) -> Finding:
    return Finding(subject=subject, evidence=[Evidence(gap.where, gap.detail or str(gap.gap))], bus_id=subject.id)
