"""Which kernel driver holds an NVIDIA GPU, where it is another one than NVIDIA's."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.pci import Inventory
from gpudoctor.finding import Finding

NVIDIA = 0x10DE
FRAMEBUFFERS = ("nvidiafb", "rivafb")


@check("NOUVEAU_CONFLICT", "FB_DRIVER_CONFLICT")
def foreign_driver(inventory: Inventory) -> Iterator[Finding]:
    """A driver that cannot compute is bound to the GPU, so NVIDIA's cannot be."""
    for device in inventory.devices.values():
        if device.kind != "gpu" or device.vendor_id != NVIDIA:
            continue
        code = "NOUVEAU_CONFLICT" if device.driver == "nouveau" else "FB_DRIVER_CONFLICT"
        if device.driver == "nouveau" or device.driver in FRAMEBUFFERS:
            yield Finding(device.subject, code=code, evidence=device.seen("driver"), driver=device.driver)
