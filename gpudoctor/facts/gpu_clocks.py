"""How fast a GPU runs, and what holds it back."""

from __future__ import annotations

from typing import Literal

from gpudoctor.facts.fact import SubjectFact, fact, source
from gpudoctor.finding import Subject

Reason = Literal[
    "idle",
    "application_clocks",
    "sw_power_cap",
    "hw_slowdown",
    "sync_boost",
    "sw_thermal",
    "hw_thermal",
    "power_brake",
    "display_clocks",
]


@fact
class GpuClocks(SubjectFact):
    """Shares: the part of a short sample (105 ms) during which a reason held the clocks down; none of an idle GPU."""

    subject: Subject
    busy_percent: int = source("nvmlDeviceGetUtilizationRates")
    sm_mhz: int = source("nvmlDeviceGetClockInfo NVML_CLOCK_SM")
    sm_max_mhz: int = source("nvmlDeviceGetMaxClockInfo NVML_CLOCK_SM")
    sm_application_mhz: int = source("nvmlDeviceGetApplicationsClock NVML_CLOCK_SM")
    sm_default_mhz: int = source("nvmlDeviceGetDefaultApplicationsClock NVML_CLOCK_SM")
    memory_mhz: int = source("nvmlDeviceGetClockInfo NVML_CLOCK_MEM")
    memory_max_mhz: int = source("nvmlDeviceGetMaxClockInfo NVML_CLOCK_MEM")
    memory_application_mhz: int = source("nvmlDeviceGetApplicationsClock NVML_CLOCK_MEM")
    memory_default_mhz: int = source("nvmlDeviceGetDefaultApplicationsClock NVML_CLOCK_MEM")
    reasons: tuple[Reason, ...] = source("nvmlDeviceGetCurrentClocksEventReasons")
    power_cap_share: float = source("NVML_FI_DEV_PERF_POLICY_POWER")
    sw_thermal_share: float = source("NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN")
    hw_thermal_share: float = source("NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN")
    power_brake_share: float = source("NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN")
