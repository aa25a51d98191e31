"""Memory errors, repairs, the recovery action and the fabric, out of NVML.

Structs come with the member names of nvml.h: nvmlEccSramErrorStatus_v1_t,
nvmlGpuFabricInfo_v2_t or _v3_t (clusterUuid as a list of bytes or as hex).
"""

from __future__ import annotations

from gpudoctor.collect.answers import Answers, ask, fields, first, flag, integer, item, malformed, release
from gpudoctor.collect.collector import collector
from gpudoctor.facts.gpu import Gpu
from gpudoctor.facts.gpu_health import Action, FabricState, GpuEcc, GpuFabric, GpuMemoryRepair, GpuRecovery
from gpudoctor.facts.nvml import Nvml
from gpudoctor.finding import Subject
from gpudoctor.node.surface import Node
from gpudoctor.unread import Reading, Unread, hold

CORRECTED, UNCORRECTED = "NVML_MEMORY_ERROR_TYPE_CORRECTED", "NVML_MEMORY_ERROR_TYPE_UNCORRECTED"
VOLATILE, AGGREGATE = "NVML_VOLATILE_ECC", "NVML_AGGREGATE_ECC"
DRAM, SRAM = "NVML_MEMORY_LOCATION_DRAM", "NVML_MEMORY_LOCATION_SRAM"

ECC = {
    "mode": ("nvmlDeviceGetEccMode",),
    "default": ("nvmlDeviceGetDefaultEccMode",),
    "volatile_corrected": ("nvmlDeviceGetTotalEccErrors", CORRECTED, VOLATILE),
    "volatile_uncorrected": ("nvmlDeviceGetTotalEccErrors", UNCORRECTED, VOLATILE),
    "aggregate_corrected": ("nvmlDeviceGetTotalEccErrors", CORRECTED, AGGREGATE),
    "aggregate_uncorrected": ("nvmlDeviceGetTotalEccErrors", UNCORRECTED, AGGREGATE),
    "dram_volatile": ("nvmlDeviceGetMemoryErrorCounter", UNCORRECTED, VOLATILE, DRAM),
    "dram_aggregate": ("nvmlDeviceGetMemoryErrorCounter", UNCORRECTED, AGGREGATE, DRAM),
    "sram_volatile": ("nvmlDeviceGetMemoryErrorCounter", UNCORRECTED, VOLATILE, SRAM),
    "sram_aggregate": ("nvmlDeviceGetMemoryErrorCounter", UNCORRECTED, AGGREGATE, SRAM),
    "sram": ("nvmlDeviceGetSramEccErrorStatus",),
}
RETIRED = ("NVML_FI_DEV_RETIRED_SBE", "NVML_FI_DEV_RETIRED_DBE", "NVML_FI_DEV_RETIRED_PENDING")
REPAIR = {
    "rows": ("nvmlDeviceGetRemappedRows",),
    "banks": ("nvmlDeviceGetRowRemapperHistogram",),
    "pages": ("nvmlDeviceGetFieldValues", *RETIRED),
    "repair": ("nvmlDeviceGetRepairStatus",),
    "unrepairable": ("nvmlDeviceGetUnrepairableMemoryFlag_v1",),
}
ACTION = "NVML_FI_DEV_GET_GPU_RECOVERY_ACTION"  # since R565; before it, the two deprecated flags
RESET, DRAIN = "NVML_FI_DEV_RESET_STATUS", "NVML_FI_DEV_DRAIN_AND_RESET_STATUS"
RECOVERY = {"fields": ("nvmlDeviceGetFieldValues", ACTION, RESET, DRAIN)}
FABRIC = {"fabric": ("nvmlDeviceGetGpuFabricInfoV",)}

ACTIONS: dict[int, Action] = {
    0: "none",
    1: "reset_gpu",
    2: "reboot_node",
    3: "drain_p2p",
    4: "drain_and_reset",
    5: "recover_imex_domain",
    6: "reset_bus",
    7: "reboot_system",
}
STATES: dict[int, FabricState] = {0: "not_supported", 1: "not_started", 2: "in_progress", 3: "completed"}


@collector
def gpu_ecc(node: Node, gpus: tuple[Gpu, ...]) -> tuple[GpuEcc, ...]:
    return tuple(_ecc(gpu.subject, answers) for gpu, answers in ask(node, gpus, ECC))


def _ecc(subject: Subject, answers: Answers) -> GpuEcc:
    sram = answers["sram"]
    default = answers["default"]
    return GpuEcc(
        subject,
        enabled=hold(flag(item(answers["mode"], 0))),
        enabled_pending=hold(flag(item(answers["mode"], 1))),
        enabled_default=hold(flag(item(default, 0) if isinstance(default, (list, tuple)) else default)),
        volatile_corrected=hold(integer(answers["volatile_corrected"])),
        volatile_uncorrected=hold(integer(answers["volatile_uncorrected"])),
        aggregate_corrected=hold(integer(answers["aggregate_corrected"])),
        aggregate_uncorrected=hold(integer(answers["aggregate_uncorrected"])),
        dram_volatile_uncorrected=hold(integer(answers["dram_volatile"])),
        dram_aggregate_uncorrected=hold(integer(answers["dram_aggregate"])),
        sram_volatile_uncorrected=hold(first(_both(sram, "volatile"), integer(answers["sram_volatile"]))),
        sram_aggregate_uncorrected=hold(first(_both(sram, "aggregate"), integer(answers["sram_aggregate"]))),
        sram_threshold_exceeded=hold(flag(item(sram, "bThresholdExceeded"))),
    )


