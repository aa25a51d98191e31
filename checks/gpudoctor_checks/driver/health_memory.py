"""ECC settings, and memory that is worn: spare rows, repairs, thresholds, old errors."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.gpu_health import GpuEcc, GpuMemoryRepair
from gpudoctor.facts.gpu_settings import GpuSettings
from gpudoctor.finding import Finding, Severity


@check("ECC_DISABLED", "ECC_MODE_PENDING")
def ecc_off(ecc: GpuEcc, settings: GpuSettings) -> Iterator[Finding]:
    """A data-centre GPU computes without ECC, or will do otherwise than now after its next reset."""
    if ecc.lacks("enabled") or not settings.data_centre:
        return
    seen = ecc.seen("enabled", "enabled_pending", "enabled_default")
    if ecc.enabled_pending != ecc.enabled:
        now, then = ("on", "off") if ecc.enabled else ("off", "on")
        severity = Severity.WARNING if ecc.enabled else None
        yield Finding(ecc.subject, code="ECC_MODE_PENDING", severity=severity, evidence=seen, now=now, then=then)
    if not ecc.enabled and ecc.get("enabled_default", True):
        guest = settings.get("virtualization") == "vgpu"
        yield Finding(
            ecc.subject,
            code="ECC_DISABLED",
            severity=Severity.INFO if guest else None,
            evidence=seen,
            pending=ecc.enabled_pending,
            action="guest" if guest else "card",
        )


@check("SRAM_ECC_THRESHOLD")
def sram_threshold(ecc: GpuEcc) -> Iterator[Finding]:
    """The GPU's own count of SRAM errors is past the limit that NVIDIA set for it."""
    if not ecc.lacks("sram_threshold_exceeded") and ecc.sram_threshold_exceeded:
        yield Finding(
            ecc.subject,
            evidence=ecc.seen("sram_threshold_exceeded", "sram_aggregate_uncorrected", "sram_volatile_uncorrected"),
            count=ecc.get("sram_aggregate_uncorrected"),
        )


@check("ECC_PAST_ERRORS")
def past_errors(ecc: GpuEcc, repair: GpuMemoryRepair) -> Iterator[Finding]:
    """Uncorrectable errors of earlier times, all dealt with."""
    if ecc.lacks("aggregate_uncorrected"):
        return
    pending = repair.get("remap_pending", False) or repair.get("retirement_pending", False)
    if ecc.aggregate_uncorrected > 0 and ecc.volatile_uncorrected == 0 and not pending:
        yield Finding(
            ecc.subject,
            evidence=[
                *ecc.seen("aggregate_uncorrected", "dram_aggregate_uncorrected", "sram_aggregate_uncorrected"),
                *repair.seen("rows_uncorrectable", "remap_pending"),
            ],
            count=ecc.aggregate_uncorrected,
            dram=ecc.get("dram_aggregate_uncorrected", "not told"),
            sram=ecc.get("sram_aggregate_uncorrected", "not told"),
        )


@check("ROW_SPARES_EXHAUSTED")
def spares_exhausted(repair: GpuMemoryRepair) -> Iterator[Finding]:
    """Banks of memory without a spare row: the next bad row there cannot be replaced."""
    if not repair.lacks("banks_exhausted") and repair.banks_exhausted > 0:
        yield Finding(
            repair.subject,
            evidence=repair.seen("banks", "banks_low", "banks_exhausted", "rows_uncorrectable", "rows_correctable"),
            exhausted=repair.banks_exhausted,
            banks=repair.banks,
        )


@check("MEMORY_REPAIR_PENDING")
def repair_pending(repair: GpuMemoryRepair) -> Iterator[Finding]:
    """The GPU will take a memory channel or a TPC out of service at its next reset."""
    if repair.lacks("channel_repair_pending", "tpc_repair_pending"):
        return
    parts = [
        part
        for part, pending in (("memory channel", repair.channel_repair_pending), ("TPC", repair.tpc_repair_pending))
        if pending
    ]
    if parts:
        evidence = repair.seen("channel_repair_pending", "tpc_repair_pending")
        yield Finding(repair.subject, evidence=evidence, part=" and ".join(parts))


@check("MEMORY_UNREPAIRABLE")
def unrepairable(repair: GpuMemoryRepair) -> Iterator[Finding]:
    """The GPU says that its memory can no longer be repaired."""
    if not repair.lacks("unrepairable") and repair.unrepairable:
        yield Finding(repair.subject, evidence=repair.seen("unrepairable", "remap_failed", "banks_exhausted"))
