"""The PCI tree of a made machine, as sysfs shows it.

https://docs.kernel.org/PCI/sysfs-pci.html, Documentation/ABI/testing/sysfs-bus-pci and
sysfs-bus-pci-devices-aer_stats, drivers/pci/pci-sysfs.c and pcie/aer.c of Linux 6.8, pci.ids for names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from making import Machine
from making_config import Link, config_space, full, header

from gpudoctor.facts.numa import cpu_list

DEVICES = "/sys/bus/pci/devices"
CORRECTABLE = ("RxErr", "BadTLP", "BadDLLP", "Rollover", "Timeout", "NonFatalErr", "CorrIntErr", "HeaderOF")
UNCORRECTABLE = [
    "Undefined",
    "DLP",
    "SDES",
    "TLP",
    "FCP",
    "CmpltTO",
    "CmpltAbrt",
    "UnxCmplt",
    "RxOF",
    "MalfTLP",
    "ECRC",
    "UnsupReq",
    "ACSViol",
    "UncorrIntErr",
    "BlockedTLP",
    "AtomicOpBlocked",
    "TLPBlockedErr",
    "PoisonTLPBlocked",
]
UNLINKED = Link(0, 2.5, 0, 2.5)  # part of the root complex: no link at all


@dataclass
class Function:
    bus_id: str
    name: str  # vendor and device: 10de:2335
    class_code: int
    link: Link | None  # None: conventional PCI behind a bridge
    port: str = "endpoint"
    driver: str | None = None
    below: Sequence[Function] = ()
    subsystem: str | None = None
    revision: int = 0
    max_payload: int = 256
    max_payload_supported: int = 512
    max_read_request: int = 512
    acs_capability: int | None = None
    acs_control: int = 0
    slot: int | None = None
    empty_bus: int | None = None  # of a port with nothing below: the bus that waits there
    aer: bool = True
    corrected: dict[str, int] = field(default_factory=dict)  # AER errors since the device came up

    @property
    def bus(self) -> int:
        return int(self.bus_id[5:7], 16)

    @property
    def last_bus(self) -> int:
        return max((f.last_bus for f in self.below), default=self.bus)


def aer_text(names: Sequence[str], total: str, **counts: int) -> str:
    """An aer_dev_* file: a count for each kind of error, and their sum."""
    return "\n".join([*(f"{name} {counts.get(name, 0)}" for name in names), f"{total} {sum(counts.values())}"])


def root_port(bus_id: str, name: str, link: Link, *below: Function, **known: object) -> Function:
    return _bridge(bus_id, name, link, "root port", below, acs_capability=0x1F, **known)


def switch(upstream: str, name: str, link: Link, *ports: Function, **known: object) -> Function:
    return _bridge(upstream, name, link, "upstream", ports, **known)


def downstream(bus_id: str, name: str, link: Link, *below: Function, **known: object) -> Function:
    return _bridge(bus_id, name, link, "downstream", below, acs_capability=0x7F, **known)


def _bridge(bus_id: str, name: str, link: Link, port: str, below: Sequence[Function], **known: object) -> Function:
    return Function(bus_id, name, 0x060400, link, port, "pcieport", below, **known)  # type: ignore[arg-type]


def host_bridge(bus_id: str, name: str = "8086:09a2") -> Function:
    return Function(bus_id, name, 0x088000, UNLINKED, "integrated", aer=False)


def infiniband(bus_id: str, link: Link | None = None, driver: str = "mlx5_core") -> Function:
    """A ConnectX-7 whose port speaks InfiniBand."""
    link = link or full(16, 32.0)
    return Function(bus_id, "15b3:1021", 0x020700, link, driver=driver, subsystem="15b3:0041", max_read_request=4096)


def nvme(bus_id: str) -> Function:
    return Function(bus_id, "144d:a824", 0x010802, full(4, 16.0), driver="nvme", subsystem="144d:a801")


def place(machine: Machine, root: str, functions: Sequence[Function], node: int) -> dict[str, str]:
    """Puts a root complex's functions on the machine; their paths below /sys by bus id."""
    machine.directory(DEVICES)
    if machine.iommu is None:
        machine.directory("/sys/kernel/iommu_groups")
    paths: dict[str, str] = {}
    for function in functions:
        _place(machine, function, f"devices/{root}", node, paths)
    return paths


