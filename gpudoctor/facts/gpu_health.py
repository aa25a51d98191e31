"""What a GPU says of its own health: memory errors, repairs, what it wants done, its fabric."""

from __future__ import annotations

from typing import Literal

from gpudoctor.facts.fact import SubjectFact, fact, source
from gpudoctor.finding import Subject

Action = Literal[
    "none",
    "reset_gpu",
    "reboot_node",
    "drain_p2p",
    "drain_and_reset",
    "recover_imex_domain",
    "reset_bus",
    "reboot_system",
]
FabricState = Literal["not_supported", "not_started", "in_progress", "completed"]


@fact
class GpuEcc(SubjectFact):
    """Counters: volatile since the driver loaded or the GPU was reset, aggregate over the GPU's life."""

    subject: Subject
    enabled: bool = source("nvmlDeviceGetEccMode")
    enabled_pending: bool = source("nvmlDeviceGetEccMode")
    enabled_default: bool = source("nvmlDeviceGetDefaultEccMode")
    volatile_corrected: int = source("nvmlDeviceGetTotalEccErrors")
    volatile_uncorrected: int = source("nvmlDeviceGetTotalEccErrors")
    aggregate_corrected: int = source("nvmlDeviceGetTotalEccErrors")
    aggregate_uncorrected: int = source("nvmlDeviceGetTotalEccErrors")
    dram_volatile_uncorrected: int = source("nvmlDeviceGetMemoryErrorCounter DRAM")
    dram_aggregate_uncorrected: int = source("nvmlDeviceGetMemoryErrorCounter DRAM")
    sram_volatile_uncorrected: int = source("nvmlDeviceGetSramEccErrorStatus, or nvmlDeviceGetMemoryErrorCounter SRAM")
    sram_aggregate_uncorrected: int = source("nvmlDeviceGetSramEccErrorStatus, or nvmlDeviceGetMemoryErrorCounter SRAM")
    sram_threshold_exceeded: bool = source("nvmlDeviceGetSramEccErrorStatus")


@fact
class GpuMemoryRepair(SubjectFact):
    """Rows are remapped from Ampere on; pages were retired before."""

    subject: Subject
    rows_correctable: int = source("nvmlDeviceGetRemappedRows")
    rows_uncorrectable: int = source("nvmlDeviceGetRemappedRows")
    remap_pending: bool = source("nvmlDeviceGetRemappedRows")
    remap_failed: bool = source("nvmlDeviceGetRemappedRows")
    banks: int = source("nvmlDeviceGetRowRemapperHistogram")
    banks_low: int = source("nvmlDeviceGetRowRemapperHistogram")  # few spare rows left
    banks_exhausted: int = source("nvmlDeviceGetRowRemapperHistogram")  # no spare row left
    pages_corrected: int = source("NVML_FI_DEV_RETIRED_SBE")
    pages_uncorrected: int = source("NVML_FI_DEV_RETIRED_DBE")
    retirement_pending: bool = source("NVML_FI_DEV_RETIRED_PENDING")
    channel_repair_pending: bool = source("nvmlDeviceGetRepairStatus")
    tpc_repair_pending: bool = source("nvmlDeviceGetRepairStatus")
    unrepairable: bool = source("nvmlDeviceGetUnrepairableMemoryFlag_v1")


@fact
class GpuRecovery(SubjectFact):
    subject: Subject
    action: Action = source("NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, or NVML_FI_DEV_RESET_STATUS")


@fact
class GpuFabric(SubjectFact):
    """Whether the fabric manager has set this GPU up for NVLink through switches."""

    subject: Subject
    state: FabricState = source("nvmlDeviceGetGpuFabricInfoV")
    status: int = source("nvmlDeviceGetGpuFabricInfoV")  # nvmlReturn_t, of use once the state is completed
    clique_id: int = source("nvmlDeviceGetGpuFabricInfoV")
    cluster_uuid: str = source("nvmlDeviceGetGpuFabricInfoV")  # 32 hex digits; all zero: no fabric
    health_mask: int = source("nvmlDeviceGetGpuFabricInfoV")  # NVML_GPU_FABRIC_HEALTH_MASK_*, 0: not said
