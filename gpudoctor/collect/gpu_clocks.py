"""Clocks, and two samples of the counters that say how long something held them down."""

from __future__ import annotations

import time

from gpudoctor.collect.answers import Answers, ask, fields, first, integer, item, release
from gpudoctor.collect.collector import collector
from gpudoctor.collect.sampling import pause
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.gpu_clocks import GpuClocks, Reason
from gpudoctor.facts.nvml import Nvml
from gpudoctor.finding import Subject
from gpudoctor.node.surface import Node
from gpudoctor.unread import Gap, Reading, Unread, hold, known

SAMPLE_SECONDS = 0.105  # the counters step every 100 ms (gaps of 96 to 104 ms on an H200 at its power cap)
SM, MEMORY = "NVML_CLOCK_SM", "NVML_CLOCK_MEM"
CLOCKS = {
    "utilization": ("nvmlDeviceGetUtilizationRates",),
    "sm": ("nvmlDeviceGetClockInfo", SM),
    "sm_max": ("nvmlDeviceGetMaxClockInfo", SM),
    "sm_application": ("nvmlDeviceGetApplicationsClock", SM),
    "sm_default": ("nvmlDeviceGetDefaultApplicationsClock", SM),
    "memory": ("nvmlDeviceGetClockInfo", MEMORY),
    "memory_max": ("nvmlDeviceGetMaxClockInfo", MEMORY),
    "memory_application": ("nvmlDeviceGetApplicationsClock", MEMORY),
    "memory_default": ("nvmlDeviceGetDefaultApplicationsClock", MEMORY),
    "reasons": ("nvmlDeviceGetCurrentClocksEventReasons",),
    "throttle_reasons": ("nvmlDeviceGetCurrentClocksThrottleReasons",),  # the name before R535
    "limit": ("nvmlDeviceGetEnforcedPowerLimit",),
    "default_limit": ("nvmlDeviceGetPowerManagementDefaultLimit",),
}
IDLE = Unread(
    Gap.UNSUPPORTED, "nvmlDeviceGetFieldValues", "not sampled: the GPU is idle, there is no clock to hold down"
)
AT_DEFAULT = Unread(
    Gap.UNSUPPORTED,
    "nvmlDeviceGetFieldValues",
    "not sampled: the power limit is the default, and reaching it under load is how boost works",
)
REASONS: dict[int, Reason] = {
    0x001: "idle",
    0x002: "application_clocks",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal",
    0x040: "hw_thermal",
    0x080: "power_brake",
    0x100: "display_clocks",
}
POWER, THERMAL = "NVML_FI_DEV_PERF_POLICY_POWER", "NVML_FI_DEV_PERF_POLICY_THERMAL"


def counters_of(driver: Reading[str]) -> tuple[str | int, ...]:
    """Fields that count nanoseconds: power cap, thermal policy, then software thermal, hardware thermal, brake.

    NVIDIA renumbered the last three: 251 to 253 in nvidia-ml-py 12.575 and 13.580.65, 269 to 271 from 13.580.82
    on; R570 and R575 have power smoothing at those places. A name would read another counter on some driver.
    """
    version = release(driver)
    late = (269, 270, 271) if version >= (580, 82) else (251, 252, 253) if (575,) <= version < (580, 66) else ()
    return (POWER, THERMAL, *late)


@collector
def gpu_clocks(node: Node, gpus: tuple[Gpu, ...], nvml: Nvml) -> tuple[GpuClocks, ...]:
    counters = counters_of(nvml.reading("driver_version"))
    question = {"counters": ("nvmlDeviceGetFieldValues", *counters)}
    began = time.monotonic()
    clocks = ask(node, gpus, {**question, **CLOCKS})
    held = tuple(gpu for gpu, answers in clocks if _worth_a_sample(answers, counters))
    if held:
        pause(node, SAMPLE_SECONDS, began)
    after = {gpu.subject.id: answers["counters"] for gpu, answers in ask(node, held, question, sample=1)}
    return tuple(
        _clocks(gpu.subject, answers, _shares(answers, after.get(gpu.subject.id), counters)) for gpu, answers in clocks
    )


def _worth_a_sample(answers: Answers, counters: tuple[str | int, ...]) -> bool:
    """Something did hold the clocks down since the driver was loaded, and it matters whether it does so now."""
    if _idle(answers):
        return False
    power, *others = fields(answers["counters"], [str(counter) for counter in counters]).values()
    enforced, default = integer(answers["limit"]), integer(answers["default_limit"])
    lowered = isinstance(enforced, Unread) or isinstance(default, Unread) or enforced < default
    return any(known(each, 0) for each in others) or (lowered and bool(known(power, 0)))


def _idle(answers: Answers) -> bool:
    """The GPU itself says that it has nothing to do, and that nothing else holds its clocks."""
    return _reasons(first(answers["reasons"], answers["throttle_reasons"])) == ("idle",)


def _clocks(subject: Subject, answers: Answers, shares: list[Reading[float]]) -> GpuClocks:
    power, thermal, sw_thermal, hw_thermal, brake = shares
    return GpuClocks(
        subject,
        busy_percent=hold(item(answers["utilization"], "gpu")),
        sm_mhz=hold(integer(answers["sm"])),
        sm_max_mhz=hold(integer(answers["sm_max"])),
        sm_application_mhz=hold(integer(answers["sm_application"])),
        sm_default_mhz=hold(integer(answers["sm_default"])),
        memory_mhz=hold(integer(answers["memory"])),
        memory_max_mhz=hold(integer(answers["memory_max"])),
        memory_application_mhz=hold(integer(answers["memory_application"])),
        memory_default_mhz=hold(integer(answers["memory_default"])),
        reasons=hold(_reasons(first(answers["reasons"], answers["throttle_reasons"]))),
        power_cap_share=hold(power),
        sw_thermal_share=hold(first(sw_thermal, thermal)),
        hw_thermal_share=hold(hw_thermal),
        power_brake_share=hold(brake),
    )


def _reasons(answer: Reading[object]) -> Reading[tuple[Reason, ...]]:
    mask = integer(answer)
    if isinstance(mask, Unread):
        return mask
    active: list[Reason] = [name for bit, name in REASONS.items() if mask & bit]
    return tuple(active)


def _shares(answers: Answers, after: Reading[object] | None, counters: tuple[str | int, ...]) -> list[Reading[float]]:
    names = [str(counter) for counter in counters]
    early = fields(answers["counters"], names)
    late = fields(after, names) if after is not None else dict.fromkeys(names, IDLE if _idle(answers) else AT_DEFAULT)
    shares = [_share(early[name], late[name]) for name in names]
    missing = Unread(Gap.UNSUPPORTED, "nvmlDeviceGetFieldValues", "this driver counts no time of this reason")
    return [*shares, *[missing] * (5 - len(shares))]


def _share(before: Reading[int], after: Reading[int]) -> Reading[float]:
    if isinstance(before, Unread):
        return before
    if isinstance(after, Unread):
        return after if before else 0.0  # a counter at zero never counted
    return min(1.0, max(0, after - before) / (SAMPLE_SECONDS * 1e9))
