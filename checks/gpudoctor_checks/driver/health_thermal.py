"""Clocks held down by heat, and temperatures at the limits that the GPU itself states."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.gpu_clocks import GpuClocks
from gpudoctor.facts.gpu_thermal import GpuThermal
from gpudoctor.finding import Evidence, Finding, Severity

TOLERANCE = 5  # degrees by which margin and threshold of one GPU may disagree


@check("THERMAL_THROTTLE", "TEMPERATURE_AT_LIMIT")
def heat(clocks: GpuClocks, thermal: GpuThermal) -> Iterator[Finding]:
    hardware = "hw_thermal" in clocks.reasons or clocks.get("hw_thermal_share", 0) > 0
    software = "sw_thermal" in clocks.reasons or clocks.get("sw_thermal_share", 0) > 0
    at_limit = _at_limit(thermal)
    if hardware or software:
        share = max(clocks.get("hw_thermal_share", 0), clocks.get("sw_thermal_share", 0))
        yield Finding(
            clocks.subject,
            code="THERMAL_THROTTLE",
            severity=Severity.ERROR if hardware else None,
            evidence=[
                *clocks.seen("reasons", "sw_thermal_share", "hw_thermal_share", "sm_mhz"),
                *_temperatures(thermal),
            ],
            by="hardware" if hardware else "driver",
            share_percent=round(100 * share),
            sm_mhz=clocks.get("sm_mhz"),
            sm_max_mhz=clocks.get("sm_max_mhz"),
            celsius=thermal.get("gpu_celsius"),
        )
    elif at_limit:
        what, celsius, limit = at_limit
        evidence = _temperatures(thermal)
        yield Finding(
            clocks.subject, code="TEMPERATURE_AT_LIMIT", evidence=evidence, what=what, celsius=celsius, limit=limit
        )


def _at_limit(thermal: GpuThermal) -> tuple[str, int, str] | None:
    """What is at its maximum operating temperature: the GPU by margin (Hopper on) or threshold, the memory."""
    gpu, memory = thermal.gpu_celsius, thermal.get("memory_celsius")
    margin, highest = thermal.get("margin_celsius"), thermal.get("gpu_max_celsius", thermal.get("slowdown_celsius"))
    if margin is not None:
        if margin <= 0 and (highest is None or gpu >= highest - TOLERANCE):
            return "GPU", gpu, f"a margin of {margin} C to its maximum operating temperature"
    elif highest is not None and gpu >= highest:
        return "GPU", gpu, f"a limit of {highest} C"
    ceiling = thermal.get("memory_max_celsius")
    if memory is not None and ceiling is not None and memory >= ceiling:
        return "memory", memory, f"a limit of {ceiling} C"
    return None


def _temperatures(thermal: GpuThermal) -> tuple[Evidence, ...]:
    fields = ("gpu_celsius", "margin_celsius", "slowdown_celsius", "memory_celsius", "memory_max_celsius")
    return thermal.seen(*(f for f in fields if thermal.get(f) is not None))
