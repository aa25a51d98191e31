"""The driver's parts against one another, and against what is known of its version."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from gpudoctor.check import check
from gpudoctor.facts.driver import Library, NvidiaDriver
from gpudoctor.facts.machine import Machine
from gpudoctor.facts.nvml import Nvml
from gpudoctor.facts.pci import Inventory
from gpudoctor.finding import NODE, Confidence, Evidence, Finding, Severity
from gpudoctor.knowledge import table
from gpudoctor.unread import Unread
from gpudoctor_checks.gpu_models import PACK, generation_of

# CUDA's compatibility package (also conda's) and link-time stubs: other checks judge these
ELSEWHERE = ("/compat/", "/cuda-compat/", "/stubs/")


@check("DRIVER_LIBRARY_MISMATCH")
def library_is_not_the_modules(driver: NvidiaDriver, nvml: Nvml, machine: Machine) -> Iterator[Finding]:
    """The library that a program gets is of another version than the module in the kernel."""
    if not driver.loaded:
        return
    refusal = nvml.reading("driver_version")
    refused = isinstance(refusal, Unread) and "mismatch" in str(refusal).lower()
    wrong = [lib for lib in _first_found(driver) if lib.version != driver.version and not _works(lib, nvml, driver)]
    if not wrong and not refused:
        return
    library = wrong[0] if wrong else None
    guessed = not refused and library is not None and library.found_by == "default directory"
    container = bool(machine.get("container"))
    yield Finding(
        NODE,
        severity=Severity.CRITICAL if refused and not container else Severity.ERROR,
        confidence=Confidence.LIKELY if guessed else Confidence.CERTAIN,
        evidence=[
            *driver.seen("version"),
            *(Evidence(lib.path, f"{lib.file}, by {lib.found_by}") for lib in wrong),
            *([Evidence("NVML", str(refusal))] if refused else []),
        ],
        module_version=driver.version,
        library_version=library.version if library else "another version",
        library=library.file if library else "libnvidia-ml.so.1",
        action=_cure(driver, library, container),
    )


def _first_found(driver: NvidiaDriver) -> Iterator[Library]:
    for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
        found = [lib for lib in driver.libraries_named(name) if not any(part in lib.file for part in ELSEWHERE)]
        if found and found[0].version is not None:
            yield found[0]


def _works(library: Library, nvml: Nvml, driver: NvidiaDriver) -> bool:
    """NVML answered as the module's version: then the file found first on paper is not the one in use."""
    return library.name == "libnvidia-ml.so.1" and str(nvml.get("library_version", "")).endswith(driver.version)


def _cure(driver: NvidiaDriver, library: Library | None, container: bool) -> str:
    if container:
        return "container"
    if library is None or library.version is None:
        return "reload"
    if any(each.version == driver.version for each in driver.libraries):
        return "remove_stray"
    return "reload" if number(library.version) > number(driver.version) else "reinstall"


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


@check("DRIVER_LIBRARIES_MIXED")
def several_versions_in_reach(driver: NvidiaDriver) -> Iterator[Finding]:
    """The right libraries come first, but others of another version lie behind them."""
    if not driver.loaded:
        return
    libraries = [lib for lib in driver.libraries if lib.version and not any(part in lib.file for part in ELSEWHERE)]
    first = list(_first_found(driver))
    stray = [lib for lib in libraries if lib.version != driver.version]
    if stray and first and all(lib.version == driver.version for lib in first):
        yield Finding(
            NODE,
            evidence=[*driver.seen("version"), *(Evidence(lib.path, lib.file) for lib in stray)],
            module_version=driver.version,
            versions=sorted({lib.version or "" for lib in stray}),
            files=[lib.file for lib in stray],
        )


@check("DRIVER_BRANCH_ENDED")
def branch_without_fixes(driver: NvidiaDriver, machine: Machine) -> Iterator[Finding]:
    """NVIDIA no longer mends this branch, security faults included."""
    branch = int(driver.version.partition(".")[0])
    known = table(PACK, "drivers")
    row = next((r for r in known["branches"] if r["branch"] == branch and r["sure"] and r["ended"]), None)
    if row is None or machine.now == 0:
        return
    today = datetime.fromtimestamp(machine.now, timezone.utc).date().isoformat()
    if today[: len(row["ended"])] > row["ended"]:
        yield Finding(NODE, evidence=driver.seen("version"), version=driver.version, branch=branch, ended=row["ended"])


@check("DRIVER_KNOWN_BAD")
def known_fault(driver: NvidiaDriver, inventory: Inventory) -> Iterator[Finding]:
    """NVIDIA names a fault of this version, and these GPUs can meet it."""
    if not driver.loaded:
        return
    here = {generation_of(gpu.device_id) for gpu in inventory.nvidia_gpus()}
    for row in table(PACK, "drivers")["known_bad"]:
        within = number(row["from"]) <= number(driver.version) < number(row["fixed_in"])
        if within and (not row.get("generations") or here & set(row["generations"])):
            yield Finding(
                NODE,
                severity=Severity[row["severity"].upper()],
                evidence=[*driver.seen("version"), Evidence(row["sources"][0], row["fault"])],
                version=driver.version,
                fault=row["fault"],
                fixed_in=row["fixed_in"],
            )
