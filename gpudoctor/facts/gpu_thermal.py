"""How hot a GPU is, against the limits of this very GPU; what it draws, against its caps."""

from __future__ import annotations

from gpudoctor.facts.fact import SubjectFact, fact, source
from gpudoctor.finding import Subject


@fact
class GpuThermal(SubjectFact):
    """From Hopper on a margin counts down to zero at the maximum operating temperature."""

    subject: Subject
    gpu_celsius: int = source("nvmlDeviceGetTemperature")
    memory_celsius: int = source("NVML_FI_DEV_MEMORY_TEMP")
    margin_celsius: int = source("nvmlDeviceGetMarginTemperature")
    slowdown_margin_celsius: int = source("NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT")
    shutdown_margin_celsius: int = source("NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT")
    gpu_max_celsius: int = source("nvmlDeviceGetTemperatureThreshold GPU_MAX")
    slowdown_celsius: int = source("nvmlDeviceGetTemperatureThreshold SLOWDOWN")
    shutdown_celsius: int = source("nvmlDeviceGetTemperatureThreshold SHUTDOWN")
    memory_max_celsius: int = source("nvmlDeviceGetTemperatureThreshold MEM_MAX")
    fan_percent: int = source("nvmlDeviceGetFanSpeed")


@fact
class GpuPower(SubjectFact):
    subject: Subject
    draw_watts: float = source("nvmlDeviceGetPowerUsage")
    limit_watts: float = source("nvmlDeviceGetPowerManagementLimit")
    enforced_limit_watts: float = source("nvmlDeviceGetEnforcedPowerLimit")  # the least of all caps in force
    default_limit_watts: float = source("nvmlDeviceGetPowerManagementDefaultLimit")
    minimum_limit_watts: float = source("nvmlDeviceGetPowerManagementLimitConstraints")
    maximum_limit_watts: float = source("nvmlDeviceGetPowerManagementLimitConstraints")
