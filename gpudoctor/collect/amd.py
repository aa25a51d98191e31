"""AMD GPUs out of amdgpu's sysfs files. Reading them wakes no GPU that sleeps: those are left alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from gpudoctor.collect.attribute import attribute, number
from gpudoctor.collect.collector import collector
from gpudoctor.facts.amd import AmdGpu, AmdRas, AmdSensors, RasCount, Temperature
from gpudoctor.facts.pci import PciDevice
from gpudoctor.node.surface import Node
from gpudoctor.parse.amd import parse_bad_pages, parse_current_level, parse_gpu_metrics, parse_ras_count
from gpudoctor.unread import Gap, Reading, Unread, hold

T = TypeVar("T")
AMD = 0x1002
DEVICES = "/sys/bus/pci/devices"
_INPUT = re.compile(r"(temp[1-9])_input")


def served(devices: tuple[PciDevice, ...]) -> tuple[PciDevice, ...]:
    return tuple(d for d in devices if d.kind == "gpu" and d.get("vendor_id") == AMD and d.get("driver") == "amdgpu")


@collector
def amd_gpus(node: Node, devices: tuple[PciDevice, ...] | Unread | None) -> tuple[AmdGpu, ...] | Unread | None:
    if isinstance(devices, Unread) or devices is None:
        return devices
    return tuple(_gpu(node, device) for device in served(devices)) or None


def _gpu(node: Node, device: PciDevice) -> AmdGpu:
    where = f"{DEVICES}/{device.bus_id}"
    return AmdGpu(
        subject=device.subject,
        bus_id=device.bus_id,
        driver_version=hold(attribute(node, "/sys/module/amdgpu/version")),
        product_name=hold(_named(node, f"{where}/product_name")),
        product_number=hold(_named(node, f"{where}/product_number")),
        serial_number=hold(_named(node, f"{where}/serial_number")),
        unique_id=hold(_named(node, f"{where}/unique_id")),
        vbios_version=hold(_named(node, f"{where}/vbios_version")),
        vram_total_bytes=hold(number(node, f"{where}/mem_info_vram_total")),
        vram_used_bytes=hold(number(node, f"{where}/mem_info_vram_used")),
        busy_percent=hold(number(node, f"{where}/gpu_busy_percent")),
        compute_partition=hold(_named(node, f"{where}/current_compute_partition")),
        memory_partition=hold(_named(node, f"{where}/current_memory_partition")),
        link_width=hold(number(node, f"{where}/current_link_width")),
        link_speed_gts=hold(_of_text(node, f"{where}/current_link_speed", _gigatransfers)),
        pcie_replays=hold(number(node, f"{where}/pcie_replay_count")),
        suspended=hold(_suspended(node, where)),
        clock_mhz=hold(_of_text(node, f"{where}/pp_dpm_sclk", parse_current_level)),
        performance_level=hold(_named(node, f"{where}/power_dpm_force_performance_level")),
    )


def _named(node: Node, path: str) -> Reading[str]:
    """An empty attribute is one that the board does not fill in."""
    text = attribute(node, path)
    return text if isinstance(text, Unread) or text else Unread(Gap.UNSUPPORTED, path, "is empty")


def _of_text(node: Node, path: str, parse: Callable[[str], T | None]) -> Reading[T]:
    text = attribute(node, path)
    if isinstance(text, Unread):
        return text
    value = parse(text)
    return value if value is not None else Unread(Gap.MALFORMED, path, f"holds {text[:40]!r}")


def _gigatransfers(text: str) -> float | None:
    found = re.match(r"(\d{1,3}(?:\.\d)?) GT/s", text)
    return float(found[1]) if found else None


def _suspended(node: Node, where: str) -> Reading[bool]:
    status = attribute(node, f"{where}/power/runtime_status")
    return status if isinstance(status, Unread) else status == "suspended"


@collector
def amd_ras(node: Node, devices: tuple[PciDevice, ...] | Unread | None) -> tuple[AmdRas, ...] | Unread | None:
    if isinstance(devices, Unread) or devices is None:
        return devices
    return tuple(_ras(node, device) for device in served(devices)) or None


def _ras(node: Node, device: PciDevice) -> AmdRas:
    where = f"{DEVICES}/{device.bus_id}"
    return AmdRas(
        subject=device.subject,
        bus_id=device.bus_id,
        suspended=hold(_suspended(node, where)),
        counts=hold(_counts(node, f"{where}/ras")),
        bad_pages=hold(_bad_pages(node, f"{where}/ras/gpu_vram_bad_pages")),
    )


def _counts(node: Node, folder: str) -> Reading[tuple[RasCount, ...]]:
    names = node.list(folder)
    if isinstance(names, Unread):
        return names
    counts: list[RasCount] = []
    for name in names:
        if name.endswith("_err_count"):
            text = attribute(node, f"{folder}/{name}")
            if isinstance(text, Unread):
                return text
            count = parse_ras_count(name.removesuffix("_err_count"), text)
            if count is None:
                return Unread(Gap.MALFORMED, f"{folder}/{name}", f"holds {text[:40]!r}")
            counts.append(count)
    return tuple(counts)


def _bad_pages(node: Node, path: str) -> Reading[dict[str, int]]:
    text = attribute(node, path)
    return text if isinstance(text, Unread) else parse_bad_pages(text)


@collector
def amd_sensors(node: Node, devices: tuple[PciDevice, ...] | Unread | None) -> tuple[AmdSensors, ...] | Unread | None:
    if isinstance(devices, Unread) or devices is None:
        return devices
    return tuple(_sensors(node, device) for device in served(devices)) or None


def _sensors(node: Node, device: PciDevice) -> AmdSensors:
    where = f"{DEVICES}/{device.bus_id}"
    hwmon = _hwmon(node, where)

    def watts(name: str) -> Reading[float]:
        micro = hwmon if isinstance(hwmon, Unread) else number(node, f"{hwmon}/{name}")
        return micro if isinstance(micro, Unread) else micro / 1e6

    average = watts("power1_average")
    data = node.read(f"{where}/gpu_metrics")
    return AmdSensors(
        subject=device.subject,
        bus_id=device.bus_id,
        temperatures=hold(hwmon if isinstance(hwmon, Unread) else _temperatures(node, hwmon)),
        power_watts=hold(watts("power1_input") if isinstance(average, Unread) else average),
        power_cap_watts=hold(watts("power1_cap")),
        power_cap_default_watts=hold(watts("power1_cap_default")),
        power_cap_max_watts=hold(watts("power1_cap_max")),
        metrics=hold(data if isinstance(data, Unread) else parse_gpu_metrics(data, f"{where}/gpu_metrics")),
    )


def _hwmon(node: Node, where: str) -> Reading[str]:
    names = node.list(f"{where}/hwmon")
    if isinstance(names, Unread):
        return names
    return f"{where}/hwmon/{names[0]}" if names else Unread(Gap.ABSENT, f"{where}/hwmon", "is empty")


def _temperatures(node: Node, hwmon: str) -> Reading[tuple[Temperature, ...]]:
    names = node.list(hwmon)
    if isinstance(names, Unread):
        return names
    read: list[Temperature] = []
    for channel in [found[1] for found in map(_INPUT.fullmatch, names) if found]:
        celsius = _degrees(node, f"{hwmon}/{channel}_input")
        if isinstance(celsius, Unread):
            return celsius
        label = attribute(node, f"{hwmon}/{channel}_label")
        limits = [_degrees(node, f"{hwmon}/{channel}_{limit}") for limit in ("crit", "emergency")]
        critical, emergency = (None if isinstance(limit, Unread) else limit for limit in limits)
        read.append(Temperature(channel if isinstance(label, Unread) else label, celsius, critical, emergency))
    return tuple(read)


def _degrees(node: Node, path: str) -> Reading[float]:
    milli = number(node, path)
    return milli if isinstance(milli, Unread) else milli / 1000
