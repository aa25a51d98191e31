"""The NVIDIA kernel modules: loaded, bound to the GPUs, and of the kind that these GPUs take."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import check
from gpudoctor.facts.driver import DriverGpu, NvidiaDriver
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.pci import Inventory, PciDevice
from gpudoctor.finding import NODE, Confidence, Finding, Severity
from gpudoctor.knowledge import table
from gpudoctor.unread import Unread
from gpudoctor_checks.gpu_models import PACK, generation_of
from gpudoctor_checks.passthrough import PASSED_THROUGH


@check("DRIVER_NOT_LOADED", "GPU_NOT_BOUND", "GPU_PASSED_THROUGH")
def unserved_gpus(driver: NvidiaDriver, inventory: Inventory) -> Iterator[Finding]:
    """An NVIDIA GPU is on the bus and NVIDIA's module does not drive it."""
    gpus = inventory.nvidia_gpus()
    for gpu in gpus:
        if gpu.driver in PASSED_THROUGH:
            yield Finding(gpu.subject, code="GPU_PASSED_THROUGH", evidence=gpu.seen("driver"), driver=gpu.driver)
    waiting = [gpu for gpu in gpus if gpu.driver not in (*PASSED_THROUGH, "nvidia")]
    if waiting and not driver.loaded:
        yield Finding(
            NODE,
            code="DRIVER_NOT_LOADED",
            evidence=[*driver.seen("loaded"), *(each for gpu in waiting for each in gpu.seen("driver"))],
            gpus=[gpu.bus_id for gpu in waiting],
            count=len(waiting),
            kernel_release=driver.get("kernel_release"),
            module_files=list(driver.get("module_files", ())),
            action=_how_to_load(driver),
        )
    for gpu in waiting:
        if driver.loaded and gpu.driver is None and not _left_behind(gpu, driver):
            yield Finding(
                inventory.subject(gpu.bus_id),
                code="GPU_NOT_BOUND",
                evidence=[*gpu.seen("driver"), *driver.seen("version")],
                version=driver.get("version"),
            )


def _left_behind(gpu: PciDevice, driver: NvidiaDriver) -> bool:
    """So old that this branch no longer drives it, which is told of below."""
    rule = table(PACK, "drivers")["generations"].get(generation_of(gpu.device_id)) or {}
    branch = str(driver.get("version", "0")).partition(".")[0]
    return int(branch) > int(rule.get("last_branch", 1 << 16))


def _how_to_load(driver: NvidiaDriver) -> str:
    files = driver.reading("module_files")
    if isinstance(files, Unread):
        return "unknown"
    if files:
        return "load"
    return "build" if driver.get("libraries") else "install"


@check("UVM_MISSING")
def no_unified_memory(driver: NvidiaDriver, inventory: Inventory) -> Iterator[Finding]:
    """nvidia_uvm is not loaded, and nothing here loads it when a program starts CUDA."""
    if not driver.loaded or "nvidia_uvm" in driver.modules or "nvidia_vgpu_vfio" in driver.modules:
        return
    if any(gpu.driver == "nvidia" for gpu in inventory.nvidia_gpus()) and not driver.loader:
        yield Finding(NODE, evidence=[*driver.seen("loader"), *driver.seen("version")], modules=sorted(driver.modules))


@check("OPEN_KERNEL_MODULE_REQUIRED", "PROPRIETARY_KERNEL_MODULE_REQUIRED", "GPU_UNSUPPORTED_BY_DRIVER")
def wrong_kind_of_module(driver: NvidiaDriver, inventory: Inventory) -> Iterator[Finding]:
    """The GPU's generation is served only by the other kind of module, or by an older branch."""
    if not driver.loaded:
        return
    served = inventory.get("gpu_indices", {})  # NVML lists them: whatever the table says, they work
    branch = int(driver.version.partition(".")[0])
    for gpu in inventory.nvidia_gpus():
        if gpu.bus_id in served or gpu.driver in PASSED_THROUGH:
            continue
        generation = generation_of(gpu.device_id)
        rule = table(PACK, "drivers")["generations"].get(generation)
        if rule is None:
            continue
        last = rule.get("last_branch")
        values = {"generation": generation, "version": driver.version, "last_branch": last}
        seen = [*driver.seen("version", "open_module"), *gpu.seen("device_id")]
        subject = inventory.subject(gpu.bus_id)
        if last is not None and branch > last:
            severity = Severity.WARNING if served else None  # beside newer ones: an old card for the display
            yield Finding(subject, code="GPU_UNSUPPORTED_BY_DRIVER", severity=severity, evidence=seen, **values)
        elif driver.open_module and not rule["open"]:
            yield Finding(subject, code="PROPRIETARY_KERNEL_MODULE_REQUIRED", evidence=seen, **values)
        elif not driver.open_module and not rule["proprietary"]:
            yield Finding(subject, code="OPEN_KERNEL_MODULE_REQUIRED", evidence=seen, **values)


@check("GSP_FIRMWARE_MISSING")
def no_firmware_file(
    driver: NvidiaDriver, gpus: tuple[DriverGpu, ...], inventory: Inventory, machine: Machine
) -> Iterator[Finding]:
    """A GPU did not start, and the firmware of this very version is nowhere the kernel looks."""
    if not driver.loaded or not driver.open_module or machine.container:
        return  # the proprietary module can do without; a container has its own /lib/firmware
    if any(driver.firmware.values()):
        return
    for gpu in gpus:
        if gpu.bus_id not in inventory.gpu_indices and gpu.firmware is None:
            yield Finding(
                gpu.subject,
                confidence=Confidence.LIKELY,
                evidence=[*driver.seen("firmware", "version"), *gpu.seen("firmware")],
                version=driver.version,
            )
