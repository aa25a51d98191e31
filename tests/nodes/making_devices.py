"""What drivers make of PCI devices: network ports, InfiniBand devices, NVMe drives, and the daemons beside them.

Documentation/ABI/testing/sysfs-class-net, sysfs-class-infiniband (stable), sysfs-block.
"""

from __future__ import annotations

from collections.abc import Mapping

from making import Machine
from making_nvidia import VERSION
from making_pci import DEVICES


def loopback(machine: Machine) -> None:
    machine.directory("/sys/class/net")
    machine.link("/sys/class/net/lo", "../../devices/virtual/net/lo")
    machine.absent("link", "/sys/class/net/lo/device")
    machine.files("/sys/class/net/lo", {"operstate": "unknown", "mtu": 65536, "type": 772})


def ethernet(machine: Machine, name: str, bus_id: str, path: str, mbps: int, virtio: str | None = None) -> None:
    """`virtio`: the virtio device between the PCI device and the port."""
    known = {"speed": mbps, "mtu": 1500, "type": 1}
    machine.absent("dir", f"{DEVICES}/{bus_id}/infiniband")
    if virtio is None:
        _port(machine, name, f"{DEVICES}/{bus_id}", f"../../../{bus_id}", path, known)
    else:
        machine.absent("dir", f"{DEVICES}/{bus_id}/net")
        machine.directory(f"{DEVICES}/{bus_id}", virtio)
        _port(machine, name, f"{DEVICES}/{bus_id}/{virtio}", f"../../../{virtio}", f"{path}/{virtio}", known)


def infiniband_port(machine: Machine, name: str, device: str, bus_id: str, path: str) -> None:
    """An NDR port of a ConnectX-7, with IPoIB on it."""
    known = {"speed": 400000, "mtu": 4092, "type": 32}
    _port(machine, name, f"{DEVICES}/{bus_id}", f"../../../{bus_id}", path, known)
    machine.directory("/sys/class/infiniband")
    machine.directory(f"{DEVICES}/{bus_id}/infiniband", device)
    where = f"/sys/class/infiniband/{device}"
    machine.link(where, f"../../{path}/infiniband/{device}")
    machine.link(f"{where}/device", f"../../../{bus_id}")
    machine.files(where, {"fw_ver": "28.43.1014", "node_type": "1: CA", "hca_type": "MT4129"})
    machine.file(f"{where}/board_id", "MT_0000000838")
    machine.directory(f"{where}/ports")
    machine.files(
        f"{where}/ports/1",
        {
            "state": "4: ACTIVE",
            "phys_state": "5: LinkUp",
            "rate": "400 Gb/sec (4X NDR)",
            "link_layer": "InfiniBand",
        },
    )


def _port(machine: Machine, name: str, parent: str, device: str, path: str, known: Mapping[str, int]) -> None:
    machine.directory("/sys/class/net")
    machine.directory(f"{parent}/net", name)
    machine.link(f"/sys/class/net/{name}", f"../../{path}/net/{name}")
    machine.link(f"/sys/class/net/{name}/device", device)
    machine.files(f"/sys/class/net/{name}", {"operstate": "up", "carrier": 1, **known})


def nvme_drive(machine: Machine, number: int, bus_id: str, path: str, node: int, sectors: int = 7501476528) -> None:
    controller, disk = f"nvme{number}", f"nvme{number}n1"
    machine.directory("/sys/class/nvme")
    machine.directory("/sys/block")
    machine.directory(f"{DEVICES}/{bus_id}/nvme", controller)
    where = f"/sys/class/nvme/{controller}"
    machine.link(where, f"../../{path}/nvme/{controller}")
    machine.link(f"{where}/device", f"../../../{bus_id}")
    known = {"model": f"{'SAMSUNG MZQL23T8HCLS-00A07':<40}", "transport": "pcie", "address": bus_id, "state": "live"}
    machine.files(where, {**known, "numa_node": node})
    machine.link(f"/sys/block/{disk}", f"../{path}/nvme/{controller}/{disk}")
    machine.link(f"/sys/block/{disk}/device", f"../../{controller}")
    machine.files(f"/sys/block/{disk}", {"queue/rotational": 0, "size": sectors, "removable": 0})
    where = f"../../{path}/nvme/{controller}/{disk}"
    if number == 0:
        machine.link("/sys/dev/block/259:2", f"{where}/{disk}p2")
        machine.link(f"/sys/class/block/{disk}p2", f"{where}/{disk}p2")
    else:
        machine.link(f"/sys/dev/block/259:{3 + number}", where)
    machine.link(f"/sys/class/block/{disk}", where)


def daemon(machine: Machine, pid: int, name: str) -> None:
    machine.directory("/proc", str(pid))
    machine.file(f"/proc/{pid}/comm", name[:15])


def fabric_manager(machine: Machine, pid: int) -> None:
    machine.file("/run/nvidia-fabricmanager/nv-fabricmanager.pid", pid)
    daemon(machine, pid, "nv-fabricmanager")
    machine.stat("/usr/bin/nv-fabricmanager", "file 0755 0:0 0:0 r-")
    machine.packages("nvidia-fabricmanager*", f"ii  nvidia-fabricmanager {VERSION}-1\n")


def bare_metal(machine: Machine, vendor: str, product: str) -> None:
    machine.files("/sys/class/dmi/id", {"sys_vendor": vendor, "product_name": product})
    machine.file("/sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm")
