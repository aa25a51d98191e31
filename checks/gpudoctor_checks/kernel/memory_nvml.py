"""Memory faults that the GPU itself counts; the kernel log tells of the same ones as Xids."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.gpu_health import GpuEcc, GpuMemoryRepair
from gpudoctor.finding import Finding


@check("ECC_UNCORRECTABLE")
def uncorrectable_since_reset(ecc: GpuEcc) -> Iterator[Finding]:
    """Errors that ECC could not correct since the driver loaded or the GPU was reset."""
    if ecc.lacks("volatile_uncorrected") or not ecc.get("enabled", True):
        return
    dram, sram = ecc.get("dram_volatile_uncorrected", 0), ecc.get("sram_volatile_uncorrected", 0)
    total = max(ecc.volatile_uncorrected, dram + sram)
    if total > 0:
        where = "DRAM and SRAM" if dram and sram else "DRAM" if dram else "SRAM" if sram else "memory"
        fields = ("volatile_uncorrected", "dram_volatile_uncorrected", "sram_volatile_uncorrected")
        yield Finding(
            subject=ecc.subject,
            evidence=ecc.seen(*fields, "aggregate_uncorrected"),
            count=total,
            where=where,
            dram=dram,
            sram=sram,
        )


@check("ROW_REMAP_PENDING")
def remap_pending(repair: GpuMemoryRepair) -> Iterator[Finding]:
    """A spare row waits for a reset to take the place of a bad one."""
    if not repair.lacks("remap_pending") and repair.remap_pending:
        yield Finding(
            subject=repair.subject,
            evidence=repair.seen("remap_pending", "rows_uncorrectable", "rows_correctable", "remap_failed"),
            uncorrectable=repair.get("rows_uncorrectable"),
            correctable=repair.get("rows_correctable"),
        )


@check("ROW_REMAP_FAILURE")
def remap_failed(repair: GpuMemoryRepair) -> Iterator[Finding]:
    """No spare row was left for a bad one."""
    if not repair.lacks("remap_failed") and repair.remap_failed:
        yield Finding(
            subject=repair.subject,
            evidence=repair.seen("remap_failed", "rows_uncorrectable", "rows_correctable", "banks_exhausted"),
            uncorrectable=repair.get("rows_uncorrectable"),
            correctable=repair.get("rows_correctable"),
            banks_exhausted=repair.get("banks_exhausted"),
        )


@check("PAGE_RETIREMENT_PENDING")
def retirement_pending(repair: GpuMemoryRepair) -> Iterator[Finding]:
    """Before Ampere: bad pages that are set aside only at the next reset."""
    if not repair.lacks("retirement_pending") and repair.retirement_pending:
        yield Finding(
            subject=repair.subject,
            evidence=repair.seen("retirement_pending", "pages_uncorrected", "pages_corrected"),
            uncorrectable=repair.get("pages_uncorrected"),
            correctable=repair.get("pages_corrected"),
        )