def _place(machine: Machine, function: Function, parent: str, node: int, paths: dict[str, str]) -> None:
    path = f"{parent}/{function.bus_id}"
    paths[function.bus_id] = path
    where = f"{DEVICES}/{function.bus_id}"
    vendor, device = (int(x, 16) for x in function.name.split(":"))
    sub = [int(x, 16) for x in (function.subsystem or "0000:0000").split(":")]
    uevent = [f"DRIVER={function.driver}"] if function.driver else []
    uevent += [f"PCI_CLASS={function.class_code:X}", f"PCI_ID={vendor:04X}:{device:04X}"]
    uevent += [f"PCI_SUBSYS_ID={sub[0]:04X}:{sub[1]:04X}", f"PCI_SLOT_NAME={function.bus_id}"]
    machine.link(where, f"../../../{path}")
    machine.absent("link", f"{where}/physfn")
    machine.files(
        where,
        {
            "uevent": "\n".join(uevent),
            "vendor": f"0x{vendor:04x}",
            "device": f"0x{device:04x}",
            "class": f"0x{function.class_code:06x}",
            "revision": f"0x{function.revision:02x}",
            "numa_node": node,
            "local_cpulist": cpu_list(machine.cpus_of_node.get(node, ())),
            "power_state": "D0",
        },
    )
    if function.driver:
        machine.link(f"{where}/driver", f"{'../' * (path.count('/') + 1)}bus/pci/drivers/{function.driver}")
    else:
        machine.absent("link", f"{where}/driver")
    _iommu_group(machine, where, path)
    _link(machine, function, where, vendor, device, (sub[0], sub[1]))
    _errors(machine, function, where)
    for below in function.below:
        _place(machine, below, path, node, paths)


def _iommu_group(machine: Machine, where: str, path: str) -> None:
    if machine.iommu is None:
        machine.absent("link", f"{where}/iommu_group")
        return
    group = machine.iommu_groups
    machine.iommu_groups += 1
    machine.link(f"{where}/iommu_group", f"{'../' * (path.count('/') + 1)}kernel/iommu_groups/{group}")
    machine.file(f"/sys/kernel/iommu_groups/{group}/type", machine.iommu)
    machine.directory("/sys/kernel/iommu_groups")


def _link(
    machine: Machine, function: Function, where: str, vendor: int, device: int, subsystem: tuple[int, int]
) -> None:
    names = ("current_link_width", "current_link_speed", "max_link_width", "max_link_speed")
    if function.link is None:
        machine.absent("file", *(f"{where}/{name}" for name in names))
        machine.file(f"{where}/config", header(vendor, device, function.class_code, function.revision, subsystem))
        return
    width, gts, max_width, max_gts = function.link
    integrated = function.port == "integrated"
    shown = (0, "Unknown", 255, "Unknown") if integrated else (width, _speed(gts), max_width, _speed(max_gts))
    machine.files(where, dict(zip(names, shown, strict=True)))
    bridge = function.port != "endpoint" and not integrated
    below = sorted(f.bus for f in function.below) or [function.empty_bus or function.bus]
    machine.file(
        f"{where}/config",
        config_space(
            vendor,
            device,
            function.class_code,
            function.port,
            function.link,
            revision=function.revision,
            subsystem=subsystem,
            buses=(function.bus, below[0], max(function.last_bus, below[-1])) if bridge else None,
            max_payload=function.max_payload,
            max_payload_supported=function.max_payload_supported,
            max_read_request=128 if bridge else function.max_read_request,
            acs_capability=function.acs_capability,
            acs_control=function.acs_control,
            slot=function.slot,
            aer=function.aer,
        ),
    )


def _speed(gts: float) -> str:
    return f"{gts:.1f} GT/s PCIe"


def _errors(machine: Machine, function: Function, where: str) -> None:
    names = ["aer_dev_correctable", "aer_dev_nonfatal", "aer_dev_fatal"]
    if not function.aer or function.link is None:
        machine.absent("file", *(f"{where}/{name}" for name in names))
        return
    machine.files(
        where,
        {
            "aer_dev_correctable": aer_text(CORRECTABLE, "TOTAL_ERR_COR", **function.corrected),
            "aer_dev_nonfatal": aer_text(UNCORRECTABLE, "TOTAL_ERR_NONFATAL"),
            "aer_dev_fatal": aer_text(UNCORRECTABLE, "TOTAL_ERR_FATAL"),
        },
    )
    if function.port == "root port":
        for kind in ("cor", "nonfatal", "fatal"):
            machine.file(f"{where}/aer_rootport_total_err_{kind}", _total(function) if kind == "cor" else 0)


def _total(function: Function) -> int:
    """Errors that reached this root port, its own among them."""
    return sum(function.corrected.values()) + sum(_total(f) for f in function.below)
