"""GPUs and NVSwitches that no longer answer on the bus."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.driver import DriverGpu
from gpudoctor.facts.pci import Inventory
from gpudoctor.finding import Finding
from gpudoctor.unread import Unread
from gpudoctor_checks.passthrough import PASSED_THROUGH

CODES = {"gpu": "GPU_FELL_OFF_BUS", "nvswitch": "NVSWITCH_FELL_OFF_BUS"}


@check("GPU_FELL_OFF_BUS", "NVSWITCH_FELL_OFF_BUS")
def silent_on_the_bus(inventory: Inventory) -> Iterator[Finding]:
    """The device's configuration space reads as all ones: nothing answers at its address."""
    devices = inventory.devices
    gaps = []
    for device in devices.values():
        if device.kind not in CODES or device.get("driver") in PASSED_THROUGH:
            continue  # a guest that resets its device makes it silent for a while
        gone = device.reading("config_gone")
        if isinstance(gone, Unread):
            gaps.append(gone)
        elif gone:
            above = [bus_id for bus_id in device.get("path", ()) if bus_id in devices]
            silent = [bus_id for bus_id in above if devices[bus_id].get("config_gone")]
            yield Finding(
                device.subject,
                code=CODES[device.kind],
                evidence=device.seen("config_gone", "driver"),
                bus_id=device.bus_id,
                bridges_gone=silent,
                action="bridge" if silent else "device",
            )
    for gap in gaps[:1]:
        raise gap


@check("GPU_FELL_OFF_BUS")
def removed_from_the_bus(gpus: tuple[DriverGpu, ...], inventory: Inventory) -> Iterator[Finding]:
    """The driver still keeps a GPU that the bus no longer lists: it was unplugged, or its port went down."""
    for gpu in gpus:
        if gpu.bus_id not in inventory.devices:
            listed = [d.bus_id for d in inventory.devices.values() if d.kind == "gpu"]
            yield Finding(
                gpu.subject,
                evidence=gpu.seen("model"),
                gpus_on_bus=listed,
                bus_id=gpu.bus_id,
                bridges_gone=[],
                action="removed",
            )
