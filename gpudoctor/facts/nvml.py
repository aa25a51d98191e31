"""NVML as a whole: does it answer, and whom does it see."""

from __future__ import annotations

from gpudoctor.facts.fact import Fact, fact, source
from gpudoctor.unread import Unread


@fact
class Nvml(Fact):
    library_version: str = source("nvmlSystemGetNVMLVersion")
    driver_version: str = source("nvmlSystemGetDriverVersion")
    cuda_version: str = source("nvmlSystemGetCudaDriverVersion_v2")  # "13.0": the driver's ceiling
    bus_ids: dict[int, str] = source("nvmlDeviceGetPciInfo")  # NVML index -> bus id, of those that answer
    silent: dict[int, Unread] = source("nvmlDeviceGetHandleByIndex")  # NVML index -> why it has no handle or bus id
