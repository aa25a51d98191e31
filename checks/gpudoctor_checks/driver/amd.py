"""AMD GPUs: bound, within their limits, and alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.amd import AmdGpu, AmdRas, AmdSensors
from gpudoctor.facts.pci import Inventory
from gpudoctor.finding import Evidence, Finding, Severity
from gpudoctor_checks.passthrough import AMD_HOST, PASSED_THROUGH

AMD = 0x1002
DISPLAY_OTHER = 0x0380
SERVED = ("amdgpu", "radeon", AMD_HOST, *PASSED_THROUGH)
LOWERED = 0.99  # below the board's default by more than rounding
ALIKE = ("product_name", "vbios_version", "vram_total_bytes", "compute_partition", "memory_partition")


@check("AMD_GPU_NOT_BOUND")
def not_bound(inventory: Inventory) -> Iterator[Finding]:
    """An AMD accelerator is on the bus and amdgpu does not drive it."""
    drivers = {d.get("driver") for d in inventory.devices.values() if d.kind == "gpu"}
    for device in inventory.devices.values():
        if device.kind == "gpu" and device.vendor_id == AMD and device.driver not in SERVED:
            beside = (
                device.get("class_code", 0) >> 8 == DISPLAY_OTHER and "nvidia" in drivers
            )  # a processor's own graphics
            severity = Severity.WARNING if beside else None
            evidence = device.seen("driver")
            yield Finding(device.subject, severity=severity, evidence=evidence, driver=device.driver or "no driver")


@check("AMD_BAD_PAGES")
def bad_pages(ras: AmdRas) -> Iterator[Finding]:
    """Pages of the GPU's memory that the driver has retired, wants to retire, or could not."""
    pages = ras.bad_pages
    if not pages:
        return
    failed, pending = pages.get("F", 0), pages.get("P", 0)
    yield Finding(
        ras.subject,
        severity=Severity.ERROR if failed else Severity.WARNING if pending else Severity.INFO,
        evidence=ras.seen("bad_pages"),
        reserved=pages.get("R", 0),
        pending=pending,
        failed=failed,
        action="failed" if failed else "pending" if pending else "reserved",
    )


@check("AMD_THERMAL")
def at_its_limit(sensors: AmdSensors) -> Iterator[Finding]:
    """A sensor reads the limit at which the GPU slows down, or more."""
    hot = [t for t in sensors.temperatures if t.critical_celsius and t.celsius >= t.critical_celsius]
    if hot:
        worst = max(hot, key=lambda t: t.celsius - (t.critical_celsius or 0))
        past = [t for t in hot if t.emergency_celsius and t.celsius >= t.emergency_celsius]
        yield Finding(
            sensors.subject,
            severity=Severity.CRITICAL if past else None,
            evidence=[
                Evidence(sensors.source("temperatures"), f"{t.label} {t.celsius:g} °C, limit {t.critical_celsius:g} °C")
                for t in hot
            ],
            sensor=worst.label,
            celsius=worst.celsius,
            limit_celsius=worst.critical_celsius,
        )


@check("AMD_POWER_CAP_LOWERED")
def power_cap(sensors: AmdSensors) -> Iterator[Finding]:
    """The power cap is below the board's default."""
    cap, default = sensors.power_cap_watts, sensors.power_cap_default_watts
    if 0 < cap < default * LOWERED:
        yield Finding(
            sensors.subject,
            evidence=sensors.seen("power_cap_watts", "power_cap_default_watts"),
            cap_watts=round(cap),
            default_watts=round(default),
            percent=round(100 * cap / default),
        )


@check("AMD_SIBLINGS_DIFFER")
def odd_one_out(gpus: tuple[AmdGpu, ...]) -> Iterator[Finding]:
    """A GPU differs from most of its siblings in what should be equal."""
    if len(gpus) < 3:
        return
    for gpu in gpus:
        odd: dict[str, tuple[object, object]] = {}
        for name in ALIKE:
            held = Counter(str(other.get(name)) for other in gpus if other.get(name) is not None)
            usual, count = held.most_common(1)[0] if held else (None, 0)
            own = gpu.get(name)
            if own is not None and str(own) != usual and count > len(gpus) / 2:
                odd[name] = (own, usual)
        if odd:
            yield Finding(
                gpu.subject,
                evidence=gpu.seen(*odd),
                fields=", ".join(odd),
                own=", ".join(str(own) for own, _ in odd.values()),
                usual=", ".join(str(usual) for _, usual in odd.values()),
            )
