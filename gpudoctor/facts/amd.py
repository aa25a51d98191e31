"""AMD GPUs as amdgpu shows them in sysfs."""

from __future__ import annotations

import msgspec

from gpudoctor.facts.fact import SubjectFact, fact, source
from gpudoctor.finding import Subject


class Temperature(msgspec.Struct, frozen=True):
    label: str  # edge, junction, mem
    celsius: float  # tempN_input
    critical_celsius: float | None  # tempN_crit: the driver throttles here
    emergency_celsius: float | None  # tempN_emergency: the GPU shuts down here


class RasCount(msgspec.Struct, frozen=True):
    """Errors of one block since the driver was loaded."""

    block: str  # umc, sdma, gfx, mmhub, xgmi_wafl, ...
    uncorrectable: int
    correctable: int
    deferred: int | None  # None: this driver does not tell them apart


class GpuMetrics(msgspec.Struct, frozen=True):
    """The head of gpu_metrics that all versions from 1.3 on share; a value the firmware lacks is None."""

    version: str  # 1.3 to 1.7
    hotspot_celsius: int | None
    memory_celsius: int | None
    socket_power_watts: int | None
    gfx_activity_percent: int | None
    memory_activity_percent: int | None


@fact
class AmdGpu(SubjectFact):
    subject: Subject
    bus_id: str
    driver_version: str = source("/sys/module/amdgpu/version")  # of ROCm's dkms module; the kernel's own has none
    product_name: str = source("/sys/bus/pci/devices/{bus_id}/product_name")
    product_number: str = source("/sys/bus/pci/devices/{bus_id}/product_number")
    serial_number: str = source("/sys/bus/pci/devices/{bus_id}/serial_number")
    unique_id: str = source("/sys/bus/pci/devices/{bus_id}/unique_id")
    vbios_version: str = source("/sys/bus/pci/devices/{bus_id}/vbios_version")
    vram_total_bytes: int = source("/sys/bus/pci/devices/{bus_id}/mem_info_vram_total")
    vram_used_bytes: int = source("/sys/bus/pci/devices/{bus_id}/mem_info_vram_used")
    busy_percent: int = source("/sys/bus/pci/devices/{bus_id}/gpu_busy_percent")
    compute_partition: str = source("/sys/bus/pci/devices/{bus_id}/current_compute_partition")  # SPX, DPX, QPX, CPX
    memory_partition: str = source("/sys/bus/pci/devices/{bus_id}/current_memory_partition")  # NPS1, NPS4
    link_width: int = source("/sys/bus/pci/devices/{bus_id}/current_link_width")
    link_speed_gts: float = source("/sys/bus/pci/devices/{bus_id}/current_link_speed")
    pcie_replays: int = source("/sys/bus/pci/devices/{bus_id}/pcie_replay_count")
    suspended: bool = source("/sys/bus/pci/devices/{bus_id}/power/runtime_status")
    clock_mhz: int = source("/sys/bus/pci/devices/{bus_id}/pp_dpm_sclk")  # the level marked with `*`
    performance_level: str = source("/sys/bus/pci/devices/{bus_id}/power_dpm_force_performance_level")


@fact
class AmdRas(SubjectFact):
    subject: Subject
    bus_id: str
    suspended: bool = source("/sys/bus/pci/devices/{bus_id}/power/runtime_status")
    counts: tuple[RasCount, ...] = source("/sys/bus/pci/devices/{bus_id}/ras/*_err_count")
    bad_pages: dict[str, int] = source("/sys/bus/pci/devices/{bus_id}/ras/gpu_vram_bad_pages")  # R, P, F -> pages


@fact
class AmdSensors(SubjectFact):
    subject: Subject
    bus_id: str
    temperatures: tuple[Temperature, ...] = source("/sys/bus/pci/devices/{bus_id}/hwmon/hwmon*/temp*")
    power_watts: float = source("/sys/bus/pci/devices/{bus_id}/hwmon/hwmon*/power1_average")
    power_cap_watts: float = source("/sys/bus/pci/devices/{bus_id}/hwmon/hwmon*/power1_cap")
    power_cap_default_watts: float = source("/sys/bus/pci/devices/{bus_id}/hwmon/hwmon*/power1_cap_default")
    power_cap_max_watts: float = source("/sys/bus/pci/devices/{bus_id}/hwmon/hwmon*/power1_cap_max")
    metrics: GpuMetrics = source("/sys/bus/pci/devices/{bus_id}/gpu_metrics")
