"""Why NVIDIA's driver did not get the GPUs: another driver was first, or the kernel did not trust the module."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from gpudoctor.check import check
from gpudoctor.facts.kernel_log import KernelLog, KernelRecord
from gpudoctor.facts.pci import Inventory, PciDevice, gpu_subject
from gpudoctor.finding import NODE, Confidence, Finding, Occurrence, Subject
from gpudoctor.unread import Unread
from gpudoctor_checks.passthrough import PASSED_THROUGH

NEAR = 12  # lines of the driver's advice that follow its complaint
_NOUVEAU = re.compile(r"nouveau (?P<bus_id>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): ")
_FRAMEBUFFER = re.compile(r"(?P<driver>nvidiafb|rivafb|rivatv)(?: [0-9a-f:.]{7,12})?: ")
_REFUSED = re.compile(
    r"Loading of (?:unsigned module|module with (?:unsupported crypto|unavailable key)) is rejected"
    r"|Key was rejected by service"
    r"|Lockdown: [^\n]{0,64}: unsigned module loading is restricted"
)


@check("NOUVEAU_CONFLICT", "FB_DRIVER_CONFLICT")
def probe_not_called(log: KernelLog, inventory: Inventory) -> Iterator[Finding]:
    """NVIDIA's module found its GPUs taken. Its advice names drivers in general; who has them is read elsewhere."""
    complaints = [i for i, r in enumerate(log.records) if "probe routine was not called" in r.text]
    if not complaints or _given_away(inventory):
        return
    own = [log.records[i] for i in complaints]
    advice = " ".join(r.text for r in log.records[complaints[-1] : complaints[-1] + NEAR])
    for record in log.records:
        if (found := _NOUVEAU.search(record.text)) and "probe routine" not in record.text:
            yield _conflict(
                log, "NOUVEAU_CONFLICT", gpu_or_known(inventory, found["bus_id"]), "nouveau", [record, *own]
            )
            return
        if found := _FRAMEBUFFER.match(record.text):
            yield _conflict(log, "FB_DRIVER_CONFLICT", NODE, found["driver"], [record, *own])
            return
    if "nouveau" in advice or "rivafb" not in advice:
        yield _conflict(log, "NOUVEAU_CONFLICT", NODE, "nouveau", own, Confidence.POSSIBLE)
    else:  # written before there was a nouveau
        yield _conflict(log, "FB_DRIVER_CONFLICT", NODE, "nvidiafb or rivafb", own, Confidence.LIKELY)


def _given_away(inventory: Inventory) -> bool:
    """Every GPU that NVIDIA's driver lacks is meant for a virtual machine, or none lacks it by now."""
    gpus = inventory.nvidia_gpus() if inventory.get("devices") else ()
    return bool(gpus) and all(gpu.get("driver") in (*PASSED_THROUGH, "nvidia") for gpu in gpus)


def gpu_or_known(inventory: Inventory, bus_id: str) -> Subject:
    return inventory.subject(bus_id) if bus_id in inventory.get("devices", {}) else gpu_subject(bus_id, None)


def _conflict(
    log: KernelLog,
    code: str,
    subject: Subject,
    driver: str,
    records: Sequence[KernelRecord],
    confidence: Confidence = Confidence.CERTAIN,
) -> Finding:
    return Finding(
        subject,
        code=code,
        confidence=confidence,
        evidence=log.excerpt(records),
        occurrences=[Occurrence(r.at) for r in records[:1] if r.at is not None],
        driver=driver,
    )


@check("SECURE_BOOT_MODULE_REJECTED")
def refused_module(log: KernelLog, inventory: Inventory) -> Iterator[Finding]:
    """The refusal does not name the module: it is the GPU driver's where a GPU waits for its driver."""
    refused = [record for record in log.records if _REFUSED.search(record.text)]
    if not refused:
        return
    named = any("nvidia" in record.text or "amdgpu" in record.text for record in refused)
    loaded = bool(log.get("resets", ())) and any(
        reset.how == "module loaded" and reset.record.line > refused[-1].line for reset in log.resets
    )
    if loaded:
        return
    drivers = [_driver(gpu) for gpu in inventory.get("devices", {}).values() if gpu.kind == "gpu"]
    if drivers and None not in drivers and not named:
        return  # every GPU has its driver: some other module was refused
    waiting = None in drivers
    yield Finding(
        NODE,
        confidence=Confidence.CERTAIN if named else Confidence.LIKELY if waiting else Confidence.POSSIBLE,
        evidence=log.excerpt(refused),
        occurrences=[Occurrence(record.at) for record in refused if record.at is not None],
        count=len(refused),
    )


def _driver(gpu: PciDevice) -> str | None:
    bound = gpu.reading("driver")
    return "unread" if isinstance(bound, Unread) else bound
