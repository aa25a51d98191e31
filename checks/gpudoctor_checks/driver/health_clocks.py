"""Clocks that somebody set lower than the GPU ships with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gpudoctor.check import check
from gpudoctor.facts.gpu_clocks import GpuClocks
from gpudoctor.finding import Confidence, Evidence, Finding, Severity

BUSY_PERCENT = 90
LOW = 0.9  # of the default clock; boost never runs below it without a reason of its own
QUARTER = 0.75
# Desktop GPUs state no default clock, and boost with temperature and voltage: far below the maximum is usual.
BOOST = 0.7
LIMITS = {"sw_power_cap", "hw_slowdown", "sync_boost", "sw_thermal", "hw_thermal", "power_brake", "idle"}


@check("CLOCKS_LOCKED_LOW")
def locked_low(clocks: GpuClocks) -> Iterator[Finding]:
    """Application clocks under their default; or a busy GPU runs slow although nothing holds it back."""
    settings = (
        ("SM", clocks.get("sm_application_mhz"), clocks.get("sm_default_mhz")),
        ("memory", clocks.get("memory_application_mhz"), clocks.get("memory_default_mhz")),
    )
    for what, application, default in settings:
        if application and default and application < default:
            evidence = clocks.seen(
                "sm_application_mhz", "sm_default_mhz", "memory_application_mhz", "memory_default_mhz", "sm_mhz"
            )
            yield _low(clocks, what, application, default, "application clocks", Confidence.CERTAIN, evidence)
            return
    if clocks.lacks("sm_mhz"):
        return
    stated = clocks.get("sm_default_mhz")
    normal = min(stated, clocks.sm_max_mhz) if stated else round(clocks.sm_max_mhz * BOOST)
    held = LIMITS.intersection(clocks.reasons)
    if clocks.get("busy_percent", 0) >= BUSY_PERCENT and not held and clocks.sm_mhz < normal * LOW:
        evidence = clocks.seen("busy_percent", "sm_mhz", "sm_default_mhz", "sm_max_mhz", "reasons")
        yield _low(clocks, "SM", clocks.sm_mhz, normal, "locked clocks", Confidence.LIKELY, evidence)


def _low(
    clocks: GpuClocks, what: str, mhz: int, normal: int, by: str, confidence: Confidence, evidence: Iterable[Evidence]
) -> Finding:
    return Finding(
        clocks.subject,
        severity=Severity.ERROR if mhz < normal * QUARTER else None,
        confidence=confidence,
        evidence=evidence,
        what=what,
        mhz=mhz,
        normal_mhz=normal,
        less_percent=round(100 * (1 - mhz / normal)),
        by=by,
    )
