"""GPUs that NVML lists and calls lost."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.gpu_gaps import GpuGaps
from gpudoctor.facts.nvml import Nvml
from gpudoctor.finding import Evidence, Finding, Subject
from gpudoctor.unread import Gap, Unread


@check("GPU_FELL_OFF_BUS")
def lost(nvml: Nvml, gpus: tuple[GpuGaps, ...]) -> Iterator[Finding]:
    """NVML answers `GPU is lost` for it."""
    for gpu in gpus:
        gap = next((each.gap for each in gpu.unread if each.gap.gap is Gap.LOST), None)
        if gap is not None:
            yield _fell(gpu.subject, gap)
    placed = {gpu.subject.id for gpu in gpus} - set(nvml.bus_ids.values())
    unplaced = sorted(nvml.silent.items())[len(placed) :] if len(placed) < len(nvml.silent) else []
    for index, gap in unplaced:
        if gap.gap is Gap.LOST:
            yield _fell(Subject("gpu", f"nvml-{index}", f"GPU {index} (bus id unknown)"), gap)


def _fell(subject: Subject, gap: Unread) -> Finding:
    return Finding(subject=subject, evidence=[Evidence(gap.where, gap.detail or str(gap.gap))], bus_id=subject.id)
