"""Temperatures and power of each GPU, with the limits it states itself."""

from __future__ import annotations

from gpudoctor.collect.answers import Answers, ask, fields, integer, item, scaled, signed
from gpudoctor.collect.collector import collector
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.gpu_thermal import GpuPower, GpuThermal
from gpudoctor.finding import Subject
from gpudoctor.node.surface import Node
from gpudoctor.unread import Gap, Reading, Unread, hold

MARGINS = ("NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT", "NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT")
MEMORY = "NVML_FI_DEV_MEMORY_TEMP"
THERMAL = {
    "gpu": ("nvmlDeviceGetTemperature", "NVML_TEMPERATURE_GPU"),
    "margin": ("nvmlDeviceGetMarginTemperature",),
    "fields": ("nvmlDeviceGetFieldValues", MEMORY, *MARGINS),
    "gpu_max": ("nvmlDeviceGetTemperatureThreshold", "NVML_TEMPERATURE_THRESHOLD_GPU_MAX"),
    "slowdown": ("nvmlDeviceGetTemperatureThreshold", "NVML_TEMPERATURE_THRESHOLD_SLOWDOWN"),
    "shutdown": ("nvmlDeviceGetTemperatureThreshold", "NVML_TEMPERATURE_THRESHOLD_SHUTDOWN"),
    "memory_max": ("nvmlDeviceGetTemperatureThreshold", "NVML_TEMPERATURE_THRESHOLD_MEM_MAX"),
    "fan": ("nvmlDeviceGetFanSpeed",),
}
POWER = {
    "draw": ("nvmlDeviceGetPowerUsage",),
    "limit": ("nvmlDeviceGetPowerManagementLimit",),
    "enforced": ("nvmlDeviceGetEnforcedPowerLimit",),
    "default": ("nvmlDeviceGetPowerManagementDefaultLimit",),
    "range": ("nvmlDeviceGetPowerManagementLimitConstraints",),
}
WATTS = 1e-3


@collector
def gpu_thermal(node: Node, gpus: tuple[Gpu, ...]) -> tuple[GpuThermal, ...]:
    return tuple(_thermal(gpu.subject, answers) for gpu, answers in ask(node, gpus, THERMAL))


def _thermal(subject: Subject, answers: Answers) -> GpuThermal:
    held = fields(answers["fields"], (MEMORY, *MARGINS))
    memory = held[MEMORY]
    return GpuThermal(
        subject,
        gpu_celsius=hold(integer(answers["gpu"])),
        memory_celsius=hold(Unread(Gap.UNSUPPORTED, MEMORY, "reads 0") if memory == 0 else memory),
        margin_celsius=hold(signed(integer(answers["margin"]))),
        slowdown_margin_celsius=hold(signed(held[MARGINS[0]])),
        shutdown_margin_celsius=hold(signed(held[MARGINS[1]])),
        gpu_max_celsius=hold(_limit(answers["gpu_max"])),
        slowdown_celsius=hold(_limit(answers["slowdown"])),
        shutdown_celsius=hold(_limit(answers["shutdown"])),
        memory_max_celsius=hold(_limit(answers["memory_max"])),
        fan_percent=hold(integer(answers["fan"])),
    )


def _limit(answer: Reading[object]) -> Reading[int]:
    """A threshold of 0 degrees is none."""
    limit = integer(answer)
    return Unread(Gap.UNSUPPORTED, "nvmlDeviceGetTemperatureThreshold", "reads 0") if limit == 0 else limit


@collector
def gpu_power(node: Node, gpus: tuple[Gpu, ...]) -> tuple[GpuPower, ...]:
    return tuple(_power(gpu.subject, answers) for gpu, answers in ask(node, gpus, POWER))


def _power(subject: Subject, answers: Answers) -> GpuPower:
    return GpuPower(
        subject,
        draw_watts=hold(scaled(integer(answers["draw"]), WATTS)),
        limit_watts=hold(scaled(integer(answers["limit"]), WATTS)),
        enforced_limit_watts=hold(scaled(integer(answers["enforced"]), WATTS)),
        default_limit_watts=hold(scaled(integer(answers["default"]), WATTS)),
        minimum_limit_watts=hold(scaled(item(answers["range"], 0), WATTS)),
        maximum_limit_watts=hold(scaled(item(answers["range"], 1), WATTS)),
    )
