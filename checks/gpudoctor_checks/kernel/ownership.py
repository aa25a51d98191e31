"""Which kernel driver holds an NVIDIA GPU, where it is another one than NVIDIA's."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.pci import Inventory
from gpudoctor.finding import Finding, Severity

FRAMEBUFFERS = ("nvidiafb", "rivafb")


@check("NOUVEAU_CONFLICT", "FB_DRIVER_CONFLICT")
def foreign_driver(inventory: Inventory) -> Iterator[Finding]:
    """A driver that cannot compute is bound to the GPU, so NVIDIA's cannot be."""
    served = any(d.driver == "nvidia" for d in inventory.devices.values() if d.kind == "gpu")
    for device in inventory.nvidia_gpus():
        code = "NOUVEAU_CONFLICT" if device.driver == "nouveau" else "FB_DRIVER_CONFLICT"
        if device.driver == "nouveau" or device.driver in FRAMEBUFFERS:
            # beside GPUs that NVIDIA's driver serves it is one for the display, as a rule
            severity = Severity.WARNING if served else None
            evidence = device.seen("driver")
            yield Finding(device.subject, code=code, severity=severity, evidence=evidence, driver=device.driver)
