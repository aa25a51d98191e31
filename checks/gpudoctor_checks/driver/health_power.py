"""Power caps below what the GPU ships with, and the brake that the chassis pulls."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.gpu_clocks import GpuClocks
from gpudoctor.facts.gpu_thermal import GpuPower
from gpudoctor.finding import Confidence, Finding, Severity

ROUNDING = 0.99  # limits are set in steps of a few watts


@check("HW_SLOWDOWN")
def slowdown(clocks: GpuClocks, power: GpuPower, gpu: Gpu) -> Iterator[Finding]:
    """A hardware signal that is not heat cuts the clocks."""
    reasons = clocks.reasons
    brake = "power_brake" in reasons or clocks.get("power_brake_share", 0) > 0
    # the plain bit also shows for a moment while the clocks change, and an idle GPU changes them
    unnamed = "hw_slowdown" in reasons and "hw_thermal" not in reasons and clocks.get("busy_percent", 0) > 0
    laptop = "Laptop" in gpu.get("name", "")
    if brake or unnamed:
        yield Finding(
            clocks.subject,
            severity=None if brake and not laptop else Severity.WARNING,
            confidence=Confidence.CERTAIN if brake else Confidence.POSSIBLE,
            evidence=[*clocks.seen("reasons", "power_brake_share", "sm_mhz", "sm_max_mhz"), *power.seen("draw_watts")],
            cause="the power brake" if brake else "a hardware slowdown without a stated cause",
            share_percent=round(100 * clocks.get("power_brake_share", 0)),
            sm_mhz=clocks.get("sm_mhz"),
            sm_max_mhz=clocks.get("sm_max_mhz"),
            action="laptop" if laptop else "chassis",
        )


@check("POWER_THROTTLE", "POWER_CAP_LOWERED")
def power_cap(clocks: GpuClocks, power: GpuPower) -> Iterator[Finding]:
    """A cap below the default: at the default, reaching the cap under load is how boost works."""
    if power.lacks("enforced_limit_watts") or power.lacks("default_limit_watts"):
        return
    enforced, default = power.enforced_limit_watts, power.default_limit_watts
    if default <= 0 or enforced >= default * ROUNDING:
        return
    capped = "sw_power_cap" in clocks.reasons or clocks.get("power_cap_share", 0) > 0
    set_here = power.get("limit_watts", default) < default * ROUNDING
    yield Finding(
        clocks.subject,
        code="POWER_THROTTLE" if capped else "POWER_CAP_LOWERED",
        evidence=[
            *power.seen("enforced_limit_watts", "limit_watts", "default_limit_watts", "draw_watts"),
            *clocks.seen("reasons", "power_cap_share", "sm_mhz"),
        ],
        limit_watts=round(enforced),
        default_watts=round(default),
        less_percent=round(100 * (1 - enforced / default)),
        share_percent=round(100 * clocks.get("power_cap_share", 0)),
        sm_mhz=clocks.get("sm_mhz"),
        sm_max_mhz=clocks.get("sm_max_mhz"),
        by="the driver's power limit" if set_here else "something outside of the driver",
        action="raise_limit" if set_here else "ask_outside",
    )
