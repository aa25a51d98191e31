"""One GPU: who it is. Its health is in gpu_health.py."""

from __future__ import annotations

from typing import Literal

from gpudoctor.facts.fact import SubjectFact, fact, source
from gpudoctor.finding import Subject


def numbered_subject(index: int) -> Subject:
    """A GPU that NVML counts, and of which it cannot say where on the bus it is."""
    return Subject("gpu", f"nvml-{index}", f"GPU {index} (bus id unknown)")


@fact
class Gpu(SubjectFact):
    """A GPU that NVML enumerates (vendor nvidia) or that amdgpu serves (vendor amd)."""

    subject: Subject
    bus_id: str  # dddd:bb:dd.f, lower case
    vendor: Literal["nvidia", "amd"]
    index: int | None = source("nvmlDeviceGetHandleByIndex")  # NVML index; None where NVML does not list it
    name: str = source("nvmlDeviceGetName")
    uuid: str = source("nvmlDeviceGetUUID")
    minor: int = source("nvmlDeviceGetMinorNumber")  # /dev/nvidiaN
    compute_capability: tuple[int, int] = source("nvmlDeviceGetCudaComputeCapability")
    architecture: str = source("nvmlDeviceGetArchitecture")  # Volta, Turing, Ampere, Ada, Hopper, Blackwell, ...
    memory_total_bytes: int = source("nvmlDeviceGetMemoryInfo")
    is_idle: bool = source("nvmlDeviceGetUtilizationRates, nvmlDeviceGetPerformanceState")
