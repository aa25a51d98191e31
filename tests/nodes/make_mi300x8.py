"""Writes mi300x8.node: a node of eight MI300X, made after the kernel's documentation of these files.

https://docs.kernel.org/gpu/amdgpu/ (driver-misc, ras, thermal); gpu_metrics after kgd_pp_interface.h.
Run it from anywhere: python tests/nodes/make_mi300x8.py
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from gpudoctor.node.archive import Archive, Key, dump
from gpudoctor.unread import Gap, Unread

BUSES = (0x05, 0x26, 0x46, 0x65, 0x85, 0xA6, 0xC6, 0xE5)
BLOCKS = ("athub", "gfx", "mmhub", "pcie_bif", "sdma", "umc", "xgmi_wafl")


def metrics() -> bytes:
    """gpu_metrics 1.6: header, temperatures, power, activity; the rest is zero."""
    head = struct.pack("<HBBHHHHHH", 1664, 1, 6, 42, 36, 38, 140, 0, 0)
    return head + bytes(1664 - len(head))


def gpu(bus: int, index: int) -> dict[Key, Any]:
    bus_id = f"0000:{bus:02x}:00.0"
    port = f"0000:{bus - 1:02x}:01.1"
    where = f"/sys/bus/pci/devices/{bus_id}"
    hwmon = f"{where}/hwmon/hwmon{index + 4}"
    texts = {
        "uevent": f"DRIVER=amdgpu\nPCI_CLASS=120000\nPCI_ID=1002:74A1\nPCI_SUBSYS_ID=1002:74A1\nPCI_SLOT_NAME={bus_id}",
        "revision": "0x00",
        "numa_node": str(index // 4),
        "current_link_width": "16",
        "max_link_width": "16",
        "current_link_speed": "32.0 GT/s PCIe",
        "max_link_speed": "32.0 GT/s PCIe",
        "power_state": "D0",
        "power/runtime_status": "active",
        "product_name": "AMD Instinct MI300X OAM",
        "product_number": "102-G30213-00",
        "serial_number": f"69240000{index:04d}",
        "unique_id": f"{0xA1B2C3D400000000 + index:016x}",
        "vbios_version": "113-M3000100-102",
        "mem_info_vram_total": "206141652992",
        "mem_info_vram_used": "297074688",
        "gpu_busy_percent": "0",
        "current_compute_partition": "SPX",
        "current_memory_partition": "NPS1",
        "pcie_replay_count": "0",
        "pp_dpm_sclk": "0: 132Mhz *\n1: 2100Mhz",
        "power_dpm_force_performance_level": "auto",
        "ras/features": "feature mask: 0x47f",
        "ras/gpu_vram_bad_pages": "",
    }
    sensors = {
        "name": "amdgpu",
        "temp2_input": "42000",
        "temp2_label": "junction",
        "temp2_crit": "100000",
        "temp2_emergency": "105000",
        "temp3_input": "36000",
        "temp3_label": "mem",
        "temp3_crit": "105000",
        "temp3_emergency": "110000",
        "power1_average": "140000000",
        "power1_cap": "750000000",
        "power1_cap_default": "750000000",
        "power1_cap_max": "750000000",
    }
    held: dict[Key, Any] = {("file", f"{where}/{name}"): f"{text}\n".encode() for name, text in texts.items()}
    held.update({("file", f"{where}/ras/{b}_err_count"): b"ue: 0\nce: 0\nde: 0\n" for b in BLOCKS})
    held.update({("file", f"{hwmon}/{name}"): f"{text}\n".encode() for name, text in sensors.items()})
    held["file", f"{where}/gpu_metrics"] = metrics()
    held["dir", f"{where}/hwmon"] = (f"hwmon{index + 4}",)
    held["dir", hwmon] = tuple(sorted(sensors))
    held["dir", f"{where}/ras"] = tuple(sorted(["features", "gpu_vram_bad_pages", *(f"{b}_err_count" for b in BLOCKS)]))
    held["link", where] = f"../../../devices/pci0000:{bus - 1:02x}/{port}/{bus_id}"
    held["file", f"/sys/bus/pci/devices/{port}/uevent"] = (
        f"DRIVER=pcieport\nPCI_CLASS=60400\nPCI_ID=1022:14AB\nPCI_SLOT_NAME={port}\n".encode()
    )
    held["link", f"/sys/bus/pci/devices/{port}"] = f"../../../devices/pci0000:{bus - 1:02x}/{port}"
    return held


def log() -> list[str]:
    first = "6,0,0,-;Linux version 6.8.0-60-generic (buildd@lcy02-amd64-098) #63-Ubuntu SMP PREEMPT_DYNAMIC\n"
    served = "amdgpu 3.61.0 20150101 for 0000:{:02x}:00.0 on minor {}"
    return [first] + [
        f"6,{900 + i},{(4 + i) * 1000000},-;[drm] Initialized {served.format(bus, i + 1)}\n"
        for i, bus in enumerate(BUSES)
    ]


def node() -> Archive:
    held: dict[Key, Any] = {
        ("file", "/proc/sys/kernel/osrelease"): b"6.8.0-60-generic\n",
        ("file", "/proc/sys/kernel/hostname"): b"amd-node\n",
        ("file", "/proc/stat"): b"cpu 1 2 3\nbtime 1763600000\n",
        ("file", "/sys/module/amdgpu/version"): b"6.12.12\n",
        ("file", "/dev/kmsg"): "".join(log()).encode(),
    }
    for index, bus in enumerate(BUSES):
        held.update(gpu(bus, index))
    held["nvml", "nvmlDeviceGetCount()"] = Unread(Gap.ABSENT, "libnvidia-ml.so.1", "is not installed")
    held["file", "/proc/cpuinfo"] = b"vendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 9654 96-Core Processor\n"
    names = sorted(
        {key.split("/")[5] for verb, key in held if verb == "link" and key.startswith("/sys/bus/pci/devices/")}
    )
    held["dir", "/sys/bus/pci/devices"] = tuple(names)
    return Archive(platform="linux", uid=0, time=1763695300.0, redacted=True, surfaces=held)


if __name__ == "__main__":
    (Path(__file__).parent / "mi300x8.node").write_text(dump(node()))
