"""Calls of NVML that hang, kill their caller, or fail alone where the rest answers."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.gpu import Gpu, numbered_subject
from gpudoctor.facts.gpu_gaps import GpuGaps, UnreadField
from gpudoctor.facts.nvml import Nvml
from gpudoctor.facts.services import Persistence
from gpudoctor.finding import NODE, Confidence, Evidence, Finding, Severity, Subject
from gpudoctor.unread import Gap, Unread

CODES = {Gap.TIMED_OUT: "NVML_HANG", Gap.CRASHED: "NVML_CRASH"}
SENSORS = {
    "GpuThermal.gpu_celsius": "GPU temperature",
    "GpuThermal.memory_celsius": "memory temperature",
    "GpuThermal.fan_percent": "fan",
    "GpuPower.draw_watts": "power draw",
    "GpuClocks.sm_mhz": "SM clock",
    "GpuClocks.memory_mhz": "memory clock",
    "GpuClocks.busy_percent": "utilization",
    "GpuEcc.volatile_uncorrected": "ECC counter",
}


@check("NVML_HANG", "NVML_CRASH")
def unanswered(gpu: GpuGaps) -> Iterator[Finding]:
    """One GPU's calls do not return, or kill the process that makes them."""
    for gap, code in CODES.items():
        faults = [field.gap for field in gpu.unread if _own(field.gap, gap)]
        if faults:
            yield _fault(gpu.subject, code, faults)


@check("NVML_HANG", "NVML_CRASH")
def unanswered_at_all(nvml: Nvml, persistence: Persistence | None) -> Iterator[Finding]:
    """NVML does not even start. Without persistence it starts every GPU anew, which may just take long."""
    start = nvml.reading("driver_version")
    if not (isinstance(start, Unread) and start.gap in CODES and _own(start, start.gap)):
        return
    kept = persistence is not None and persistence.get("daemon", False)
    slow = start.detail.startswith("nvmlInit did not answer") and not kept
    yield _fault(NODE, CODES[start.gap], [start], certain=not slow)


@check("NVML_HANG", "NVML_CRASH")
def unopened(nvml: Nvml, gpus: tuple[Gpu, ...]) -> Iterator[Finding]:
    """NVML cannot even say which GPU it is."""
    placed = {gpu.index: gpu.subject for gpu in gpus}
    for index, gap in nvml.silent.items():
        if gap.gap in CODES and _own(gap, gap.gap):
            subject = placed.get(index, numbered_subject(index))
            yield _fault(subject, CODES[gap.gap], [gap])


@check("GPU_SENSOR_ERR")
def sensor_error(gpu: GpuGaps) -> Iterator[Finding]:
    """A sensor answers with an error that is none of `not supported`, while the rest of the GPU answers."""
    failed = [field for field in gpu.unread if field.field in SENSORS and _unknown(field)]
    if failed and gpu.answered > 2 * len(gpu.unread) / 3:
        yield Finding(
            gpu.subject,
            evidence=[Evidence(field.gap.where, field.gap.detail or str(field.gap.gap)) for field in failed],
            sensors=", ".join(SENSORS[field.field] for field in failed),
            functions=", ".join(dict.fromkeys(field.source for field in failed)),
        )


def _own(reason: Unread, gap: Gap) -> bool:
    """The fault itself: neither what was then no longer asked, nor what the scan's own deadline cut off."""
    return reason.gap is gap and not reason.remedy and not reason.detail.startswith("not asked")


def _unknown(field: UnreadField) -> bool:
    detail = field.gap.detail
    return field.gap.gap is Gap.MALFORMED and (not detail.startswith("NVML_ERROR_") or "NVML_ERROR_UNKNOWN" in detail)


def _fault(subject: Subject, code: str, faults: list[Unread], *, certain: bool = True) -> Finding:
    calls = list(dict.fromkeys(fault.where for fault in faults))
    return Finding(
        subject,
        code=code,
        severity=None if certain else Severity.WARNING,
        confidence=Confidence.CERTAIN if certain else Confidence.POSSIBLE,
        evidence=[Evidence(fault.where, fault.detail or str(fault.gap)) for fault in faults[:5]],
        action="stuck" if certain else "slow_start",
        calls=", ".join(calls[:3]) + (f" and {len(calls) - 3} more" if len(calls) > 3 else ""),
    )
