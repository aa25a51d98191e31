"""How a GPU is set up, and which firmware it runs."""

from __future__ import annotations

from typing import Literal

from gpudoctor.facts.fact import SubjectFact, fact, source
from gpudoctor.finding import Subject

ComputeMode = Literal["default", "exclusive_thread", "prohibited", "exclusive_process"]
Virtualization = Literal["none", "passthrough", "vgpu", "host_vgpu", "host_vsga"]


@fact
class GpuSettings(SubjectFact):
    subject: Subject
    data_centre: bool = source("nvmlDeviceGetBrand, nvmlDeviceGetName")  # a server GPU: neither GeForce nor workstation
    persistence: bool = source("nvmlDeviceGetPersistenceMode")
    display_active: bool = source("nvmlDeviceGetDisplayActive")
    compute_mode: ComputeMode = source("nvmlDeviceGetComputeMode")
    mig: bool = source("nvmlDeviceGetMigMode")
    mig_pending: bool = source("nvmlDeviceGetMigMode")
    mig_devices: int = source("nvmlDeviceGetMigDeviceHandleByIndex")
    virtualization: Virtualization = source("nvmlDeviceGetVirtualizationMode")
    vbios_version: str = source("nvmlDeviceGetVbiosVersion")
    inforom_version: str = source("nvmlDeviceGetInforomImageVersion")
    gsp_version: str = source("nvmlDeviceGetGspFirmwareVersion")
