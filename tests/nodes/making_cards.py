"""What NVML answers for cards other than the H200, after public output of nvidia-smi -q.

Each table holds what such a card answers otherwise than GPU 0 of h200x4.node.
"""

from __future__ import annotations

from making_nvidia import LINK_COUNT

GIB = 1 << 30
ECC = ("NVML_VOLATILE_ECC", "NVML_AGGREGATE_ECC")
WITHOUT_ECC = (
    *(
        f"nvmlDeviceGetTotalEccErrors(NVML_MEMORY_ERROR_TYPE_{t}, {s})"
        for t in ("CORRECTED", "UNCORRECTED")
        for s in ECC
    ),
    *(
        f"nvmlDeviceGetMemoryErrorCounter(NVML_MEMORY_ERROR_TYPE_UNCORRECTED, {s}, NVML_MEMORY_LOCATION_{where})"
        for s in ECC
        for where in ("DRAM", "SRAM")
    ),
    "nvmlDeviceGetSramEccErrorStatus",
    "nvmlDeviceGetRemappedRows",
    "nvmlDeviceGetRowRemapperHistogram",
    "nvmlDeviceGetRepairStatus",
    "nvmlDeviceGetUnrepairableMemoryFlag_v1",
)


def memory(total: int, reserved: int, used: int = 0) -> dict[str, object]:
    free = total - reserved - used
    return {
        "nvmlDeviceGetMemoryInfo": {"total": total, "free": free, "used": reserved + used},
        "nvmlDeviceGetMemoryInfo(nvmlMemory_v2)": {
            "version": 33554472,
            "total": total,
            "reserved": reserved,
            "free": free,
            "used": used,
        },
    }


def power(default: int, lowest: int, highest: int, used: int) -> dict[str, object]:
    """All in milliwatts."""
    return {
        "nvmlDeviceGetPowerManagementDefaultLimit": default,
        "nvmlDeviceGetPowerManagementLimit": default,
        "nvmlDeviceGetEnforcedPowerLimit": default,
        "nvmlDeviceGetPowerManagementLimitConstraints": [lowest, highest],
        "nvmlDeviceGetPowerUsage": used,
    }


def clocks(sm: int, sm_max: int, memory_now: int, memory_max: int) -> dict[str, object]:
    return {
        "nvmlDeviceGetClockInfo(NVML_CLOCK_SM)": sm,
        "nvmlDeviceGetClockInfo(NVML_CLOCK_MEM)": memory_now,
        "nvmlDeviceGetMaxClockInfo(NVML_CLOCK_SM)": sm_max,
        "nvmlDeviceGetMaxClockInfo(NVML_CLOCK_MEM)": memory_max,
        "nvmlDeviceGetApplicationsClock(NVML_CLOCK_SM)": sm_max,
        "nvmlDeviceGetApplicationsClock(NVML_CLOCK_MEM)": memory_max,
        "nvmlDeviceGetDefaultApplicationsClock(NVML_CLOCK_SM)": sm_max,
        "nvmlDeviceGetDefaultApplicationsClock(NVML_CLOCK_MEM)": memory_max,
    }


def bar1(total: int) -> dict[str, object]:
    used = 1703936
    return {"nvmlDeviceGetBAR1MemoryInfo": {"bar1Total": total, "bar1Free": total - used, "bar1Used": used}}


RTX_4090 = {
    **memory(25757220864, 441974784),
    **power(450000, 150000, 600000, 18203),
    **clocks(210, 3105, 405, 10501),
    **bar1(32 * GIB),
    "nvmlDeviceGetArchitecture": 8,
    "nvmlDeviceGetCudaComputeCapability": [8, 9],
    "nvmlDeviceGetEccMode": [0, 0],
    "nvmlDeviceGetDefaultEccMode": [0],
    "nvmlDeviceGetFanSpeed": 0,
    "nvmlDeviceGetInforomImageVersion": "G002.0000.00.03",
    "nvmlDeviceGetMarginTemperature": 51,
    "nvmlDeviceGetTemperature(NVML_TEMPERATURE_GPU)": 33,
    "nvmlDeviceGetTemperatureThreshold(NVML_TEMPERATURE_THRESHOLD_GPU_MAX)": 84,
    "nvmlDeviceGetTemperatureThreshold(NVML_TEMPERATURE_THRESHOLD_SLOWDOWN)": 86,
    "nvmlDeviceGetTemperatureThreshold(NVML_TEMPERATURE_THRESHOLD_SHUTDOWN)": 91,
    "nvmlDeviceGetFieldValues(NVML_FI_DEV_MEMORY_TEMP, NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT, "
    "NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT)": [[82, 3, None], [194, 0, -2], [193, 0, -7]],
    "nvmlDeviceGetCurrPcieLinkGeneration": 1,
    "nvmlDeviceGetMaxPcieLinkGeneration": 4,
    "nvmlDeviceGetGpuMaxPcieLinkGeneration": 4,
    LINK_COUNT: [[91, 3, None]],
}
RTX_4090_UNSUPPORTED = (
    *WITHOUT_ECC,
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetGpuFabricInfoV",
    "nvmlDeviceGetC2cModeInfoV1",
    "nvmlDeviceGetTemperatureThreshold(NVML_TEMPERATURE_THRESHOLD_MEM_MAX)",
    *(f"nvmlDeviceGet{d}ApplicationsClock(NVML_CLOCK_{c})" for d in ("", "Default") for c in ("SM", "MEM")),
    "nvmlDeviceGetNvLinkState(0)",
)
H100_PCIE = {
    **memory(85520809984, 550436864),
    **power(350000, 200000, 350000, 47830),
    **clocks(345, 1755, 1593, 1593),
    **bar1(128 * GIB),
    "nvmlDeviceGetInforomImageVersion": "1010.0200.00.03",
    "nvmlDeviceGetVirtualizationMode": 1,
}
GH200 = {
    **memory(102625181696, 536870912, 131072),
    **power(900000, 100000, 900000, 95210),
    **clocks(345, 1980, 2619, 2619),
    "nvmlDeviceGetInforomImageVersion": "G530.0206.00.05",
    "nvmlDeviceGetC2cModeInfoV1": {"isC2cEnabled": 1},
    "nvmlDeviceGetNumaNodeId": 1,
    "nvmlDeviceGetFieldValues(NVML_FI_DEV_C2C_LINK_COUNT)": [[170, 0, 10]],
}