def _both(sram: Reading[object], span: str) -> Reading[int]:
    """Parity and double-bit errors are counted apart; both are uncorrected."""
    parity, double = item(sram, f"{span}UncParity"), item(sram, f"{span}UncSecDed")
    if isinstance(parity, Unread):
        return parity
    return double if isinstance(double, Unread) else parity + double


@collector
def gpu_memory_repair(node: Node, gpus: tuple[Gpu, ...]) -> tuple[GpuMemoryRepair, ...]:
    return tuple(_repair(gpu.subject, answers) for gpu, answers in ask(node, gpus, REPAIR))


def _repair(subject: Subject, answers: Answers) -> GpuMemoryRepair:
    rows, banks, repair = answers["rows"], answers["banks"], answers["repair"]
    pages = fields(answers["pages"], RETIRED)
    return GpuMemoryRepair(
        subject,
        rows_correctable=hold(item(rows, 0)),
        rows_uncorrectable=hold(item(rows, 1)),
        remap_pending=hold(flag(item(rows, 2))),
        remap_failed=hold(flag(item(rows, 3))),
        banks=hold(_sum(banks, ("max", "high", "partial", "low", "none"))),
        banks_low=hold(item(banks, "low")),
        banks_exhausted=hold(item(banks, "none")),
        pages_corrected=hold(pages[RETIRED[0]]),
        pages_uncorrected=hold(pages[RETIRED[1]]),
        retirement_pending=hold(flag(pages[RETIRED[2]])),
        channel_repair_pending=hold(flag(_repair_pending(repair, 0, "bChannelRepairPending"))),
        tpc_repair_pending=hold(flag(_repair_pending(repair, 1, "bTpcRepairPending"))),
        unrepairable=hold(flag(answers["unrepairable"])),
    )


def _repair_pending(repair: Reading[object], at: int, member: str) -> Reading[int]:
    """The bindings give a list; the struct of the same call has names."""
    return item(repair, member if isinstance(repair, dict) else at)


def _sum(answer: Reading[object], keys: tuple[str, ...]) -> Reading[int]:
    total = 0
    for key in keys:
        part = item(answer, key)
        if isinstance(part, Unread):
            return part
        total += part
    return total


@collector
def gpu_recovery(node: Node, gpus: tuple[Gpu, ...], nvml: Nvml) -> tuple[GpuRecovery, ...]:
    version = release(nvml.reading("driver_version"))
    return tuple(
        GpuRecovery(gpu.subject, hold(_action(answers["fields"], version)))
        for gpu, answers in ask(node, gpus, RECOVERY)
    )


def _action(answer: Reading[object], version: tuple[int, ...]) -> Reading[Action]:
    held = fields(answer, (ACTION, RESET, DRAIN))
    action, reset, drain = held[ACTION], held[RESET], held[DRAIN]
    if action == 5 and version < (600,):
        return "reset_bus"  # NVML_GPU_RECOVERY_ACTION_GPU_RESET_BUS in nvidia-ml-py 13.580; 13.615 has it at 6
    if not isinstance(action, Unread):
        return ACTIONS.get(action) or malformed(f"recovery action {action}")
    if isinstance(reset, Unread) or isinstance(drain, Unread):
        return action
    return "reset_gpu" if reset else "drain_and_reset" if drain else "none"


@collector
def gpu_fabric(node: Node, gpus: tuple[Gpu, ...]) -> tuple[GpuFabric, ...]:
    return tuple(_fabric(gpu.subject, answers["fabric"]) for gpu, answers in ask(node, gpus, FABRIC))


def _fabric(subject: Subject, info: Reading[object]) -> GpuFabric:
    state = item(info, "state")
    return GpuFabric(
        subject,
        state=hold(state if isinstance(state, Unread) else STATES.get(state) or malformed(f"fabric state {state}")),
        status=hold(item(info, "status")),
        clique_id=hold(item(info, "cliqueId")),
        cluster_uuid=hold(_hex(info)),
        health_mask=hold(item(info, "healthMask")),
    )


def _hex(info: Reading[object]) -> Reading[str]:
    if isinstance(info, Unread):
        return info
    uuid = info.get("clusterUuid") if isinstance(info, dict) else None
    if isinstance(uuid, str):
        return uuid.replace("-", "").lower()
    if isinstance(uuid, list) and all(isinstance(b, int) and 0 <= b < 256 for b in uuid):
        return bytes(uuid).hex()
    return malformed(info)
